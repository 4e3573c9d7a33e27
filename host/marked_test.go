package host

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"vpngw/ipsec"
)

// An IKE message on port 4500 arrives although the queue of ESP is full.
func TestMarkedDatagramsHaveAQueueOfTheirOwn(t *testing.T) {
	left, right := wire(t)
	from, to := left.open(left.host()), right.open(right.host())
	for i, c := range []struct{ left, right netip.Addr }{{left4, right4}, {left6, right6}} {
		d := ipsec.Datagram{Local: netip.AddrPortFrom(c.left, PortNATT), Remote: netip.AddrPortFrom(c.right, PortNATT)}
		plain, marked := to.NATT[i], to.Marked[i]
		send := func(s *Socket, data []byte, segment int) {
			t.Helper()
			d.Data, d.Segment = data, segment
			if n, err := s.WriteBatch([]ipsec.Datagram{d}); n != 1 || err != nil {
				t.Fatalf("sent %d, %v", n, err)
			}
		}
		esp := bytes.Repeat([]byte{7}, 1400)
		for plain.Stats().KernelDrops == 0 {
			send(from.NATT[i], bytes.Repeat(esp, 40), len(esp))
		}
		message := append(make([]byte, 4), "a message"...)
		send(from.ForIKE(d.Local, c.right), message, 0)
		if got := inbox(t, marked, 1)[0]; !bytes.Equal(got.Data, message) || got.Remote != d.Local || got.Local != d.Remote {
			t.Errorf("%v: got %q from %v to %v", c.right, got.Data, got.Remote, got.Local)
		}
		if n := marked.Stats().KernelDrops; n != 0 {
			t.Errorf("%v: %d dropped on the marked socket", c.right, n)
		}
	}
}

// A datagram without the marker, or shorter than it, arrives on the other socket.
func TestUnmarkedDatagramsDoNot(t *testing.T) {
	left, right := wire(t)
	from, to := left.open(left.host()), right.open(right.host())
	d := ipsec.Datagram{Local: netip.AddrPortFrom(left4, PortNATT), Remote: netip.AddrPortFrom(right4, PortNATT)}
	for _, data := range []string{"\xff", "\x00\x00\x00", "\x00\x00\x01\x00ESP"} {
		d.Data = []byte(data)
		if err := from.Marked[0].WriteFragmentable(d); err != nil {
			t.Fatal(err)
		}
		if got := inbox(t, to.NATT[0], 1)[0]; string(got.Data) != data {
			t.Errorf("got %q, want %q", got.Data, data)
		}
	}
}

// The port is shared among our own two sockets only.
func TestPort4500IsNobodyElses(t *testing.T) {
	left, _ := wire(t)
	h := left.host()
	left.open(h, left4)
	left.run(func() {
		_, err := (&Socket{addr: netip.AddrPortFrom(left4, PortNATT)}).open(nil)
		if !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("a second gateway: %v", err)
		}
	})
}
