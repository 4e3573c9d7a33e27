// Package esptest has what tests of and above package esp put in the place of the
// operating system.
package esptest

import (
	"sync"
	"sync/atomic"
)

// Poller has an esp.Engine look at every member whenever one has news: the
// members wake it themselves.
type Poller struct {
	mu      sync.Mutex
	members map[int]uint32
	pending []uint32 // members that a Wait has still to return
	news    chan struct{}
	Deaf    atomic.Bool // no Wait returns
}

// NewPoller makes a Poller without members.
func NewPoller() *Poller {
	return &Poller{members: map[int]uint32{}, news: make(chan struct{}, 1)}
}

// Add watches a member. The Engine looks at it at once.
func (p *Poller) Add(fd int, id uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.members[fd] = id
	p.Wake()
	return nil
}

// Remove watches it no more.
func (p *Poller) Remove(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.members, fd)
}

// Wait waits for news and returns every member, as many at a time as fit.
func (p *Poller) Wait(ready []uint32) (n int, _ error) {
	p.mu.Lock()
	left := len(p.pending)
	p.mu.Unlock()
	if left == 0 {
		<-p.news
	}
	for p.Deaf.Load() {
		<-p.news
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if left == 0 {
		for _, id := range p.members {
			p.pending = append(p.pending, id)
		}
	}
	n = copy(ready, p.pending)
	p.pending = p.pending[n:]
	return n, nil
}

// Wake says that there is news.
func (p *Poller) Wake() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// Close does nothing: there is nothing to give back.
func (p *Poller) Close() {}
