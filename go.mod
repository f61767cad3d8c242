module cookiesession

// 1.25.1 is the first with a sound http.CrossOriginProtection (CVE-2025-47910).
go 1.25.1

require (
	github.com/gorilla/mux v1.8.1
	github.com/gorilla/securecookie v1.1.2
)
