package host

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	pcapng "vpngw/capture"
)

// tapped are the packets that a Tap shows, cut, as long as some come.
func tapped(t *testing.T, tap *Tap, enough func([]Tapped) bool) (out []Tapped) {
	t.Helper()
	eventually(t, "the tap shows the packets", func() bool {
		err := tap.Read(10*time.Millisecond, func(p Tapped) {
			pcapng.ParseSuper(p.Super, p.Network).Cut(p.Data, func(b []byte) {
				q := p
				q.Data = bytes.Clone(b)
				out = append(out, q)
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		return enough(out)
	})
	return out
}

// A run of datagrams that the kernel has as one is seen as its datagrams, with right checksums, on the way out and on the way in.
// What is not of the peer is not seen.
func TestATapShowsTheOuterPackets(t *testing.T) {
	left, right := wire(t)
	h, rh := left.host(), right.host()
	from := left.open(h)
	to := right.open(rh)
	var there *Tap
	right.run(func() {
		var err error
		there, err = rh.Tap([]TapSource{{Peers: []netip.Addr{left4, left6}}})
		right.must(err)
	})
	defer there.Close()
	here, err := h.Tap([]TapSource{{Peers: []netip.Addr{right4, right6}}, {Peers: []netip.Addr{netip.MustParseAddr("10.9.0.77")}}})
	left.must(err)
	defer here.Close()

	for _, k := range kinds {
		d := datagram(k.port, k.right, string(bytes.Repeat([]byte("p"), 10*100)))
		want := 1
		if k.port != 0 {
			d[0].Segment, want = 100, 10
		}
		if _, err := from.ForSend(netip.AddrPortFrom(k.left, k.port), k.right).WriteBatch(d); err != nil {
			t.Fatal(err)
		}
		inbox(t, to.ForSend(d[0].Remote, k.left), 1)
		enough := func(out []Tapped) bool { return len(out) >= want }
		for _, side := range []struct {
			name string
			tap  *Tap
			out  bool
		}{{"going", here, true}, {"coming", there, false}} {
			got := tapped(t, side.tap, enough)
			if len(got) != want {
				t.Errorf("%s, %s: %d packets, want %d", k.name, side.name, len(got), want)
			}
			for _, p := range got {
				if p.Out != side.out || p.Source != 0 || !Underlay(p.Data) || time.Since(p.At).Abs() > time.Minute {
					t.Errorf("%s, %s: %+v", k.name, side.name, p)
				}
				if k.port != 0 && !udpRight(p.Data) {
					t.Errorf("%s, %s: the checksum of %x is wrong", k.name, side.name, p.Data)
				}
			}
		}
	}
	if n := here.Stats(); n[0].Seen < 3 || n[0].Dropped != 0 || n[1].Seen != 0 {
		t.Errorf("counted %+v", n)
	}
	// It follows the peers.
	left.must(here.Aim(0, []netip.Addr{netip.MustParseAddr("10.9.0.78")}))
	left.must(here.Aim(1, []netip.Addr{right4}))
	d := datagram(PortNATT, right4, "moved")
	if _, err := from.ForSend(netip.AddrPortFrom(left4, PortNATT), right4).WriteBatch(d); err != nil {
		t.Fatal(err)
	}
	if got := tapped(t, here, func(out []Tapped) bool { return len(out) > 0 }); got[0].Source != 1 {
		t.Errorf("behind Aim: %+v", got)
	}
}

// udpRight checks the checksum of a UDP datagram.
func udpRight(b []byte) bool {
	at, sum := 20, uint32(0)
	add := func(b []byte) {
		for i, c := range b {
			sum += uint32(c) << (8 * (1 - i%2))
		}
	}
	if b[0]>>4 == 4 {
		add(b[12:20])
	} else {
		at = 40
		add(b[8:40])
	}
	sum += unix.IPPROTO_UDP + uint32(len(b)-at)
	add(b[at:])
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return sum == 0xffff && int(binary.BigEndian.Uint16(b[at+4:])) == len(b)-at
}

// A tap of a TUN shows both directions, and a device that was made again.
func TestATapShowsADevice(t *testing.T) {
	s, h := world(t)
	tun, err := h.CreateTUN("vpn0", 1400)
	s.must(err)
	s.must(errOf(h.Set("a", State{Devices: []DeviceState{{Name: "vpn0", Routes: []Route{{Prefix: netip.MustParsePrefix("10.20.0.0/16")}}}}})))
	tap, err := h.Tap([]TapSource{{Device: "vpn0"}})
	s.must(err)
	defer tap.Close()
	to := netip.MustParseAddr("10.20.0.1")
	s.send(to)
	got := tapped(t, tap, func(out []Tapped) bool { return len(out) > 0 && out[len(out)-1].Data[9] == unix.IPPROTO_UDP })
	p := got[len(got)-1]
	if !p.Out || netip.AddrFrom4([4]byte(p.Data[16:])) != to || !udpRight(p.Data) {
		t.Errorf("going in: %+v", p)
	}
	s.must(tun.WriteFrame(append(make([]byte, virtioHeader), p.Data...)))
	got = tapped(t, tap, func(out []Tapped) bool { return len(out) > 0 && out[len(out)-1].Data[9] == unix.IPPROTO_UDP })
	if back := got[len(got)-1]; back.Out || !bytes.Equal(back.Data, p.Data) {
		t.Errorf("coming out: %+v", back)
	}

	tun.Close()
	if err := tap.Aim(0, nil); err == nil {
		t.Error("a device that is gone is found")
	}
	tun, err = h.CreateTUN("vpn0", 1400)
	s.must(err)
	defer tun.Close()
	s.must(errOf(h.Set("a", State{Devices: []DeviceState{{Name: "vpn0", Routes: []Route{{Prefix: netip.MustParsePrefix("10.20.0.0/16")}}}}})))
	s.must(tap.Aim(0, nil))
	s.send(to)
	tapped(t, tap, func(out []Tapped) bool { return len(out) > 0 && out[len(out)-1].Data[9] == unix.IPPROTO_UDP })
}

func errOf(_ Result, err error) error { return err }

// send sends a UDP datagram.
func (s *space) send(to netip.Addr) {
	s.t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	s.must(err)
	defer unix.Close(fd)
	s.must(unix.Sendto(fd, []byte("inside"), 0, &unix.SockaddrInet4{Port: 9, Addr: to.As4()}))
}

func TestUnderlayIsIKEAndESP(t *testing.T) {
	v4 := func(proto byte, fragment uint16, from, to uint16) []byte {
		b := make([]byte, 28)
		b[0], b[9] = 0x45, proto
		binary.BigEndian.PutUint16(b[6:], fragment)
		binary.BigEndian.PutUint16(b[20:], from)
		binary.BigEndian.PutUint16(b[22:], to)
		return b
	}
	v6 := func(next byte, rest ...byte) []byte {
		b := make([]byte, 40)
		b[0], b[6] = 0x60, next
		return append(b, rest...)
	}
	for _, c := range []struct {
		name string
		b    []byte
		want bool
	}{
		{"ESP", v4(50, 0, 0, 0), true},
		{"IKE", v4(17, 0, 500, 500), true},
		{"behind a NAT", v4(17, 0, 40000, 4500), true},
		{"to one behind a NAT", v4(17, 0, 4500, 40000), true},
		{"DNS", v4(17, 0, 40000, 53), false},
		{"TCP", v4(6, 0, 500, 500), false},
		{"a later fragment", v4(17, 0x2001, 1, 1), true},
		{"a first fragment of DNS", v4(17, 0x2000, 53, 53), false},
		{"a later fragment of TCP", v4(6, 1, 1, 1), false},
		{"nothing", nil, false},
		{"too short", v4(17, 0, 500, 500)[:24], false},
		{"options beyond the end", append([]byte{0x4f}, v4(17, 0, 500, 500)[1:]...), false},
		{"IPv6: ESP", v6(50), true},
		{"IPv6: IKE", v6(17, 1, 244, 1, 244, 0, 8, 0, 0), true},
		{"IPv6: DNS", v6(17, 0, 53, 0, 53, 0, 8, 0, 0), false},
		{"IPv6: first fragment of IKE", v6(44, 17, 0, 0, 1, 0, 0, 0, 0, 1, 244, 1, 244, 0, 8, 0, 0), true},
		{"IPv6: later fragment", v6(44, 17, 0, 1, 0, 0, 0, 0, 0), true},
		{"IPv6: later fragment of TCP", v6(44, 6, 0, 1, 0, 0, 0, 0, 0), false},
		{"IPv6: TCP", v6(6, 1, 244, 1, 244, 0, 8, 0, 0), false},
	} {
		if got := Underlay(c.b); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}

// A tap that cannot follow keeps no socket that it has closed.
func TestATapThatCannotFollowKeepsNoClosedSocket(t *testing.T) {
	left, _ := wire(t)
	h := left.host()
	var many []netip.Addr // more than a filter of the kernel has room for
	for a := right4; len(many) < 200; a = a.Next() {
		many = append(many, a)
	}
	for range 10 { // the order of the sockets is by chance
		tap, err := h.Tap([]TapSource{{Peers: []netip.Addr{right4, right6}}})
		left.must(err)
		if err := tap.Aim(0, many); err == nil {
			t.Fatal("a filter of 200 peers is taken")
		}
		for _, k := range tap.sources[0].sockets {
			if _, err := unix.FcntlInt(uintptr(k.fd), unix.F_GETFD, 0); err != nil {
				t.Fatalf("socket %d: %v", k.fd, err)
			}
		}
		tap.Close()
	}
}
