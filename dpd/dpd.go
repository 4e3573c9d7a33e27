// Package dpd decides when a peer is dead: RFC 7296 section 2.4's liveness
// check, and RFC 3706. It is pure: time comes in, decisions go out.
package dpd

import "time"

// Config says when to ask and when to give up. The zero value never asks.
type Config struct {
	Interval time.Duration // nothing heard for so long: ask. 0: never ask
	Timeout  time.Duration // no answer for so long: dead. 0: the retransmission's own end
	Order    Order         // of IKEv1's messages
}

// Order is that of the payloads in IKEv1's messages: RFC 2409 has the HASH
// first, RFC 3706 prints it last, and there are peers that take only the one they know.
type Order uint8

const (
	Mirror     Order = iota // as the peer does; HASH first until it has shown
	HashNotify              // HASH, then NOTIFY
	NotifyHash              // NOTIFY, then HASH
)

func (o Order) String() string { return [...]string{"auto", "seq-hash-notify", "seq-notify-hash"}[o] }

// Monitor watches one peer. The zero value with a Config is ready.
type Monitor struct {
	Config
	heard time.Time // last proof of life
	asked time.Time // zero: no question is open
}

// Heard notes proof of life at t: a fresh authenticated message or ESP packet.
func (m *Monitor) Heard(t time.Time) {
	if t.After(m.heard) {
		m.heard = t
		m.asked = time.Time{}
	}
}

// Last is the last proof of life.
func (m *Monitor) Last() time.Time { return m.heard }

// Deadline is when Due wants to be asked next; zero: never.
func (m *Monitor) Deadline() time.Time {
	if m.Interval <= 0 || m.heard.IsZero() {
		return time.Time{}
	}
	if m.asked.IsZero() {
		return m.heard.Add(m.Interval)
	}
	if m.Timeout > 0 {
		return m.asked.Add(m.Timeout)
	}
	return time.Time{}
}

// Verdict is what Due decides.
type Verdict uint8

const (
	Fine Verdict = iota
	Ask          // send a liveness check now
	Dead         // the peer did not answer in time
)

// Due decides at now. Ask is returned once per question.
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
