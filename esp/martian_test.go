package esp

import (
	"net/netip"
	"testing"

	"vpngw/ipsec"
)

// A peer whose selectors cover everything cannot pass for this host.
func TestAPeerIsNeverThisHost(t *testing.T) {
	a, b := newEnd(t, 0), newEnd(t, 1)
	everything := sels(t, "0.0.0.0/0", "::/0")
	all := func(c *ipsec.ChildSA) { c.Local, c.Remote = everything, everything }
	couple(t, a, b, suite{Suite: named(t, "aes128gcm16")}, udp4, all)
	own := []netip.Addr{netip.MustParseAddr("192.168.9.1"), netip.MustParseAddr("fd99::1"), netip.MustParseAddr("192.168.9.2")}
	b.plane.SetOwn(own)
	carries := func(src, dst string) bool {
		p := ipPacketOf(netip.MustParseAddr(src), netip.MustParseAddr(dst), protoUDP, make([]byte, 20))
		return len(b.in(udp4, from(endAddrs[0][udp4], a.out(p))...)) == 1
	}
	for _, tt := range []struct {
		src, dst string
		want     bool
	}{
		{"10.1.0.1", "192.168.9.1", true},
		{"192.168.9.3", "192.168.9.1", true},
		{"240.0.0.1", "192.168.9.1", true}, // some use it inside
		{"10.1.0.1", "224.0.0.5", true},
		{"192.168.9.1", "192.168.9.1", false},
		{"192.168.9.2", "10.2.0.1", false},
		{"127.0.0.1", "192.168.9.1", false},
		{"0.0.0.0", "192.168.9.1", false},
		{"224.0.0.5", "192.168.9.1", false},
		{"255.255.255.255", "192.168.9.1", false},
		{"10.1.0.1", "127.0.0.1", false},
		{"fd01::1", "fd99::1", true},
		{"fe80::1", "ff02::5", true}, // a routing protocol
		{"fd99::1", "fd99::1", false},
		{"fd99::1", "fd02::1", false},
		{"::", "fd99::1", false},
		{"::1", "fd99::1", false},
		{"ff02::1", "fd99::1", false},
		{"::ffff:10.1.0.1", "fd99::1", false},
		{"fd01::1", "::1", false},
		{"fd01::1", "::ffff:192.168.9.1", false},
	} {
		before := b.tunnel.Counters().Drops["martian"]
		got := carries(tt.src, tt.dst)
		if dropped := b.tunnel.Counters().Drops["martian"] > before; got != tt.want || dropped == tt.want {
			t.Errorf("from %s to %s: carried %v, counted %v", tt.src, tt.dst, got, dropped)
		}
	}
	b.plane.SetOwn(own[1:])
	if !carries("192.168.9.1", "192.168.9.2") || carries("192.168.9.2", "192.168.9.2") {
		t.Error("an address that the host has no longer is still its own, or the reverse")
	}
	couple(t, a, b, suite{Suite: named(t, "aes128gcm16")}, udp4, all)
	if carries("192.168.9.2", "192.168.9.2") {
		t.Error("a later SA does not know this host's addresses")
	}
}
