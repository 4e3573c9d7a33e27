package host

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A space is a new network namespace with its own thread. The kernel removes
// the namespace when the thread and the sockets are gone, even if the test
// fails.
type space struct {
	t  *testing.T
	nl *netlink.Handle
	fd int // of the namespace
	do chan func()
}

// enter puts the test's own goroutine into a fresh namespace, for good.
func enter(t *testing.T) *space {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root: network namespaces")
		}
		t.Skip("needs root: network namespaces")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("unshare: %v", err)
	}
	pin(t)
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	s := &space{t: t, nl: nl, fd: fd}
	t.Cleanup(func() { nl.Close(); unix.Close(fd) })
	s.up("lo")
	return s
}

// pin keeps the thread on one CPU. A veth has a queue for each, and a sender
// that is moved from one to the other sees its packets overtake each other.
func pin(t *testing.T) {
	t.Helper()
	var cpus unix.CPUSet
	if err := unix.SchedGetaffinity(0, &cpus); err != nil {
		t.Fatal(err)
	}
	for i := 0; cpus.Count() > 1; i++ {
		cpus.Clear(i)
	}
	if err := unix.SchedSetaffinity(0, &cpus); err != nil {
		t.Fatal(err)
	}
}

// beside makes a further namespace; run does something in it.
func beside(t *testing.T) *space {
	t.Helper()
	do, ready := make(chan func()), make(chan *space)
	go func() {
		var s *space
		defer func() { ready <- s }() // nil when enter gave up
		s = enter(t)
		s.do = do
		ready <- s
		for f := range do {
			f()
		}
	}()
	s := <-ready
	if s == nil {
		t.FailNow()
	}
	t.Cleanup(func() { close(do); <-ready })
	return s
}

func (s *space) run(f func()) {
	if s.do == nil {
		f()
		return
	}
	done := make(chan struct{})
	s.do <- func() { defer close(done); f() }
	<-done
}

func (s *space) link(name string) netlink.Link {
	s.t.Helper()
	l, err := s.nl.LinkByName(name)
	if err != nil {
		s.t.Fatalf("link %s: %v", name, err)
	}
	return l
}

func (s *space) up(name string) {
	s.t.Helper()
	s.must(s.nl.LinkSetUp(s.link(name)))
}

func (s *space) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *space) addr(dev string, prefixes ...string) {
	s.t.Helper()
	for _, p := range prefixes {
		a := &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(p)), Broadcast: net.IPv4zero}
		if strings.Contains(p, ":") {
			a.Flags = unix.IFA_F_NODAD
		}
		s.must(s.nl.AddrAdd(s.link(dev), a))
	}
}

// calm keeps IPv6 from speaking up on a link by itself, a second or two later.
func (s *space) calm(dev string) {
	s.run(func() {
		for knob, value := range map[string]string{"accept_dad": "0", "addr_gen_mode": "1"} {
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+dev+"/"+knob, []byte(value), 0o644); err != nil {
				s.t.Error(err)
			}
		}
	})
}

// ready waits until a link is up and its addresses are the host's: IPv6 gets
// there in its own time.
func (s *space) ready(dev string) {
	s.t.Helper()
	l := s.link(dev)
	eventually(s.t, dev+" ready", func() bool {
		addrs, err := s.nl.AddrList(l, netlink.FAMILY_ALL)
		missing := func(a netlink.Addr) bool {
			r, err := s.nl.RouteGet(a.IP)
			return err != nil || r[0].Type != unix.RTN_LOCAL
		}
		return err == nil && s.link(dev).Attrs().OperState == netlink.OperUp && !slices.ContainsFunc(addrs, missing)
	})
}

// neighbour saves a second too, as the first solicitation is lost on a link that young.
func (s *space) neighbour(dev, addr string, is netlink.Link) {
	s.must(s.nl.NeighSet(&netlink.Neigh{
		LinkIndex: s.link(dev).Attrs().Index, IP: net.ParseIP(addr),
		HardwareAddr: is.Attrs().HardwareAddr, State: netlink.NUD_PERMANENT,
	}))
}

// ip runs ip(8) in the namespace and returns its output.
func (s *space) ip(args ...string) string { s.t.Helper(); return s.exec("ip", args...) }

func (s *space) exec(name string, args ...string) (out string) {
	s.t.Helper()
	s.run(func() {
		b, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			s.t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, b)
		}
		out = string(b)
	})
	return out
}

func (s *space) host() *Host {
	s.t.Helper()
	var h *Host
	var err error
	s.run(func() { h, err = New(Config{}) })
	s.must(err)
	s.t.Cleanup(func() { h.Close() })
	return h
}

func (s *space) open(h *Host, listen ...netip.Addr) *Sockets {
	s.t.Helper()
	var socks *Sockets
	var err error
	s.run(func() { socks, err = h.Open(listen) })
	s.must(err)
	s.t.Cleanup(func() { socks.Close() })
	return socks
}

// wire joins two namespaces: left has 10.9.0.1 and fd09::1 on "left", right has
// 10.9.0.2 and fd09::2 on "right".
func wire(t *testing.T) (left, right *space) {
	t.Helper()
	left = enter(t)
	right = beside(t)
	left.must(left.nl.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "left"}, PeerName: "right", PeerNamespace: netlink.NsFd(right.fd),
	}))
	left.calm("left")
	right.calm("right")
	left.addr("left", "10.9.0.1/24", "fd09::1/64")
	right.addr("right", "10.9.0.2/24", "fd09::2/64")
	left.up("left")
	right.up("right")
	left.neighbour("left", "fd09::2", right.link("right"))
	right.neighbour("right", "fd09::1", left.link("left"))
	left.ready("left")
	right.ready("right")
	return left, right
}

// eventually waits for a condition, up to a minute on a busy machine.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 6000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}
