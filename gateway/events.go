package gateway

import (
	"context"
	"slices"
	"sync"
	"time"

	"vpngw/diag"
	"vpngw/tunnel"
)

// Event is a change of a tunnel's state, or of why it is not up.
type Event struct {
	Number      uint64        `json:"number"` // from 1 at the daemon's start, without gaps
	Time        time.Time     `json:"time"`
	Severity    diag.Severity `json:"severity"`
	Connection  string        `json:"connection"`
	Tunnel      string        `json:"tunnel"`
	Was         tunnel.State  `json:"was"` // empty: the tunnel is new
	State       tunnel.State  `json:"state"`
	diag.Report               // empty when nothing is wrong
	diag.Advice               // who has to change what
}

// keptEvents is how many events are kept.
const keptEvents = 1000

// events are the last events, the oldest first. Safe for concurrent use.
type events struct {
	mu    sync.Mutex
	last  []Event
	count uint64        // of all events
	more  chan struct{} // closed by the next event
}

func newEvents() *events { return &events{more: make(chan struct{})} }

// add numbers an event and keeps it.
func (l *events) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	e.Number = l.count
	if len(l.last) == keptEvents {
		copy(l.last, l.last[1:])
		l.last = l.last[:keptEvents-1]
	}
	l.last = append(l.last, e)
	close(l.more)
	l.more = make(chan struct{})
}

// after returns the events with a higher number, as far as they are kept, and what is closed by the next one. A number
// that is higher than any is one of an earlier daemon: then all are new.
func (l *events) after(number uint64) ([]Event, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if number > l.count {
		number = 0
	}
	n := min(l.count-number, uint64(len(l.last)))
	out := make([]Event, n)
	copy(out, l.last[uint64(len(l.last))-n:])
	return out, l.more
}

// Events returns the events after that of a number, with a name those of the connection or tunnel of that name. If there
// is none, it waits for one, for so long at most. It may be called from any goroutine while Run runs.
func (g *Gateway) Events(ctx context.Context, name string, number uint64, wait time.Duration) ([]Event, error) {
	if name != "" {
		if err := g.call(ctx, func(time.Time) error { _, err := g.fleet.named(name); return err }); err != nil {
			return nil, err
		}
	}
	timeout := time.After(wait)
	for {
		list, more := g.events.after(number)
		if len(list) > 0 {
			number = list[len(list)-1].Number
		}
		list = slices.DeleteFunc(list, func(e Event) bool { return name != "" && e.Connection != name && e.Tunnel != name })
		if len(list) > 0 || wait <= 0 {
			return list, nil
		}
		select {
		case <-more:
		case <-timeout:
			return list, nil
		case <-g.stopped:
			return nil, ErrStopped
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// eventOf is what the operator hears of a change.
func eventOf(now time.Time, of *entry, c tunnel.Changed) Event {
	e := Event{
		Time: now.UTC(), Severity: diag.Info, Connection: c.Conn, Tunnel: c.Tunnel, Was: c.Was, State: c.State, Report: c.Cause.Report(), Advice: of.advice(c.Cause),
	}
	if !c.Cause.OK() {
		e.Severity = c.Cause.Severity()
	}
	return e
}
