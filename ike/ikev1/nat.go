package ikev1

import (
	"crypto/hmac"
	"encoding/binary"
	"io"
	"net/netip"
	"slices"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// NAT traversal, RFC 3947 and its drafts 02 and 03.

// natHash is "HASH(CKY-I | CKY-R | IP | Port). This uses the negotiated HASH
// algorithm" (RFC 3947 section 3.2).
func (s *SA) natHash(prf *sa.PRF, a netip.AddrPort) []byte {
	return prf.Hash(u64(s.spiI), u64(s.spiR), a.Addr().Unmap().AsSlice(), binary.BigEndian.AppendUint16(nil, a.Port()))
}

// natPayloads are our NAT-D payloads, "the remote end's IP address and port" first. With
// encap always our own address is random, so that the peer finds a NAT and encapsulates too.
func (s *SA) natPayloads(p *sa.Peer) []wire.Payload {
	n := s.peerSays.natt
	if n == nil || !p.NATT {
		return nil
	}
	prf, err := sa.NewPRF(s.suite.PRF)
	if err != nil {
		return nil
	}
	src := s.natHash(prf, s.path.Local)
	if p.Encap == sa.EncapAlways {
		io.ReadFull(s.env.Rand, src)
	}
	return []wire.Payload{
		&wire.Raw{Kind: n.natd, Data: s.natHash(prf, s.path.Remote)},
		&wire.Raw{Kind: n.natd, Data: src},
	}
}

// detectNAT compares the addresses in the peer's NAT-D payloads with those of the first exchange. An on-path
// attacker can send a copy of this message first, from an address that would make a NAT of its own.
func (s *SA) detectNAT(ps []wire.Payload) {
	n := s.peerSays.natt
	if n == nil {
		return
	}
	prf, err := sa.NewPRF(s.suite.PRF)
	if err != nil {
		return
	}
	var hashes [][]byte
	for _, p := range ps {
		if r, ok := p.(*wire.Raw); ok && r.Kind == n.natd {
			hashes = append(hashes, r.Data)
		}
	}
	if len(hashes) == 0 {
		return
	}
	s.nat = sa.NAT{Local: !s.natNames(prf, hashes[:1], s.path.Local), Remote: len(hashes) > 1 && !s.natNames(prf, hashes[1:], s.path.Remote)}
}

// natNames reports whether a NAT-D payload names an end. Message 3 of aggressive mode names port 4500, if its sender
// floats.
func (s *SA) natNames(prf *sa.PRF, hashes [][]byte, end netip.AddrPort) bool {
	ends := []netip.AddrPort{end}
	if end.Port() == sa.PortIKE {
		ends = append(ends, netip.AddrPortFrom(end.Addr(), sa.PortNATT))
	}
	return slices.ContainsFunc(ends, func(e netip.AddrPort) bool {
		return slices.ContainsFunc(hashes, func(h []byte) bool { return hmac.Equal(h, s.natHash(prf, e)) })
	})
}

// elsewhere reports whether a message of phase 1 comes from another address than the one that the first message
// came from or went to. Until the peer has keys, nobody can tell the peer's own from a copy but by the address; and an initiator
// takes answers from no other at all. It takes them from either port of IKE: strongSwan, which cannot read message 5 on
// port 4500, says so from port 500.
func (s *SA) elsewhere(d ipsec.Datagram) bool {
	switch {
	case s.state != sa.Connecting:
		return false
	case s.initiator:
		port := d.Remote.Port()
		return d.Remote != s.path.Remote && (d.Remote.Addr() != s.path.Remote.Addr() || port != sa.PortIKE && port != sa.PortNATT)
	}
	return s.keys == nil && d.Remote != s.path.Remote
}

// float moves to port 4500: "the initiator MUST change ports when sending the
// ID payload if there is NAT between the hosts" (section 4).
func (s *SA) float() {
	if s.encap() && sa.Float(&s.path) {
		s.env.Owner.Floated(s)
	}
}

// modes are the encapsulation modes that a quick mode may agree on. The first is the one that we offer.
func (s *SA) modes() []uint16 {
	switch {
	case !s.encap():
		return []uint16{modeTunnel}
	case s.peerSays.natt == nil:
		return []uint16{modeUDP}
	}
	return []uint16{s.peerSays.natt.mode, modeUDP, modeUDPDraft}
}

// childPath is where the packets of a new Child SA go.
func (s *SA) childPath() ipsec.Path { return sa.ChildPath(s.path, s.encap()) }

// follow is section 7: "ends that are NOT behind NAT SHOULD use the last valid
// UDP encapsulated IKE or IPsec packet from the other end to determine which IP and
// port addresses should be used." The caller vouches that the packet is authentic and new.
func (s *SA) follow(now time.Time, local, remote netip.AddrPort) {
	to := s.nat.Path(s.peer, s.path, local, remote)
	if to.Remote == s.path.Remote {
		return
	}
	was := s.path.Remote
	s.log.Info("the peer's address changed", "was", was, "is", to.Remote)
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
	if s.fam.find(spiIn) == nil {
		return false
	}
	if c := s.fam.current; c.state == sa.Established {
		c.follow(now, netip.AddrPortFrom(c.path.Local.Addr(), sa.PortNATT), remote)
	}
	return true
}
