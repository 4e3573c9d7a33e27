package gateway

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/esp"
	"vpngw/host"
	"vpngw/ike/sa"
	"vpngw/ipsec"
	"vpngw/tunnel"
)

func hq() *config.Connection  { return connection("hq", "192.168.3.0/24", "10.10.0.0/16") }
func lab() *config.Connection { return connection("lab", "192.168.4.0/24", "10.20.0.0/16") }

const (
	hqRoute  = "10.10.0.0/16 dev vpngw0 src 192.168.3.1"
	labRoute = "10.20.0.0/16 dev vpngw1 src 192.168.4.1"
)

func officeHost() *fakeHost { return newHost(newNet(), "203.0.113.9", "192.168.3.1", "192.168.4.1") }

func TestUnknownNameIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq(), lab()), Options{})
		defer r.stop()
		err := r.Up(context.Background(), "hg")
		var unknown *UnknownNameError
		if !errors.As(err, &unknown) || !slices.Equal(unknown.Known, []string{"hq", "lab"}) {
			t.Errorf("got %v, want an UnknownNameError with the known names", err)
		}
	})
}

func TestEachTunnelOfASharedPeerGoesDownAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq(), lab()), Options{})
		defer r.stop()
		if len(r.ike.peers) != 1 || len(r.ike.peers[0].Children) != 2 {
			t.Fatalf("got %d peers, want one with two children", len(r.ike.peers))
		}
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		r.up("lab", "192.168.4.0/24", "10.20.0.0/16")
		r.wantRoutes(hqRoute, labRoute)
		if err := r.Down(context.Background(), "hq"); err != nil {
			t.Fatal(err)
		}
		r.wantState("hq", tunnel.Down)
		r.wantState("lab", tunnel.Up)
		r.wantRoutes(labRoute)
	})
}

func TestSendGoesBehindTheMarkerOn4500Only(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		path := func(port uint16) ipsec.Path {
			return ipsec.Path{
				Local:  netip.AddrPortFrom(netip.Addr{}, port),
				Remote: netip.AddrPortFrom(addr("198.51.100.1"), port), UDP: true,
			}
		}
		r.do(sa.Send{Path: path(500), Data: []byte("one")}, sa.Send{Path: path(4500), Data: []byte("two")}, sa.Keepalive{Path: path(4500)})
		var got []string
		for _, d := range r.host.net.sent {
			got = append(got, d.Remote.String()+" "+string(d.Data))
		}
		want := []string{"198.51.100.1:500 one", "198.51.100.1:4500 \x00\x00\x00\x00two", "198.51.100.1:4500 \xff"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestIKEMessagesReachTheEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		r.loop(func() {})
		from := netip.MustParseAddrPort("198.51.100.1:4500")
		to := netip.MustParseAddrPort("203.0.113.9:4500")
		r.host.socket(500).put(ipsec.Datagram{Local: to, Remote: from, Data: []byte("aaaabbbbcc"), Segment: 4})
		r.host.socket(4500).put(ipsec.Datagram{Local: to, Remote: from, Data: []byte("\x00\x00\x00\x00natt")})
		synctest.Wait()
		var got []string
		r.loop(func() {
			for _, d := range r.ike.handled {
				got = append(got, string(d.Data))
			}
		})
		slices.Sort(got)
		if want := []string{"aaaa", "bbbb", "cc", "natt"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestPathMTULowersTheTunnels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		c := r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		fits := func(outer int) int { return esp.MTU(outer, c.Suite, false, true, false) }

		r.in.tell(esp.PathMTU{Remote: addr("198.51.100.1"), MTU: 1300})
		r.in.tell(esp.PathMTU{Remote: addr("192.0.2.77"), MTU: 600}) // an address that no SA sends to
		synctest.Wait()
		if got := r.host.mtu("vpngw0"); got != fits(1300) {
			t.Errorf("got %d, want %d", got, fits(1300))
		}
		r.in.tell(esp.PathMTU{Remote: addr("198.51.100.1"), MTU: 68})
		synctest.Wait()
		if got := r.host.mtu("vpngw0"); got != 576 {
			t.Errorf("got %d, want the least, 576", got)
		}
		time.Sleep(10*time.Minute + time.Second) // RFC 1191: it may have grown again
		synctest.Wait()
		if got := r.host.mtu("vpngw0"); got != fits(1500) {
			t.Errorf("got %d, want %d", got, fits(1500))
		}
	})
}

func TestDropsAreCountedByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		// The tunnel is not up: a packet is dropped and counted, and goes nowhere else.
		r.host.tun("vpngw0").put(udpPacket(addr("192.168.3.7"), addr("10.10.0.7"), 1))
		r.host.socket(4500).put(ipsec.Datagram{Remote: netip.MustParseAddrPort("192.0.2.66:4500"), Data: make([]byte, 64)[:3]})
		synctest.Wait()
		c, err := r.Counters(context.Background())
		if err != nil || c.IKE["unknown-spi"] != 7 || len(c.IKE) != 1 || c.Tunnels["hq"]["no-sa"] != 1 || c.ESP["malformed"] != 1 || c.Host["cleartext"] != 7 {
			t.Errorf("got %+v, %v", c, err)
		}
		if len(r.host.net.sent) > 0 {
			t.Errorf("sent %x", r.host.net.sent)
		}
	})
}

func TestDataPlaneEventsBecomeCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		peer := netip.MustParseAddrPort("198.51.100.1:4500")
		for _, e := range []esp.Event{
			esp.SeenInbound{SPIIn: 1}, esp.Expired{SPIIn: 2, Limit: ipsec.LimitBytes}, esp.InvalidSPI{Remote: peer, SPI: 3},
		} {
			r.in.tell(e)
		}
		synctest.Wait()
		r.wantCommands(sa.SeenInbound{SPIIn: 1}, sa.Expired{SPIIn: 2, Limit: ipsec.LimitBytes}, sa.InvalidSPI{Remote: peer, SPI: 3})
	})
}

// The NAT moves the peer twice at once, and no packet follows: IKE hears of both, of the second a
// tenth of a second later.
func TestThePeersLastMoveReachesIKE(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		c := r.child("hq", "192.168.3.0/24", "10.10.0.0/16")
		c.Follow = true
		r.do(sa.InstallIn{SA: c}, sa.InstallOut{SA: c})
		seq := uint64(0)
		from := func(remote string) netip.AddrPort {
			seq++
			p := netip.MustParseAddrPort(remote)
			r.host.socket(4500).put(ipsec.Datagram{Local: c.Path.Local, Remote: p, Data: sealed(c, seq, udpPacket(addr("10.10.0.7"), addr("192.168.3.7"), 1))})
			synctest.Wait()
			return p
		}
		first := from("198.51.100.1:40000")
		r.wantCommands(sa.SeenInbound{SPIIn: c.SPIIn}, sa.Moved{SPIIn: c.SPIIn, Remote: first})
		from("198.51.100.1:40001")
		last := from("198.51.100.1:40002")
		r.wantCommands()
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		r.wantCommands(sa.Moved{SPIIn: c.SPIIn, Remote: last})
	})
}

// sealed is the peer's ESP packet: AES-GCM, as in running.child.
func sealed(c *ipsec.ChildSA, seq uint64, inner []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, c.SPIIn)
	b = binary.BigEndian.AppendUint32(b, uint32(seq))
	iv := binary.BigEndian.AppendUint64(nil, seq)
	pad := -(len(inner) + 2) & 3
	for i := range pad {
		inner = append(inner, byte(i+1))
	}
	inner = append(inner, byte(pad), 4)
	block, _ := aes.NewCipher(c.In.Encr[:16])
	gcm, _ := cipher.NewGCM(block)
	return gcm.Seal(slices.Concat(b, iv), slices.Concat(c.In.Encr[16:], iv), inner, b)
}

func TestLostDeviceIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq(), lab()), Options{})
		defer r.stop()
		r.up("lab", "192.168.4.0/24", "10.20.0.0/16")
		r.host.mu.Lock()
		r.host.tunError = errors.New("no more devices")
		r.host.mu.Unlock()
		r.host.tun("vpngw0").Close()
		synctest.Wait()
		if s := r.wantState("hq", tunnel.Down); s.Code != diag.DeviceGone || !strings.Contains(s.Why, "vpngw0") {
			t.Errorf("got why %q, want the device in it", s.Why)
		}
		if len(r.ike.peers) != 1 || len(r.ike.peers[0].Children) != 1 {
			t.Error("IKE still wants a tunnel that has no device")
		}
		r.host.mu.Lock()
		r.host.tunError = nil
		r.host.mu.Unlock()
		time.Sleep(6 * time.Second)
		synctest.Wait()
		r.wantState("hq", tunnel.Connecting)
		r.wantState("lab", tunnel.Up)
		if len(r.ike.peers[0].Children) != 2 {
			t.Error("IKE was not told that the device is back")
		}
	})
}

func TestFatalFindingTouchesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := officeHost()
		h.findings = []host.Finding{
			{Cause: diag.Cause{Code: diag.IPForward}},
			{Cause: diag.Cause{Code: diag.PortInUse, Count: 500, Name: "charon (pid 7)"}},
		}
		var log bytes.Buffer
		r := start(t, h, configOf(hq()), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		err := r.stop()
		if err == nil || err.Error() != h.findings[1].String() {
			t.Errorf("got %v, want the finding", err)
		}
		if h.cleaned > 0 || len(h.sockets) > 0 || h.made > 0 {
			t.Error("something was touched")
		}
		if !strings.Contains(log.String(), "ip_forward is 0") {
			t.Errorf("the warning is not in the log: %s", &log)
		}
		if _, err := r.Status(context.Background()); !errors.Is(err, ErrStopped) {
			t.Errorf("Status of a daemon that has ended: got %v, want ErrStopped", err)
		}
	})
}

func TestEndPutsEverythingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		r := start(t, officeHost(), configOf(hq()), Options{Notify: func(s string) { told = append(told, s) }})
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		r.wantState("hq", tunnel.Up)
		r.loop(func() { r.ike.live = true })
		begin := time.Now()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		if time.Since(begin) >= shutdownGrace {
			t.Error("it waited although no IKE SA was left")
		}
		if r.ike.commands[len(r.ike.commands)-1] != (sa.Shutdown{}) {
			t.Errorf("got commands %v, want a Shutdown at the end", r.ike.commands)
		}
		if len(r.host.states) > 0 || r.host.cleaned != 2 {
			t.Errorf("left in the kernel: %+v", r.host.states)
		}
		if !r.host.tun("vpngw0").closed() {
			t.Error("the TUN device is still open")
		}
		want := []string{"READY=1", "STATUS=0 of 1 tunnels up", "STATUS=1 of 1 tunnels up", "STOPPING=1"}
		if !slices.Equal(told, want) {
			t.Errorf("the service manager heard %q, want %q", told, want)
		}
	})
}

func TestReaderThatFailsEndsTheDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		r.loop(func() {})
		r.host.socket(500).Close()
		synctest.Wait()
		if err := r.stop(); err == nil || !strings.Contains(err.Error(), "port 500") {
			t.Errorf("got %v, want the reader's error", err)
		}
	})
}

func TestReadErrorThatPassesLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		r.host.socket(500).errs <- syscall.ENOMEM
		r.host.socket(500).put(ipsec.Datagram{Data: []byte("after")})
		time.Sleep(2 * readPause)
		synctest.Wait()
		r.loop(func() {
			if len(r.ike.handled) != 1 || string(r.ike.handled[0].Data) != "after" {
				t.Errorf("IKE got %v, want the message after the error", r.ike.handled)
			}
		})
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestAddressBehindNATIsLeftToTheRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(newNet(), "10.0.0.5", "192.168.3.1")
		r := start(t, h, configOf(hq()), Options{})
		defer r.stop()
		r.loop(func() {})
		if a := r.ike.peers[0].Local; a.IsValid() {
			t.Errorf("got local address %v, want none: 203.0.113.9 is not on this host", a)
		}
		if s := r.tunnelStatus("hq"); s.Local != "10.0.0.5" {
			t.Errorf("status says %s, want 10.0.0.5", s.Local)
		}
		// The host gets the address, which still counts when it flaps.
		h.addresses = append(h.addresses, addr("203.0.113.9"))
		h.changed()
		synctest.Wait()
		h.addresses = h.addresses[:2]
		h.changed()
		synctest.Wait()
		if a := r.ike.peers[0].Local; a != addr("203.0.113.9") {
			t.Errorf("got local address %v, want 203.0.113.9", a)
		}
	})
}

func TestTunnelConnectsAgainWhenItsAddressIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(newNet(), "10.0.0.5", "10.0.0.6", "192.168.3.1")
		var log bytes.Buffer
		r := start(t, h, configOf(hq()), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer r.stop()
		r.do(sa.IKEEstablished{SA: sa.IKESA{Peer: r.ike.peers[0], Path: ipsec.Path{Local: netip.MustParseAddrPort("10.0.0.5:500")}}})
		h.addresses = h.addresses[1:] // the route's choice is 10.0.0.6 now
		h.changed()
		synctest.Wait()
		r.wantCommands(sa.PathChanged{}) // perhaps it comes back
		time.Sleep(3 * time.Second)
		synctest.Wait()
		r.wantCommands(sa.Lower{Tunnel: "hq"}, sa.Raise{Tunnel: "hq"})
		r.loop(func() {
			if want := "code=" + string(diag.AddressGone); !strings.Contains(log.String(), want) {
				t.Errorf("the log does not say %s:\n%s", want, &log)
			}
		})
	})
}
