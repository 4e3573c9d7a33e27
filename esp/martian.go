package esp

import (
	"net/netip"
	"slices"
)

// A peer may use what its selectors cover, and for some that is every address. Three kinds stay out all the same,
// because they would make a packet pass for one of this host itself, and Linux lets some of them in from a TUN: loopback
// as a destination where route_localnet is set, as container networks do; an IPv4 address in an IPv6 header
// (::ffff:0:0/96), which a program that serves both takes for that IPv4 address; our own IPv6 addresses as a
// source. No address of a group, nor none at all, is a source (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.2).

// martian reports whether the addresses of f have no place in a packet that comes in, whoever sent it.
func (f *flow) martian() bool {
	if f.v6 {
		return !f.src.unicast(true) || f.src.mapped() || f.dst.mapped() || f.dst == addr{lo: 1}
	}
	src := f.src.lo >> 24
	return src == 0 || src == 127 || src>>4 == 14 || f.src.lo == 1<<32-1 || f.dst.lo>>24 == 127
}

// mapped reports whether a is an IPv4 address in IPv6 form.
func (a addr) mapped() bool { return a.hi == 0 && a.lo>>32 == 0xffff }

func (a addr) compare(b addr) int {
	switch {
	case a.less(b):
		return -1
	case b.less(a):
		return 1
	}
	return 0
}

// ownAddresses are this host's addresses in either family, in order. Those of an inbound SA are the ones that its
// selectors let the peer use; as a rule there are none.
type ownAddresses [2][]addr

func (o *ownAddresses) has(f *flow) bool {
	list := o[0]
	if f.v6 {
		list = o[1]
	}
	if len(list) == 0 {
		return false
	}
	_, found := slices.BinarySearchFunc(list, f.src, addr.compare)
	return found
}

// within are the addresses of o that some selector covers.
func (o *ownAddresses) within(ss []selector) (in ownAddresses) {
	for family, list := range o {
		for _, a := range list {
			if slices.ContainsFunc(ss, func(s selector) bool {
				return s.v6 == (family == 1) && !a.less(s.start) && !s.end.less(a)
			}) {
				in[family] = append(in[family], a)
			}
		}
	}
	return in
}

// SetOwn tells the plane this host's addresses: no packet comes in from them.
func (p *Plane) SetOwn(addresses []netip.Addr) {
	var own ownAddresses
	for _, a := range addresses {
		family := 0
		if a = a.Unmap(); a.Is6() {
			family = 1
		}
		own[family] = append(own[family], addrOf(a))
	}
	for _, list := range own {
		slices.SortFunc(list, addr.compare)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.own = own
	for _, t := range p.tunnels {
		for _, pr := range t.pairs {
			in := own.within(pr.in.remote)
			p.receiving.Lock()
			pr.in.own = in
			p.receiving.Unlock()
		}
	}
}
