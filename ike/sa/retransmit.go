package sa

import (
	"io"
	"time"
)

// Retransmitter says when a request is to be sent again and when to give up
// (RFC 7296 section 2.4). It keeps the request's bytes: "A retransmission from
// the initiator MUST be bitwise identical to the original request" (section
// 2.1).
//
// The wait doubles from First up to Max. With the defaults a request is sent at
// 0, 0.5, 1.5, 3.5, 7.5, 15.5, 23.5 ... 55.5 seconds and given up at 60.
//
// The zero value is ready to Start. Not safe for concurrent use.
type Retransmitter struct {
	First time.Duration // before the second sending; 0: 500 ms
	Max   time.Duration // the longest wait; 0: 8 s
	Total time.Duration // from Start to giving up; 0: 60 s
	// Rand adds up to a quarter to each wait, so that requests to many peers behind one
	// failed router are not repeated at once. nil adds nothing.
	Rand io.Reader

	msgs  [][]byte
	wait  time.Duration // the last one, without jitter
	next  time.Time     // when to send again
	until time.Time     // when to give up
}

const (
	firstWait = 500 * time.Millisecond
	maxWait   = 8 * time.Second
	totalWait = 60 * time.Second
)

// Start takes a request that is sent at now: one message, or its fragments. It keeps
// msgs.
func (r *Retransmitter) Start(now time.Time, msgs ...[]byte) {
	r.msgs = msgs
	r.wait = orDefault(r.First, firstWait)
	r.next = now.Add(r.jitter(r.wait))
	r.until = now.Add(orDefault(r.Total, totalWait))
}

// Replace has other messages sent from the next time on, at the same times.
func (r *Retransmitter) Replace(msgs ...[]byte) { r.msgs = msgs }

// Stop ends the retransmission: the response has come, or nobody waits for it.
func (r *Retransmitter) Stop() { r.msgs, r.next, r.until = nil, time.Time{}, time.Time{} }

// Began is when Start was called, while Total stays the same; zero: no request is open.
func (r *Retransmitter) Began() time.Time {
	if !r.Active() {
		return time.Time{}
	}
	return r.until.Add(-orDefault(r.Total, totalWait))
}

// Active reports whether a request is open.
func (r *Retransmitter) Active() bool { return !r.until.IsZero() }

// Deadline is when Due wants to be asked next; zero: never.
func (r *Retransmitter) Deadline() time.Time {
	if r.next.Before(r.until) {
		return r.next
	}
	return r.until
}

// Due returns the messages to send again at now. gaveUp says that Total has passed,
// which stops r. However late Due is called, it returns the messages once.
func (r *Retransmitter) Due(now time.Time) (msgs [][]byte, gaveUp bool) {
	switch {
	case !r.Active() || now.Before(r.Deadline()):
		return nil, false
	case !now.Before(r.until):
		r.Stop()
		return nil, true
	}
	r.wait = min(2*r.wait, orDefault(r.Max, maxWait))
	r.next = now.Add(r.jitter(r.wait))
	return r.msgs, false
}

// jitter adds 0 to 25 % to a wait, or nothing if Rand fails.
func (r *Retransmitter) jitter(d time.Duration) time.Duration {
	var b [1]byte
	if r.Rand != nil {
		io.ReadFull(r.Rand, b[:])
	}
	return d + d*time.Duration(b[0])/1020
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}
