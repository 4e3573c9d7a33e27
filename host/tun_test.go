package host

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vpngw/ipsec"
)

func datagram(port uint16, to netip.Addr, data string) []ipsec.Datagram {
	return []ipsec.Datagram{{Remote: netip.AddrPortFrom(to, port), Data: []byte(data)}}
}

func TestTUNIsRecognisedAndQuiet(t *testing.T) {
	s, h := world(t)
	tun, err := h.CreateTUN("vpn.0", 1372)
	s.must(err)
	a := s.link("vpn.0").Attrs()
	if !ours(s.link("vpn.0")) || a.MTU != 1372 || tun.Name() != "vpn.0" {
		t.Errorf("%+v", a)
	}
	if int(a.GSOMaxSegs) != tun.BatchSize() {
		t.Errorf("gso_max_segs is %d; a Read takes %d segments", a.GSOMaxSegs, tun.BatchSize())
	}
	for knob, want := range map[string]string{
		"ipv4/conf/vpn.0/rp_filter": "2", "ipv6/conf/vpn.0/accept_ra": "0",
		"ipv6/conf/vpn.0/autoconf": "0", "ipv6/conf/vpn.0/addr_gen_mode": "1",
	} {
		if got := sysctl("net/" + knob); got != want {
			t.Errorf("%s is %q, want %q", knob, got, want)
		}
	}
	_, err = h.Set(State{Devices: []DeviceState{{Name: "vpn.0", MTU: 1400}}})
	s.must(err)
	if out := s.ip("-6", "addr", "show", "dev", "vpn.0"); strings.Contains(out, "inet6") {
		t.Errorf("an address came by itself:\n%s", out)
	}
	s.must(tun.Close())
	s.must(tun.Close())
	if _, err := s.nl.LinkByName("vpn.0"); err == nil {
		t.Error("the device outlives Close")
	}
	if _, err := h.Set(State{Devices: []DeviceState{{Name: "vpn.0"}}}); err == nil {
		t.Error("Set took a device that is gone")
	}
}

func TestForeignDeviceIsNotTakenOver(t *testing.T) {
	s, h := world(t)
	s.ip("tuntap", "add", "mode", "tun", "name", "vpn0")
	for _, name := range []string{"vpn0", "eth0"} {
		if _, err := h.CreateTUN(name, 1400); !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "not ours") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "../x", "vpn%d", "a name", "sixteen-letters-", ".", ".."} {
		if _, err := h.CreateTUN(name, 1400); err == nil {
			t.Errorf("%q was taken for a name", name)
		}
	}
}

func TestPacketsPassTheTUNBothWays(t *testing.T) {
	s, h := world(t)
	tun, err := h.CreateTUN("vpn0", 1400)
	s.must(err)
	_, err = h.Set(State{Devices: []DeviceState{{
		Name: "vpn0", Addresses: prefixes("169.254.7.1/30"),
		Routes: []Route{{Prefix: netip.MustParsePrefix("10.20.0.0/16"), Source: netip.MustParseAddr("192.0.2.1")}},
	}}})
	s.must(err)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	s.must(err)
	defer unix.Close(fd)
	s.must(unix.Bind(fd, &unix.SockaddrInet4{Port: 999}))
	s.must(unix.Sendto(fd, []byte("ping"), 0, &unix.SockaddrInet4{Addr: [4]byte{10, 20, 3, 4}, Port: 777}))
	bufs, sizes := make([][]byte, tun.BatchSize()), make([]int, tun.BatchSize())
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	n, err := tun.Read(bufs, sizes, 16)
	if err != nil || n != 1 {
		t.Fatal(n, err)
	}
	p := bufs[0][16 : 16+sizes[0]]
	if src := netip.AddrFrom4([4]byte(p[12:])); src != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("source %s, want the route's", src)
	}
	// Back the way it came: addresses and ports swapped, which keeps the checksums.
	p[12], p[13], p[14], p[15], p[16], p[17], p[18], p[19] = p[16], p[17], p[18], p[19], p[12], p[13], p[14], p[15]
	p[20], p[21], p[22], p[23] = p[22], p[23], p[20], p[21]
	if _, err := tun.Write([][]byte{bufs[0][:16+sizes[0]]}, 16); err != nil {
		t.Fatal(err)
	}
	s.must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
	got := make([]byte, 10)
	if n, err := unix.Read(fd, got); err != nil || string(got[:n]) != "ping" {
		t.Fatalf("got %q, %v", got[:n], err)
	}
	ended := make(chan error)
	go func() {
		_, err := tun.Read(bufs, sizes, 16)
		ended <- err
	}()
	time.Sleep(10 * time.Millisecond)
	tun.Close()
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
}
