package esp

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// "An ICMP message of this sort is unauthenticated, and its processing may result in denial or degradation of
// service" (RFC 4301 section 6.1.1). So a router's message that a packet was too big counts only if it quotes a
// packet that one of our SAs has sent lately: its addresses, SPI and sequence number, and the ports around ESP in UDP.
// Who can quote these sees our packets, and might as well drop them.
//
// RFC 792 asks for 8 bytes behind the quoted IP header, and many routers quote no more. Of ESP in UDP that is
// the UDP header alone, which anybody can guess. Such a message counts too, or the path would be a black hole, but not
// below the size at which the inner packets of leastInner still pass whole.
//
// No other ICMP message from the underlay has an effect. An "unreachable" says nothing that dpd does not find out.

// lately is how many sequence numbers a quoted packet may be behind the last one sent. It is a second at a
// million packets a second, more than a round trip. Whoever sees none of our packets has to guess the SPI besides.
const lately = 1 << 20

// leastPath4 is the least MTU that counts in IPv4. Linux believes no less (net.ipv4.route.min_pmtu). In IPv6 it is
// ipv6MinMTU: RFC 8201 section 4 has less discarded.
const leastPath4 = 552

// quote is what an ICMP message about a packet too big tells.
type quote struct {
	mtu           int
	local, remote netip.AddrPort // of the packet; port 0: raw ESP
	whole         bool           // there are SPI and sequence number
	spi, seq      uint32
}

// TooBig judges an ICMP message from the underlay, which came at now: of IPv6 from its type on, of IPv4 from the outer
// header on. It returns the event that follows from it; false: nothing does. It may be called from any goroutine.
func (p *Plane) TooBig(v6 bool, b []byte, now time.Time) (PathMTU, bool) {
	var q quote
	if v6 && !q.parse6(b) || !v6 && !q.parse4(b) {
		return PathMTU{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	ok := false
	if q.whole {
		ok = p.sentLately(&q, now)
	} else if p.guessable.allow(now, 10, 10) {
		ok = p.mayHaveSent(&q)
	}
	return PathMTU{Remote: q.remote.Addr(), MTU: q.mtu}, ok
}

// sentLately reports whether q quotes a packet of one of our SAs.
func (p *Plane) sentLately(q *quote, now time.Time) bool {
	for _, o := range p.bySPIOut[q.spi] {
		if !o.sendsBetween(q) {
			continue
		}
		o.tunnel.sending.Lock()
		ago := uint32(o.seq) - q.seq
		ok := uint64(ago) < min(o.seq, lately) && o.tunnel.pathMTUs.allow(now, 1, 3)
		o.tunnel.release()
		if ok {
			return true
		}
	}
	return false
}

// mayHaveSent reports whether an SA sends where the packet of q went, and raises the MTU to what must
// be left for it.
func (p *Plane) mayHaveSent(q *quote) (ok bool) {
	for _, t := range p.tunnels {
		for _, pr := range t.pairs {
			if o := pr.out; o != nil && o.sendsBetween(q) {
				q.mtu = max(q.mtu, o.sealer.sealed(pr.leastInner())+outerHeaders(true, q.remote.Addr().Is6()))
				ok = true
			}
		}
	}
	return ok
}

// sendsBetween reports whether o sends by the addresses and ports of q.
func (o *outbound) sendsBetween(q *quote) bool {
	r := o.route.Load()
	local := r.Local.Addr().Unmap()
	return r.Remote == q.remote && r.Local.Port() == q.local.Port() &&
		(!local.IsValid() || local.IsUnspecified() || local == q.local.Addr())
}

// leastInner is the size of inner packets for which no guess of a stranger makes room too small.
func (p *pair) leastInner() int {
	for _, s := range p.in.remote {
		if s.v6 {
			return ipv6MinMTU
		}
	}
	return ipv4LeastMTU
}

// parse4 reads "fragmentation needed" (RFC 1191). A raw socket gets it whatever its checksum.
func (q *quote) parse4(b []byte) bool {
	if len(b) < ipv4Header || len(b) < int(b[0]&15)*4+icmpHeader+ipv4Header {
		return false
	}
	icmp := b[int(b[0]&15)*4:]
	if icmp[0] != unreachable || icmp[1] != fragNeeded || checksum(0, icmp) != 0 {
		return false
	}
	q.mtu = max(int(binary.BigEndian.Uint16(icmp[6:])), leastPath4)
	b = icmp[icmpHeader:]
	header := int(b[0]&15) * 4
	if b[0]>>4 != 4 || header < ipv4Header || len(b) < header || binary.BigEndian.Uint16(b[6:])&fragmentOffset != 0 {
		return false
	}
	return q.esp(b[9], netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:])), b[header:])
}

// parse6 reads "packet too big" (RFC 4443 section 3.2), whose checksum the kernel has checked.
func (q *quote) parse6(b []byte) bool {
	if len(b) < icmpHeader+ipv6Header || b[0] != packetTooBig {
		return false
	}
	mtu := binary.BigEndian.Uint32(b[4:])
	if b = b[icmpHeader:]; b[0]>>4 != 6 || mtu < ipv6MinMTU {
		return false
	}
	q.mtu = int(min(mtu, 0xffff))
	return q.esp(b[6], netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:])), b[ipv6Header:])
}

// esp reads the quoted payload of a packet from local to remote.
func (q *quote) esp(protocol uint8, local, remote netip.Addr, b []byte) bool {
	if len(b) < 8 {
		return false
	}
	q.local, q.remote = netip.AddrPortFrom(local, 0), netip.AddrPortFrom(remote, 0)
	switch protocol {
	case protoUDP:
		q.local = netip.AddrPortFrom(local, binary.BigEndian.Uint16(b))
		q.remote = netip.AddrPortFrom(remote, binary.BigEndian.Uint16(b[2:]))
		b = b[udpHeader:]
	case protoESP:
	default:
		return false
	}
	if q.whole = len(b) >= espHeader; q.whole {
		q.spi, q.seq = binary.BigEndian.Uint32(b), sequence(b)
	}
	return true
}
