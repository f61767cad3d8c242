"""A Django site with its sessions in signed_cookies. It prints, as JSON, the cookies that
some visitors get from it, and what the table auth_user has as its user's password."""

import json
import time
from unittest import mock

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="a secret, ü",
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    ROOT_URLCONF=__name__,
    USE_TZ=True,
)
django.setup()

from django.contrib.auth import login, user_logged_in
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path

user = User(id=7, username="ada", password=make_password("enchantress"))
user_logged_in.disconnect(dispatch_uid="update_last_login")  # there is no database


def shop(request):
    if "login" in request.POST:
        login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    request.session["cart"] = request.POST.getlist("item")
    return HttpResponse()


urlpatterns = [path("", shop)]


def cookie(**form):
    return Client().post("/", form).cookies["sessionid"].value


cookies = {
    "anonymous": cookie(item=["tea"]),
    "compressed": cookie(item=["tea"] * 100),
    "unicode": cookie(item=["thé", "茶", "🍵"]),
    "logged in": cookie(login="on", item=["tea"]),
    "logged in, compressed": cookie(login="on", item=["tea"] * 100),
}
with mock.patch("time.time", return_value=time.time() - 15 * 24 * 3600):
    cookies["expired"] = cookie(item=["tea"])
with mock.patch("time.time", return_value=time.time() - 13 * 24 * 3600):
    cookies["not yet expired"] = cookie(item=["tea"])
with override_settings(SECRET_KEY="the secret of before"):
    cookies["the key of before"] = cookie(login="on", item=["tea"])
with override_settings(SECRET_KEY="another secret"):
    cookies["another key"] = cookie(item=["tea"])

print(json.dumps({"cookies": cookies, "password": user.password}))
