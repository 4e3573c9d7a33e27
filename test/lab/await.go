package lab

import (
	"strings"
	"time"
)

// Patience is how long the Lab waits for something that normally takes well
// under a tenth of it, on a machine that has other work too.
const Patience = time.Minute

// Await polls until cond holds, and fails the test when it does not within the
// time given. cond returns what it saw, for the message. The longer it takes, the
// less often it polls: other tests need the processor.
func (l *Lab) Await(within time.Duration, what string, cond func() (ok bool, saw string)) {
	l.Helper()
	start := time.Now()
	for {
		ok, saw := cond()
		if ok {
			return
		}
		elapsed := time.Since(start)
		if elapsed > within {
			l.Fatalf("after %v still not: %s\nlast seen: %s", within, what, strings.TrimSpace(saw))
		}
		time.Sleep(min(max(elapsed/10, 10*time.Millisecond), 200*time.Millisecond))
	}
}
