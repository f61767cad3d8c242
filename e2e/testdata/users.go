package main

// The users' database. eve's sessions are another test's.
var eras = map[string]int{"ada": 1, "bob": 2, "eve": 1}

func eraOf(user string) int { return eras[user] }

func isPassword(user, password string) bool { return eras[user] > 0 && password == "pw" }
