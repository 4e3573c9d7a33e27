package lab

import (
	"strings"
	"time"
)

// Patience is the longest wait of the Lab. On an idle machine each wait takes
// less than a tenth of it.
const Patience = time.Minute

// Await polls until cond holds, and fails the test if it does not hold within the
// given time. cond also returns its observation, for the message. Await polls
// less often the longer it waits, because other tests need the processor.
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
