package esp

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"vpngw/ipsec"
)

// Poller waits for what an Engine reads.
type Poller interface {
	// Add watches a descriptor, under a number that Wait gives.
	Add(fd int, id uint32) error
	// Remove watches it no more. A closed one is not watched anyway.
	Remove(fd int)
	// Wait waits until something can be read or Wake was called, and returns
	// which can.
	Wait(ready []uint32) (int, error)
	Wake()
}

// An Engine carries packets on one thread: from its sockets to the TUNs, and
// from its TUNs to the sockets. Both ways on one thread save waking another one for
// every acknowledgement that a packet causes. What has something to read is served
// in turn, a batch at a time, so nothing starves.
//
// Sockets and tunnels may be spread over several. Of what comes in to different ones at once, one
// batch is opened at a time.
type Engine struct {
	plane    *Plane
	poller   Poller
	receiver *receiver

	mu      sync.Mutex // held while packets are carried
	sources map[uint32]*member
	last    uint32 // number given out
}

// source is what an Engine reads.
type source interface {
	fd() int
	step() error // carries a batch of what is there
}

// member is a source with its history.
type member struct {
	source
	failed int // reads, one after another
	ended  func(error)
}

// NewEngine makes an Engine without members.
func (p *Plane) NewEngine(poller Poller) *Engine {
	return &Engine{plane: p, poller: poller, receiver: newReceiver(p), sources: make(map[uint32]*member)}
}

// maxReady is how many members one look at the poller gives.
const maxReady = 64

// Run carries packets until ctx is done, and returns nil then. One at a time.
func (e *Engine) Run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer context.AfterFunc(ctx, e.poller.Wake)()
	var ready [maxReady]uint32
	for ctx.Err() == nil {
		n, err := e.poller.Wait(ready[:])
		if err != nil {
			return fmt.Errorf("esp: wait for packets: %w", err)
		}
		e.serve(ready[:n])
	}
	return nil
}

// serve lets each member carry a batch.
func (e *Engine) serve(ready []uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range ready {
		m := e.sources[id]
		if m == nil {
			continue // it left meanwhile
		}
		err := m.step()
		if err == nil {
			m.failed = 0
			continue
		}
		e.plane.meter.drops.add(dropRead, 1)
		if m.failed++; isClosed(err) || m.failed >= maxFailures {
			e.forget(id)
			if isClosed(err) {
				err = nil
			}
			m.ended(err)
		}
	}
}

// AddSocket has the Engine read s. ended is called when that has ended by itself:
// with nil if s was closed. It must neither block nor call the Engine.
func (e *Engine) AddSocket(s Socket, v6 bool, ended func(error)) error {
	k := udp4
	if s.Raw() {
		k = raw4
	}
	if v6 {
		k++
	}
	return e.add(&socketSource{e.receiver, s, k, udpBatch}, ended)
}

// AddTunnel has the Engine read the frames of t, as AddSocket does a socket.
func (e *Engine) AddTunnel(t *Tunnel, ended func(error)) error {
	if t.Frames == nil {
		return errors.New("esp: the tunnel is one by packets: Run it")
	}
	if !t.running.CompareAndSwap(false, true) {
		return fmt.Errorf("esp: tunnel %q is run already", t.Name)
	}
	err := e.add(newReader(t), ended)
	if err != nil {
		t.running.Store(false)
	}
	return err
}

func (e *Engine) add(s source, ended func(error)) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last++
	if err := e.poller.Add(s.fd(), e.last); err != nil {
		return fmt.Errorf("esp: watch a descriptor: %w", err)
	}
	e.sources[e.last] = &member{source: s, ended: ended}
	return nil
}

// RemoveTunnel takes t out. When it returns no packet of t is under way, and
// ended is not called any more unless it has been.
func (e *Engine) RemoveTunnel(t *Tunnel) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, m := range e.sources {
		if r, ok := m.source.(*reader); ok && r.Tunnel == t {
			e.forget(id)
		}
	}
}

func (e *Engine) forget(id uint32) {
	m := e.sources[id]
	e.poller.Remove(m.fd())
	delete(e.sources, id)
	if r, ok := m.source.(*reader); ok {
		r.running.Store(false)
	}
}

// socketSource is a socket that an Engine reads.
type socketSource struct {
	*receiver
	socket Socket
	kind   transport
	want   int // datagrams to ask for
}

func (s *socketSource) fd() int { return s.socket.FD() }

// step carries a batch. Without UDP_GRO the packets of a peer's burst come one by
// one, and faster than it sends them we would write each to the TUN alone, and sleep and be woken for
// each: so while a frame grows it is worth to ask a few times more.
func (s *socketSource) step() error {
	n, err := s.read()
	if s.kind >= raw4 {
		for total, tries := n, 0; err == nil && s.coalescer.grows && total < maxBatch && tries < lingerTries; total += n {
			if n, err = s.read(); n > 0 {
				tries = 0
			} else {
				tries++
			}
		}
	}
	s.flush()
	return err
}

// lingerTries, in vain and one after another, take about as long as a peer takes to send two packets.
const lingerTries = 16

// read takes in what is there. Of long runs few are asked for at once, so that they are
// still in the cache when their turn comes; of single packets many.
func (s *socketSource) read() (int, error) {
	ds := s.receiver.room(s.want)
	n, err := s.socket.ReadReady(ds)
	if n == 0 {
		return 0, err
	}
	bytes := 0
	for i := range ds[:n] {
		bytes += len(ds[i].Data)
	}
	s.receiver.batch(s.kind, ds[:n], time.Now())
	switch {
	case bytes > batchBytes:
		s.want = max(s.want/2, udpBatch)
	case n == s.want:
		s.want = min(s.want*2, maxBatch)
	case n < s.want/4: // to ask for many costs something too
		s.want = max(s.want/2, udpBatch)
	}
	return n, err
}

// room makes datagrams to read into.
func (r *receiver) room(n int) []ipsec.Datagram {
	for i := range n {
		r.ds[i] = ipsec.Datagram{Data: r.bufs[i]}
	}
	return r.ds[:n]
}
