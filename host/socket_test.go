package host

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vpngw/ipsec"
)

var (
	left4  = netip.MustParseAddr("10.9.0.1")
	right4 = netip.MustParseAddr("10.9.0.2")
	left6  = netip.MustParseAddr("fd09::1")
	right6 = netip.MustParseAddr("fd09::2")
)

// kinds are the kinds of sockets and paths, with the addresses of both ends.
var kinds = []struct {
	name        string
	port        uint16
	left, right netip.Addr
}{
	{"IKE over IPv4", PortIKE, left4, right4},
	{"UDP over IPv4", PortNATT, left4, right4},
	{"UDP over IPv6", PortNATT, left6, right6},
	{"raw over IPv4", 0, left4, right4},
	{"raw over IPv6", 0, left6, right6},
}

// inbox reads until it has n packets, runs cut into theirs. Data is copied.
func inbox(t *testing.T, s *Socket, n int) []ipsec.Datagram {
	t.Helper()
	var got []ipsec.Datagram
	bufs := make([]byte, 8<<16)
	watchdog := time.AfterFunc(time.Minute, func() { s.Close() })
	defer watchdog.Stop()
	for len(got) < n {
		ds := make([]ipsec.Datagram, 8)
		for i := range ds {
			ds[i].Data = bufs[i<<16 : (i+1)<<16]
		}
		m, err := s.ReadBatch(ds)
		if err != nil {
			t.Fatalf("after %d of %d packets: %v", len(got), n, err)
		}
		for _, d := range ds[:m] {
			size := d.Segment
			if size == 0 {
				size = len(d.Data)
			}
			for rest := d.Data; ; rest = rest[size:] {
				one := d
				one.Segment, one.Data = 0, bytes.Clone(rest[:min(size, len(rest))])
				got = append(got, one)
				if len(rest) <= size {
					break
				}
			}
		}
	}
	return got
}

func TestDatagramKeepsAddressesAndTOS(t *testing.T) {
	left, right := wire(t)
	from, to := left.open(left.host()), right.open(right.host())
	for _, k := range kinds {
		sent := ipsec.Datagram{
			Local:  netip.AddrPortFrom(k.left, k.port),
			Remote: netip.AddrPortFrom(k.right, k.port),
			Data:   []byte(k.name),
			TOS:    0xb8 | 3, // EF, and both ECN bits
		}
		if n, err := from.ForSend(sent.Local, sent.Remote.Addr()).WriteBatch([]ipsec.Datagram{sent}); n != 1 || err != nil {
			t.Errorf("%s: sent %d, %v", k.name, n, err)
			continue
		}
		got := inbox(t, to.ForSend(sent.Remote, sent.Local.Addr()), 1)[0]
		if got.Local != sent.Remote || got.Remote != sent.Local || got.TOS != sent.TOS || string(got.Data) != k.name {
			t.Errorf("%s: got %v -> %v TOS %#x %q", k.name, got.Remote, got.Local, got.TOS, got.Data)
		}
	}
}

func TestIPv4OptionsAreNotPayload(t *testing.T) {
	left, right := wire(t)
	to := right.open(right.host())
	left.run(func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protoESP)
		left.must(err)
		defer unix.Close(fd)
		left.must(unix.SetsockoptString(fd, unix.IPPROTO_IP, unix.IP_OPTIONS, "\x01\x01\x01\x00")) // NOP, NOP, NOP, END
		left.must(unix.Sendto(fd, []byte("behind options"), 0, &unix.SockaddrInet4{Addr: right4.As4()}))
	})
	if got := inbox(t, to.Raw[0], 1)[0]; string(got.Data) != "behind options" {
		t.Errorf("got %q", got.Data)
	}
}

// NAT64 may make UDP over IPv6 without a checksum, which a kernel drops unless it is told otherwise (RFC 6936).
func TestUDPOverIPv6WithoutAChecksum(t *testing.T) {
	left, right := wire(t)
	to := right.open(right.host())
	left.run(func() {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		left.must(err)
		defer unix.Close(fd)
		left.must(unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_TX, 1))
		left.must(unix.Sendto(fd, []byte("no checksum"), 0, &unix.SockaddrInet6{Port: PortNATT, Addr: right6.As16()}))
	})
	left.run(func() {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		left.must(err)
		defer unix.Close(fd)
		left.must(unix.Sendto(fd, []byte("with one"), 0, &unix.SockaddrInet6{Port: PortNATT, Addr: right6.As16()}))
	})
	if got := inbox(t, to.ForSend(netip.AddrPortFrom(right6, PortNATT), left6), 1)[0]; string(got.Data) != "no checksum" {
		t.Errorf("got %q first", got.Data)
	}
}

// A run arrives as its packets, in order, with every kind of path.
func TestRunArrivesWhole(t *testing.T) {
	for _, c := range []struct {
		name string
		off  []string // what the device cannot do
	}{
		{"offload", nil},
		{"no UDP segmentation", []string{"tx-udp-segmentation", "off"}},
		{"no checksum offload", []string{"tx", "off"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			left, right := wire(t)
			if c.off != nil {
				left.exec("ethtool", append([]string{"-K", "left"}, c.off...)...)
			}
			from, to := left.open(left.host()), right.open(right.host())
			for _, k := range kinds {
				d := ipsec.Datagram{
					Local:  netip.AddrPortFrom(k.left, k.port),
					Remote: netip.AddrPortFrom(k.right, k.port), Segment: 1300,
				}
				for i := range 150 { // more than one message holds
					d.Data = append(d.Data, bytes.Repeat([]byte{byte(i + 1)}, 1300)...)
				}
				d.Data = d.Data[:len(d.Data)-300]
				s := from.ForSend(d.Local, d.Remote.Addr())
				if n, err := s.WriteBatch([]ipsec.Datagram{d}); n != 1 || err != nil {
					t.Fatalf("%s: sent %d, %v", k.name, n, err)
				}
				for i, got := range inbox(t, to.ForSend(d.Remote, k.left), 150) {
					want := d.Data[i*1300 : min((i+1)*1300, len(d.Data))]
					if !bytes.Equal(got.Data, want) {
						t.Fatalf("%s: packet %d: %d bytes of %d, want %d of %d", k.name, i, len(got.Data), got.Data[0], len(want), want[0])
					}
				}
				t.Logf("%s: UDP_SEGMENT %v", k.name, s.Stats().Segments)
			}
		})
	}
}

// What a fast stream has under way over a long path waits in the socket while its reader does not run: 25 MB.
func TestSocketHoldsALongPath(t *testing.T) {
	left, right := wire(t)
	from, to := left.open(left.host()), right.open(right.host())
	const runs, size = 400, 1400 * 44
	d := ipsec.Datagram{Remote: netip.AddrPortFrom(right4, PortNATT), Segment: 1400, Data: bytes.Repeat([]byte{1}, size)}
	for range runs {
		if n, err := from.NATT[0].WriteBatch([]ipsec.Datagram{d}); n != 1 || err != nil {
			t.Fatalf("sent %d, %v", n, err)
		}
	}
	s := to.ForSend(netip.AddrPortFrom(right4, PortNATT), left4)
	if drops := s.Stats().KernelDrops; drops > 0 {
		t.Errorf("%d of %d runs were dropped", drops, runs)
	}
}

// A socket whose kernel refuses UDP_SEGMENT goes on without it, and loses no packet.
func TestSegmentsAreCutWhereTheKernelWillNot(t *testing.T) {
	left, right := wire(t)
	from, to := left.open(left.host()), right.open(right.host())
	s := from.ForSend(netip.AddrPortFrom(left4, PortNATT), right4)
	// UDP_SEGMENT is refused where UDP goes without checksums.
	s.fd.do(func(fd uintptr) {
		left.must(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1))
	})
	run := func(b byte) ipsec.Datagram {
		return ipsec.Datagram{Remote: netip.AddrPortFrom(right4, PortNATT), Segment: 100, Data: bytes.Repeat([]byte{b}, 950)}
	}
	single := ipsec.Datagram{Remote: netip.AddrPortFrom(right4, PortNATT), Data: []byte{9}}
	for range 2 {
		ds := []ipsec.Datagram{single, run(1), single, run(2), single}
		if n, err := s.WriteBatch(ds); n != 5 || err != nil {
			t.Fatalf("sent %d, %v", n, err)
		}
		var order []byte
		for _, d := range inbox(t, to.NATT[0], 23) {
			order = append(order, d.Data[0])
		}
		want := "\x09" + strings.Repeat("\x01", 10) + "\x09" + strings.Repeat("\x02", 10) + "\x09"
		if string(order) != want {
			t.Fatalf("order %v", order)
		}
		if s.Stats().Segments {
			t.Fatal("UDP_SEGMENT still in use")
		}
	}
}

func TestSourceAddressIsTheDatagrams(t *testing.T) {
	left, right := wire(t)
	left.addr("left", "10.9.0.77/32", "fd09::77/128")
	from, to := left.open(left.host()), right.open(right.host())
	for _, k := range kinds {
		for _, host := range []string{"", "77"} {
			local := k.left
			if host != "" {
				local = netip.MustParseAddr(strings.TrimSuffix(local.String(), "1") + host)
			}
			d := ipsec.Datagram{
				Local:  netip.AddrPortFrom(local, k.port),
				Remote: netip.AddrPortFrom(k.right, k.port), Data: []byte("x"),
			}
			if _, err := from.ForSend(d.Local, k.right).WriteBatch([]ipsec.Datagram{d}); err != nil {
				t.Fatalf("%s from %s: %v", k.name, local, err)
			}
			if got := inbox(t, to.ForSend(d.Remote, local), 1)[0]; got.Remote.Addr() != local {
				t.Errorf("%s: from %s, want %s", k.name, got.Remote.Addr(), local)
			}
		}
	}
}

func TestTooBigNamesThePeerAndHoldsUpNobody(t *testing.T) {
	left, right := wire(t)
	from, to := left.open(left.host()), right.open(right.host())
	for _, k := range kinds[1:] {
		remote := netip.AddrPortFrom(k.right, k.port)
		small := ipsec.Datagram{Remote: remote, Data: []byte("small")}
		ds := []ipsec.Datagram{
			small,
			{Remote: netip.AddrPort{}, Data: []byte("nowhere")},
			{Remote: remote, Data: make([]byte, 1600)},
			small,
			{Remote: remote, Data: make([]byte, 4000), Segment: 1600},
			small,
		}
		s := from.ForSend(netip.AddrPortFrom(k.left, k.port), k.right)
		n, err := s.WriteBatch(ds)
		var e *SendError
		if !errors.As(err, &e) || n != 3 || e.Failed != 3 {
			t.Fatalf("%s: sent %d, %v", k.name, n, err)
		}
		if to, big := e.TooBig(); !big || to != remote || !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("%s: %v", k.name, err)
		}
		if st := s.Stats(); st.SendErrors != 3 || st.TooBig != 2 {
			t.Errorf("%s: counted %+v", k.name, st)
		}
		if !s.Raw() && !s.Stats().Segments {
			t.Errorf("%s: a packet too big ended UDP_SEGMENT", k.name)
		}
		for _, d := range inbox(t, to.ForSend(remote, k.left), 3) {
			if len(d.Data) != 5 && len(d.Data) != 800 { // the run's last, short one may pass
				t.Errorf("%s: got %d bytes", k.name, len(d.Data))
			}
		}
	}
}

func TestIKEMessageMayBeFragmented(t *testing.T) {
	left, right := wire(t)
	from, to := left.open(left.host()), right.open(right.host())
	for _, k := range kinds[:3] {
		d := ipsec.Datagram{Remote: netip.AddrPortFrom(k.right, k.port), Data: bytes.Repeat([]byte{1}, 3000)}
		s := from.ForSend(netip.AddrPortFrom(k.left, k.port), k.right)
		if err := s.WriteFragmentable(d); err != nil {
			t.Errorf("%s: %v", k.name, err)
			continue
		}
		if got := inbox(t, to.ForSend(d.Remote, k.left), 1)[0]; len(got.Data) != 3000 {
			t.Errorf("%s: got %d bytes", k.name, len(got.Data))
		}
		if _, err := s.WriteBatch([]ipsec.Datagram{d}); k.port != PortIKE && !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("%s: DF did not come back: %v", k.name, err)
		}
	}
}

func TestCloseEndsReaders(t *testing.T) {
	s := enter(t)
	for _, sock := range s.open(s.host()).All() {
		done := make(chan error)
		go func() {
			_, err := sock.ReadBatch([]ipsec.Datagram{{Data: make([]byte, 100)}})
			done <- err
		}()
		time.Sleep(10 * time.Millisecond)
		sock.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v: read: %v", sock.Local(), err)
		}
		_, err := sock.WriteBatch([]ipsec.Datagram{{Remote: netip.AddrPortFrom(left4, 500), Data: []byte("x")}})
		if sock.v6 == false && !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v: write: %v", sock.Local(), err)
		}
	}
}

func TestListenNarrowsTheSockets(t *testing.T) {
	s := enter(t)
	s.addr("lo", "192.0.2.10/32", "192.0.2.11/32", "2001:db8::10/128")
	a, b := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("192.0.2.11")
	v6 := netip.MustParseAddr("2001:db8::10")
	socks := s.open(s.host(), a, b, v6, a)
	if len(socks.IKE) != 3 || len(socks.NATT) != 3 || len(socks.Raw) != 3 {
		t.Fatalf("%d, %d and %d sockets", len(socks.IKE), len(socks.NATT), len(socks.Raw))
	}
	for _, local := range []netip.AddrPort{
		netip.AddrPortFrom(a, 500), netip.AddrPortFrom(b, 4500), netip.AddrPortFrom(v6, 0),
	} {
		if got := socks.ForSend(local, local.Addr()); got == nil || got.Local() != local {
			t.Errorf("for %s: %v", local, got)
		}
	}
	// A socket that is bound to one address sends from another too.
	d := ipsec.Datagram{Local: netip.AddrPortFrom(b, 4500), Remote: netip.AddrPortFrom(a, 4500), Data: []byte("x")}
	if _, err := socks.NATT[0].WriteBatch([]ipsec.Datagram{d}); err != nil {
		t.Fatal(err)
	}
	if got := inbox(t, socks.NATT[0], 1)[0]; got.Remote != d.Local {
		t.Errorf("from %s, want %s", got.Remote, d.Local)
	}
}

func TestOpenSaysWhatStandsInItsWay(t *testing.T) {
	s := enter(t)
	h := s.host()
	s.open(h)
	if _, err := h.Open(nil); err == nil || !strings.Contains(err.Error(), "UDP port 500") ||
		!strings.Contains(err.Error(), "host.test (pid ") {
		t.Errorf("port in use: %v", err)
	}
	if _, err := h.Open([]netip.Addr{netip.MustParseAddr("192.0.2.1")}); err == nil || !strings.Contains(err.Error(), "listen") {
		t.Errorf("foreign address: %v", err)
	}
}

// One socket carries the traffic of many TUN devices.
func TestManyWritersLoseNothing(t *testing.T) {
	left, right := wire(t)
	from, to := left.open(left.host()), right.open(right.host())
	s := from.NATT[0]
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			d := ipsec.Datagram{Remote: netip.AddrPortFrom(right4, PortNATT), Data: bytes.Repeat([]byte{byte(g + 1)}, 100)}
			for range 20 {
				if n, err := s.WriteBatch([]ipsec.Datagram{d, d, d, d, d}); n != 5 || err != nil {
					t.Errorf("sent %d, %v", n, err)
				}
			}
		})
	}
	count := make(map[byte]int)
	for _, d := range inbox(t, to.NATT[0], 800) {
		count[d.Data[0]]++
		if !bytes.Equal(d.Data, bytes.Repeat(d.Data[:1], 100)) {
			t.Fatal("mixed up")
		}
	}
	wg.Wait()
	for g := range 8 {
		if count[byte(g+1)] != 100 {
			t.Errorf("writer %d: %d packets", g, count[byte(g+1)])
		}
	}
}

// WriteBatch waits for a full socket buffer, in the middle of a batch and of a run.
func TestFullBufferIsWaitedFor(t *testing.T) {
	for _, c := range []struct {
		name    string
		segment int
		noCheck int // makes the kernel refuse UDP_SEGMENT
	}{{"packets", 0, 0}, {"runs", 1000, 0}, {"runs cut", 1000, 1}} {
		t.Run(c.name, func(t *testing.T) {
			left, right := wire(t)
			left.exec("tc", "qdisc", "add", "dev", "left", "root", "tbf", "rate", "40mbit", "burst", "20kb", "limit", "2mb")
			from, to := left.open(left.host()), right.open(right.host())
			s := from.NATT[0]
			s.fd.do(func(fd uintptr) {
				left.must(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 20000))
				left.must(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, c.noCheck))
			})
			d := ipsec.Datagram{Remote: netip.AddrPortFrom(right4, PortNATT), Segment: c.segment}
			var ds []ipsec.Datagram
			for i := range 200 {
				if packet := bytes.Repeat([]byte{byte(i + 1)}, 1000); c.segment == 0 {
					d.Data = packet
					ds = append(ds, d)
				} else if d.Data = append(d.Data, packet...); i%20 == 19 {
					ds = append(ds, d)
					d.Data = nil
				}
			}
			if n, err := s.WriteBatch(ds); n != len(ds) || err != nil {
				t.Fatalf("sent %d of %d, %v", n, len(ds), err)
			}
			for i, d := range inbox(t, to.NATT[0], 200) {
				if d.Data[0] != byte(i+1) {
					t.Fatalf("packet %d is %d", i, d.Data[0])
				}
			}
		})
	}
}

func TestBatchesDoNotAllocate(t *testing.T) {
	left, right := wire(t)
	from, to := left.open(left.host()), right.open(right.host())
	buf := make([]byte, 2<<16)
	in := make([]ipsec.Datagram, 2)
	for _, k := range kinds {
		out := []ipsec.Datagram{{
			Local: netip.AddrPortFrom(k.left, k.port), Remote: netip.AddrPortFrom(k.right, k.port),
			Data: bytes.Repeat([]byte{1}, 1000), Segment: 400, TOS: 4,
		}}
		w, r := from.ForSend(out[0].Local, k.right), to.ForSend(out[0].Remote, k.left)
		allocs := testing.AllocsPerRun(100, func() {
			if _, err := w.WriteBatch(out); err != nil {
				t.Fatal(err)
			}
			in[0].Data, in[1].Data = buf[:1<<16], buf[1<<16:]
			if _, err := r.ReadBatch(in); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations", k.name, allocs)
		}
	}
}
