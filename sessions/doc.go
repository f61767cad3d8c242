// Package sessions keeps a visitor's session in the visitor's own cookie. There is no
// store: a session is a struct that you declare. It is encoded, encrypted and signed into
// one cookie, and verified and decoded with each request. The server needs only a key, so
// any number of copies of it can share the work.
//
// A session must be small: the cookie's name and value have room for [MaxSize] bytes, of
// which some 2,200 are left for your data. And a copied cookie stays valid until it
// expires, unless [Options.Accept] refuses it or the session is bound to a device.
//
// # Quick start
//
// Declare a struct for what you want to remember, make a [Manager] for it, and wrap your
// handlers in [Manager.Handler]. In a handler, call [Manager.Get] and change the session's
// Data as you like. The session is saved when the response begins. ([NewKeyring] fails
// only for a zero or duplicate key, so the example ignores its error.)
//
//	package main
//
//	import (
//		"fmt"
//		"log"
//		"net/http"
//
//		"cookiesession/sessions"
//	)
//
//	type data struct{ Visits int }
//
//	func main() {
//		keys, _ := sessions.NewKeyring(sessions.NewKey())
//		m, err := sessions.New(keys, sessions.Options[data]{Insecure: true}) // only without HTTPS
//		if err != nil {
//			log.Fatal(err)
//		}
//		http.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
//			s := m.Get(r.Context())
//			s.Data.Visits++
//			fmt.Fprintf(w, "This is your visit number %d.\n", s.Data.Visits)
//		})
//		log.Fatal(http.ListenAndServe("localhost:8080", m.Handler(http.DefaultServeMux)))
//	}
//
// A field may have any type that survives encoding and decoding unchanged. [New] refuses
// other types, such as interfaces, and names the field. A session whose fields are all
// zero is empty, and has no cookie.
//
// Most programs need only Handler and Get. Use [Manager.Load] and [Manager.Save] where you
// can't wrap the handlers, and [Manager.With] in unit tests. In example_test.go, begin with
// ExampleKeyring_Watch, which reads keys from a file, and ExampleSession_Renew, a login.
//
// # Keys
//
// Whoever has a key can forge any session. The quick start makes a new key at each start,
// which ends all sessions, and which no other copy of the server has. Keep the keys of a
// site in a file instead, one per line, in 64 hexadecimal digits: [Key.Secret] returns
// them, and openssl rand -hex 32 prints them. [ReadKeyring] reads the file, and
// [Keyring.Watch] follows its changes.
//
// The first key seals cookies, and all keys verify them. To change the key without ending
// a session:
//
//  1. Add the new key as the second one, and wait until every copy of the server has it.
//  2. Make it the first one. Sessions in use are now sealed again with it.
//  3. When Limits.Idle has passed, drop the old key. No session under it is left.
//
// If a key has leaked, drop it at once. The sessions under it end.
//
// # Limits
//
// A session ends when it has not been written for [Limits.Idle] (14 days by default), or
// [Limits.Lifetime] (90 days) after it began. For a session of exactly 30 days, set both.
// The times are in the cookie, where only the server can change them.
//
// A session in use is written again when a quarter of Idle has passed. Pages and fetches
// count as use. Images, prefetches and HEAD requests don't, nor does a visit that is
// [Session.Passive]. [Options.LimitsFor] chooses the limits of one session by its data, as
// for "remember me".
//
// Two requests at the same time change two copies of the session, and the browser keeps
// the one that arrives last. So don't keep a counter in a session that must be exact.
//
// # A login
//
// Call [Session.Renew] when a visitor logs in, so that the limits count from then on, and
// [Session.Clear] when the visitor logs out. Copies of the cookie stay valid after Clear.
// If that is not enough, keep a number for each user in your database and in the session.
// Compare the two in [Options.Accept], and increment the one in the database to end all of
// the user's sessions.
//
// Cookies are SameSite=Lax by default. That doesn't keep out every form of another site,
// so use [http.CrossOriginProtection] too.
//
// # Device binding
//
// With [Options.Bind], browsers that support Device Bound Session Credentials bind a
// session to the device on which it began. Every few minutes they have to sign with a key
// that can't leave the device, so a stolen cookie is soon worthless. Other browsers notice
// nothing. Handler serves the two endpoints that browsers call, under BindPath. Device
// binding needs HTTPS, and a domain with no other sites below it is best.
//
// Until the device has proved itself, a bound session is empty and its [Verdict] is
// Unproven. Saving a change to it fails with [ErrTryAgain]; the browser usually succeeds
// on the next request. List the paths that a page needs meanwhile in [Options.Assets].
//
// # What Handler keeps
//
// Handler saves the session when the response begins, in whatever way it does.
//
//	Handler saves
//	    at WriteHeader, Write, ReadFrom or Flush,
//	    or when the handler returns
//	    after a 103, not with it
//	    with a status of 101
//	    before Hijack, which fails if saving does
//	    later, if Hijack fails
//	    later, if Hijack or Flush isn't supported
//	    once, even after Save
//	Handler doesn't save
//	    a session that is unchanged
//	    with a status of 500 or above
//	    when http.TimeoutHandler has answered
//	    after a panic
//	If saving fails
//	    Failed answers instead of the handler
//	    with 503 by default for ErrTryAgain
//	    and is told of changes that came too late
//	Handler works
//	    in layers, which share the session
//	    with other managers, even of the same type
//	    with sendfile, deadlines and full duplex
//	    without decoding unless Get is called
//	    beside the handler's Vary, Cache-Control
//
// A response has Vary: Cookie if the session was asked for. If it sets or deletes the
// cookie, or comes from Failed, it has Cache-Control: no-store, unless the handler has set
// no-store or private. When Failed answers, the handler's own status, body and content
// headers are dropped: Content-* except for policies, Etag, Last-Modified, Location,
// Accept-Ranges, and trailers.
//
// # Compatibility
//
// Programs with different fields can run side by side. A field that a program doesn't know
// stays in the cookie, and a field that the cookie doesn't have is zero. To remove a field
// from all cookies, name it in [Options.Forget]. If a field's type changes so that stored
// values no longer fit, their sessions are Malformed: give the field a new name instead.
//
// A cookie's value is a key id, a dot, and the session in CBOR (RFC 8949), sealed by
// gorilla/securecookie, without padding. It has only letters, digits, -, _ and one dot,
// which no client quotes or escapes. This format is called v1. Keys are derived with that
// name, so a later version would have other key ids, and a program could read both. Until
// the first release, v1 may still change.
package sessions
