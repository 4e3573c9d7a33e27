package host

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"

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
	packets, err := tun.Packets()
	s.must(err)
	if int(a.GSOMaxSegs) != packets.BatchSize() {
		t.Errorf("gso_max_segs is %d; a Read takes %d segments", a.GSOMaxSegs, packets.BatchSize())
	}
	for knob, want := range map[string]string{
		"ipv4/conf/vpn.0/rp_filter": "2", "ipv6/conf/vpn.0/accept_ra": "0",
		"ipv6/conf/vpn.0/autoconf": "0", "ipv6/conf/vpn.0/addr_gen_mode": "1",
	} {
		if got := sysctl("net/" + knob); got != want {
			t.Errorf("%s is %q, want %q", knob, got, want)
		}
	}
	_, err = h.Set("a", State{Devices: []DeviceState{{Name: "vpn.0", MTU: 1400}}})
	s.must(err)
	if out := s.ip("-6", "addr", "show", "dev", "vpn.0"); strings.Contains(out, "inet6") {
		t.Errorf("an address came by itself:\n%s", out)
	}
	if out := s.ip("-6", "route", "show", "table", "all", "dev", "vpn.0"); out != "" {
		t.Errorf("the kernel has a route of its own, which each change of any device costs time:\n%s", out)
	}
	s.must(tun.Close())
	s.must(tun.Close())
	if _, err := s.nl.LinkByName("vpn.0"); err == nil {
		t.Error("the device outlives Close")
	}
	if _, err := h.Set("a", State{Devices: []DeviceState{{Name: "vpn.0"}}}); err == nil {
		t.Error("Set took a device that is gone")
	}
}

// Of a thousand devices with one address between them, the kernel would walk the local routes to it at each change of each.
func TestEachTUNHasADummyAddressOfItsOwn(t *testing.T) {
	s, h := world(t)
	for _, name := range []string{"vpn0", "vpn1"} {
		tun, err := h.CreateTUN(name, 1400)
		s.must(err)
		want := dummyAddress(tun.index).String()
		if out := s.ip("-4", "addr", "show", "dev", name); strings.Count(out, "inet ") != 1 || !strings.Contains(out, "inet "+want+"/32 scope host") {
			t.Errorf("want %s of scope host alone:\n%s", want, out)
		}
		if out := s.ip("route", "show", "table", "local", want); strings.Count(out, want) != 2 { // the prefix and its source
			t.Errorf("want one local route to %s:\n%s", want, out)
		}
	}
}

// A container's or a unit's /proc/sys may be read-only, and rp_filter counts all the same.
func TestReverseFilterNeedsNoProcSys(t *testing.T) {
	s, h := world(t)
	// The thread of this namespace has the file system to itself, and goes with the test.
	s.must(unix.Unshare(unix.CLONE_FS))
	s.must(unix.Unshare(unix.CLONE_NEWNS))
	s.must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	s.must(unix.Mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, ""))
	s.must(unix.Mount("", "/proc/sys", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/default/rp_filter", []byte("1"), 0o644); !errors.Is(err, unix.EROFS) {
		t.Fatalf("writing to /proc/sys: got %v", err)
	}
	_, err := h.CreateTUN("vpn.0", 1372)
	s.must(err)
	if got := sysctl("net/ipv4/conf/vpn.0/rp_filter"); got != "2" {
		t.Errorf("rp_filter is %q, want 2", got)
	}
}

func TestForeignDeviceIsNotTakenOver(t *testing.T) {
	s, h := world(t)
	s.ip("tuntap", "add", "mode", "tun", "name", "vpn0")
	for _, name := range []string{"vpn0", "eth0"} {
		if _, err := h.CreateTUN(name, 1400); !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "a device of that name exists") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "../x", "vpn%d", "a name", "sixteen-letters-", ".", ".."} {
		if _, err := h.CreateTUN(name, 1400); err == nil {
			t.Errorf("%q was taken for a name", name)
		}
	}
}

// byPackets uses the device by wireguard/tun, one packet at a time.
type byPackets struct{ tun.Device }

func (d byPackets) read(b []byte) (int, error) {
	bufs, sizes := make([][]byte, d.BatchSize()), make([]int, d.BatchSize())
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	n, err := d.Read(bufs, sizes, 16)
	if n != 1 || err != nil {
		return n, err
	}
	return copy(b, bufs[0][16:16+sizes[0]]), nil
}

func (d byPackets) write(b []byte) error {
	_, err := d.Write([][]byte{append(make([]byte, 16), b...)}, 16)
	return err
}

// byFrames uses the frames themselves, whose checksums must be complete.
type byFrames struct{ *TUN }

func (d byFrames) read(b []byte) (n int, err error) {
	p, err := NewPoller()
	if err != nil {
		return 0, err
	}
	defer p.Close()
	if err := p.Add(d.FD(), 7); err != nil {
		return 0, err
	}
	if k, err := p.Wait(make([]uint32, 1)); k != 1 || err != nil {
		return 0, err
	}
	err = d.ReadReady(make([]byte, 10+0xffff), func(f []byte) bool {
		if f[0]&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM == 0 {
			n = copy(b, f[10:])
			return false
		}
		// UDP over IPv4: no checksum is one, too.
		f[36], f[37] = 0, 0
		n = copy(b, f[10:])
		return false
	})
	return n, err
}

func (d byFrames) write(b []byte) error { return d.WriteFrame(append(make([]byte, 10), b...)) }

func TestTUNCarriesPackets(t *testing.T) {
	t.Run("frames", func(t *testing.T) {
		testTUN(t, func(d *TUN) (onePacket, error) { return byFrames{d}, nil })
	})
	t.Run("packets", func(t *testing.T) {
		testTUN(t, func(d *TUN) (onePacket, error) {
			dev, err := d.Packets()
			return byPackets{dev}, err
		})
	})
}

type onePacket interface {
	read(b []byte) (int, error)
	write(b []byte) error
}

func testTUN(t *testing.T, by func(*TUN) (onePacket, error)) {
	s, h := world(t)
	tun, err := h.CreateTUN("vpn0", 1400)
	s.must(err)
	dev, err := by(tun)
	s.must(err)
	_, err = h.Set("a", State{Devices: []DeviceState{{
		Name: "vpn0", Addresses: prefixes("169.254.7.1/30"),
		Routes: []Route{{Prefix: netip.MustParsePrefix("10.20.0.0/16"), Source: netip.MustParseAddr("192.0.2.1")}},
	}}})
	s.must(err)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	s.must(err)
	defer unix.Close(fd)
	s.must(unix.Bind(fd, &unix.SockaddrInet4{Port: 999}))
	s.must(unix.Sendto(fd, []byte("ping"), 0, &unix.SockaddrInet4{Addr: [4]byte{10, 20, 3, 4}, Port: 777}))
	p := make([]byte, 2048)
	n, err := dev.read(p)
	if err != nil || n == 0 {
		t.Fatal(n, err)
	}
	p = p[:n]
	if src := netip.AddrFrom4([4]byte(p[12:])); src != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("source %s, want the route's", src)
	}
	// Send it back: swapped addresses and ports keep the checksums.
	p[12], p[13], p[14], p[15], p[16], p[17], p[18], p[19] = p[16], p[17], p[18], p[19], p[12], p[13], p[14], p[15]
	p[20], p[21], p[22], p[23] = p[22], p[23], p[20], p[21]
	if err := dev.write(p); err != nil {
		t.Fatal(err)
	}
	s.must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60}))
	got := make([]byte, 10)
	if n, err := unix.Read(fd, got); err != nil || string(got[:n]) != "ping" {
		t.Fatalf("got %q, %v", got[:n], err)
	}
	if _, frames := dev.(byFrames); frames {
		// The reader waits with a Poller, and ends before Close.
		tun.Close()
		if err := tun.ReadReady(nil, nil); !errors.Is(err, os.ErrClosed) {
			t.Errorf("read after Close: %v", err)
		}
		return
	}
	ended := make(chan error)
	go func() {
		_, err := dev.read(make([]byte, 2048))
		ended <- err
	}()
	time.Sleep(10 * time.Millisecond)
	tun.Close()
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
}

// What comes in by a device is taken though the route to its source is in another, as with two tunnels, whatever
// reverse path filter the host has.
func TestDeviceWithoutTheRouteTakesWhatComesIn(t *testing.T) {
	s, h := world(t, "vpn0", "vpn1")
	_, err := h.Set("a", State{Devices: []DeviceState{{Name: "vpn0", Routes: []Route{{Prefix: netip.MustParsePrefix("10.10.0.0/16")}}}, {Name: "vpn1"}}})
	s.must(err)
	for _, all := range []string{"0", "1", "2"} {
		s.must(os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte(all), 0o644))
		for _, dev := range []string{"vpn0", "vpn1"} { // the kernel asks its filter
			if out := s.ip("route", "get", "192.0.2.1", "from", "10.10.0.10", "iif", dev); !strings.Contains(out, "local 192.0.2.1") {
				t.Errorf("rp_filter %s, by %s: got %s", all, dev, out)
			}
		}
	}
}

// What the kernel tells of a device that Close removes is no news: a look at all there is would cost as much for each of thousands.
func TestCloseIsNoNews(t *testing.T) {
	s, h := world(t)
	var tuns []*TUN
	for _, name := range []string{"vpn0", "vpn1", "vpn2"} {
		tun, err := h.CreateTUN(name, 1400)
		s.must(err)
		_, err = h.Set(name, State{Devices: []DeviceState{{Name: name, Routes: []Route{{Prefix: netip.MustParsePrefix("10.9.0.0/24")}}}}})
		s.must(err)
		tuns = append(tuns, tun)
	}
	was := h.dumped
	var all sync.WaitGroup
	for _, tun := range tuns {
		all.Go(func() { tun.Close() })
	}
	all.Wait()
	_, err := h.Set("vpn0", State{})
	s.must(err)
	if !h.dumped.Equal(was) || !h.have.fresh {
		t.Error("the kernel was read as a whole")
	}
	w := &watcher{host: h, events: h.watched, links: map[int]seenLink{}, owners: map[string]struct{}{}}
	for len(h.closing) > 0 {
		msgs, err := h.watched.wait()
		s.must(err)
		for _, m := range msgs {
			if w.take([]syscall.NetlinkMessage{m}) && m.Header.Type == unix.RTM_DELLINK {
				t.Error("Watch tells of a device that was closed")
			}
		}
	}
}
