// Package sessions keeps a visitor's session in the visitor's own cookie. There is no
// store: the session is a struct of yours, which is encoded, encrypted and signed into
// one cookie, and read back and verified with each request. The server needs nothing but
// a key, and any number of copies of it can share the work.
//
// So a session is small: cookie and name have room for [MaxSize] bytes, of which some
// 2,200 are left for your data. And it can't be taken back from whoever has a copy of the cookie
// before it ends by itself, unless [Options.Accept] or a bound device says no.
//
// # Quick start
//
// Declare a struct for what you want to remember, make a [Manager] for it, and put
// [Manager.Handler] around your handlers. They get the session with [Manager.Get], and
// change its Data as they like. It is saved when the response begins. (The error that
// isn't looked at says that a key was no key or came twice.)
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
// A field may have any type that comes back as it went: [New] refuses the others, such as
// interfaces, and says which field it is. A session whose fields are all zero is no
// session, and has no cookie.
//
// Few programs need more than Handler and Get. [Manager.Load] and [Manager.Save] are for
// those that can't have a handler around theirs, and [Manager.With] is for unit tests.
//
// # Keys
//
// Sessions are as safe as their keys. The quick start makes a new key at each start, which
// ends all sessions, and which no second copy has. A site keeps its keys in a file: one a
// line, in 64 hexadecimal digits as [Key.Secret] has them, or as openssl rand -hex 32
// makes them. [ReadKeyring] reads it, and [Keyring.Watch] follows its changes.
//
// The first key seals, and all of them verify. So a key is changed without ending a
// session: add the new one as the second, and wait until each copy of the server has it;
// make it the first; drop the old one when the last session under it has ended, after
// Limits.Idle at the latest, since what is in use is sealed again with the first key. A
// key that has leaked is dropped at once, and with it go its sessions.
//
// # Limits
//
// A session ends when it was not written for [Limits].Idle, 14 days, or when Lifetime, 90
// days, have passed since it began. The times are in the cookie, where only the server can
// change them. A session in use is written again after a quarter of Idle, for a page or a
// fetch; images, prefetches and HEAD don't count as use, nor does a visit that is
// [Session].Passive. [Options].LimitsFor gives a session limits of its own, by what is in
// it: "remember me".
//
// Two requests at once are two copies of one session, and the answer that arrives last is
// what the browser keeps. Don't count in a session what must not be lost.
//
// # A login
//
// Call [Session.Renew] when a visitor logs in, so that the limits count from now, and
// [Session.Clear] at logout. Copies of a cookie stay good after Clear. If that is too
// little, keep a number for each user in your database and in the session, compare them
// in [Options].Accept, and count it up to end all of the user's sessions.
//
// Cookies are SameSite=Lax unless you say otherwise, which doesn't protect from other
// sites' forms in all cases: use [http.CrossOriginProtection] too.
//
// # Device binding
//
// With [Options].Bind, browsers that know Device Bound Session Credentials bind a session
// to the device it began on: a key that can't leave the device has to sign every few
// minutes, so that a stolen cookie is soon worthless. Other browsers notice nothing.
// Handler answers the two addresses that browsers call, which are below BindPath. It needs
// HTTPS, and is best on a domain with no other sites below it.
//
// A session that is bound and whose device hasn't proved itself is empty, and its
// [Verdict] is Unproven. To change it is [ErrTryAgain], since the browser mostly succeeds
// the next time. Assets are the paths that a page needs meanwhile.
//
// # What Handler keeps
//
// Handler decides what becomes of a session when the response begins, at whatever moment
// and in whatever way. Beside each line is the test that holds it.
//
//	It saves the session
//	    at WriteHeader, Write, ReadFrom, Flush, or
//	    when next has returned                     TestHandlerSaves
//	    after a 103, not with it                   TestHandlerSavesAfter103
//	    with a status of 101                       TestHandlerSavesAt101
//	    before Hijack, which fails if that does    TestHandlerSavesBeforeHijack
//	    if Hijack has failed, later                TestHandlerHijackFails
//	    if Hijack or Flush can't be had, later     TestHandlerNoHijack, TestHandlerNoFlush
//	    once, also after Save                      TestHandlerSecondSave
//	It doesn't save it
//	    if it is as it was                         TestHandlerUnchanged
//	    with a status of 500 and above             TestHandlerServerError
//	    when http.TimeoutHandler has answered      TestHandlerTimeout
//	    after a panic                              TestHandlerPanic
//	If it can't be saved
//	    Failed answers instead of the handler      TestHandlerFailed, TestHandlerFailedAnswers
//	    or asks for another try, with 503          TestHandlerFailedForNow
//	    and hears of a change that came too late   TestHandlerLate, TestHandlerLateIsLogged
//	It can be used
//	    in layers, which share the session         TestHandlerTwoLayers
//	    with other managers, also of the same type TestHandlerTwoManagers
//	It leaves alone
//	    sendfile, deadlines, full duplex           TestHandlerSendfile, TestHandlerWriter
//	    a cookie that nobody asks for              TestHandlerDecodesWhenAsked
//	    what Vary and Cache-Control say, mostly    TestHandlerVary, TestHandlerCacheControl
//
// A response whose session was asked for has Vary: Cookie. One that sets or deletes the
// cookie has Cache-Control: no-store, unless the handler has said no-store or private, and
// so has one of Failed. What the handler said of its own content is not sent then: the
// status, the body, the headers Content-*, but for policies, Etag, Last-Modified, Location,
// Accept-Ranges, and trailers.
//
// # Compatibility
//
// Programs with different fields can run side by side. A field that a program doesn't know
// stays in the cookie as it is, and one that the cookie doesn't have is zero. To take a
// field out of all cookies, name it in [Options].Forget. A field whose type no longer fits
// makes a session Malformed: give it a new name instead.
//
// A cookie's value is a key's id, a dot, and what gorilla/securecookie makes of the
// session in CBOR (RFC 8949), without padding: letters, digits, -, _ and one dot, which no
// client quotes or escapes. Cookies of this version, v1, are bound to it, as keys are
// derived with its name: another version would have other key ids, so that both can be
// read side by side. Until the first release v1 may still change.
package sessions
