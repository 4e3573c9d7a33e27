package esp

import (
	"encoding/binary"
	"net/netip"
	"time"

	"vpngw/ipsec"
)

const (
	socketBuffer = 64 << 10
	// Buffers do not lie a power of two apart: most packets are short, and would all share the
	// few cache lines of such addresses.
	socketStride = 2<<10 + 64
	udpBatch     = 8 // each may be a run of up to 64 packets
	maxBatch     = 128
	tunBatch     = 128
	// A TUN buffer is as large as an IP packet can be, since the device
	// coalesces into it.
	tunBuffer = headroom + 64<<10
)

// A receiver carries packets from an Engine's sockets. Not safe for concurrent use.
type receiver struct {
	plane     *Plane
	transport transport
	ds        []ipsec.Datagram
	bufs      [][]byte

	now    time.Time      // when the batch was read
	heard  int64          // now, as pair.heard counts; never 0
	remote netip.AddrPort // where the present datagram came from
	flow   flow           // of the present packet
	opened []byte         // the present packet, inside out of the ESP packet

	checking checking // the last packets

	coalescer coalescer // the frame path
	packets   packets   // the packet path
	answering []*Tunnel // those for which the batch brought probes

	received    tally
	invalidSPIs limiter // InvalidSPI events
}

func newReceiver(p *Plane) *receiver {
	return &receiver{
		plane:    p,
		ds:       make([]ipsec.Datagram, maxBatch),
		bufs:     slab(maxBatch, socketBuffer+socketStride),
		received: tally{direction: func(m *meter) *traffic { return &m.in }},
	}
}

// slab is n buffers of one size, allocated together: unused buffers cost no memory.
func slab(n, size int) [][]byte {
	all := make([]byte, n*size)
	out := make([][]byte, n)
	for i := range out {
		out[i] = all[i*size : (i+1)*size : (i+1)*size]
	}
	return out
}

// batch opens the datagrams, which were read at now; flush must follow.
func (r *receiver) batch(k transport, ds []ipsec.Datagram, now time.Time) {
	r.plane.receiving.Lock()
	defer r.plane.receiving.Unlock()
	r.transport, r.now = k, now
	r.heard = max(1, int64(now.Sub(r.plane.epoch)))
	for i := range ds {
		r.datagram(&ds[i])
	}
	r.check()
	r.received.publish() // for Freeze, which waits for the lock
}

// datagram takes a run of packets apart.
func (r *receiver) datagram(d *ipsec.Datagram) {
	r.remote = netip.AddrPortFrom(d.Remote.Addr().Unmap(), d.Remote.Port())
	rest := d.Data
	for {
		b := rest
		if d.Segment > 0 && d.Segment < len(b) {
			b = b[:d.Segment]
		}
		rest = rest[len(b):]
		r.demux(d, b)
		if len(rest) == 0 {
			return
		}
	}
}

// demux tells ESP, IKE and keepalives apart, which share port 4500 (RFC 3948 section 2).
func (r *receiver) demux(d *ipsec.Datagram, b []byte) {
	if r.transport == udp4 || r.transport == udp6 {
		if len(b) == 1 && b[0] == 0xff {
			r.drop(dropKeepalive)
			return
		}
		if len(b) >= 4 && binary.BigEndian.Uint32(b) == 0 {
			r.plane.cfg.IKE(ipsec.Datagram{Local: d.Local, Remote: r.remote, Data: b[4:], TOS: d.TOS})
			return
		}
	}
	if len(b) < espHeader {
		r.drop(dropMalformed)
		return
	}
	in := r.plane.sad.lookup(binary.BigEndian.Uint32(b))
	if in == nil {
		r.unknown(d, b)
		return
	}
	if in.opener.mac != nil {
		r.collect(in, b, d.TOS)
		return
	}
	r.check()
	seq, why := in.number(b)
	if why == carried {
		why = r.packet(in, b, seq, d.TOS, nil)
	}
	r.count(in, b, why)
}

// count counts a packet of an SA if it was dropped.
func (r *receiver) count(in *inbound, b []byte, why reason) {
	if why == carried || why == taken {
		return
	}
	if !in.seen && (why == dropBadICV || why == dropMalformed) && in.cutElsewhere(b, &r.checking.guess) {
		why = dropICVLength
	}
	in.drop(why, 1)
}

// drop counts a packet that belongs to no SA.
func (r *receiver) drop(why reason) { r.plane.meter.drops.add(why, 1) }

// maxGuesses is how many packets of an SA are tried with another length of the ICV.
const maxGuesses = 64

// cutElsewhere reports whether a packet that was refused has an ICV of the other length. It is asked only while an SA
// has had no authentic packet, and then for the first ones, so that forged packets cost little.
func (in *inbound) cutElsewhere(b []byte, scratch *together) bool {
	if in.guesses >= maxGuesses || len(b) < espHeader {
		return false
	}
	in.guesses++
	return in.opener.otherLength(b, uint64(sequence(b)), scratch) // the first packets of an SA: its sequence number has no high half
}

// number is the whole sequence number of the ESP packet b, if the window lets it pass.
func (in *inbound) number(b []byte) (seq uint64, why reason) {
	seq = uint64(sequence(b))
	if in.opener.esn {
		var ok bool
		if seq, ok = in.window.recover(uint32(seq)); !ok {
			return 0, dropReplay
		}
	}
	if !in.window.check(seq) {
		return 0, dropReplay
	}
	return seq, carried
}

// packet carries one ESP packet of an SA into its tunnel. It changes the SA only
// once the ICV was found good. icv is as opener.open has it.
func (r *receiver) packet(in *inbound, b []byte, seq uint64, tos uint8, icv []byte) (why reason) {
	if in.tunnel.Frames != nil {
		r.packets.flush()
		if why = r.open(in, r.coalescer.room(in.tunnel, len(b)), b, seq, tos, icv); why == carried {
			r.coalescer.add(&r.flow, r.opened)
		} else {
			r.coalescer.restore()
		}
	} else {
		r.coalescer.flush()
		if why = r.open(in, r.packets.room(in.tunnel), b, seq, tos, icv); why == carried {
			r.packets.add(r.opened)
		}
	}
	if why == carried || why == taken {
		r.received.count(in.pair, r.flow.length)
	}
	return why
}

// open opens the ESP packet b into room, as r.opened and r.flow.
func (r *receiver) open(in *inbound, room, b []byte, seq uint64, tos uint8, icv []byte) reason {
	payload, next, why := in.opener.open(room, b, seq, icv)
	if why != carried {
		return why
	}
	r.authentic(in, in.window.accept(seq))
	if why := r.inner(in, payload, next, tos); why != carried {
		return why
	}
	r.opened = payload[:r.flow.length]
	return carried
}

// authentic notes that a packet of in is authentic: the peer lives, uses the SA, and
// is where the packet came from.
func (r *receiver) authentic(in *inbound, newest bool) {
	if in.heard.Load() != r.heard {
		in.heard.Store(r.heard)
	}
	notify := r.plane.cfg.Notify
	if !in.seen {
		in.seen = notify(SeenInbound{in.spi})
	}
	if !newest || r.transport == raw4 || r.transport == raw6 {
		return
	}
	if to := in.route.Load(); to.follows && to.Remote != r.remote {
		r.plane.peerMoved(in.pair, r.remote, r.now)
	}
}

// inner checks a decrypted packet, parses it into r.flow, and adjusts its ECN and MSS.
func (r *receiver) inner(in *inbound, b []byte, next, tos uint8) reason {
	switch next {
	case protoIPv4, protoIPv6:
	case protoNone:
		return dropDummy
	default:
		return dropNextHeader
	}
	// The inner header tells the packet's length: the bytes behind it are traffic flow
	// confidentiality padding (RFC 4303 section 2.7).
	if !r.flow.parse(b) || r.flow.v6 != (next == protoIPv6) {
		return dropInner
	}
	b = b[:r.flow.length]
	if sourceIn(in.remote, &r.flow) == nil || destinationIn(in.local, &r.flow) == nil {
		return dropSelector
	}
	if in.martian(&r.flow) {
		return dropMartian
	}
	if !in.quota.allows(len(b)) {
		return dropLifetime
	}
	if limit := in.quota.spend(len(b)); limit != ipsec.NoLimit && !in.expired {
		in.expired = r.plane.cfg.Notify(Expired{in.spi, limit})
	}
	if !decapECN(b, tos) {
		return dropECN
	}
	r.flow.clampMSS(b, int(in.tunnel.mtu.Load()))
	if r.flow.ports == onePort && r.echo(in, b) {
		return taken
	}
	if r.flow.dport == bfdPort && r.bfd(in, b) {
		return taken
	}
	return carried
}

// flush writes the packets that wait to their TUN, and sends the answers to probes.
func (r *receiver) flush() {
	r.coalescer.flush()
	r.packets.flush()
	if len(r.answering) > 0 {
		for _, t := range r.answering {
			t.sendAnswers()
		}
		clear(r.answering)
		r.answering = r.answering[:0]
	}
}

// packets collects packets for a tunnel's Device.Write.
type packets struct {
	tunnel  *Tunnel
	bufs    [][]byte
	pending [][]byte // the packets that wait: the first of bufs, each cut to its packet
}

// room is where to open the next packet, which belongs to t. It may write the packets that wait first.
func (p *packets) room(t *Tunnel) []byte {
	if p.bufs == nil {
		p.bufs, p.pending = slab(tunBatch, tunBuffer), make([][]byte, 0, tunBatch)
	}
	if t != p.tunnel || len(p.pending) == tunBatch {
		p.flush()
	}
	p.tunnel = t
	return p.bufs[len(p.pending)][headroom:]
}

// add adds the packet that was opened at the last room.
func (p *packets) add(b []byte) {
	p.pending = append(p.pending, p.bufs[len(p.pending)][:headroom+len(b)])
}

func (p *packets) flush() {
	if len(p.pending) > 0 {
		if _, err := p.tunnel.Device.Write(p.pending, headroom); err != nil {
			p.tunnel.drop(dropWrite, 1)
		}
		clear(p.pending)
	}
	p.pending, p.tunnel = p.pending[:0], nil
}
