package host

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vpngw/ipsec"
)

// framing is a wire; a test searches the frame paths of its left end by hand.
type framing struct {
	*testing.T
	left, right *space
	from, to    *Sockets
	pathFinder
	capture int // of frames on the right
}

func newFraming(t *testing.T) *framing {
	left, right := wire(t)
	h := left.host()
	f := &framing{T: t, left: left, right: right, from: left.open(h), to: right.open(right.host())}
	if f.from.frames == nil {
		t.Fatal("no AF_PACKET socket")
	}
	f.pathFinder = pathFinder{host: h, frames: f.from.frames}
	right.run(func() {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		right.must(err)
		all := uint16(unix.ETH_P_ALL)
		right.must(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: right.link("right").Attrs().Index}))
		f.capture = fd
	})
	t.Cleanup(func() { unix.Close(f.capture) })
	return f
}

// send sends a packet and says whether it went as a frame; it must arrive.
func (f *framing) send(data string, remote netip.Addr, tos uint8) (framed bool) {
	f.Helper()
	d := ipsec.Datagram{Remote: netip.AddrPortFrom(remote, 0), Data: []byte(data), TOS: tos}
	s := f.from.ForSend(netip.AddrPort{}, remote)
	before := s.Stats().Frames
	if _, err := s.WriteBatch([]ipsec.Datagram{d}); err != nil {
		f.Fatal(err)
	}
	local := left4
	if remote.Is6() {
		local = left6
	}
	if got := inbox(f.T, f.to.ForSend(netip.AddrPort{}, remote), 1)[0]; string(got.Data) != data || got.TOS != tos || got.Remote.Addr() != local || got.Local.Addr() != remote {
		f.Errorf("got %v -> %v TOS %#x %q", got.Remote, got.Local, got.TOS, got.Data)
	}
	return s.Stats().Frames > before
}

// ask sends twice, with a search between, so that the path is there and primed.
func (f *framing) ask(remote netip.Addr) {
	f.Helper()
	f.send("ask", remote, 0)
	f.search()
	if f.send("prime", remote, 0) {
		f.Error("the first batch of a path did not go by the socket")
	}
}

// captured returns the next frame with protocol 50.
func (f *framing) captured() []byte {
	f.Helper()
	b := make([]byte, 2000)
	for {
		n, _, err := unix.Recvfrom(f.capture, b, 0)
		if err != nil {
			f.Fatal(err)
		}
		v4 := n > 34 && b[12] == 8 && b[14+9] == protoESP
		v6 := n > 54 && b[12] == 0x86 && b[14+6] == protoESP
		if v4 || v6 {
			return slices.Clone(b[:n])
		}
	}
}

// A frame equals, bit for bit, the kernel's frame for the same packet.
func TestFrameIsWhatTheSocketSends(t *testing.T) {
	f := newFraming(t)
	for _, remote := range []netip.Addr{right4, right6} {
		f.ask(remote)
		f.captured()
		f.captured()
		for _, tos := range []uint8{0, 0xb8 | 3} {
			if !f.send("some ESP", remote, tos) {
				t.Fatalf("%v: it went by the socket", remote)
			}
			framed := f.captured()
			f.frames.forget()
			f.send("some ESP", remote, tos)
			plain := f.captured()
			if remote.Is6() { // the flow label is the kernel's choice
				plain[14+1] &= 0xf0
				plain[14+2], plain[14+3] = 0, 0
			}
			if !bytes.Equal(framed, plain) {
				t.Errorf("%v, TOS %#x:\n%x, want\n%x", remote, tos, framed, plain)
			}
			f.ask(remote)
			f.captured()
			f.captured()
		}
	}
}

// Packets go by the socket wherever a frame would change more than the speed.
func TestFramesOnlyWhereNothingElseChanges(t *testing.T) {
	f := newFraming(t)
	type change struct {
		name     string
		set, end []string
	}
	changes := []change{
		{
			"a routing rule for the protocol",
			[]string{"ip", "rule", "add", "ipproto", "50", "lookup", "main", "pref", "100"},
			[]string{"ip", "rule", "del", "ipproto", "50", "lookup", "main", "pref", "100"},
		},
		{
			"a routing rule for a TOS",
			[]string{"ip", "rule", "add", "tos", "0x10", "lookup", "main", "pref", "100"},
			[]string{"ip", "rule", "del", "tos", "0x10", "lookup", "main", "pref", "100"},
		},
		{
			"an IPsec policy",
			[]string{"ip", "xfrm", "policy", "add", "src", "10.8.0.0/16", "dst", "10.9.0.0/16", "dir", "out", "action", "allow"},
			[]string{"ip", "xfrm", "policy", "delete", "src", "10.8.0.0/16", "dst", "10.9.0.0/16", "dir", "out"},
		},
		{"no ARP on the device", []string{"ip", "link", "set", "left", "arp", "off"}, []string{"ip", "link", "set", "left", "arp", "on"}},
	}
	for _, c := range []string{"ip x output", "ip x postrouting", "ip6 x output", "ip6 x postrouting", "inet x output", "inet x postrouting", "netdev x egress device left"} {
		w := strings.Fields(c)
		changes = append(changes, change{
			"a chain at " + c,
			[]string{"nft", "add table " + w[0] + " x; add chain " + w[0] + " x c { type filter hook " + strings.Join(w[2:], " ") + " priority 0; }"},
			[]string{"nft", "delete table " + w[0] + " x"},
		})
	}
	again := func() {
		f.left.neighbour("left", right4.String(), f.right.link("right"))
		f.ask(right4)
	}
	for _, c := range changes {
		f.left.exec(c.set[0], c.set[1:]...)
		again()
		if f.send("x", right4, 0) {
			t.Errorf("%s: it went as a frame", c.name)
		}
		f.left.exec(c.end[0], c.end[1:]...)
		again()
		if !f.send("x", right4, 0) {
			t.Errorf("%s is over, and it went by the socket", c.name)
		}
	}
	for _, c := range []string{"ip x prerouting", "ip6 x input", "inet x forward", "inet x prerouting", "netdev x ingress device left"} {
		w := strings.Fields(c)
		f.left.exec("nft", "add table "+w[0]+" x; add chain "+w[0]+" x c { type filter hook "+strings.Join(w[2:], " ")+" priority 0; }")
		again()
		if !f.send("x", right4, 0) {
			t.Errorf("a chain at %s, which concerns received packets: it went by the socket", c)
		}
		f.left.exec("nft", "delete table "+w[0]+" x")
	}
	w := new(framePath)
	if f.find(w, ends{remote: left4}) {
		t.Error("this host itself: a frame")
	}
	if f.find(w, ends{remote: netip.MustParseAddr("10.9.0.77")}) {
		t.Error("an unknown neighbour: a frame")
	}
}

// The table that drops cleartext is no obstacle to frames.
func TestFramesBesideTheTableOfCleartext(t *testing.T) {
	f := newFraming(t)
	tun, err := f.host.CreateTUN("vpn0", 1400)
	f.must(err)
	defer tun.Close()
	f.host.cleartext.on = true
	_, err = f.host.Set("a", crashState)
	f.must(err)
	if len(f.left.verdicts()) == 0 {
		t.Fatal("there is no table: this tests nothing")
	}
	f.ask(right4)
	if !f.send("x", right4, 0) {
		t.Error("it went by the socket")
	}
}

// A route for one TOS, in any table, may lead a packet elsewhere than its framePath.
func TestNoFramesBesideARouteForOneTOS(t *testing.T) {
	f := newFraming(t)
	f.left.ip("route", "add", right4.String(), "tos", "0x10", "dev", "left", "table", "77")
	f.ask(right4)
	if f.send("x", right4, 0) {
		t.Error("it went as a frame")
	}
}

// A firewall that tracks connections admits what the peer answers to packets that it saw; frames
// pass by it.
func TestNoFramesWhereConnectionsAreTracked(t *testing.T) {
	f := newFraming(t)
	f.left.exec("nft", "add table ip x; add chain ip x c { type filter hook input priority 0; policy drop; }; add rule ip x c ct state established accept")
	f.ask(right4)
	if f.send("x", right4, 0) {
		t.Error("it went as a frame")
	}
}

// A packet over the MTU gets the error that it gets from the socket.
func TestFrameOverTheMTU(t *testing.T) {
	f := newFraming(t)
	for _, remote := range []netip.Addr{right4, right6} {
		f.ask(remote)
		for extra, want := range []error{nil, unix.EMSGSIZE} {
			size := 1500 - ipv4Header
			if remote.Is6() {
				size = 1500 - ipv6Header
			}
			s := f.from.ForSend(netip.AddrPort{}, remote)
			before := s.Stats().Frames
			_, err := s.WriteBatch([]ipsec.Datagram{{Remote: netip.AddrPortFrom(remote, 0), Data: make([]byte, size+extra)}})
			if !errors.Is(err, want) {
				t.Errorf("%v, %d bytes: %v", remote, size+extra, err)
			}
			if framed := s.Stats().Frames > before; framed != (want == nil) {
				t.Errorf("%v, %d bytes: as a frame: %v", remote, size+extra, framed)
			}
		}
	}
}

// A packet that routers may fragment goes by the socket, because frames set DF.
func TestFragmentableIsNoFrame(t *testing.T) {
	f := newFraming(t)
	f.ask(right4)
	f.captured()
	f.captured()
	if err := f.from.Raw[0].WriteFragmentable(ipsec.Datagram{Remote: netip.AddrPortFrom(right4, 0), Data: []byte("cut me")}); err != nil {
		t.Fatal(err)
	}
	if b := f.captured(); b[14+6]&0x40 != 0 {
		t.Errorf("DF is set: %x", b)
	}
}

// A frame goes to the present neighbour, and a path that nobody uses is forgotten.
func TestFramePathsAreSearchedAgain(t *testing.T) {
	f := newFraming(t)
	f.ask(right4)
	l := f.right.link("right")
	f.must(f.right.nl.LinkSetHardwareAddr(l, []byte{2, 0, 0, 0, 0, 9}))
	f.left.neighbour("left", right4.String(), f.right.link("right"))
	f.search()
	f.send("prime", right4, 0)
	if !f.send("there?", right4, 0) {
		t.Error("it went by the socket")
	}
	for range 2 {
		f.search()
	}
	if n := len(*f.frames.paths.Load()); n != 0 {
		t.Errorf("%d paths are kept", n)
	}
	f.left.must(f.left.nl.LinkSetMTU(f.left.link("left"), 1300))
	f.ask(right4)
	if w := (*f.frames.paths.Load())[ends{remote: right4}]; w == nil || w.mtu != 1300 {
		t.Errorf("the path is %+v", w)
	}
}

func (f *framing) must(err error) { f.left.must(err) }

// When the device disappears, the refused packets are counted, and the next packet goes by the
// socket.
func TestFramePathThatFailsIsLeft(t *testing.T) {
	f := newFraming(t)
	f.ask(right4)
	f.left.must(f.left.nl.LinkSetDown(f.left.link("left")))
	s := f.from.Raw[0]
	for i := range 2 {
		before := s.Stats().Frames
		_, err := s.WriteBatch([]ipsec.Datagram{{Remote: netip.AddrPortFrom(right4, 0), Data: []byte("lost")}})
		if err == nil || s.Stats().Frames != before {
			t.Errorf("%d: %v", i, err)
		}
	}
	if n := len(*f.frames.paths.Load()); n != 0 {
		t.Error("the path is still there")
	}
	f.left.up("left")
	f.left.ready("left")
	f.left.must(f.left.nl.NeighSet(&netlink.Neigh{
		LinkIndex: f.left.link("left").Attrs().Index, IP: right4.AsSlice(),
		HardwareAddr: f.right.link("right").Attrs().HardwareAddr, State: netlink.NUD_REACHABLE,
	}))
	f.ask(right4)
	if !f.send("again", right4, 0) {
		t.Error("it went by the socket")
	}
}
