package main

import "cookiesession/sessions"

// session is what this site remembers of a visitor.
type session struct {
	Name string
}

// options is what the site decides about its sessions.
func (cfg *config) options() sessions.Options[session] {
	return sessions.Options[session]{
		Name:     cfg.cookie,
		Insecure: !cfg.secure(),
		SignOnly: !cfg.encrypt,
		Limits: sessions.Limits{
			Idle: cfg.idle, Lifetime: cfg.lifetime, BrowserSession: !cfg.persist,
		},
		Bind:     cfg.bind,
		BindPath: "/session", // where browsers find /session/register and /session/refresh
	}
}
