package host

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// peers are the two ends of a wire in both families, the first two being ours.
var bgpEnds = [][2]netip.Addr{
	{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")},
	{netip.MustParseAddr("fd09::1"), netip.MustParseAddr("fd09::2")},
}

// bgpListens listens on TCP 179 of an address with the options that set gives the socket, until the returned function is called.
func (s *space) bgpListens(at netip.Addr, set func(fd int) error) (end func()) {
	s.t.Helper()
	var fd int
	s.run(func() {
		family := unix.AF_INET
		if at.Is6() {
			family = unix.AF_INET6
		}
		var err error
		fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		s.must(err)
		s.must(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
		s.must(set(fd))
		s.must(unix.Bind(fd, sockaddr(netip.AddrPortFrom(at, BGPPort))))
		s.must(unix.Listen(fd, 1))
	})
	return func() { unix.Close(fd) }
}

// password has a socket take only segments of a peer that are signed (RFC 2385).
func password(peer netip.Addr) func(fd int) error {
	return func(fd int) error {
		var sig unix.TCPMD5Sig
		b := peer.As4()
		sig.Addr.Family = unix.AF_INET
		copy(sig.Addr.Data[2:], b[:])
		sig.Keylen = uint16(copy(sig.Key[:], "secret"))
		return unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig)
	}
}

func TestAskNeighborHearsWhatBGPHears(t *testing.T) {
	left, right := wire(t)
	h := left.host()
	free := func(int) error { return nil }
	secure := func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MINTTL, 255) }
	low := func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, 1) }
	ask := func(a Ask) (n Neighbor) {
		left.run(func() { n = h.AskNeighbor(a) })
		return n
	}
	us, them := bgpEnds[0][0], bgpEnds[0][1]
	for _, c := range []struct {
		name         string
		listens      func(fd int) error
		security     bool
		plain, alike Answer
	}{
		{"nobody listens", nil, false, Refused, Refused},
		{"an open peer", free, false, Accepted, Accepted},
		{"a peer with a password", password(us), false, Silence, Silence},
		{"a peer with TTL security", secure, false, Accepted, Silence},
		{"a peer without, and we have it", low, true, Accepted, Silence},
		{"a peer with, and we have it", func(fd int) error {
			if err := secure(fd); err != nil {
				return err
			}
			return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, 255)
		}, true, Accepted, Accepted},
	} {
		end := func() {}
		if c.listens != nil {
			end = right.bgpListens(them, c.listens)
		}
		n := ask(Ask{Local: us, Remote: them, Connect: true, TTLSecurity: c.security, Large: 1400})
		end()
		if n.Plain != c.plain || n.Alike != c.alike || n.Ping != Accepted || n.Large != Accepted {
			t.Errorf("%s: got %+v, want %s, %s", c.name, n, c.plain, c.alike)
		}
	}

	// Of IPv6, and without a connection.
	if n := ask(Ask{Local: bgpEnds[1][0], Remote: bgpEnds[1][1], Large: 1400}); n.Ping != Accepted || n.Large != Accepted || n.Plain != Unasked {
		t.Errorf("IPv6: %+v", n)
	}
	if n := ask(Ask{Local: bgpEnds[1][0], Remote: bgpEnds[1][1], Connect: true}); n.Plain != Refused {
		t.Errorf("IPv6: %+v", n)
	}
	// Nobody has the address, or it is of another family: the kernel says so at once or nothing comes.
	if n := ask(Ask{Local: us, Remote: netip.MustParseAddr("10.9.0.3"), Connect: true}); n.Ping == Accepted || n.Plain == Accepted || n.Plain == Refused {
		t.Errorf("a peer that is not there: %+v", n)
	}
	if n := ask(Ask{Local: us, Remote: bgpEnds[1][1], Connect: true}); n != (Neighbor{}) {
		t.Errorf("two families: %+v", n)
	}
	// Large packets are lost at the peer.
	right.ip("link", "set", "right", "mtu", "1280")
	if n := ask(Ask{Local: us, Remote: them, Large: 1400}); n.Ping != Accepted || n.Large != Silence {
		t.Errorf("a narrow link: %+v", n)
	}
}

// Segments with a password that this end does not want, or with another, are counted, and so are those with a low TTL.
func TestWhatTheKernelDropsOfBGPIsCounted(t *testing.T) {
	left, right := wire(t)
	hl, hr := left.host(), right.host()
	us, them := bgpEnds[0][0], bgpEnds[0][1]
	var before, after Neighbor
	left.run(func() { before = hl.AskNeighbor(Ask{Local: us, Remote: them}) })
	end := left.bgpListens(us, password(them))
	right.run(func() { hr.AskNeighbor(Ask{Local: them, Remote: us, Connect: true}) })
	end()
	end = left.bgpListens(us, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MINTTL, 255) })
	right.run(func() { hr.AskNeighbor(Ask{Local: them, Remote: us, Connect: true}) })
	end()
	left.run(func() { after = hl.AskNeighbor(Ask{Local: us, Remote: them}) })
	if after.Unsigned < before.Unsigned+2 || after.LowTTL == before.LowTTL {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// A program that has TCP 179 is named, unless it is this one.
func TestWhoListensForBGPIsNamed(t *testing.T) {
	left, _ := wire(t)
	us := bgpEnds[0][0]
	end := left.bgpListens(us, func(int) error { return nil })
	if got := listener(us, BGPPort); got != "" {
		t.Errorf("this process: %q", got)
	}
	end()
	for _, at := range []string{"0.0.0.0", "10.9.0.1", "[::]"} {
		pid := left.stranger(at + ":179")
		suffix, got := fmt.Sprintf("(pid %d)", pid), ""
		eventually(t, "a stranger at "+at, func() bool { got = listener(us, BGPPort); return got != "" })
		unix.Kill(pid, unix.SIGKILL)
		if !strings.HasSuffix(got, suffix) {
			t.Errorf("%s: got %q, want %s", at, got, suffix)
		}
		eventually(t, "its end", func() bool { return listener(us, BGPPort) == "" })
	}
}

const holdsPort = "VPNGW_TEST_LISTEN"

// stranger starts a process that listens and is no child of this one.
func (s *space) stranger(at string) (pid int) {
	s.t.Helper()
	out := s.exec("env", holdsPort+"="+at, "sh", "-c", `"$0" -test.run='^TestStranger$' >/dev/null 2>&1 </dev/null & echo $!`, os.Args[0])
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	s.must(err)
	s.t.Cleanup(func() { unix.Kill(pid, unix.SIGKILL) })
	return pid
}

// TestStranger is that process.
func TestStranger(t *testing.T) {
	at := os.Getenv(holdsPort)
	if at == "" {
		return // only as the process of another test
	}
	network := "tcp4"
	if strings.HasPrefix(at, "[") {
		network = "tcp6"
	}
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	l.Accept()
}

func TestProcAddress(t *testing.T) {
	for text, want := range map[string]string{
		"0100007F:00B3": "127.0.0.1:179", "00000000:00B3": "0.0.0.0:179",
		"0000000000000000FFFF00000100007F:00B3": "127.0.0.1:179", "000080FE000000000000000001000000:0016": "[fe80::1]:22",
		"": "", "01:1": "", "0100007F:": "", "0100007F00:00B3": "", "XX00007F:00B3": "",
	} {
		got, ok := procAddress(text)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%q: got %v, %v", text, got, ok)
		}
	}
	if !own(os.Getpid()) || own(1) {
		t.Error("own")
	}
}
