package esp

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"vpngw/ipsec"
)

// Poller waits until a descriptor of an Engine can be read.
type Poller interface {
	// Add begins to watch a descriptor; Wait names it by id.
	Add(fd int, id uint32) error
	// Remove ends it. A descriptor that was closed is not watched anyway.
	Remove(fd int)
	// Wait waits until a descriptor can be read or Wake was called. It fills ready with the
	// ids of descriptors that can be read and returns how many.
	Wait(ready []uint32) (int, error)
	Wake()
}

// An Engine carries packets on one thread: from its sockets to the TUNs, and
// from its TUNs to the sockets. One thread for both directions wakes no other thread for
// the acknowledgements that a packet causes. Members that can be read are served
// in turn, a batch at a time, so none starves.
//
// Sockets and tunnels may be spread over several Engines. When datagrams come in to several at once,
// one batch is opened at a time.
type Engine struct {
	plane    *Plane
	poller   Poller
	receiver *receiver
	turns    atomic.Uint64 // of Run's loop

	mu      sync.Mutex // held while packets are carried
	scratch scratch
	sources map[uint32]*member
	readers map[*Tunnel]uint32
	last    uint32 // the last id given out
}

// source is a socket or a TUN that an Engine reads.
type source interface {
	fd() int
	step() error // reads and carries one batch
}

// member is a source of an Engine.
type member struct {
	source
	failed int    // reads that failed since the last that did not
	ended  func() // as AddSocket says
}

// NewEngine makes an Engine without members.
func (p *Plane) NewEngine(poller Poller) *Engine {
	return &Engine{plane: p, poller: poller, receiver: newReceiver(p), sources: make(map[uint32]*member), readers: make(map[*Tunnel]uint32)}
}

// maxReady is how many members one call of Poller.Wait returns at most.
const maxReady = 64

// Run carries packets until ctx is done, and returns nil then. An Engine has one Run at a time.
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
		e.turns.Add(1)
	}
	return nil
}

// Turns counts what Run has served, a batch of every member that had something to read. Wake causes a turn too.
func (e *Engine) Turns() uint64 { return e.turns.Load() }

// Wake has Run take a turn soon, whatever there is to read. An Engine that takes none is stuck.
func (e *Engine) Wake() { e.poller.Wake() }

// serve lets each member carry a batch. It pauses when reading fails, but not where that would hold up a member that reads.
func (e *Engine) serve(ready []uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	idle := math.MaxInt // the fewest failures of a member in this round
	for _, id := range ready {
		m := e.sources[id]
		if m == nil {
			continue // it was removed meanwhile
		}
		switch err := m.step(); {
		case err == nil:
			m.failed = 0
		case isClosed(err):
			e.forget(id)
			m.ended()
			continue
		default:
			e.plane.meter.drops.add(dropRead, 1)
			m.failed++
		}
		idle = min(idle, m.failed)
	}
	if idle < math.MaxInt {
		pauseAfter(idle)
	}
}

// AddSocket has the Engine read s until s is closed, whatever reads fail. The Engine calls ended then, which must
// neither block nor call the Engine.
func (e *Engine) AddSocket(s Socket, v6 bool, ended func()) error {
	k := udp4
	if s.Raw() {
		k = raw4
	}
	if v6 {
		k++
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.add(&socketSource{e.receiver, s, k, udpBatch}, ended)
}

// AddTunnel has the Engine read the frames of t; ended is as AddSocket has it.
func (e *Engine) AddTunnel(t *Tunnel, ended func()) error {
	if t.Frames == nil {
		return errors.New("esp: the tunnel has a Device: call Run")
	}
	if !t.running.CompareAndSwap(false, true) {
		return fmt.Errorf("esp: tunnel %q is run already", t.Name)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.add(newReader(t, &e.scratch), ended); err != nil {
		t.running.Store(false)
		return err
	}
	e.readers[t] = e.last
	return nil
}

// add is for the holder of mu.
func (e *Engine) add(s source, ended func()) error {
	e.last++
	if err := e.poller.Add(s.fd(), e.last); err != nil {
		return fmt.Errorf("esp: watch a descriptor: %w", err)
	}
	e.sources[e.last] = &member{source: s, ended: ended}
	return nil
}

// RemoveTunnel ends the reading of t. When it returns, no packet of t is under way, and
// ended will not be called any more.
func (e *Engine) RemoveTunnel(t *Tunnel) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if id, ok := e.readers[t]; ok {
		e.forget(id)
	}
}

func (e *Engine) forget(id uint32) {
	m := e.sources[id]
	e.poller.Remove(m.fd())
	delete(e.sources, id)
	if r, ok := m.source.(*reader); ok {
		r.running.Store(false)
		delete(e.readers, r.Tunnel)
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

// step carries a batch. A raw socket has no UDP_GRO: the packets of a peer's burst come one by
// one, and we are faster than the peer. We would sleep, wake and write a frame for each of them. So
// while a frame still grows, polling again pays.
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

// lingerTries polls that find nothing take about as long as a peer takes to send two packets.
const lingerTries = 16

// read reads and opens a batch. It asks for few datagrams while they are long runs, so that the last of
// them is still in the cache when its turn comes, and for many while they are single packets.
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
	case n < s.want/4: // preparing many buffers costs something too
		s.want = max(s.want/2, udpBatch)
	}
	return n, err
}

// room returns n datagrams with buffers to read into.
func (r *receiver) room(n int) []ipsec.Datagram {
	for i := range n {
		r.ds[i] = ipsec.Datagram{Data: r.bufs[i]}
	}
	return r.ds[:n]
}
