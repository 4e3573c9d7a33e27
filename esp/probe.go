package esp

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// Probes go through the SAs of their own tunnel, whichever tunnel has the routes, and whatever the host's addresses,
// routes and firewall are: Tunnel.Probe puts an echo request into an SA, the receiver takes its answer out
// of the packets that come in, and answers the peer's requests to addresses that are ours.
//
// The receiver can't seal an answer itself: the holder of Tunnel.sending does. The receiver does not wait
// for that lock. It puts the answer into a short queue and sends the queue if the lock is free;
// otherwise the holder sends it on releasing the lock.

// asked are the probes of one tunnel that wait for an answer.
type asked struct {
	Echo           // of the last probe; its Seq is not used
	tunnel         string
	source, target addr
	v6             bool
	cookie         cookie

	mu   sync.Mutex
	last uint16 // Seq of the last probe
	open uint64 // bit i: probe last-i has no answer yet
}

// probes are the probes of all tunnels. Which tunnel brings an answer is the peer's choice: one that has two tunnels to us
// may answer a probe of the standby through the active one.
type probes struct {
	plane atomic.Pointer[cookie] // its part of every cookie; nil: no probe was sent yet

	mu       sync.Mutex
	byCookie map[cookie]*asked
}

// begin registers a new kind of probe of t, in the place of the one before.
func (k *probes) begin(t *Tunnel, e Echo) (*asked, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := &asked{
		Echo: e, tunnel: t.Name, source: addrOf(e.Source), target: addrOf(e.Target), v6: e.Target.Is6(),
	}
	if _, err := io.ReadFull(t.plane.cfg.Rand, a.cookie[:]); err != nil {
		return nil, fmt.Errorf("esp: cookie of a probe: %w", err)
	}
	if c := k.plane.Load(); c != nil {
		copy(a.cookie.ofPlane(), c.ofPlane())
	} else {
		c := a.cookie
		k.plane.Store(&c)
		k.byCookie = make(map[cookie]*asked)
	}
	k.end(t)
	t.asked, k.byCookie[a.cookie] = a, a
	return a, nil
}

// end forgets the probes of t.
func (k *probes) end(t *Tunnel) {
	if t.asked != nil {
		delete(k.byCookie, t.asked.cookie)
		t.asked = nil
	}
}

// find is the probes of which the data of an echo reply is, or nil. Most replies are of other people's pings, and cost no lock.
func (k *probes) find(data []byte) *asked {
	c := k.plane.Load()
	if c == nil || len(data) < len(c) || !bytes.Equal(data[:len(c.ofPlane())], c.ofPlane()) {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.byCookie[cookie(data)]
}

// sent notes that a probe goes out.
func (a *asked) sent(seq uint16) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := seq - a.last; n < 64 {
		a.open = a.open<<n | 1
	} else {
		a.open = 1
	}
	a.last = seq
}

// answered reports whether an answer is the first to one of the last 64 probes.
func (a *asked) answered(seq uint16) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	bit := uint64(1) << (a.last - seq)
	first := a.open&bit != 0
	a.open &^= bit
	return first
}

// Probe sends an echo request through the SA that covers it. The Event Answered tells of its answer, if one comes through
// a tunnel. A tunnel's probes have one Source, Target and ID at a time: answers to earlier others are packets like
// any other. The error says why it was not sent. A probe whose SA is on hold waits for the SA. One goroutine at a time calls it.
func (t *Tunnel) Probe(e Echo) error {
	e.Source, e.Target = e.Source.Unmap(), e.Target.Unmap()
	if !e.valid() {
		return errEcho
	}
	if t.spd.Load().empty() { // perhaps it was removed
		return fmt.Errorf("esp: tunnel %q has no SA", t.Name)
	}
	k := &t.plane.probes
	k.mu.Lock()
	a := t.asked
	k.mu.Unlock()
	if a == nil || a.Source != e.Source || a.Target != e.Target || a.ID != e.ID {
		var err error
		if a, err = k.begin(t, e); err != nil {
			return err
		}
	}
	b := e.request(&a.cookie)
	a.sent(e.Seq) // before its answer can come
	if !t.sendOwn(b) {
		return fmt.Errorf("esp: no SA of tunnel %q covers a ping from %v to %v", t.Name, e.Source, e.Target)
	}
	return nil
}

// sendOwn sends a packet that the data plane has made itself (see ownPacket). false: no SA covers it.
func (t *Tunnel) sendOwn(b []byte) bool {
	r := &reader{Tunnel: t, scratch: new(scratch)}
	r.begin()
	defer r.end()
	r.flow.parse(b)
	if r.spd.lookup(&r.flow) == nil {
		return false
	}
	r.send(b, int(r.mtu.Load()))
	return true
}

const (
	maxAnswers       = 32 // that wait for Tunnel.sending
	answersPerSecond = 100
	answersBurst     = 32
)

// answers are the answers of a tunnel to its peer's probes.
type answers struct {
	own  atomic.Pointer[owned]
	rate limiter // for the holder of Plane.receiving

	mu      sync.Mutex
	waiting [][]byte
	count   atomic.Int32 // of waiting
}

// owned is what Tunnel.Answer was given.
type owned struct {
	given []netip.Addr
	by    [2]map[addr]bool // family
}

// Answer has the tunnel answer echo requests that come through it to the addresses given, instead of those
// given before, whether the host has them or not. Requests that are fragments or larger than 1280 bytes, and more
// than 100 a second, go to the TUN as other packets do.
func (t *Tunnel) Answer(own []netip.Addr) {
	if was := t.answers.own.Load(); was != nil && slices.Equal(was.given, own) {
		return
	}
	o := &owned{given: slices.Clone(own)}
	for _, a := range own {
		f := familyOf(a.Is6())
		if o.by[f] == nil {
			o.by[f] = make(map[addr]bool)
		}
		o.by[f][addrOf(a)] = true
	}
	t.answers.own.Store(o)
}

// echo takes the packet b, which r.flow describes, if it answers a probe of ours or is a probe that
// we answer.
func (r *receiver) echo(in *inbound, b []byte) bool {
	switch r.flow.echo(b) {
	case echoRequest:
		return r.answer(in.tunnel, b)
	case echoReply:
		return r.answered(in.tunnel, b)
	}
	return false
}

// answered takes the answer to a probe. via is the tunnel that brings it.
func (r *receiver) answered(via *Tunnel, b []byte) bool {
	a := r.plane.probes.find(b[r.flow.transport+icmpHeader:])
	if a == nil || r.flow.v6 != a.v6 || r.flow.dst != a.source || r.flow.src != a.target {
		return false
	}
	id, seq := r.flow.echoOf(b)
	if id != a.ID {
		return false
	}
	if a.answered(seq) {
		r.plane.cfg.Notify(Answered{a.tunnel, via.Name, id, seq})
	}
	return true
}

// answer queues the answer to an echo request, for flush to send. false: the packet goes to the TUN.
func (r *receiver) answer(t *Tunnel, b []byte) bool {
	own := t.answers.own.Load()
	f := &r.flow
	if own == nil || len(b) > min(maxEcho, int(t.mtu.Load())) || !f.src.unicast(f.v6) || !own.by[familyOf(f.v6)][f.dst] {
		return false
	}
	// A request whose answer no SA takes is for the kernel to drop.
	back := flow{
		v6: f.v6, protocol: f.protocol, ports: onePort, src: f.dst, dst: f.src,
		length: f.length, transport: f.transport,
	}
	if f.v6 {
		back.sport = 129 << 8
	}
	if t.spd.Load().lookup(&back) == nil || !t.answers.rate.allow(r.now, answersPerSecond, answersBurst) {
		return false
	}
	k := &t.answers
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.waiting) == maxAnswers {
		return false
	}
	k.waiting = append(k.waiting, f.reply(b))
	k.count.Store(int32(len(k.waiting)))
	r.answering = append(r.answering, t)
	return true
}

// sendAnswers sends the answers that wait. If somebody else has the sending side, it leaves them to
// his release.
func (t *Tunnel) sendAnswers() {
	k := &t.answers
	for k.count.Load() > 0 && t.sending.TryLock() {
		k.mu.Lock()
		waiting := k.waiting
		k.waiting = nil
		k.count.Store(0)
		k.mu.Unlock()
		r := &reader{Tunnel: t, scratch: new(scratch)}
		r.open()
		r.sendAll(waiting)
		r.close()
		t.sending.Unlock()
	}
}

// release gives up the sending side, and sends the answers that came while it was held.
func (t *Tunnel) release() {
	t.sending.Unlock()
	t.sendAnswers()
}
