package server

import (
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"strings"
)

// newAdmin returns a server of what only the operator may see, for a listener on
// cfg.AdminAddr.
func newAdmin(cfg Config) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", cfg.serveStatus)
	mux.Handle("GET /metrics", cfg.Metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok") // also while the server is about to stop: it still lives
	})
	if IsLoopback(cfg.AdminAddr) {
		mux.HandleFunc("/debug/pprof/", profile)
	}
	return newServer(onlyAdmins(cfg.AdminAddr, mux), cfg.Log)
}

// profile has net/http/pprof answer, where it has put itself, unless by a browser's
// word a page of another origin asks. Any page on the web could start a profile of
// hours, though not read it.
func profile(w http.ResponseWriter, r *http.Request) {
	if from := r.Header.Get("Sec-Fetch-Site"); from == "cross-site" || from == "same-site" {
		http.Error(w, "Ask for this from here.", http.StatusForbidden)
		return
	}
	http.DefaultServeMux.ServeHTTP(w, r)
}

// onlyAdmins lets through to next what names the host as an administrator
// does: by an IP address, as localhost, or as in addr, which the listener was
// given. So a page on the web whose name is made to point here can read nothing.
func onlyAdmins(addr string, next http.Handler) http.Handler {
	own, _, _ := net.SplitHostPort(addr)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.ToLower(strings.Trim(host, "[]"))
		isOwn := host != "" && host == strings.ToLower(own)
		if net.ParseIP(host) == nil && host != "localhost" && !isOwn {
			text := "Ask for this by an IP address, by localhost, or by the host of -admin-addr."
			http.Error(w, text, http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
