package bgp

import (
	"net/netip"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/types/known/anypb"
)

// What one route may have at most. A message of BGP has 4096 bytes, so an honest child sends no more.
const (
	maxNumbers     = 2048
	maxCommunities = 1024
	maxAttributes  = 256
)

// decode reads one route as GoBGP hands it on. Its text may be a stranger's: what cannot be read is not a route. A route
// whose attributes cannot be read is a withdrawal, as RFC 7606 section 2 has it. The second result is the neighbour
// that told it.
func decode(p *api.Path) (Told, netip.Addr, bool) {
	from, err := netip.ParseAddr(p.GetNeighborIp())
	if err != nil {
		return Told{}, netip.Addr{}, false
	}
	prefix, ok := decodePrefix(p.GetNlri())
	// GoBGP writes ::ffff:192.0.2.0 as 192.0.2.0.
	if !ok || prefix.Addr().Is4() != (p.GetFamily().GetAfi() == api.Family_AFI_IP) {
		return Told{}, netip.Addr{}, false
	}
	t := Told{Prefix: prefix, Withdrawn: p.GetIsWithdraw()}
	if !t.Withdrawn && (!t.attributes(p.GetPattrs()) || !t.Next.IsValid()) {
		return Told{Prefix: prefix, Withdrawn: true}, from, true
	}
	return t, from, true
}

// endOf reports whether p is an End-of-RIB, and whose.
func endOf(p *api.Path) (netip.Addr, bool) {
	if p.GetNlri() != nil {
		return netip.Addr{}, false
	}
	from, err := netip.ParseAddr(p.GetNeighborIp())
	return from, err == nil
}

func decodePrefix(a *anypb.Any) (netip.Prefix, bool) {
	var n api.IPAddressPrefix
	if a == nil || a.UnmarshalTo(&n) != nil {
		return netip.Prefix{}, false
	}
	addr, err := netip.ParseAddr(n.Prefix)
	if err != nil || addr.Zone() != "" || n.PrefixLen > uint32(addr.BitLen()) {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, int(n.PrefixLen)).Masked(), true
}

// attributes reads a route's attributes into t.
func (t *Told) attributes(list []*anypb.Any) bool {
	if len(list) > maxAttributes {
		return false
	}
	for _, a := range list {
		switch a.MessageName() {
		case "apipb.OriginAttribute":
			var v api.OriginAttribute
			if a.UnmarshalTo(&v) != nil || v.Origin > 2 {
				return false
			}
			t.Origin = uint8(v.Origin)
		case "apipb.AsPathAttribute":
			var v api.AsPathAttribute
			if a.UnmarshalTo(&v) != nil || !t.path(v.Segments) {
				return false
			}
		case "apipb.NextHopAttribute":
			var v api.NextHopAttribute
			if a.UnmarshalTo(&v) != nil || !t.next(v.NextHop) {
				return false
			}
		case "apipb.MpReachNLRIAttribute":
			var v api.MpReachNLRIAttribute
			if a.UnmarshalTo(&v) != nil || len(v.NextHops) == 0 || !t.next(v.NextHops[0]) {
				return false
			}
		case "apipb.MultiExitDiscAttribute":
			var v api.MultiExitDiscAttribute
			if a.UnmarshalTo(&v) != nil {
				return false
			}
			t.MED = v.Med
		case "apipb.LocalPrefAttribute":
			var v api.LocalPrefAttribute
			if a.UnmarshalTo(&v) != nil {
				return false
			}
			t.LocalPref = v.LocalPref
		case "apipb.CommunitiesAttribute":
			var v api.CommunitiesAttribute
			if a.UnmarshalTo(&v) != nil || len(v.Communities) > maxCommunities {
				return false
			}
			t.Communities = v.Communities
		}
	}
	return true
}

func (t *Told) path(segments []*api.AsSegment) bool {
	t.Path = nil
	for _, s := range segments {
		numbers := s.GetNumbers()
		if s.GetType() != api.AsSegment_AS_SEQUENCE {
			numbers = []uint32{0}
		}
		if len(t.Path)+len(numbers) > maxNumbers {
			return false
		}
		t.Path = append(t.Path, numbers...)
	}
	return true
}

func (t *Told) next(s string) bool {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return false
	}
	t.Next = a.Unmap()
	return true
}
