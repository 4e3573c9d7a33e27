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
	Name     string // what ipsec.ChildSA.Tunnel says
	Frames   Framer // the TUN device; nil: it is Device, which is slower
	Device   Device
	MTU      int  // of the device: the largest inner packet (see MTU); at least 68
	CopyDSCP bool // copy the inner DSCP to the outer header; ECN always is
}

// Tunnel is one TUN device with the SAs that carry its traffic.
type Tunnel struct {
	TunnelConfig // MTU: see mtu
	plane        *Plane
	mtu          atomic.Int64
	spd          atomic.Pointer[spd]
	running      atomic.Bool
	meter        meter

	// sending is held while a batch is sealed and sent, whoever does it: the tunnel's reader, or a
	// caller of the Plane whose change lets the backlog go out (see change). It owns the sealers, sequence
	// numbers and quotas of the tunnel's outbound SAs, of which two users at once would use
	// a nonce twice, and these two.
	sending  sync.Mutex
	backlog  backlog
	pathMTUs limiter // events

	// For the holder of the plane's lock.
	pairs map[uint32]*pair // by inbound SPI
	outs  []*outbound      // in the order of installation
}

func newTunnel(p *Plane, cfg TunnelConfig) *Tunnel {
	t := &Tunnel{TunnelConfig: cfg, plane: p, pairs: make(map[uint32]*pair)}
	t.SetMTU(cfg.MTU)
	t.spd.Store(newSPD(nil))
	return t
}

// SetMTU changes the largest inner packet, from the next packet on. Raise the
// device's own MTU after it and lower it before.
func (t *Tunnel) SetMTU(mtu int) { t.mtu.Store(int64(min(max(mtu, 68), 0xffff))) }

// Counters is what the tunnel carried and dropped, over all its SAs and packets that met none.
func (t *Tunnel) Counters() Counters { return t.meter.counters() }

// install makes the snapshot with one more SA. For the holder of the plane's lock, as uninstall.
func (t *Tunnel) install(o *outbound) { t.setOuts(append(t.outs, o)) }

func (t *Tunnel) uninstall(o *outbound) {
	if i := slices.Index(t.outs, o); i >= 0 {
		t.setOuts(slices.Delete(t.outs, i, i+1))
	}
}

func (t *Tunnel) setOuts(outs []*outbound) {
	t.change(func() {
		t.outs = outs
		t.spd.Store(newSPD(outs))
		t.backlog.held = slices.DeleteFunc(t.backlog.held, func(o *outbound) bool { return !slices.Contains(outs, o) })
	})
}

// headroom is kept free before each packet in a TUN buffer, for the device's virtio_net_hdr.
const headroom = 16

// Run carries packets from the TUN, which is one by packets, to the underlay until the device is closed
// or ctx is done, and returns nil then. ctx is looked at between batches: only
// closing the device interrupts a Read. One Run at a time.
func (t *Tunnel) Run(ctx context.Context) error {
	if t.Frames != nil {
		return fmt.Errorf("esp: tunnel %q is one by frames: add it to an Engine", t.Name)
	}
	if !t.running.CompareAndSwap(false, true) {
		return fmt.Errorf("esp: tunnel %q is run already", t.Name)
	}
	defer t.running.Store(false)
	r := newReader(t)
	failed := 0 // reads, one after another
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
	spd   *spd    // the batch's snapshot
	out   *outbox // the batch's
	flow  flow    // the packet's
	icmp  limiter
	spare []byte // where rare packets are built: fragments, ICMP

	// By packets.
	bufs  [][]byte
	sizes []int

	// By frames.
	space    []byte
	take     func([]byte) bool // frame
	segments segmenter
	read     int // frames of the batch
	bytes    int // in them
}

func newReader(t *Tunnel) *reader {
	r := &reader{Tunnel: t}
	if t.Frames != nil {
		r.space = make([]byte, maxRead, maxRead+maxTrailer)
		r.take = r.frame
	} else {
		r.sizes = make([]int, t.Device.BatchSize())
	}
	return r
}

// makeRoom makes buffers for packets of the present MTU.
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

// readPackets fills the buffers. wireguard/tun cuts a super-packet without looking
// whether the segments fit; when somebody has raised the device's MTU behind our
// back they do not, and that must cost the packet, not the daemon.
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
			r.drop(dropTooBig, 1) // the device's MTU was raised behind our back
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
	r.sending.Unlock()
}

func (r *reader) open() {
	r.out = r.plane.outboxes.take()
	r.spd = r.Tunnel.spd.Load()
}

func (r *reader) close() {
	r.out.flush()
	r.plane.outboxes.put(r.out)
	r.out = nil
}

// packet carries one packet, or answers that it is too big, or sends it as fragments.
func (r *reader) packet(b []byte) {
	if !r.flow.parse(b) {
		r.drop(dropMalformed, 1)
		return
	}
	b = b[:r.flow.length]
	mtu := int(r.mtu.Load())
	limit := mtu
	if r.flow.v6 {
		limit = max(mtu, ipv6MinMTU) // which IPv6 may always send: see send
	}
	switch {
	case len(b) <= limit:
		r.send(b, mtu)
	case r.flow.v6 || binary.BigEndian.Uint16(b[6:])&dontFragment != 0:
		r.refuse(b, limit)
	default:
		r.fragment(b, limit)
	}
}

// send seals a packet, which r.flow describes.
func (r *reader) send(b []byte, mtu int) {
	out := r.spd.lookup(&r.flow)
	if out == nil {
		r.dropUncovered(1)
		return
	}
	r.flow.clampMSS(b, mtu)
	// Only IPv6 of up to 1280 bytes comes here larger than what fits: "On any link
	// that cannot convey a 1280-octet packet in one piece, link-specific fragmentation and
	// reassembly must be provided at a layer below IPv6" (RFC 8200 section 5).
	cut := len(b) > mtu
	if cut {
		r.out.flush()
	}
	if why := r.out.add(out, b, outerTOS(trafficClass(b), r.CopyDSCP)); why != carried {
		r.notSealed(out, b, why)
	}
	if cut {
		r.out.flushFragmentable()
	}
}

func (r *reader) dropUncovered(n int) {
	if r.spd.empty() {
		r.drop(dropNoSA, n)
	} else {
		r.drop(dropNoPolicy, n)
	}
}

// refuse answers a packet that is too big, if an SA covers it.
func (r *reader) refuse(b []byte, mtu int) {
	out := r.spd.lookup(&r.flow)
	if out == nil {
		r.dropUncovered(1)
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

// fragment sends an IPv4 packet in fragments, each looked up by itself: a later
// one has no ports, and RFC 4301 section 7.3 forbids sending it over an SA that
// wants particular ones.
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
