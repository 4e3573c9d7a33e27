package esp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"vpngw/ipsec"
)

// sel reads "10.2.0.0/16", "10.2.0.1-10.2.0.9", with "/6", "/6/80" or "/6/80-90" or "/17/opaque" behind a space.
func sel(t testing.TB, s string) ipsec.Selector {
	t.Helper()
	var addrs, limits string
	fmt.Sscan(s, &addrs, &limits)
	out := ipsec.Selector{EndPort: 65535}
	if start, end, ok := strings.Cut(addrs, "-"); ok {
		out.Start, out.End = netip.MustParseAddr(start), netip.MustParseAddr(end)
	} else {
		out = ipsec.SelectorOf(netip.MustParsePrefix(addrs))
	}
	if limits == "" {
		return out
	}
	if n, _ := fmt.Sscanf(limits, "/%d/%d-%d", &out.Protocol, &out.StartPort, &out.EndPort); n == 2 {
		out.EndPort = out.StartPort
	}
	if strings.HasSuffix(limits, "/opaque") {
		out.StartPort, out.EndPort = 65535, 0
	}
	return out
}

func sels(t testing.TB, ss ...string) []ipsec.Selector {
	out := make([]ipsec.Selector, len(ss))
	for i, s := range ss {
		out[i] = sel(t, s)
	}
	return out
}

// selOnly is an outbound SA that has nothing but selectors.
func selOnly(t testing.TB, order uint64, local, remote []ipsec.Selector) *outbound {
	t.Helper()
	l, err := compile(local)
	if err != nil {
		t.Fatal(err)
	}
	r, err := compile(remote)
	if err != nil {
		t.Fatal(err)
	}
	return &outbound{order: order, local: l, remote: r}
}

func TestMostSpecificThenNewest(t *testing.T) {
	type sa struct{ local, remote []string }
	one := func(local, remote string) sa { return sa{[]string{local}, []string{remote}} }
	tcp := func(from, to string, sport, dport uint16) flow {
		f := flow{protocol: protoTCP, ports: twoPorts, sport: sport, dport: dport}
		f.src, f.dst = addrOf(netip.MustParseAddr(from)), addrOf(netip.MustParseAddr(to))
		f.v6 = netip.MustParseAddr(from).Is6()
		return f
	}
	for _, tt := range []struct {
		name string
		sas  []sa // the oldest first
		f    flow
		want int // -1: none
	}{
		{"covered", []sa{one("10.1.0.0/16", "10.2.0.0/16")}, tcp("10.1.0.1", "10.2.0.1", 1, 2), 0},
		{"other source", []sa{one("10.1.0.0/16", "10.2.0.0/16")}, tcp("10.3.0.1", "10.2.0.1", 1, 2), -1},
		{"other destination", []sa{one("10.1.0.0/16", "10.2.0.0/16")}, tcp("10.1.0.1", "10.3.0.1", 1, 2), -1},
		{"other family", []sa{one("0.0.0.0/0", "0.0.0.0/0")}, tcp("::a01:1", "::a02:1", 1, 2), -1},
		{"newest", []sa{one("10.1.0.0/16", "10.2.0.0/16"), one("10.1.0.0/16", "10.2.0.0/16")}, tcp("10.1.0.1", "10.2.0.1", 1, 2), 1},
		{"narrower remote, older", []sa{one("10.1.0.0/16", "10.2.0.0/24"), one("10.1.0.0/16", "10.2.0.0/16")}, tcp("10.1.0.1", "10.2.0.1", 1, 2), 0},
		{"narrower remote does not cover", []sa{one("10.1.0.0/16", "10.2.0.0/24"), one("10.1.0.0/16", "10.2.0.0/16")}, tcp("10.1.0.1", "10.2.9.1", 1, 2), 1},
		{"narrower local, older", []sa{one("10.1.0.0/24", "10.2.0.0/16"), one("10.1.0.0/16", "10.2.0.0/16")}, tcp("10.1.0.1", "10.2.0.1", 1, 2), 0},
		{"remote before local", []sa{one("10.1.0.0/16", "10.2.0.0/24"), one("10.1.0.1/32", "10.2.0.0/16")}, tcp("10.1.0.1", "10.2.0.1", 1, 2), 0},
		{"a port, older", []sa{one("10.1.0.0/16", "10.2.0.0/16 /6/80"), one("10.1.0.0/16", "10.2.0.0/16")}, tcp("10.1.0.1", "10.2.0.1", 1, 80), 0},
		{"another port", []sa{one("10.1.0.0/16", "10.2.0.0/16 /6/80"), one("10.1.0.0/16", "10.2.0.0/16")}, tcp("10.1.0.1", "10.2.0.1", 1, 81), 1},
		{"source port", []sa{one("10.1.0.0/16 /6/70-90", "10.2.0.0/16")}, tcp("10.1.0.1", "10.2.0.1", 80, 1), 0},
		{"a protocol, older", []sa{one("10.1.0.0/16", "10.2.0.0/16 /6"), one("10.1.0.0/16", "10.2.0.0/16")}, tcp("10.1.0.1", "10.2.0.1", 1, 2), 0},
		{"another protocol", []sa{one("10.1.0.0/16", "10.2.0.0/16 /17")}, tcp("10.1.0.1", "10.2.0.1", 1, 2), -1},
		{"a range beats the prefix around it", []sa{one("0.0.0.0/0", "10.2.0.1-10.2.0.100"), one("0.0.0.0/0", "10.2.0.0/24")}, tcp("10.1.0.1", "10.2.0.77", 1, 2), 0},
		{"a list", []sa{{[]string{"10.1.0.0/16", "10.9.0.0/16"}, []string{"10.2.0.0/16", "10.8.0.0/16"}}}, tcp("10.9.0.1", "10.8.0.1", 1, 2), 0},
		{"IPv6", []sa{one("fd01::/16", "fd02::/16"), one("fd01::/64", "fd02::/64")}, tcp("fd01::1", "fd02:0:0:1::1", 1, 2), 0},
		{"everything", []sa{one("0.0.0.0/0", "0.0.0.0/0")}, tcp("255.255.255.255", "0.0.0.0", 1, 2), 0},
	} {
		var outs []*outbound
		for i, s := range tt.sas {
			outs = append(outs, selOnly(t, uint64(i), sels(t, s.local...), sels(t, s.remote...)))
		}
		got := -1
		if o := new(spd).change(outs, nil).lookup(&tt.f); o != nil {
			got = int(o.order)
		}
		if got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

// RFC 4301 sections 4.4.1.1 and 7.
func TestPacketsWithoutPorts(t *testing.T) {
	any, port, opaque := sel(t, "10.2.0.0/16 /17"), sel(t, "10.2.0.0/16 /17/53"), sel(t, "10.2.0.0/16 /17/opaque")
	icmp := sel(t, "10.2.0.0/16 /1/2048") // echo request
	icmpOpaque := sel(t, "10.2.0.0/16 /1/opaque")
	a := addrOf(host(false, 2, 1))
	whole := flow{protocol: protoUDP, ports: twoPorts, sport: 53, dport: 53, src: a, dst: a}
	later := flow{protocol: protoUDP, src: a, dst: a}
	echo := flow{protocol: protoICMP, ports: onePort, sport: 8 << 8, src: a, dst: a}
	reply := flow{protocol: protoICMP, ports: onePort, sport: 0, src: a, dst: a}
	for _, tt := range []struct {
		name        string
		s           ipsec.Selector
		f           flow
		source, dst bool
	}{
		{"any, whole", any, whole, true, true},
		{"any, later fragment", any, later, true, true},
		{"port, whole", port, whole, true, true},
		{"port, later fragment", port, later, false, false},
		{"opaque, whole", opaque, whole, false, false},
		{"opaque, later fragment", opaque, later, true, true},
		{"type, the same", icmp, echo, true, true},
		{"type, another", icmp, reply, false, false},
		{"opaque, a type: sent by the other end only", icmpOpaque, echo, false, true},
	} {
		c, err := compile([]ipsec.Selector{tt.s})
		if err != nil {
			t.Fatal(err)
		}
		if got := c[0].source(&tt.f); got != tt.source {
			t.Errorf("%s: source %v", tt.name, got)
		}
		if got := c[0].destination(&tt.f); got != tt.dst {
			t.Errorf("%s: destination %v", tt.name, got)
		}
	}
}

func TestSelectorsThatAreNotValidAreRefused(t *testing.T) {
	good := sel(t, "10.2.0.0/16")
	backwards := ipsec.Selector{Start: good.End, End: good.Start, EndPort: 65535}
	mixed := ipsec.Selector{Start: good.Start, End: netip.MustParseAddr("fd00::"), EndPort: 65535}
	for _, ss := range [][]ipsec.Selector{nil, {{}}, {good, backwards}, {mixed}} {
		if _, err := compile(ss); err == nil {
			t.Errorf("%v: no error", ss)
		}
	}
}

// naive is the lookup by its definition.
func naive(outs []*outbound, f *flow) *outbound {
	var found *outbound
	var best rank
	for _, o := range outs {
		for i := range o.remote {
			for j := range o.local {
				if !o.remote[i].destination(f) || !o.local[j].source(f) {
					continue
				}
				if r := rankOf(&o.local[j], &o.remote[i], o); found == nil || r.less(best) {
					found, best = o, r
				}
			}
		}
	}
	return found
}

// The SAs come and go; each snapshot agrees with the definition for the SAs that it has.
func TestLookupAgreesWithItsDefinition(t *testing.T) {
	r := rng(t)
	for range 60 {
		s := new(spd)
		var order uint64
		for range 20 {
			var added, removed []*outbound
			for range r.IntN(8) {
				order++
				v6 := r.IntN(3) == 0
				added = append(added, selOnly(t, order, someSelectors(r, v6), someSelectors(r, v6)))
			}
			for _, o := range slices.Concat(s.outs, added) {
				if r.IntN(4) == 0 {
					removed = append(removed, o)
				}
			}
			s = s.change(added, removed)
			for range 100 {
				f := someFlow(r)
				if got, want := s.lookup(&f), naive(s.outs, &f); got != want {
					t.Fatalf("%+v: got %+v, want %+v", f, got, want)
				}
			}
		}
		if s = s.change(nil, s.outs); !s.empty() || s.pairs != 0 || s.tries != [2]*remotes{} {
			t.Fatalf("without SAs %+v remains", s)
		}
	}
}

// someSelectors draws from few addresses, so that selectors overlap and packets meet them.
func someSelectors(r *rand.Rand, v6 bool) []ipsec.Selector {
	n := 1 + r.IntN(4)
	if r.IntN(40) == 0 {
		n = 60
	}
	var out []ipsec.Selector
	for range n {
		a := someAddr(r, v6)
		s := ipsec.SelectorOf(netip.PrefixFrom(a, r.IntN(9)+a.BitLen()-8))
		if r.IntN(8) == 0 {
			s.End = someAddr(r, v6)
			if s.End.Less(s.Start) {
				s.Start, s.End = s.End, s.Start
			}
		}
		if r.IntN(3) == 0 {
			s.Protocol = []uint8{protoTCP, protoUDP, protoICMP}[r.IntN(3)]
			switch r.IntN(4) {
			case 0:
				s.StartPort, s.EndPort = 65535, 0
			case 1:
				s.StartPort = uint16(r.IntN(8))
				s.EndPort = s.StartPort + uint16(r.IntN(8))
			}
		}
		out = append(out, s)
	}
	return out
}

func someAddr(r *rand.Rand, v6 bool) netip.Addr {
	n := byte(r.IntN(256))
	if r.IntN(2) == 0 {
		n &= 0x0f
	}
	return host(v6, 1, n)
}

func someFlow(r *rand.Rand) flow {
	v6 := r.IntN(3) == 0
	f := flow{v6: v6, src: addrOf(someAddr(r, v6)), dst: addrOf(someAddr(r, v6))}
	f.protocol = []uint8{protoTCP, protoUDP, protoICMP, 47}[r.IntN(4)]
	if f.protocol == 47 || r.IntN(5) == 0 {
		return f
	}
	f.ports, f.sport = onePort, uint16(r.IntN(16))
	if f.protocol != protoICMP {
		f.ports, f.dport = twoPorts, uint16(r.IntN(16))
	}
	return f
}

// hostSelectors are n addresses of 10.net.
func hostSelectors(net byte, n int) []ipsec.Selector {
	var out []ipsec.Selector
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, net, byte(i >> 8), byte(i)})
		out = append(out, ipsec.SelectorOf(netip.PrefixFrom(a, 32)))
	}
	return out
}

// A peer may negotiate as many selectors as two payloads hold, and again for a rekey.
func TestSelectorsAreNotMultipliedOut(t *testing.T) {
	s := new(spd)
	for i := range 2 {
		s = s.change([]*outbound{selOnly(t, uint64(i), hostSelectors(1, 255), hostSelectors(2, 255))}, nil)
	}
	seen := make(map[*locals]bool)
	var walk func(*remotes)
	walk = func(n *remotes) {
		if n != nil {
			if n.value != nil {
				seen[n.value] = true
			}
			walk(n.child[0])
			walk(n.child[1])
		}
	}
	walk(s.tries[0])
	if len(seen) != 1 {
		t.Errorf("255 remote addresses have %d tries of local addresses, want 1", len(seen))
	}
}

// Adding one SA among 1024 allocates a path of nodes in two tries, and a list of pointers.
func TestOneSAAmongManyCostsItself(t *testing.T) {
	s := new(spd).change(manySAs(t, 1024, 2), nil)
	one := []*outbound{selOnly(t, 5000, hostSelectors(9, 1), hostSelectors(2, 1))}
	if n := testing.AllocsPerRun(10, func() { s.change(one, nil).change(nil, one) }); n > 100 {
		t.Errorf("adding and removing one SA among 1024 allocates %v times", n)
	}
}

// Packets and the changes of other tunnels go on while a tunnel's SPD is built and published.
func TestInstallingHoldsUpNoOtherTunnel(t *testing.T) {
	a, b, sa, _ := ends(t, "aes128gcm16", udp4, nil)
	a.plane.AddTunnel(TunnelConfig{Name: "other", Device: newTUN(), MTU: 1400})
	second, _ := agree(t, a, b, suite{Suite: sa.Suite}, udp4, nil)
	other, _ := agree(t, a, b, suite{Suite: sa.Suite}, udp4, func(c *ipsec.ChildSA) { c.Tunnel = "other" })
	if err := a.plane.InstallIn(second); err != nil {
		t.Fatal(err)
	}
	a.tunnel.sending.Lock() // a batch is under way
	installed := make(chan error)
	go func() { installed <- a.plane.InstallOut(second) }()
	for a.tunnel.building.TryLock() {
		a.tunnel.building.Unlock()
		runtime.Gosched()
	}
	if err := errors.Join(a.plane.InstallIn(other), a.plane.InstallOut(other)); err != nil {
		t.Error(err)
	}
	a.tunnel.sending.Unlock()
	if err := <-installed; err != nil {
		t.Error(err)
	}
}

func TestTooManySelectorPairsAreRefused(t *testing.T) {
	a, b, sa, _ := ends(t, "aes128gcm16", udp4, nil)
	install := func(n int) error {
		c, _ := agree(t, a, b, suite{Suite: sa.Suite}, udp4, func(c *ipsec.ChildSA) {
			c.Local, c.Remote = hostSelectors(1, n), hostSelectors(2, n)
		})
		defer a.plane.FreeSPI(c.SPIIn)
		return a.plane.InstallIn(c)
	}
	if err := install(255); err == nil || !strings.Contains(err.Error(), "65029 pairs of selectors, and 16384 are allowed") {
		t.Errorf("255 times 255: %v", err)
	}
	if err := install(100); err != nil {
		t.Errorf("100 times 100: %v", err)
	}
	if err := install(100); err == nil {
		t.Error("100 times 100, twice")
	}
	a.plane.RemoveTunnel("t")
	a.plane.AddTunnel(TunnelConfig{Name: "t", Device: a.tun, MTU: 1400})
	if err := install(100); err != nil {
		t.Errorf("in a new tunnel: %v", err)
	}
}

// pairSPD is one SA for each of n times n pairs of prefixes.
func pairSPD(t testing.TB, n int) *spd {
	var outs []*outbound
	for i := range n {
		for j := range n {
			outs = append(outs, selOnly(t, uint64(len(outs)),
				[]ipsec.Selector{ipsec.SelectorOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i), 0}), 24))},
				[]ipsec.Selector{ipsec.SelectorOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 2, byte(j), 0}), 24))}))
		}
	}
	return new(spd).change(outs, nil)
}

func lookupFlow() flow {
	return flow{
		protocol: protoTCP, ports: twoPorts, sport: 1, dport: 2,
		src: addrOf(host(false, 1, 5)), dst: addrOf(host(false, 2, 5)),
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	f := lookupFlow()
	b := udpPacket(true, 1, 2, 100)
	for _, n := range []int{1, 20} {
		s := pairSPD(t, n)
		if n := testing.AllocsPerRun(100, func() { s.lookup(&f) }); n != 0 {
			t.Errorf("lookup allocates %v times", n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { f.parse(b) }); n != 0 {
		t.Errorf("parse allocates %v times", n)
	}
	in := &inbound{spi: 0x12345678}
	d := newSAD(256)
	d.install(in)
	if n := testing.AllocsPerRun(100, func() {
		if d.lookup(in.spi) == nil {
			t.Fatal("not found")
		}
	}); n != 0 {
		t.Errorf("SAD lookup allocates %v times", n)
	}
}

// manySAs are n SAs, each with as many local as remote networks, which are its own.
func manySAs(t testing.TB, n, networks int) (outs []*outbound) {
	for i := range n {
		var local, remote []ipsec.Selector
		for j := range networks {
			k := uint32(i*networks+j) << 4
			local = append(local, ipsec.SelectorOf(netip.PrefixFrom(addrOf4(10<<24|1<<20|k), 28)))
			remote = append(remote, ipsec.SelectorOf(netip.PrefixFrom(addrOf4(10<<24|2<<20|k), 28)))
		}
		outs = append(outs, selOnly(t, uint64(i), local, remote))
	}
	return outs
}

func BenchmarkLookup(b *testing.B) {
	f := lookupFlow()
	for _, n := range []int{1, 2, 10, 50} {
		s := pairSPD(b, n)
		b.Run(fmt.Sprintf("SAs=%d", n*n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if s.lookup(&f) == nil {
					b.Fatal("not found")
				}
			}
		})
	}
}

// lookups measures the lookups of packets that fit each of the SAs in turn, so that they share no cache lines.
func lookups(b *testing.B, outs []*outbound) {
	s := new(spd).change(outs, nil)
	var fs []flow
	for _, o := range outs {
		f := lookupFlow()
		f.src, f.dst = o.local[0].start, o.remote[0].start
		fs = append(fs, f)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if s.lookup(&fs[i%len(fs)]) == nil {
			b.Fatal("not found")
		}
	}
}

func BenchmarkLookupAmongMany(b *testing.B) {
	b.Run("SAs=8", func(b *testing.B) { lookups(b, manySAs(b, 8, 1)) })
	b.Run("SAs=1024", func(b *testing.B) { lookups(b, manySAs(b, 1024, 1)) })
	b.Run("SAs=1024/pairs=4096", func(b *testing.B) { lookups(b, manySAs(b, 1024, 2)) })
	b.Run("SAs=4/pairs=4096", func(b *testing.B) {
		var outs []*outbound
		for i := range 4 {
			outs = append(outs, selOnly(b, uint64(i), hostSelectors(byte(i), 32), hostSelectors(10, 32)))
		}
		lookups(b, outs)
	})
	// Each remote network lies in the one before, and none of the local networks covers the packet: the
	// search visits every network.
	b.Run("SAs=1024/nested", func(b *testing.B) {
		var outs []*outbound
		for i := range 32 {
			for j := range 32 {
				a := addrOf4(1<<(31-j) | 1)
				outs = append(outs, selOnly(b, uint64(len(outs)), []ipsec.Selector{ipsec.SelectorOf(netip.PrefixFrom(a, j+1))},
					[]ipsec.Selector{ipsec.SelectorOf(netip.PrefixFrom(addrOf4(0), i+1))}))
			}
		}
		s := new(spd).change(outs, nil)
		for f := new(flow); b.Loop(); {
			if s.lookup(f) != nil {
				b.Fatal("found")
			}
		}
	})
}

func addrOf4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

func BenchmarkInstall(b *testing.B) {
	for _, tt := range []struct {
		name string
		outs []*outbound
	}{
		{"SAs=1024", manySAs(b, 1024, 1)},
		{"SAs=1024/pairs=4096", manySAs(b, 1024, 2)},
	} {
		s := new(spd).change(tt.outs, nil)
		one := []*outbound{selOnly(b, 5000, hostSelectors(1, 1), hostSelectors(2, 1))}
		big := []*outbound{selOnly(b, 5000, hostSelectors(1, 32), hostSelectors(2, 32))}
		b.Run(tt.name+"/one", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.change(one, nil)
			}
		})
		b.Run(tt.name+"/1024", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.change(big, nil)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	p := udpPacket(false, 1, 2, 100)
	var f flow
	for b.Loop() {
		f.parse(p)
	}
}
