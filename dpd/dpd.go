// Package dpd decides when a peer is dead: the liveness check of RFC 7296 section 2.4,
// and dead peer detection of RFC 3706. A Prober judges a path by the answers to its questions, a BFDSession by what the
// peer sends unasked. All are pure: time comes in, decisions go out.
package dpd

import "time"

// Config says when to ask a peer for a sign of life and when to give it up. The zero value never asks.
type Config struct {
	Interval time.Duration // ask after this long without a sign of life; 0: never ask
	Timeout  time.Duration // give up after this long without an answer; 0: when retransmission ends
	Order    Order         // of the payloads in IKEv1's messages
	Clear    bool          // a dead peer is not tried again until it begins itself
}

// Silence is how long a peer may be silent before it is asked. It is a little shorter than the interval, so that a dead peer is noticed
// within the interval and the timeout although timers are late.
func (c Config) Silence() time.Duration { return c.Interval - min(c.Interval/5, 500*time.Millisecond) }

// Of is c for one end of an IKE SA. The responder asks a little later than the initiator, whose question is a sign of life:
// so one exchange serves both ends where they have the same interval. It still asks within the interval: see Silence.
func (c Config) Of(initiator bool) Config {
	if !initiator {
		c.Interval += min(c.Interval/10, 400*time.Millisecond)
	}
	return c
}

// Repeat is the first and the longest wait between two questions: there are at least three within the timeout.
func (c Config) Repeat() (first, longest time.Duration) {
	first, longest = 2*time.Second, 8*time.Second
	if c.Timeout > 0 {
		first, longest = min(first, c.Timeout/4), min(longest, c.Timeout/4)
	}
	return first, longest
}

// Order is the order of the payloads in IKEv1's messages: RFC 2409 has the HASH
// first, RFC 3706 prints it last, and some peers accept only one of the two.
type Order uint8

const (
	Mirror     Order = iota // the peer's order; HASH first until the peer has sent a message
	HashNotify              // HASH, then NOTIFY
	NotifyHash              // NOTIFY, then HASH
)

func (o Order) String() string { return [...]string{"auto", "seq-hash-notify", "seq-notify-hash"}[o] }

// Monitor watches one peer. The zero value with a Config is ready.
type Monitor struct {
	Config
	heard time.Time // last sign of life
	asked time.Time // when Due said Ask; zero: no answer is awaited
}

// Heard notes a sign of life at t: a new authenticated message or ESP packet.
func (m *Monitor) Heard(t time.Time) {
	if t.After(m.heard) {
		m.heard = t
		m.asked = time.Time{}
	}
}

// Last is when the last sign of life came.
func (m *Monitor) Last() time.Time { return m.heard }

// Deadline is when to call Due next; zero: never.
func (m *Monitor) Deadline() time.Time {
	if m.Interval <= 0 || m.heard.IsZero() {
		return time.Time{}
	}
	if m.asked.IsZero() {
		return m.heard.Add(m.Silence())
	}
	if m.Timeout > 0 {
		return m.asked.Add(m.Timeout)
	}
	return time.Time{}
}

// Verdict is a decision of Due.
type Verdict uint8

const (
	Fine Verdict = iota // nothing is to be done
	Ask                 // send a liveness check now
	Dead                // the peer did not answer in time
)

// Due decides at now. It says Ask once, and then waits for Heard or the timeout.
func (m *Monitor) Due(now time.Time) Verdict {
	d := m.Deadline()
	if d.IsZero() || now.Before(d) {
		return Fine
	}
	if m.asked.IsZero() {
		m.asked = now
		return Ask
	}
	return Dead
}
