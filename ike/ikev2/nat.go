package ikev2

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"net/netip"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// NAT traversal, RFC 7296 section 2.23.

// natHash is "a SHA-1 digest of the SPIs (in the order they appear in the
// header), IP address, and port".
func natHash(spiI, spiR uint64, a netip.AddrPort) []byte {
	h := sha1.New()
	h.Write(u64(spiI))
	h.Write(u64(spiR))
	h.Write(a.Addr().Unmap().AsSlice())
	h.Write(binary.BigEndian.AppendUint16(nil, a.Port()))
	return h.Sum(nil)
}

// natPayloads returns our half of NAT detection. With encap "always" the source hash
// is wrong, so that the peer finds a NAT and encapsulates as well.
func (s *SA) natPayloads(peer *sa.Peer, spiR uint64, local, remote netip.AddrPort) []wire.Payload {
	if peer == nil || !peer.NATT {
		return nil
	}
	src := natHash(s.spiI, spiR, local)
	if peer.Encap == sa.EncapAlways {
		src = natHash(^s.spiI, ^spiR, local) // the same one in a repetition
	}
	return []wire.Payload{
		&wire.Notify{Kind: wire.NATDetectionSourceIP, Data: src},
		&wire.Notify{Kind: wire.NATDetectionDestinationIP, Data: natHash(s.spiI, spiR, remote)},
	}
}

// detectNAT compares the peer's hashes of the addresses with our own.
func (s *SA) detectNAT(ps []wire.Payload, spiR uint64, local, remote netip.AddrPort) {
	var src, dst, srcSame, dstSame bool
	for _, p := range ps {
		n, ok := p.(*wire.Notify)
		if !ok {
			continue
		}
		switch n.Kind {
		case wire.NATDetectionSourceIP:
			src = true
			srcSame = srcSame || hmac.Equal(n.Data, natHash(s.spiI, spiR, remote))
		case wire.NATDetectionDestinationIP:
			dst = true
			dstSame = dstSame || hmac.Equal(n.Data, natHash(s.spiI, spiR, local))
		}
	}
	s.nat = sa.NAT{Remote: src && !srcSame, Local: dst && !dstSame}
}

// encap reports whether ESP travels in UDP.
func (s *SA) encap() bool {
	return s.nat.Encap(s.peer)
}

// childPath returns the path of a new Child SA's packets.
func (s *SA) childPath() ipsec.Path { return sa.ChildPath(s.path, s.encap()) }

// requestPath is where requests go. One that was replaced sends where its successor does: who copied one
// message from elsewhere has moved both, and the peer's next message moves only the successor back.
func (s *SA) requestPath() ipsec.Path {
	if c := s.fam.current; c != nil && c.state == sa.Established {
		return c.path
	}
	return s.path
}

// follow is the address update of section 2.23: "a host [...] that is not behind
// a NAT, SHOULD send all packets (including retransmission packets) to the IP
// address and port in the validated packet". The caller vouches that the packet
// is authentic and new.
func (s *SA) follow(now time.Time, local, remote netip.AddrPort) {
	to := s.nat.Path(s.peer, s.path, local, remote)
	if to.Remote == s.path.Remote {
		return
	}
	s.logger().Info("the peer's address changed", "was", s.path.Remote, "is", to.Remote)
	was := s.path.Remote
	s.path = to
	s.name()
	if s.fam.current == s {
		for _, c := range s.fam.children {
			s.env.Owner.Emit(sa.Move{SPIIn: c.sa.SPIIn, Path: s.childPath()})
		}
	}
	s.env.Owner.PeerMoved(now, s, was)
}

// Moved implements sa.Machine.
func (s *SA) Moved(now time.Time, spiIn uint32, remote netip.AddrPort) bool {
	if s.fam.current != s || s.findIn(spiIn) == nil {
		return false
	}
	if s.state == sa.Established {
		s.follow(now, netip.AddrPortFrom(s.path.Local.Addr(), sa.PortNATT), remote)
	}
	return true
}
