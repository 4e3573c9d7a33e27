package ikev1

import (
	"fmt"
	"net/netip"

	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// selectorID makes the body of an ID payload of a traffic selector (RFC 2407 section
// 4.6.2.1): an address, a subnet, or else a range. It is false when phase 2 cannot express it.
func selectorID(s ipsec.Selector) ([]byte, bool) {
	p := &wire.ID1{Protocol: s.Protocol}
	switch {
	case s.StartPort == 0 && s.EndPort == 65535:
	case s.StartPort == s.EndPort && s.StartPort != 0:
		p.Port = s.StartPort
	default:
		return nil, false // IKEv1 has one port or all
	}
	kinds := [3]ipsec.IDType{ipsec.IDIPv4, wire.IDIPv4Subnet, wire.IDIPv4Range}
	if s.Start.Is6() {
		kinds = [3]ipsec.IDType{ipsec.IDIPv6, wire.IDIPv6Subnet, wire.IDIPv6Range}
	}
	ps := s.Prefixes()
	switch {
	case len(ps) == 1 && ps[0].IsSingleIP():
		p.Kind, p.Data = kinds[0], s.Start.AsSlice()
	case len(ps) == 1:
		p.Kind, p.Data = kinds[1], append(s.Start.AsSlice(), mask(ps[0])...)
	default:
		p.Kind, p.Data = kinds[2], append(s.Start.AsSlice(), s.End.AsSlice()...)
	}
	return p.Body(), true
}

// mask is a prefix length as a netmask.
func mask(p netip.Prefix) []byte {
	m := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

// idPayload is a payload with a body that selectorID made.
func idPayload(body []byte) wire.Payload { return &wire.Raw{Kind: wire.TypeID1, Data: body} }

// hereAndThere is a pair of selectors for a sentence.
func hereAndThere(local, remote ipsec.Selector) string {
	return fmt.Sprintf("%v here and %v there", local, remote)
}

// saidSelectors are the selectors in an answer to our quick mode, for a sentence.
func saidSelectors(m *message) string {
	var out []ipsec.Selector
	for _, p := range m.Payloads {
		if p, ok := p.(*wire.ID1); ok {
			s, ok := idSelector(p)
			if !ok {
				return fmt.Sprintf("an ID payload of type %d", p.Kind)
			}
			out = append(out, s)
		}
	}
	return hereAndThere(out[0], out[len(out)-1])
}

// idSelector is the traffic selector of an ID payload; false: it is none.
func idSelector(p *wire.ID1) (ipsec.Selector, bool) {
	s := ipsec.Selector{Protocol: p.Protocol, EndPort: 65535}
	if p.Port != 0 {
		s.StartPort, s.EndPort = p.Port, p.Port
	}
	half := len(p.Data) / 2
	switch p.Kind {
	case ipsec.IDIPv4, ipsec.IDIPv6:
		s.Start, _ = netip.AddrFromSlice(p.Data)
		s.End = s.Start
	case wire.IDIPv4Subnet, wire.IDIPv6Subnet:
		a, _ := netip.AddrFromSlice(p.Data[:half])
		bits, ok := prefixLength(p.Data[half:])
		if !ok {
			return s, false
		}
		sub := ipsec.SelectorOf(netip.PrefixFrom(a, bits))
		s.Start, s.End = sub.Start, sub.End
	case wire.IDIPv4Range, wire.IDIPv6Range:
		s.Start, _ = netip.AddrFromSlice(p.Data[:half])
		s.End, _ = netip.AddrFromSlice(p.Data[half:])
	default:
		return s, false
	}
	return s, s.Valid() && !s.Start.Is4In6() && !s.End.Is4In6()
}

// prefixLength is the prefix length of a netmask; false: a zero is followed by a one.
func prefixLength(m []byte) (int, bool) {
	n, zero := 0, false
	for i := range 8 * len(m) {
		if m[i/8]&(0x80>>(i%8)) == 0 {
			zero = true
		} else if n++; zero {
			return 0, false
		}
	}
	return n, true
}

// implied reports whether a quick mode without ID payloads means these selectors: "the identities of the SAs negotiated in Quick Mode are implicitly assumed
// to be the IP addresses of the ISAKMP peers" (RFC 2409 section 5.5).
func (s *SA) implied(local, remote ipsec.Selector) bool {
	l, r := s.hosts()
	return local == l && remote == r
}

func (s *SA) hosts() (local, remote ipsec.Selector) {
	host := func(a netip.Addr) ipsec.Selector {
		return ipsec.Selector{Start: a.Unmap(), End: a.Unmap(), EndPort: 65535}
	}
	return host(s.path.Local.Addr()), host(s.path.Remote.Addr())
}
