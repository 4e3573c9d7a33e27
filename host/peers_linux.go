package host

import (
	"net/netip"
	"slices"
)

// peers are the outer addresses of all owners. Two questions take the same time
// for any number of peers: whether a prefix contains a peer, and which prefixes
// contain one.
type peers struct {
	owners  map[netip.Addr]int   // how many owners name an address
	within  map[netip.Prefix]int // how many addresses a prefix contains, for prefixes of the lengths below
	lengths [2][]int             // the prefix lengths of all earlier questions, of IPv4 and IPv6
}

func newPeers() peers {
	return peers{owners: make(map[netip.Addr]int), within: make(map[netip.Prefix]int)}
}

// contain reports whether a prefix contains a peer.
func (p *peers) contain(prefix netip.Prefix) bool {
	lengths := p.lengthsOf(prefix.Addr())
	if !slices.Contains(*lengths, prefix.Bits()) {
		*lengths = append(*lengths, prefix.Bits())
		for a := range p.owners {
			if a.Is4() == prefix.Addr().Is4() {
				p.within[around(a, prefix.Bits())]++
			}
		}
	}
	return p.within[prefix] > 0
}

// add counts one more owner of a. It returns the prefixes that contain a peer
// from now on and may not have before.
func (p *peers) add(a netip.Addr) []netip.Prefix {
	p.owners[a]++
	if p.owners[a] > 1 {
		return nil
	}
	return p.count(a, 1)
}

// remove undoes an add, and returns the prefixes that may contain a peer no longer.
func (p *peers) remove(a netip.Addr) []netip.Prefix {
	p.owners[a]--
	if p.owners[a] > 0 {
		return nil
	}
	delete(p.owners, a)
	return p.count(a, -1)
}

func (p *peers) count(a netip.Addr, by int) (prefixes []netip.Prefix) {
	for _, bits := range *p.lengthsOf(a) {
		prefix := around(a, bits)
		if p.within[prefix] += by; p.within[prefix] == 0 {
			delete(p.within, prefix)
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes
}

func (p *peers) lengthsOf(a netip.Addr) *[]int { return &p.lengths[family(a)] }

// around is the prefix of a length that contains an address.
func around(a netip.Addr, bits int) netip.Prefix { return netip.PrefixFrom(a, bits).Masked() }
