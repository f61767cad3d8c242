package main

import (
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gorilla/mux"
)

// session is what this site remembers of a visitor.
type session struct {
	Name string
}

// example is a session to show to a visitor who has none.
var example = session{Name: "Alice"}

// routes fills the router: the table of contents. Addresses may end with a slash.
func (a *app) routes(router *mux.Router) {
	get, post := []string{http.MethodGet, http.MethodHead}, http.MethodPost

	router.HandleFunc("/", a.visitor(a.home)).Methods(get...).Name("home")
	router.HandleFunc("/set_name", a.visitor(a.nameForm)).Methods(get...).Name("set_name")
	router.HandleFunc("/set_name", a.visitor(a.setName)).Methods(post).Name("set_name")
	router.HandleFunc("/get_name", a.visitor(a.getName)).Methods(get...).Name("get_name")
	router.HandleFunc("/clear_name", a.visitor(a.clearName)).Methods(post).Name("clear_name")
	router.HandleFunc("/session", a.visitor(a.showSession)).Methods(get...).Name("session")
	router.HandleFunc("/forge", a.visitor(a.forge)).Methods(post).Name("forge")

	router.HandleFunc(registerPath, a.bindingStep(a.registerDevice)).Methods(post).Name("register")
	router.HandleFunc(refreshPath, a.bindingStep(a.binding.refresh)).Methods(post).Name("refresh")

	router.HandleFunc("/healthz", a.health).Methods(get...).Name("health")
	router.Handle("/style.css", a.style).Methods(get...).Name("style")
	router.Handle("/icon.svg", a.icon).Methods(get...).Name("icon")
	router.Handle("/favicon.ico", a.icon).Methods(get...).Name("favicon")
	router.Handle("/robots.txt", a.robots).Methods(get...).Name("robots")
}

func (a *app) home(_ *http.Request, v *visit[session]) (answer, error) {
	text := "A session in a signed cookie: " +
		"POST name=... to /set_name, then GET /get_name or /session, POST to /clear_name."
	if v.session.Name != "" {
		text += " Name: " + v.session.Name
	}
	return answer{Text: text, Page: "home", Data: field{}}, nil
}

// field is a form's text field: what to fill in, and what was wrong with it.
type field struct {
	Value, Problem string
	Focus          bool // it is what the page is for
}

func (a *app) nameForm(_ *http.Request, v *visit[session]) (answer, error) {
	return answer{Page: "set_name", Data: field{Value: v.session.Name, Focus: true}}, nil
}

func (a *app) setName(r *http.Request, v *visit[session]) (answer, error) {
	form, err := readForm(r)
	if err != nil {
		return answer{}, err
	}
	name, wrong := checkName(form["name"])
	if wrong != "" {
		typed := strings.ToValidUTF8(strings.Join(form["name"], " "), "\uFFFD")
		data := field{Value: typed, Problem: wrong, Focus: true}
		return answer{Status: 422, Text: wrong, Page: "set_name", Data: data}, nil
	}
	v.session.Name = name
	return message("Name " + name + " set in session"), nil
}

func (a *app) getName(_ *http.Request, v *visit[session]) (answer, error) {
	if v.session.Name == "" {
		return message("Name not found in session"), nil
	}
	return message("Name: " + v.session.Name), nil
}

func (a *app) clearName(_ *http.Request, v *visit[session]) (answer, error) {
	v.clear()
	return message("Name cleared from session"), nil
}

func (a *app) showSession(_ *http.Request, v *visit[session]) (answer, error) {
	text := reportText("session", describe(a.sessions, v))
	return answer{Text: text, Page: "session"}, nil
}

// health tells a load balancer whether to send visitors here.
func (a *app) health(w http.ResponseWriter, r *http.Request) {
	said := answer{Text: "ok"}
	if a.draining.Load() {
		said = answer{Status: http.StatusServiceUnavailable, Text: "shutting down"}
	}
	a.send(w, r, page{answer: said}) // which can't fail without a template
}

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
		return "", fmt.Sprintf("The name has %d characters: shorten it to %d at most.", n, maxName)
	case strings.ContainsFunc(name, breaksLine):
		return "", "The name contains a control character, such as a line break: remove it."
	case strings.ContainsFunc(name, overridesDirection):
		return "", "The name contains an invisible character that " +
			"overrides the direction of text: remove it."
	case !strings.ContainsFunc(name, isVisible):
		return "", "The name is empty: type at least one character that can be seen."
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
