// Package examples_test tries the line that puts Handler around the routers that people
// use, or into one of them.
package examples_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v5"

	"cookiesession/sessions"
)

type data struct{ Visits int }

type manager = sessions.Manager[data]

// visit counts a visit, and returns its number as text.
func visit(m *manager, r *http.Request) string {
	s := m.Get(r.Context())
	s.Data.Visits++
	return strconv.Itoa(s.Data.Visits)
}

func serveMux(m *manager) http.Handler {
	mux := http.NewServeMux()
	addPlain(mux, m)
	return m.Handler(mux)
}

func chiAround(m *manager) http.Handler {
	router := chi.NewRouter()
	addPlain(router, m)
	return m.Handler(router)
}

func chiUse(m *manager) http.Handler {
	router := chi.NewRouter()
	router.Use(m.Handler)
	addPlain(router, m)
	return router
}

// addPlain adds net/http's own handlers to a router.
func addPlain(router interface {
	Handle(path string, h http.Handler)
}, m *manager) {
	handle := func(path string, f http.HandlerFunc) { router.Handle(path, f) }
	handle("/visit", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, visit(m, r))
	})
	handle("/leave", func(w http.ResponseWriter, r *http.Request) {
		visit(m, r)
		http.Redirect(w, r, "/visit", http.StatusSeeOther)
	})
	handle("/fail", func(w http.ResponseWriter, r *http.Request) {
		visit(m, r)
		w.WriteHeader(http.StatusInternalServerError)
	})
	handle("/stream", func(w http.ResponseWriter, r *http.Request) {
		number := visit(m, r)
		http.NewResponseController(w).Flush()
		io.WriteString(w, number)
	})
}

func ginAround(m *manager) http.Handler {
	gin.SetMode(gin.ReleaseMode) // or it prints
	router := gin.New()
	router.GET("/visit", func(c *gin.Context) { c.String(http.StatusOK, visit(m, c.Request)) })
	router.GET("/leave", func(c *gin.Context) {
		visit(m, c.Request)
		c.Redirect(http.StatusSeeOther, "/visit")
	})
	router.GET("/fail", func(c *gin.Context) {
		visit(m, c.Request)
		c.AbortWithStatus(http.StatusInternalServerError)
	})
	router.GET("/stream", func(c *gin.Context) {
		number := visit(m, c.Request)
		c.Writer.Flush()
		c.String(http.StatusOK, number)
	})
	return m.Handler(router)
}

// echoAround has Handler around echo, since within Use it would save what must not be saved:
// echo answers an error of a handler outside of it, when Handler has already taken the
// silence for a success.
func echoAround(m *manager) http.Handler {
	router := echo.New()
	router.Logger = slog.New(slog.DiscardHandler)
	router.GET("/visit", func(c *echo.Context) error {
		return c.String(http.StatusOK, visit(m, c.Request()))
	})
	router.GET("/leave", func(c *echo.Context) error {
		visit(m, c.Request())
		return c.Redirect(http.StatusSeeOther, "/visit")
	})
	router.GET("/fail", func(c *echo.Context) error {
		visit(m, c.Request())
		return errors.New("it fails")
	})
	router.GET("/stream", func(c *echo.Context) error {
		number := visit(m, c.Request())
		c.Response().WriteHeader(http.StatusOK)
		if err := http.NewResponseController(c.Response()).Flush(); err != nil {
			return err
		}
		_, err := io.WriteString(c.Response(), number)
		return err
	})
	return m.Handler(router)
}

func TestRouters(t *testing.T) {
	steps := []struct {
		path   string
		status int
		body   string // any if empty
	}{
		{"/visit", http.StatusOK, "1"},
		{"/visit", http.StatusOK, "2"},
		{"/leave", http.StatusOK, "4"}, // saved with a redirect, which was followed
		{"/stream", http.StatusOK, "5"},
		{"/fail", http.StatusInternalServerError, ""}, // nothing is saved
		{"/nowhere", http.StatusNotFound, ""},
		{"/visit", http.StatusOK, "6"},
	}
	for name, site := range map[string]func(*manager) http.Handler{
		"ServeMux": serveMux,
		"chi":      chiAround,
		"chi, Use": chiUse,
		"gin":      ginAround,
		"echo":     echoAround,
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(site(newManager(t)))
			defer server.Close()
			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			browser := http.Client{Jar: jar}
			for _, step := range steps {
				r, err := browser.Get(server.URL + step.path)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(r.Body)
				r.Body.Close()
				if err != nil || r.StatusCode != step.status ||
					step.body != "" && string(body) != step.body {
					t.Errorf("%s: got %d %q, %v, want %d %q",
						step.path, r.StatusCode, body, err, step.status, step.body)
				}
			}
		})
	}
}

func newManager(t *testing.T) *manager {
	t.Helper()
	keys, err := sessions.NewKeyring(sessions.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	m, err := sessions.New(keys, sessions.Options[data]{
		Insecure: true,
		Failed: func(_ http.ResponseWriter, _ *http.Request, err error) {
			t.Errorf("a session was not saved: %v", err)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
