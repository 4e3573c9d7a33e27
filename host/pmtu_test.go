package host

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"

	"vpngw/ipsec"
)

// A router reports that a packet is too big. ICMP hears of it. The kernel, which would believe anybody,
// neither refuses packets for it nor lowers PathMTU; what may be fragmented arrives.
func TestTooBigOnTheWayIsHeard(t *testing.T) {
	for _, c := range []struct {
		name string
		port uint16
		to   string
	}{
		{"UDP over IPv4", PortNATT, "10.10.0.2"},
		{"UDP over IPv6", PortNATT, "fd10::2"},
		{"raw over IPv4", 0, "10.10.0.2"},
		{"raw over IPv6", 0, "fd10::2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			left, far := narrowPath(t)
			h, to := left.host(), netip.MustParseAddr(c.to)
			tun, err := h.CreateTUN("vpn0", 1400)
			left.must(err)
			defer tun.Close()
			_, err = h.Set("a", State{Peers: []netip.Addr{to}, Devices: []DeviceState{{Name: "vpn0", Routes: []Route{
				{Prefix: netip.MustParsePrefix("0.0.0.0/0")},
				{Prefix: netip.MustParsePrefix("10.10.0.0/16")},
				{Prefix: netip.MustParsePrefix("::/0")},
				{Prefix: netip.MustParsePrefix("fd10::/16")},
			}}}})
			left.must(err)
			socks := left.open(h)
			s := socks.ForSend(netip.AddrPortFrom(netip.Addr{}, c.port), to)
			d := ipsec.Datagram{Remote: netip.AddrPortFrom(to, c.port), Data: bytes.Repeat([]byte{1, 2, 3, 4}, 350)}
			b := make([]byte, 2000)
			for _, i := range socks.ICMP {
				if i.V6() != to.Is6() {
					continue
				}
				for range 2 {
					if _, err := s.WriteBatch([]ipsec.Datagram{d}); err != nil {
						t.Error(err)
					}
				}
				n, err := i.Read(b)
				left.must(err)
				quote := b[:n]
				if mtu := uint16(1300); !bytes.Contains(quote, []byte{byte(mtu >> 8), byte(mtu)}) || !bytes.Contains(quote, d.Data[:8]) {
					t.Errorf("heard %x", quote)
				}
			}
			if mtu, err := h.PathMTU(to); mtu != 1500 || err != nil {
				t.Errorf("the MTU of the path is %d, %v", mtu, err)
			}
			r := far.open(far.host())
			left.must(s.WriteFragmentable(d))
			if got := inbox(t, r.ForSend(d.Remote, to), 1)[0]; !bytes.Equal(got.Data, d.Data) {
				t.Errorf("%d bytes arrive", len(got.Data))
			}
			// What may be cut arrives, also without the kernel's knowing the path and whatever socket sends; what must stay whole is lost.
			d.Local = netip.AddrPortFrom(local(to), c.port)
			if n, err := s.WriteCut([]ipsec.Datagram{d, d}); n != 2 || err != nil {
				t.Errorf("%d of 2 are sent cut, %v", n, err)
			}
			left.must(s.WriteWhole(d))
			d.Data = d.Data[:100]
			left.must(s.WriteWhole(d))
			var sizes []int
			for _, got := range inbox(t, r.ForSend(d.Remote, to), 3) {
				sizes = append(sizes, len(got.Data))
			}
			if fmt.Sprint(sizes) != "[1400 1400 100]" {
				t.Errorf("there arrive %v bytes", sizes)
			}
		})
	}
}

// local is the address of the host of narrowPath that it sends from.
func local(to netip.Addr) netip.Addr {
	if to.Is6() {
		return netip.MustParseAddr("fd09::1")
	}
	return netip.MustParseAddr("10.9.0.1")
}

// narrowPath is a host whose default routes lead over a router to 10.10.0.2 and
// fd10::2, on a link with an MTU of 1300.
func narrowPath(t *testing.T) (left, far *space) {
	left, router := wire(t)
	far = beside(t)
	router.must(router.nl.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "out", MTU: 1300}, PeerName: "far", PeerNamespace: netlink.NsFd(far.fd),
	}))
	router.addr("out", "10.10.0.1/24", "fd10::1/64")
	far.addr("far", "10.10.0.2/24", "fd10::2/64")
	router.up("out")
	far.up("far")
	router.ready("out")
	far.ready("far")
	router.run(func() {
		for _, knob := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile("/proc/sys/net/"+knob, []byte("1"), 0o644); err != nil {
				t.Error(err)
			}
		}
	})
	left.ip("route", "add", "default", "via", "10.9.0.2")
	left.ip("-6", "route", "add", "default", "via", "fd09::2")
	far.ip("route", "add", "default", "via", "10.10.0.1")
	far.ip("-6", "route", "add", "default", "via", "fd10::1")
	return left, far
}
