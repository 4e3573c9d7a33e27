package gateway

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"vpngw/diag"
	"vpngw/tunnel"
)

// Event is a change of a tunnel's state or of why it is not up, or what happened to a connection or to the daemon.
type Event struct {
	Number      uint64        `json:"number"` // rises, over restarts of the daemon too; after a crash numbers are left out
	Time        time.Time     `json:"time"`
	Severity    diag.Severity `json:"severity"`
	Connection  string        `json:"connection"` // empty: of the daemon itself
	Tunnel      string        `json:"tunnel"`     // empty: of all tunnels of the connection
	Was         tunnel.State  `json:"was"`        // empty: the tunnel is new, or the event is not of one tunnel
	State       tunnel.State  `json:"state"`      // empty: the event is not of one tunnel
	diag.Report               // empty when nothing is wrong
	diag.Advice               // who has to change what
}

// KeptEvents is how many events are kept, in memory and over restarts.
const KeptEvents = 10_000

// events are the last events, the oldest first. Safe for concurrent use.
type events struct {
	mu       sync.Mutex
	last     []Event       // the last KeptEvents, and perhaps some before them
	count    uint64        // the number of the last
	more     chan struct{} // closed by the next event
	recalled chan struct{} // closed when those of earlier runs are among last

	// As resume found them.
	earlier, written uint64 // the last number of an earlier run, and the one that this run counts from
	crashed          bool   // the run before did not end in order
}

func newEvents() *events {
	return &events{more: make(chan struct{}), recalled: make(chan struct{})}
}

// add numbers an event and keeps it.
func (l *events) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	e.Number = l.count
	if len(l.last) >= eventRoom { // few events pay for the copy
		l.last = l.moved()
	}
	l.last = append(l.last, e)
	close(l.more)
	l.more = make(chan struct{})
}

// eventRoom is how many events there is room for, once there are so many.
const eventRoom = KeptEvents + KeptEvents/4

// moved are the events that are kept, at the beginning of their room.
func (l *events) moved() []Event {
	if cap(l.last) > eventRoom {
		return append(make([]Event, 0, eventRoom), l.kept()...)
	}
	to := append(l.last[:0], l.kept()...)
	clear(l.last[len(to):])
	return to
}

func (l *events) kept() []Event { return l.last[max(0, len(l.last)-KeptEvents):] }

// after returns the events with a higher number, as far as they are kept, and what is closed by the next one. A number
// that is higher than any is one of a daemon whose events are lost: then all are new.
func (l *events) after(number uint64) ([]Event, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if number > l.count {
		number = 0
	}
	kept := l.kept()
	first, _ := slices.BinarySearchFunc(kept, number+1, func(e Event, n uint64) int { return cmp.Compare(e.Number, n) })
	return slices.Clone(kept[first:]), l.more
}

// has reports whether there is an event of a connection or tunnel.
func (l *events) has(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.kept(), func(e Event) bool { return e.of(name) })
}

func (e *Event) of(name string) bool { return e.Connection == name || e.Tunnel == name }

// Events returns the events after that of a number, with a name those of the connection or tunnel of that name. If there
// is none, it waits for one, for so long at most. A name that is configured no more may still have events. It may be called from any goroutine while Run runs.
func (g *Gateway) Events(ctx context.Context, name string, number uint64, wait time.Duration) ([]Event, error) {
	select {
	case <-g.events.recalled:
	case <-g.stopped:
		return nil, ErrStopped
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if name != "" {
		err := g.call(ctx, func(time.Time) error { _, err := g.fleet.named(name); return err })
		if unknown := (*UnknownNameError)(nil); err != nil && !(errors.As(err, &unknown) && g.events.has(name)) {
			return nil, err
		}
	}
	timeout := time.After(wait)
	for {
		list, more := g.events.after(number)
		if len(list) > 0 {
			number = list[len(list)-1].Number
		}
		list = slices.DeleteFunc(list, func(e Event) bool { return name != "" && !e.of(name) })
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

// Tell makes an event of what happened to the daemon itself. It may be called from any goroutine.
func (g *Gateway) Tell(c diag.Cause) {
	g.events.add(Event{Time: time.Now().UTC(), Severity: c.Severity(), Report: c.Report(), Advice: c.Advice("native", false)})
}
