package command

// What the tests of the lock need.
var TryLock = tryLock

const LockPatience = lockPatience
