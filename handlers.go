package main

import (
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"cookiesession/internal/lesson"
	"cookiesession/internal/web"
	"cookiesession/sessions"
)

// assets are files of templates/ that are the same for every visitor.
var assets = []web.Asset{
	{Path: "/style.css", File: "style.css", Kind: "text/css; charset=utf-8"},
	{Path: "/icon.svg", File: "icon.svg", Kind: "image/svg+xml; charset=utf-8"},
	{Path: "/favicon.ico", File: "icon.svg", Kind: "image/svg+xml; charset=utf-8"},
	{Path: "/robots.txt", File: "robots.txt", Kind: "text/plain; charset=utf-8"},
}

// routes fills the router: the table of contents. Addresses may end with a slash.
func routes(router *mux.Router, site *web.Site[session]) {
	get, post := []string{http.MethodGet, http.MethodHead}, http.MethodPost

	router.HandleFunc("/", site.Action(home)).Methods(get...).Name("home")
	router.HandleFunc("/set_name", site.Action(nameForm)).Methods(get...).Name("set_name")
	router.HandleFunc("/set_name", site.Action(setName)).Methods(post).Name("set_name")
	router.HandleFunc("/get_name", site.Action(getName)).Methods(get...).Name("get_name")
	end := router.HandleFunc("/clear_name", site.Action(clearName)).Methods(post).Name("clear_name")
	site.Except(end, web.Exception{
		Form: "/get_name", FormWhen: ", while you have a cookie",
	})

	// To take the lesson out: this line and its import, internal/lesson, templates/lesson.
	lesson.Routes(router, site, session{Name: "Alice"})
}

func home(_ *http.Request, s *sessions.Session[session]) (web.Answer, error) {
	text := "A session in a signed cookie: " +
		"POST name=... to /set_name, then GET /get_name or /session, POST to /clear_name."
	if s.Data.Name != "" {
		text += " Name: " + s.Data.Name
	}
	return web.Answer{Text: text, Page: "home", Data: field{}}, nil
}

// field is a form's text field: what to fill in, and what was wrong with it.
type field struct {
	Value, Problem string
	Focus          bool // it is what the page is for
}

func nameForm(_ *http.Request, s *sessions.Session[session]) (web.Answer, error) {
	return web.Answer{Page: "set_name", Data: field{Value: s.Data.Name, Focus: true}}, nil
}

func setName(r *http.Request, s *sessions.Session[session]) (web.Answer, error) {
	form, err := web.Form(r)
	if err != nil {
		return web.Answer{}, err
	}
	name, wrong := checkName(form["name"])
	if wrong != "" {
		typed := strings.Join(form["name"], " ")
		typed = strings.Clone(typed[:min(len(typed), maxShown)])
		typed = strings.ToValidUTF8(typed, "\uFFFD")
		return web.Answer{
			Status: http.StatusUnprocessableEntity, Text: wrong,
			Page: "set_name", Data: field{Value: typed, Problem: wrong, Focus: true},
		}, nil
	}
	s.Data.Name = name
	return web.Answer{
		Text: "Name " + name + " set in session", Page: "set",
		// What was typed stays in the form, should the session not be changed for now.
		Again: &web.Answer{Page: "set_name", Data: field{Value: name, Focus: true}},
	}, nil
}

func getName(_ *http.Request, s *sessions.Session[session]) (web.Answer, error) {
	if s.Data.Name == "" {
		return web.Message("get", "Name not found in session"), nil
	}
	return web.Message("get", "Name: "+s.Data.Name), nil
}

func clearName(_ *http.Request, s *sessions.Session[session]) (web.Answer, error) {
	s.Clear() // the whole session; to forget only the name: s.Data.Name = ""
	return web.Message("clear", "Name cleared from session"), nil
}

// maxShown is how many bytes of a name that was refused stay in the form. Escaped for the
// page, a whole body would be several times as large, for as long as a client leaves the
// answer unread.
const maxShown = 1 << 10

// maxName is how many Unicode code points a name may have.
const maxName = 200

// checkName returns the name that a form's values spell, or what the visitor
// should do about them.
func checkName(values []string) (name, wrong string) {
	switch len(values) {
	case 0:
		return "", "The field name is missing: send it once, in the body of the form."
	case 1:
	default:
		return "", fmt.Sprintf("The field name was sent %d times: send it once.", len(values))
	}
	if !utf8.ValidString(values[0]) {
		return "", "The name is not valid UTF-8: send it in that encoding."
	}
	name = strings.TrimSpace(values[0])
	switch n := utf8.RuneCountInString(name); {
	case n > maxName:
		return "", fmt.Sprintf("That is %d characters; %d is the limit.", n, maxName)
	case strings.ContainsFunc(name, breaksLine):
		return "", "The name contains a control character, such as a line break: remove it."
	case strings.ContainsFunc(name, overridesDirection):
		return "", "The name contains an invisible character that " +
			"overrides the direction of text: remove it."
	case !strings.ContainsFunc(name, isVisible):
		return "", "Type a name with at least one visible character."
	}
	return name, ""
}

// breaksLine reports whether c is a control character, or one of Unicode's own
// line and paragraph separators.
func breaksLine(c rune) bool { return unicode.In(c, unicode.Cc, unicode.Zl, unicode.Zp) }

// overridesDirection reports whether c could reverse what follows the
// name on a page or in a terminal (https://trojansource.codes).
func overridesDirection(c rune) bool {
	return '\u202A' <= c && c <= '\u202E' || '\u2066' <= c && c <= '\u2069'
}

// isVisible reports whether c leaves a mark on a page: it is neither a space,
// nor of those that Unicode calls default ignorable, nor Braille's blank.
func isVisible(c rune) bool {
	return !unicode.IsSpace(c) && c != '\u2800' && !unicode.In(c,
		unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}
