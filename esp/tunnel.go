package esp

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// TunnelConfig describes a Tunnel.
type TunnelConfig struct {
	Name     string // as in ipsec.ChildSA.Tunnel
	Frames   Framer // the TUN device; nil: Device is the TUN device, which is slower
	Device   Device
	MTU      int  // of the device: the largest inner packet (see MTU); at least 68
	CopyDSCP bool // copy the inner DSCP to the outer header (see SetCopyDSCP); ECN is always copied
}

// Tunnel is one TUN device with the SAs that carry its traffic.
type Tunnel struct {
	TunnelConfig // its MTU and CopyDSCP are where mtu and copyDSCP begin
	plane        *Plane
	mtu          atomic.Int64
	copyDSCP     atomic.Bool
	cut          atomic.Bool // see SetCut
	spd          atomic.Pointer[spd]
	policies     atomic.Pointer[spd] // whose packets wait for an SA: see Keep; nil: none
	running      atomic.Bool
	meter        meter

	// building is held while a new spd is built and published; it is locked before Plane.mu.
	building sync.Mutex

	// sending is held while the tunnel's reader seals and sends a batch, and while a caller of the Plane
	// does so with the backlog, kept packets, probes and answers (see change). It owns the sealers, sequence numbers and quotas of the tunnel's
	// outbound SAs, and the three fields below. Two users of a sealer at once would use a nonce twice.
	sending  sync.Mutex
	backlog  backlog
	waiting  waiting
	pathMTUs limiter // events

	asked   *asked // nil: no probe was sent yet; for the holder of Plane.probes.mu
	answers answers

	hop       atomic.Pointer[hop] // nil: no BFD
	bfdSource uint16              // the source port of SendBFD; 0: none yet

	// For the holder of Plane.mu.
	pairs          []*pair
	selectorPairs  int         // of all pairs
	added, removed []*outbound // changes of spd that wait for publish, in order
}

func newTunnel(p *Plane, cfg TunnelConfig) *Tunnel {
	t := &Tunnel{TunnelConfig: cfg, plane: p}
	t.SetMTU(cfg.MTU)
	t.SetCopyDSCP(cfg.CopyDSCP)
	t.spd.Store(new(spd))
	return t
}

// SetMTU changes the size of the largest inner packet, from the next packet on. The caller raises the
// device's own MTU after SetMTU and lowers it before.
func (t *Tunnel) SetMTU(mtu int) { t.mtu.Store(int64(min(max(mtu, 68), 0xffff))) }

// SetCopyDSCP has the DSCP of an inner packet copied to the outer header, or not, from the next packets on.
func (t *Tunnel) SetCopyDSCP(copied bool) { t.copyDSCP.Store(copied) }

// SetCut says whether the tunnel's ESP packets may be fragmented by the underlay, from the next packet on.
func (t *Tunnel) SetCut(cut bool) { t.cut.Store(cut) }

// Counters counts the packets of all SAs that the tunnel has had, and the packets that no SA took.
func (t *Tunnel) Counters() Counters { return t.meter.counters() }

// put, putOut and take register a pair and its outbound half, and take both out. publish must follow the last two. They
// are for the holder of Plane.mu.
func (t *Tunnel) put(pr *pair) {
	t.pairs = append(t.pairs, pr)
	t.selectorPairs += pr.selectorPairs()
}

func (t *Tunnel) putOut(o *outbound) {
	t.added = append(t.added, o)
	spis := t.plane.bySPIOut
	spis[o.sealer.spi] = append(spis[o.sealer.spi], o)
}

func (t *Tunnel) take(pr *pair) {
	t.pairs = slices.DeleteFunc(t.pairs, func(o *pair) bool { return o == pr })
	t.selectorPairs -= pr.selectorPairs()
	t.takeOut(pr)
}

// takeOut takes the outbound half of a pair out, if there is one. publish must follow, and the holder of Plane.mu calls it.
func (t *Tunnel) takeOut(pr *pair) {
	o := pr.out
	if o == nil {
		return
	}
	t.removed = append(t.removed, o)
	spis, spi := t.plane.bySPIOut, o.sealer.spi
	spis[spi] = slices.DeleteFunc(spis[spi], func(x *outbound) bool { return x == o })
	if len(spis[spi]) == 0 {
		delete(spis, spi)
	}
}

// publish has packets take the SAs as they were changed. It builds the spd while packets and the
// changes of other tunnels go on. When it returns, no packet is sealed by an SA that was removed.
func (t *Tunnel) publish() {
	t.building.Lock()
	defer t.building.Unlock()
	t.plane.mu.Lock()
	added, removed := t.added, t.removed
	t.added, t.removed = nil, nil
	t.plane.mu.Unlock()
	next := t.spd.Load().change(added, removed)
	t.change(func() {
		t.spd.Store(next)
		t.waiting.asked = limiter{} // what no SA covers now is news
		t.settle(added, time.Now())
		t.backlog.held = slices.DeleteFunc(t.backlog.held, func(o *outbound) bool { return slices.Contains(removed, o) })
	})
}

// headroom is the room before each packet in a TUN buffer, for the device's virtio_net_hdr.
const headroom = 16

// Run carries packets from TunnelConfig.Device to the underlay until the device is closed
// or ctx is done, and returns nil then. It looks at ctx between batches: only
// closing the device interrupts a Read. A tunnel has one Run at a time.
func (t *Tunnel) Run(ctx context.Context) error {
	if t.Frames != nil {
		return fmt.Errorf("esp: tunnel %q has a Framer: add it to an Engine", t.Name)
	}
	if !t.running.CompareAndSwap(false, true) {
		return fmt.Errorf("esp: tunnel %q is run already", t.Name)
	}
	defer t.running.Store(false)
	r := newReader(t, new(scratch))
	failed := 0 // reads since the last that did not fail
	for ctx.Err() == nil {
		r.makeRoom()
		n, err := r.readPackets()
		r.batch(n)
		if n > 0 {
			failed = 0
		}
		if err == nil {
			continue
		}
		if isClosed(err) {
			return nil
		}
		t.drop(dropRead, 1)
		failed++
		pauseAfter(failed)
	}
	return nil
}

// A reader carries packets from a TUN. Not safe for concurrent use.
type reader struct {
	*Tunnel
	spd  *spd    // the batch's snapshot
	out  *outbox // the batch's; nil between batches
	icmp limiter
	*scratch

	// The packet path.
	bufs  [][]byte
	sizes []int

	// The frame path.
	take  func([]byte) bool // frame
	read  int               // frames of the batch
	bytes int               // in them
}

// scratch is what a reader needs only during a batch. The readers of an Engine share one, for they take turns.
type scratch struct {
	flow     flow // of the present packet
	segments segmenter
	space    []byte // for a frame; nil: none is read
	spare    []byte // for rare packets: fragments and ICMP
}

func newReader(t *Tunnel, s *scratch) *reader {
	r := &reader{Tunnel: t, scratch: s}
	if t.Frames != nil {
		if s.space == nil {
			s.space = make([]byte, maxRead, maxRead+maxTrailer)
		}
		r.take = r.frame
	} else {
		r.sizes = make([]int, t.Device.BatchSize())
	}
	return r
}

// makeRoom makes the buffers large enough for packets of the present MTU.
func (r *reader) makeRoom() {
	size := headroom + max(int(r.mtu.Load()), 2000) + maxTrailer
	if len(r.bufs) > 0 && len(r.bufs[0]) >= size-maxTrailer {
		return
	}
	slab := make([]byte, size*len(r.sizes))
	r.bufs = make([][]byte, len(r.sizes))
	for i := range r.bufs {
		r.bufs[i] = slab[i*size:][: size-maxTrailer : size]
	}
}

// readPackets fills the buffers. wireguard/tun cuts a super-packet without checking
// whether the segments fit. They do not if somebody else has raised the device's MTU: this
// must cost the packet, not the daemon.
func (r *reader) readPackets() (n int, err error) {
	defer func() {
		if p := recover(); p != nil {
			n, err = 0, fmt.Errorf("esp: TUN device: %v", p)
		}
	}()
	return r.Device.Read(r.bufs, r.sizes, headroom)
}

// batch carries the n packets that were read.
func (r *reader) batch(n int) {
	if n <= 0 {
		return
	}
	r.begin()
	for i := range n {
		room := r.bufs[i][headroom:]
		if r.sizes[i] > len(room) {
			r.drop(dropTooBig, 1) // somebody else has raised the device's MTU
			continue
		}
		r.packet(room[:r.sizes[i]])
	}
	r.end()
}

// begin starts a batch; until end has sent it, the tunnel's sending side is the reader's.
func (r *reader) begin() {
	r.sending.Lock()
	r.open()
}

func (r *reader) end() {
	r.close()
	r.release()
}

func (r *reader) open() {
	r.out = r.plane.outboxes.take()
	r.out.cut = r.cut.Load()
	r.spd = r.Tunnel.spd.Load()
}

func (r *reader) close() {
	r.out.flush()
	r.plane.outboxes.put(r.out)
	r.out = nil
}

// packet sends one packet, whole or as fragments, or answers that it is too big.
func (r *reader) packet(b []byte) {
	if !r.flow.parse(b) {
		r.drop(dropMalformed, 1)
		return
	}
	b = b[:r.flow.length]
	mtu := int(r.mtu.Load())
	limit := max(mtu, ipv4LeastMTU)
	if r.flow.v6 {
		limit = max(mtu, ipv6MinMTU)
	}
	switch {
	case len(b) <= limit:
		r.send(b, mtu)
	case r.flow.v6 || binary.BigEndian.Uint16(b[6:])&dontFragment != 0:
		r.refuse(b, limit)
	default:
		r.fragment(b, mtu)
	}
}

// send seals the packet b, which r.flow describes. If it cannot, it keeps b back or counts it as dropped.
func (r *reader) send(b []byte, mtu int) {
	out := r.spd.lookup(&r.flow)
	if out == nil {
		r.uncovered(b)
		return
	}
	r.flow.clampMSS(b, mtu)
	// A packet larger than mtu is small, and goes in fragments of the underlay: "On any link
	// that cannot convey a 1280-octet packet in one piece, link-specific fragmentation and
	// reassembly must be provided at a layer below IPv6" (RFC 8200 section 5). The same for IPv4 has the tunnel
	// carry packets of ipv4LeastMTU whatever is said of the path.
	oversized := len(b) > mtu
	if oversized {
		r.out.flush()
	}
	if why := r.out.add(out, b, outerTOS(trafficClass(b), r.copyDSCP.Load())); why != carried {
		r.notSealed(out, b, why)
	}
	if oversized {
		r.out.flushFragmentable()
	}
}

// refuse drops a packet that is too big, and answers it if an SA covers it.
func (r *reader) refuse(b []byte, mtu int) {
	out := r.spd.lookup(&r.flow)
	if out == nil {
		r.drop(r.uncoveredReason(), 1)
		return
	}
	out.drop(dropTooBig, 1)
	if !r.icmp.allow(time.Now(), icmpPerSecond, icmpBurst) {
		return
	}
	r.makeSpare()
	if answer := r.flow.tooBig(r.spare[headroom:], b, mtu); answer != nil {
		r.write(len(answer))
	}
}

// write writes the packet of n bytes in spare to the TUN.
func (r *reader) write(n int) {
	var err error
	if r.Frames != nil {
		vnet{}.put(r.spare[headroom-vnetHeader:])
		err = r.Frames.WriteFrame(r.spare[headroom-vnetHeader : headroom+n])
	} else {
		_, err = r.Device.Write([][]byte{r.spare[:headroom+n]}, headroom)
	}
	if err != nil {
		r.drop(dropWrite, 1)
	}
}

// fragment sends an IPv4 packet in fragments. Each is looked up by itself: a later
// fragment has no ports, and RFC 4301 section 7.3 forbids sending it over an SA with
// selectors for particular ports.
func (r *reader) fragment(b []byte, mtu int) {
	r.makeSpare()
	ok := fragments(r.spare[:len(r.spare)-maxTrailer], b, mtu, func(f []byte) {
		if r.flow.parse(f) {
			r.send(f, mtu)
		}
	})
	if !ok {
		r.drop(dropTooBig, 1)
	}
}

func (r *reader) makeSpare() {
	if r.spare == nil {
		r.spare = make([]byte, headroom+0xffff+maxTrailer)
	}
}
