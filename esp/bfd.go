package esp

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
)

// BFD's packets (RFC 5881) go like probes: Tunnel.SendBFD puts one into the tunnel's own SA, and the receiver takes the
// peer's out of what comes in. So no route or firewall of the host decides, none waits behind the tunnel's traffic in the
// queue of its TUN, and who else has UDP port 3784 on this host does not matter.

const (
	bfdPort  = 3784
	bfdHops  = 255 // RFC 5881 section 5: what has less was forwarded, and is no neighbour's
	bfdClass = 0xc0
	// Source ports are from 49152 to 65535 (RFC 5881 section 4). A tunnel keeps its own.
	bfdSources    = 49152
	bfdSourceMask = 0x3fff
	// maxBFD is the largest packet that is looked at. One with authentication, which is never used, has 52 bytes at most.
	maxBFD = 64
	// A session has at most 20 packets a second, and a few more while it changes. More of a peer must not keep the loop busy.
	bfdPerSecond = 50
	bfdBurst     = 10
)

// hop is a tunnel's BFD: its addresses, and the newest packet of the peer that nobody has taken yet.
type hop struct {
	given         [2]netip.Addr // local, remote
	local, remote addr
	v6            bool
	discarded     atomic.Uint64 // packets that were not the neighbour's
	rate          limiter       // of HeardBFD, for the holder of Plane.receiving

	mu     sync.Mutex
	newest [maxBFD]byte
	size   int  // of newest; 0: there is none
	told   bool // HeardBFD was told of newest
}

// BFD has the receiver take BFD packets that come through the tunnel for local: those from remote are kept for HeardBFD,
// others are dropped. Zero addresses end that, and BFD packets go to the TUN like others.
func (t *Tunnel) BFD(local, remote netip.Addr) {
	local, remote = local.Unmap(), remote.Unmap()
	was := t.hop.Load()
	if !local.IsValid() || !remote.IsValid() || local.Is6() != remote.Is6() {
		t.hop.Store(nil)
		return
	}
	if given := [2]netip.Addr{local, remote}; was == nil || was.given != given {
		t.hop.Store(&hop{given: given, local: addrOf(local), remote: addrOf(remote), v6: local.Is6()})
	}
}

// HeardBFD appends to b the newest packet of the peer that came since the last call. Whatever came before it is lost: a BFD
// packet says all that there is to say.
func (t *Tunnel) HeardBFD(b []byte) []byte {
	h := t.hop.Load()
	if h == nil {
		return b
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	b = append(b, h.newest[:h.size]...)
	h.size, h.told = 0, false
	return b
}

// DiscardedBFD counts the packets that were dropped, because they came from elsewhere or through a router.
func (t *Tunnel) DiscardedBFD() uint64 {
	if h := t.hop.Load(); h != nil {
		return h.discarded.Load()
	}
	return 0
}

// bfd takes the packet b, which r.flow describes, if it is one of BFD for this end of the tunnel.
func (r *receiver) bfd(in *inbound, b []byte) bool {
	h, f := in.tunnel.hop.Load(), &r.flow
	if h == nil || f.protocol != protoUDP || f.fragment || f.v6 != h.v6 || f.dst != h.local {
		return false
	}
	hops, header := b[8], ipv4Header
	if f.v6 {
		hops, header = b[7], ipv6Header
	}
	if f.transport != header || f.src != h.remote || hops != bfdHops || !f.soundUDP(b) {
		h.discarded.Add(1)
		return true
	}
	payload := b[f.transport+udpHeader:][:int(binary.BigEndian.Uint16(b[f.transport+4:]))-udpHeader]
	h.mu.Lock()
	h.size = copy(h.newest[:], payload)
	// What is not told is taken with the next packet, or when the tunnel's session looks at its own timers.
	tell := !h.told && h.rate.allow(r.now, bfdPerSecond, bfdBurst)
	h.told = h.told || tell
	h.mu.Unlock()
	if tell && !r.plane.cfg.Notify(HeardBFD{in.tunnel.Name}) {
		h.mu.Lock()
		h.told = false // the next packet tells
		h.mu.Unlock()
	}
	return true
}

// soundUDP reports whether b is a UDP packet of at most maxBFD bytes that has arrived undamaged. IPv4 may go without a checksum.
func (f *flow) soundUDP(b []byte) bool {
	if f.length < f.transport+udpHeader {
		return false
	}
	udp := b[f.transport:f.length]
	n := int(binary.BigEndian.Uint16(udp[4:]))
	if n < udpHeader || n > len(udp) || n > udpHeader+maxBFD {
		return false
	}
	if binary.BigEndian.Uint16(udp[6:]) == 0 {
		return !f.v6
	}
	return checksum(pseudoSum(b, protoUDP, n), udp[:n]) == 0
}

// SendBFD sends a BFD packet from this end's address in the tunnel to the peer's, through the SA that covers it. The error
// says why it was not sent. One goroutine at a time calls it.
func (t *Tunnel) SendBFD(local, remote netip.Addr, packet []byte) error {
	local, remote = local.Unmap(), remote.Unmap()
	if !local.IsValid() || !remote.IsValid() || local.Is6() != remote.Is6() {
		return fmt.Errorf("esp: BFD needs two addresses of one family, not %v and %v", local, remote)
	}
	if t.bfdSource == 0 {
		var b [2]byte
		if _, err := io.ReadFull(t.plane.cfg.Rand, b[:]); err != nil {
			return fmt.Errorf("esp: source port of BFD: %w", err)
		}
		t.bfdSource = bfdSources + binary.BigEndian.Uint16(b[:])&bfdSourceMask
	}
	if !t.sendOwn(bfdPacket(local, remote, t.bfdSource, packet)) {
		return fmt.Errorf("esp: no SA of tunnel %q covers BFD from %v to %v", t.Name, local, remote)
	}
	return nil
}

// bfdPacket makes an IP packet of a BFD packet.
func bfdPacket(local, remote netip.Addr, source uint16, payload []byte) []byte {
	n := udpHeader + len(payload)
	b, udp := ownPacket(local, remote, protoUDP, n)
	if local.Is6() {
		b[0], b[1], b[7] = 0x60|bfdClass>>4, bfdClass<<4&0xff, bfdHops
	} else {
		b[1], b[8] = bfdClass, bfdHops
		binary.BigEndian.PutUint16(b[6:], dontFragment)
		binary.BigEndian.PutUint16(b[10:], checksum(0, b[:ipv4Header]))
	}
	binary.BigEndian.PutUint16(udp, source)
	binary.BigEndian.PutUint16(udp[2:], bfdPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(n))
	copy(udp[udpHeader:], payload)
	sum := checksum(pseudoSum(b, protoUDP, n), udp)
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], sum)
	return b
}
