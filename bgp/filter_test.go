package bgp

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vpngw/config"
	"vpngw/diag"
)

func TestFilter(t *testing.T) {
	six := func(s *Session) {
		s.Local, s.Remote, s.Inside = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2"), pfx("fd00::/64")
	}
	inner := func(s *Session) { s.RemoteASN = s.LocalASN }
	accept := func(list ...string) func(*Session) {
		return func(s *Session) { s.Accept = parsePrefixes(list...) }
	}
	alibaba := func(s *Session) { s.Never = parsePrefixes("100.64.0.0/10", "0.0.0.0/0") }
	for _, c := range []struct {
		name   string
		prefix string
		with   func(*Session)
		path   []uint32 // nil: the peer's AS
		next   string   // empty: the peer
		want   string   // in the cause's details; empty: accepted
	}{
		{name: "a plain route", prefix: "10.1.0.0/16"},
		{name: "a host route", prefix: "10.1.2.3/32"},
		{name: "an IPv6 route", prefix: "2001:db8:1::/48", with: six},
		{name: "documentation prefixes pass", prefix: "198.51.100.0/24"},
		{name: "host bits", prefix: "10.1.0.1/16", want: "host bits"},
		{name: "this network", prefix: "0.1.0.0/16", want: "0.0.0.0/8"},
		{name: "loopback", prefix: "127.0.0.0/8", want: "127.0.0.0/8"},
		{name: "link-local", prefix: "169.254.0.0/16", want: "169.254.0.0/16"},
		{name: "the tunnel's network", prefix: "169.254.10.0/30", want: "169.254.0.0/16"},
		{name: "multicast", prefix: "239.0.0.0/8", want: "224.0.0.0/3"},
		{name: "reserved", prefix: "240.0.0.0/4", want: "224.0.0.0/3"},
		{name: "broadcast", prefix: "255.255.255.255/32", want: "224.0.0.0/3"},
		{name: "IPv6 loopback", prefix: "::1/128", with: six, want: "::/32"},
		{name: "IPv4-mapped", prefix: "::ffff:0:0/96", with: six, want: "host bits"},
		{name: "IPv6 link-local", prefix: "fe80::/64", with: six, want: "fe80::/10"},
		{name: "IPv6 multicast", prefix: "ff0e::/16", with: six, want: "ff00::/8"},
		{name: "NAT64 is no martian", prefix: "64:ff9b::/96", with: six},
		{name: "our network", prefix: "10.66.0.0/16", want: "our own network"},
		{name: "inside our network", prefix: "10.66.7.0/24", want: "our own network"},
		{name: "holds our network", prefix: "10.0.0.0/8"},
		{name: "we are everywhere", prefix: "10.1.0.0/16", with: func(s *Session) { s.Own = parsePrefixes("0.0.0.0/0") }},
		{name: "the peer is everywhere, too", prefix: "0.0.0.0/0", with: func(s *Session) { s.Own = parsePrefixes("0.0.0.0/0"); accept("0.0.0.0/0")(s) }, want: "our own network"},
		{name: "the tunnel's network of native", prefix: "10.255.0.2/32", with: func(s *Session) { s.Inside = pfx("10.255.0.1/30") }, want: "the tunnel's own"},
		{name: "no path", prefix: "10.1.0.0/16", path: []uint32{}, want: "empty AS path"},
		{name: "no path in iBGP", prefix: "10.1.0.0/16", path: []uint32{}, with: inner},
		{name: "another first AS", prefix: "10.1.0.0/16", path: []uint32{65009, 65002}, want: "AS 65009"},
		{name: "another first AS in iBGP", prefix: "10.1.0.0/16", path: []uint32{65009}, with: inner},
		{name: "a set first", prefix: "10.1.0.0/16", path: []uint32{0, 65002}, want: "AS 0"},
		{name: "our AS in the path", prefix: "10.1.0.0/16", path: []uint32{65002, 65001}, want: "our AS 65001"},
		{name: "our AS in iBGP's path", prefix: "10.1.0.0/16", path: []uint32{65001}, with: inner, want: "our AS 65001"},
		{name: "four octets", prefix: "10.1.0.0/16", path: []uint32{4200000000, 7}, with: func(s *Session) { s.RemoteASN = 4200000000 }},
		{name: "a long path", prefix: "10.1.0.0/16", path: slices.Repeat([]uint32{65002}, 257), want: "at most 256"},
		{name: "a path that just fits", prefix: "10.1.0.0/16", path: slices.Repeat([]uint32{65002}, 256)},
		{name: "another next hop", prefix: "10.1.0.0/16", next: "10.1.0.1", want: "the next hop 10.1.0.1"},
		{name: "our address as next hop", prefix: "10.1.0.0/16", next: "169.254.10.1", want: "the next hop 169.254.10.1"},
		{name: "a mapped next hop", prefix: "2001:db8:1::/48", next: "::ffff:169.254.10.2"},
		{name: "another mapped next hop", prefix: "2001:db8:1::/48", next: "::ffff:169.254.10.3", want: "the next hop"},
		{name: "a link-local next hop", prefix: "2001:db8:1::/48", next: "fe80::2", with: six},
		{name: "an IPv4 link-local next hop", prefix: "10.1.0.0/16", next: "169.254.10.3", want: "the next hop"},
		{name: "another IPv6 next hop", prefix: "2001:db8:1::/48", next: "fd00::3", with: six, want: "the next hop fd00::3"},
		{name: "default", prefix: "0.0.0.0/0", want: "default route"},
		{name: "default of IPv6", prefix: "::/0", with: six, want: "default route"},
		{name: "default, named", prefix: "0.0.0.0/0", with: accept("0.0.0.0/0")},
		{name: "half of everything", prefix: "128.0.0.0/1", want: "outer address"},
		{name: "holds the outer address", prefix: "203.0.113.0/24", want: "outer address"},
		{name: "holds the outer address, named", prefix: "203.0.113.0/24", with: accept("203.0.113.0/24")},
		{name: "holds the outer address, within what is named", prefix: "203.0.113.0/24", with: accept("203.0.0.0/16"), want: "outer address"},
		{name: "accepted by name", prefix: "10.1.0.0/16", with: accept("10.2.0.0/16", "10.1.0.0/16")},
		{name: "within what is accepted", prefix: "10.1.2.0/24", with: accept("10.1.0.0/16")},
		{name: "wider than what is accepted", prefix: "10.0.0.0/8", with: accept("10.1.0.0/16"), want: "`accept`"},
		{name: "not what is accepted", prefix: "10.3.0.0/16", with: accept("10.1.0.0/16"), want: "`accept`"},
		{name: "a cloud: a plain route", prefix: "10.1.0.0/16", with: alibaba},
		{name: "a cloud: the same", prefix: "100.64.0.0/10", with: alibaba, want: "100.64.0.0/10"},
		{name: "a cloud: within", prefix: "100.100.0.0/16", with: alibaba, want: "100.64.0.0/10"},
		{name: "a cloud: holds it", prefix: "100.0.0.0/8", with: alibaba, want: "100.64.0.0/10"},
		{name: "a cloud: default, though named", prefix: "0.0.0.0/0", with: func(s *Session) { alibaba(s); accept("0.0.0.0/0")(s) }, want: "overlaps"},
		{name: "a customer accepts it", prefix: "100.64.0.0/10"},
	} {
		s := plain("t1", 10)
		if c.with != nil {
			c.with(&s)
		}
		r := Told{Prefix: pfx(c.prefix), Next: s.Remote, Path: []uint32{s.RemoteASN}}
		if s.LocalASN == s.RemoteASN {
			r.Path = nil
		}
		if c.path != nil {
			r.Path = c.path
		}
		if c.next != "" {
			r.Next = netip.MustParseAddr(c.next)
		}
		got := refuses(&s, &r)
		if c.want == "" {
			if !got.OK() {
				t.Errorf("%s: %s is refused: %s, %s", c.name, c.prefix, got.Ours, got.Theirs)
			}
			continue
		}
		if !got.Is(diag.BGPPrefixRefused) || got.Prefix != r.Prefix || !strings.Contains(got.Ours+" | "+got.Theirs, c.want) {
			t.Errorf("%s: %s gives %q: expected %q, came %q; want %q in it", c.name, c.prefix, got.Code, got.Ours, got.Theirs, c.want)
		}
	}
}

// An accepted route is a network that a route can be made of, comes from the peer, and overlaps nothing of the tunnel's.
func FuzzFilter(f *testing.F) {
	f.Add([]byte{10, 1, 0, 0}, 16, []byte{169, 254, 10, 2}, []byte{0, 0, 0xfd, 0xea}, false)
	f.Add([]byte{0, 0, 0, 0}, 0, []byte{169, 254, 10, 2}, []byte{0, 0, 0xfd, 0xea}, true)
	f.Add([]byte{203, 0, 113, 0}, 24, []byte{169, 254, 10, 2}, []byte{0, 0, 0xfd, 0xea, 0, 0, 0xfd, 0xe9}, true)
	f.Add(make([]byte, 16), 128, make([]byte, 16), []byte{}, false)
	f.Fuzz(func(t *testing.T, addr []byte, bits int, next, path []byte, list bool) {
		a, _ := netip.AddrFromSlice(addr)
		n, _ := netip.AddrFromSlice(next)
		r := Told{Prefix: netip.PrefixFrom(a, bits), Next: n}
		for len(path) >= 4 {
			r.Path = append(r.Path, binary.BigEndian.Uint32(path))
			path = path[4:]
		}
		s := plain("t1", 10)
		s.Never = parsePrefixes("100.64.0.0/10")
		if list {
			s.Accept = parsePrefixes("10.0.0.0/8", "0.0.0.0/0", "2000::/3")
		}
		c := refuses(&s, &r)
		if !c.OK() {
			return
		}
		p := r.Prefix
		switch {
		case !p.IsValid(), p.Masked() != p, p.Addr().IsLoopback(), p.Addr().IsMulticast(), p.Addr().IsLinkLocalUnicast():
			t.Errorf("%v is accepted", p)
		case p.Addr().Is4() && n.Unmap() != s.Remote:
			t.Errorf("%v is accepted by %v", p, n)
		case len(r.Path) == 0, r.Path[0] != s.RemoteASN, slices.Contains(r.Path, s.LocalASN):
			t.Errorf("%v is accepted with path %v", p, r.Path)
		case p.Bits() == 0 && !list, p.Contains(s.Outer[0]) && p.Bits() != 0, p.Overlaps(s.Never[0]):
			t.Errorf("%v is accepted", p)
		case p.Addr().Is4() && p.Bits() >= 16 && s.Own[0].Contains(p.Addr()):
			t.Errorf("%v is accepted, though it is ours", p)
		}
	})
}

func BenchmarkFilter(b *testing.B) {
	s := plain("t1", 10)
	s.BGP = config.BGP{Accept: parsePrefixes("10.0.0.0/8")}
	r := Told{Prefix: pfx("10.1.0.0/16"), Next: s.Remote, Path: []uint32{65002, 7, 8}}
	b.ReportAllocs()
	for b.Loop() {
		if c := refuses(&s, &r); !c.OK() {
			b.Fatal(c)
		}
	}
}
