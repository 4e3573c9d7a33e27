package esp

import (
	"bytes"
	"net/netip"
	"testing"

	"vpngw/ipsec"
)

// heardBFD is the newest BFD packet of an end, and how often the end was told.
func (e *end) heardBFD() (packet []byte, told int) {
	for _, ev := range e.told() {
		if h, ok := ev.(HeardBFD); ok && h.Tunnel == "t" {
			told++
		}
	}
	return e.tunnel.HeardBFD(nil), told
}

func (e *end) sendBFD(k transport, local, remote netip.Addr, packet []byte) []ipsec.Datagram {
	e.t.Helper()
	if err := e.tunnel.SendBFD(local, remote, packet); err != nil {
		e.t.Fatal(err)
	}
	return from(endAddrs[0][k], e.socks[k].take())
}

func TestBFDGoesFromDataPlaneToDataPlane(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		a, b, sa, sb := ends(t, "aes256-sha256", udp4, nil)
		here, there := host(v6, 1, 1), host(v6, 2, 2)
		b.tunnel.BFD(there, here)
		if got := b.in(udp4, a.sendBFD(udp4, here, there, []byte("one"))...); len(got) > 0 {
			t.Fatal("the TUN gets BFD")
		}
		if got, told := b.heardBFD(); string(got) != "one" || told != 1 {
			t.Fatalf("got %q, told %d times", got, told)
		}
		if got, told := b.heardBFD(); len(got) > 0 || told > 0 {
			t.Fatalf("again: got %q, told %d times", got, told)
		}
		for range 1000 { // a flood costs one slot and one event
			b.in(udp4, a.sendBFD(udp4, here, there, []byte("two"))...)
		}
		b.in(udp4, a.sendBFD(udp4, here, there, []byte("newest"))...)
		if got, told := b.heardBFD(); string(got) != "newest" || told != 1 {
			t.Errorf("got %q, told %d times", got, told)
		}
		for _, c := range []Counters{a.plane.Counters(sa.SPIIn), b.plane.Counters(sb.SPIIn)} {
			if len(c.Drops) > 0 || c.PacketsIn+c.PacketsOut != 1002 {
				t.Errorf("counted %+v", c)
			}
		}
		all := 0
		for range 1000 { // though each is taken at once
			b.in(udp4, a.sendBFD(udp4, here, there, []byte("three"))...)
			_, told := b.heardBFD()
			all += told
		}
		if all < 5 || all > 50 {
			t.Errorf("told %d times of a flood", all)
		}
		b.tunnel.BFD(netip.Addr{}, netip.Addr{})
		if got := b.in(udp4, a.sendBFD(udp4, here, there, []byte("other"))...); len(got) != 1 {
			t.Error("without BFD its packets go to the TUN")
		}
	}
}

// What a router has forwarded, and what comes from elsewhere or damaged, is no packet of the neighbour (RFC 5881 section 5).
func TestBFDOfOthersIsDropped(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		here, there := host(v6, 1, 1), host(v6, 2, 2)
		header, ttl := ipv4Header, 8
		if v6 {
			header, ttl = ipv6Header, 7
		}
		for _, c := range []struct {
			name       string
			packet     []byte
			change     func(b []byte)
			tun, heard bool
			discarded  uint64
		}{
			{"the neighbour's", bfdPacket(here, there, 50000, make([]byte, 24)), nil, false, true, 0},
			{"the largest", bfdPacket(here, there, 50000, make([]byte, maxBFD)), nil, false, true, 0},
			{"forwarded", bfdPacket(here, there, 50000, make([]byte, 24)), func(b []byte) { b[ttl]-- }, false, false, 1},
			{"from elsewhere", bfdPacket(host(v6, 1, 9), there, 50000, make([]byte, 24)), nil, false, false, 1},
			{"to another address", bfdPacket(here, host(v6, 2, 9), 50000, make([]byte, 24)), nil, true, false, 0},
			{"damaged", bfdPacket(here, there, 50000, make([]byte, 24)), func(b []byte) { b[len(b)-1]++ }, false, false, 1},
			{"too long", bfdPacket(here, there, 50000, make([]byte, maxBFD+1)), nil, false, false, 1},
			{"an impossible length", bfdPacket(here, there, 50000, make([]byte, 24)), func(b []byte) { b[header+5] = 255 }, false, false, 1},
			{"no length", bfdPacket(here, there, 50000, make([]byte, 24)), func(b []byte) { b[header+5] = 0 }, false, false, 1},
			{"no checksum", bfdPacket(here, there, 50000, make([]byte, 24)), func(b []byte) { b[header+6], b[header+7] = 0, 0 }, false, !v6, map[bool]uint64{true: 1}[v6]},
			{"TCP", bfdPacket(here, there, 50000, make([]byte, 24)), func(b []byte) { b[map[bool]int{false: 9, true: 6}[v6]] = protoTCP }, true, false, 0},
		} {
			if c.change != nil {
				c.change(c.packet)
			}
			a, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
			b.tunnel.BFD(there, here)
			got := b.in(udp4, from(endAddrs[0][udp4], a.out(bytes.Clone(c.packet)))...)
			heard, _ := b.heardBFD()
			if len(got) > 0 != c.tun || len(heard) > 0 != c.heard || b.tunnel.DiscardedBFD() != c.discarded {
				t.Errorf("v6=%v, %s: the TUN gets %d packets, heard % x, %d discarded", v6, c.name, len(got), heard, b.tunnel.DiscardedBFD())
			}
		}
	}
}

func TestBFDPacketsAreSound(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		b := bfdPacket(host(v6, 1, 1), host(v6, 2, 2), 50000, make([]byte, 24))
		var f flow
		if !f.parse(b) || f.length != len(b) || f.sport != 50000 || f.dport != 3784 || !f.soundUDP(b) || trafficClass(b) != 0xc0 {
			t.Errorf("v6=%v: % x", v6, b)
		}
		if !v6 && checksum(0, b[:ipv4Header]) != 0 {
			t.Error("the header's checksum is wrong")
		}
	}
	a, _, _, _ := ends(t, "aes128gcm16", udp4, nil)
	a.sendBFD(udp4, host(false, 1, 1), host(false, 2, 2), nil)
	first := a.tunnel.bfdSource
	if a.sendBFD(udp4, host(false, 1, 1), host(false, 2, 2), nil); first < 49152 || a.tunnel.bfdSource != first {
		t.Errorf("source ports %d and %d", first, a.tunnel.bfdSource)
	}
	if err := a.tunnel.SendBFD(host(false, 1, 1), host(true, 2, 2), nil); err == nil {
		t.Error("two families")
	}
	bare := newEnd(t, 0)
	if err := bare.tunnel.SendBFD(host(false, 1, 1), host(false, 2, 2), nil); err == nil {
		t.Error("sent without an SA")
	}
}
