-- A user's stamp is in the sessions that begin with a login: a new one ends them.
CREATE TABLE IF NOT EXISTS users (
	name TEXT PRIMARY KEY, stamp TEXT NOT NULL, salt TEXT NOT NULL, hash BLOB NOT NULL
) STRICT;

-- When somebody tried to log in as a user, who may not exist.
CREATE TABLE IF NOT EXISTS tries (
	name TEXT NOT NULL, at INTEGER NOT NULL DEFAULT (unixepoch())
) STRICT;
CREATE INDEX IF NOT EXISTS tries_of ON tries (name);
