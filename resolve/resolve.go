// Package resolve looks the names of peers up in DNS, again and again: when an answer's time is over, and sooner after a
// failure. It decides nothing about peers; who asks keeps the last answer while there is no other.
package resolve

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"vpngw/schedule"
)

const (
	// AtLeast and AtMost bound the time between two lookups of a name, whatever the answer's TTL says.
	AtLeast = 5 * time.Second
	AtMost  = time.Hour
	// Otherwise is this time where no TTL is known, as of /etc/hosts.
	Otherwise = time.Minute

	retryFirst = time.Second // after the first failure; doubles
	retryMost  = 30 * time.Second
	limit      = 10 * time.Second // of one lookup
	atOnce     = 8                // lookups under way
)

// Lookup finds the addresses of a name, the best first, and says for how long they hold; 0: nobody knows. An error leaves
// the other results unset.
type Lookup func(ctx context.Context, name string) ([]netip.Addr, time.Duration, error)

// Answer is how a lookup ended. Exactly one of Addrs and Err is set.
type Answer struct {
	Name  string
	Addrs []netip.Addr
	Err   error
}

// Resolver looks names up. Want and Hurry may be called from any goroutine, and never wait.
type Resolver struct {
	lookup Lookup
	tell   func(Answer)
	want   chan []string
	hurry  chan struct{}
}

// New makes a Resolver. tell gets each answer, from Run's goroutine.
func New(lookup Lookup, tell func(Answer)) *Resolver {
	return &Resolver{lookup: lookup, tell: tell, want: make(chan []string, 1), hurry: make(chan struct{}, 1)}
}

// Want says which names are wanted from now on. One goroutine at a time calls it.
func (r *Resolver) Want(names []string) {
	select {
	case <-r.want:
	default:
	}
	r.want <- names
}

// Hurry has the names without an answer looked up at once: the host's links have changed.
func (r *Resolver) Hurry() {
	select {
	case r.hurry <- struct{}{}:
	default:
	}
}

// done is the end of a lookup.
type done struct {
	Answer
	holds time.Duration
}

// Run looks up what is wanted until ctx ends.
func (r *Resolver) Run(ctx context.Context) error {
	var due schedule.Queue[string]
	failures := map[string]int{} // of each wanted name, in a row
	running := map[string]bool{}
	ended := make(chan done, atOnce)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		for len(running) < atOnce {
			name, ok := due.Due(now)
			if !ok {
				break
			}
			due.Remove(name)
			running[name] = true
			go func() { ended <- r.ask(ctx, name) }() // ends with ctx, or after limit
		}
		wait := time.Hour
		if t := due.Deadline(); !t.IsZero() && len(running) < atOnce {
			wait = max(t.Sub(now), 0)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-r.hurry:
			for name, n := range failures {
				if n > 0 && !running[name] {
					due.Set(name, time.Now())
				}
			}
		case names := <-r.want:
			wanted := map[string]int{}
			for _, name := range names {
				n, known := failures[name]
				if wanted[name] = n; !known && !running[name] {
					due.Set(name, time.Now())
				}
			}
			for name := range failures {
				if _, ok := wanted[name]; !ok {
					due.Remove(name)
				}
			}
			failures = wanted
		case d := <-ended:
			delete(running, d.Name)
			n, wanted := failures[d.Name]
			if !wanted {
				break
			}
			wait := min(max(d.holds, AtLeast), AtMost)
			if failures[d.Name] = 0; d.Err != nil {
				failures[d.Name], wait = n+1, min(retryFirst<<min(n, 10), retryMost)
			} else if d.holds == 0 {
				wait = Otherwise
			}
			due.Set(d.Name, time.Now().Add(wait))
			r.tell(d.Answer)
		}
	}
}

// ask looks a name up once.
func (r *Resolver) ask(ctx context.Context, name string) done {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	addrs, holds, err := r.lookup(ctx, name)
	if err == nil && len(addrs) == 0 {
		err = errors.New("no address that a host can have")
	}
	if err != nil {
		addrs = nil
	}
	return done{Answer{name, addrs, err}, holds}
}
