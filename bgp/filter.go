package bgp

import (
	"net/netip"
	"slices"
	"strconv"

	"vpngw/diag"
)

// martians are never accepted and never told, by RFC 6890 §2.2: blocks that are for one host or one link, multicast
// and reserved ones. Documentation prefixes are not among them: they harm nobody inside a VPN, and labs are built of
// them. ::/32 holds the unspecified, the loopback, the IPv4-mapped and the IPv4-compatible addresses, and not 64:ff9b::/96.
var martians = parsePrefixes(
	"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3",
	"::/32", "fe80::/10", "ff00::/8",
)

// maxPath is how many AS numbers a path may have. The Internet's longest have some dozens.
const maxPath = 256

func parsePrefixes(s ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// contains reports whether p is q or holds it.
func contains(p, q netip.Prefix) bool { return p.Bits() <= q.Bits() && p.Contains(q.Addr()) }

// within returns the first of list that is p or holds it; false: none does.
func within(p netip.Prefix, list []netip.Prefix) (netip.Prefix, bool) {
	i := slices.IndexFunc(list, func(q netip.Prefix) bool { return contains(q, p) })
	if i < 0 {
		return netip.Prefix{}, false
	}
	return list[i], true
}

// ours returns the first of list that p is, or is within. A default route there means only itself: behind a gateway
// to everywhere the peer's networks are not its own.
func ours(p netip.Prefix, list []netip.Prefix) (netip.Prefix, bool) {
	i := slices.IndexFunc(list, func(q netip.Prefix) bool { return p == q || !isDefault(q) && contains(q, p) })
	if i < 0 {
		return netip.Prefix{}, false
	}
	return list[i], true
}

func isDefault(p netip.Prefix) bool { return p.Bits() == 0 }

// touched returns the first of list that p may not have to do with: it is p, holds it or is held by it.
func touched(p netip.Prefix, list []netip.Prefix) (netip.Prefix, bool) {
	i := slices.IndexFunc(list, func(q netip.Prefix) bool {
		if isDefault(q) {
			return p == q
		}
		return contains(q, p) || contains(p, q)
	})
	if i < 0 {
		return netip.Prefix{}, false
	}
	return list[i], true
}

// wellFormed reports whether p is a network: valid, without host bits, of a plain family.
func wellFormed(p netip.Prefix) bool {
	return p.IsValid() && p == p.Masked() && !p.Addr().Is4In6()
}

// refusal is the cause of a prefix that is not accepted: what is expected and what came.
func refusal(s *Session, p netip.Prefix, expected, came string) diag.Cause {
	return diag.Cause{Code: diag.BGPPrefixRefused, Name: s.Tunnel, Prefix: p, Ours: expected, Theirs: came}
}

// refuses says why a route that the session's peer tells is not accepted; the zero Cause: it is. The number of
// prefixes is not judged here. It is a pure function, and costs no allocation for a route that is accepted.
func refuses(s *Session, t *Told) diag.Cause {
	p := t.Prefix
	if !wellFormed(p) {
		return refusal(s, p, "a network without host bits", "a malformed prefix")
	}
	if q, ok := within(p, martians); ok {
		return refusal(s, p, "a prefix that can be routed", "one inside "+q.String())
	}
	// What holds a network of ours is legitimate: the more specific route wins here.
	if q, ok := ours(p, s.Own); ok {
		return refusal(s, p, "networks of the peer", "one inside our own network "+q.String())
	}
	if s.Inside.IsValid() && contains(s.Inside.Masked(), p) {
		return refusal(s, p, "networks of the peer", "one inside the tunnel's own "+s.Inside.Masked().String())
	}
	if q, ok := touched(p, s.Never); ok {
		return refusal(s, p, "nothing that overlaps "+q.String(), "")
	}
	if c := refusesPath(s, t); !c.OK() {
		return c
	}
	if !nextHop(s, p, t.Next) {
		return refusal(s, p, "the next hop "+s.Remote.String(), "the next hop "+t.Next.String())
	}
	named := slices.Contains(s.Accept, p)
	if isDefault(p) && !named {
		return refusal(s, p, "a default route only where `accept` names it", "")
	}
	if !named {
		for _, o := range s.Outer {
			if p.Contains(o.Unmap()) {
				return refusal(s, p, "a prefix that holds the peer's outer address only where `accept` names it", "one that holds "+o.Unmap().String())
			}
		}
		if _, ok := within(p, s.Accept); !ok && len(s.Accept) > 0 {
			return refusal(s, p, "what `accept` lists", "")
		}
	}
	return diag.Cause{}
}

// refusesPath judges the AS path: the peer's AS comes first (RFC 4271 §6.3, where it is eBGP), ours is not in it (§9.1.2).
func refusesPath(s *Session, t *Told) diag.Cause {
	if len(t.Path) > maxPath {
		return refusal(s, t.Prefix, "at most "+strconv.Itoa(maxPath)+" AS numbers in the path", strconv.Itoa(len(t.Path)))
	}
	if !s.internal() && len(t.Path) == 0 {
		return refusal(s, t.Prefix, "a path that begins with AS "+asn(s.RemoteASN), "an empty AS path")
	}
	if !s.internal() && t.Path[0] != s.RemoteASN {
		return refusal(s, t.Prefix, "a path that begins with AS "+asn(s.RemoteASN), "AS "+asn(t.Path[0]))
	}
	if slices.Contains(t.Path, s.LocalASN) {
		return refusal(s, t.Prefix, "a path without our AS "+asn(s.LocalASN), "one with it")
	}
	return diag.Cause{}
}

func asn(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// nextHop reports whether packets for a route go to the peer itself. In IPv6 it may say so by a link-local
// address (RFC 2545 §3), which can only be on the tunnel's link.
func nextHop(s *Session, p netip.Prefix, next netip.Addr) bool {
	next = next.WithZone("")
	if next.Unmap() == s.Remote.WithZone("") {
		return true
	}
	return p.Addr().Is6() && next.Is6() && !next.Is4In6() && next.IsLinkLocalUnicast()
}
