package lab

import (
	"strings"
	"time"
)

// Patience is how long the Lab waits for something that normally takes well
// under a tenth of it.
const Patience = 30 * time.Second

// Await polls until cond holds, and fails the test when it does not within the
// time given. cond returns what it saw, for the message.
func (l *Lab) Await(within time.Duration, what string, cond func() (ok bool, saw string)) {
	l.Helper()
	start := time.Now()
	for {
		ok, saw := cond()
		if ok {
			return
		}
		if time.Since(start) > within {
			l.Fatalf("after %v still not: %s\nlast seen: %s", within, what, strings.TrimSpace(saw))
		}
		time.Sleep(20 * time.Millisecond)
	}
}
