package gateway

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
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

func TestTunnelIsUpWhenAPacketIsCarried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		r.do(sa.IKEFailed{Peer: r.ike.peers[0], Cause: diag.Cause{Code: diag.IKENotOffered}})
		if s := r.wantState("hq", tunnel.Connecting); s.Code != diag.IKENotOffered || s.Why == "" || s.IKE != nil || len(s.Children) != 0 {
			t.Errorf("got %+v, want the endpoint's cause and nothing else", s)
		}
		r.wantRoutes()

		c := r.child("hq", "192.168.3.0/24", "10.10.0.0/16")
		r.do(sa.InstallIn{SA: c})
		r.wantState("hq", tunnel.Connecting) // one half does not carry
		time.Sleep(time.Second)
		r.do(sa.InstallOut{SA: c})
		s := r.wantState("hq", tunnel.Up)
		if s.Why != "" || !s.Since.Equal(time.Now()) {
			t.Errorf("got why %q since %v, want none since now", s.Why, s.Since)
		}
		if len(s.Children) != 1 || s.Children[0].SPIIn != sa.Hex32(c.SPIIn) || s.Children[0].RemoteTS[0] != "10.10.0.0/16" {
			t.Errorf("got children %+v", s.Children)
		}
		r.wantRoutes(hqRoute)
		if got, want := r.host.mtu("vpngw0"), esp.MTU(1500, c.Suite, false, true, false); got != want {
			t.Errorf("got MTU %d, want %d", got, want)
		}
		r.wantState("hq", tunnel.Up)
	})
}

func TestResponderWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := hq()
		c.Tunnels[0].Start = config.StartPassive
		r := start(t, officeHost(), configOf(c), Options{})
		defer r.stop()
		r.wantState("hq", tunnel.Waiting)
	})
}

// TestUpOfAResponderBegins: an operator who asks for a tunnel does not want to wait for the peer.
func TestUpOfAResponderBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, moved := hq(), hq()
		c.Tunnels[0].Start, moved.Tunnels[0].Start = config.StartPassive, config.StartPassive
		moved.Tunnels[0].Device = "vpngw7"
		r := start(t, officeHost(), configOf(c, lab()), Options{})
		defer r.stop()
		wantInitiate := func(want bool) {
			t.Helper()
			r.loop(func() {
				if got := r.ike.peers[0].Children[0].Initiate; got != want {
					t.Errorf("got Initiate %v, want %v", got, want)
				}
			})
		}
		wantInitiate(false)
		if err := r.Up(context.Background(), "hq"); err != nil {
			t.Fatal(err)
		}
		wantInitiate(true)
		r.wantState("hq", tunnel.Connecting)
		r.wantCommands(sa.Raise{Tunnel: "hq"})
		if _, err := r.Adopt(context.Background(), configOf(moved, lab())); err != nil {
			t.Fatal(err)
		}
		wantInitiate(true) // as a held tunnel stays held
		r.wantState("hq", tunnel.Connecting)
	})
}

func TestPartIsDegraded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		r.up("hq", "192.168.3.0/24", "10.10.0.0/17")
		if s := r.wantState("hq", tunnel.Degraded); s.Code != diag.Uncovered || !strings.Contains(s.Why, "10.10.128.0/17") {
			t.Errorf("got why %q, want the uncarried pair in it", s.Why)
		}
		r.up("hq", "192.168.3.0/24", "10.10.128.0/17")
		r.wantState("hq", tunnel.Up)
	})
}

func TestBlockedRouteIsDegraded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := officeHost()
		h.foreign[prefixes("10.10.0.0/16")[0]] = true
		r := start(t, h, configOf(hq()), Options{})
		defer r.stop()
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		if s := r.wantState("hq", tunnel.Degraded); !strings.Contains(s.Why, "through eth0") {
			t.Errorf("got why %q, want the foreign route in it", s.Why)
		}
		// The link monitor reports that the route is gone.
		delete(h.foreign, prefixes("10.10.0.0/16")[0])
		h.changed()
		synctest.Wait()
		r.wantState("hq", tunnel.Up)
		r.wantRoutes(hqRoute)
	})
}

func TestErrorOfOneDeviceIsItsTunnelsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := officeHost()
		r := start(t, h, configOf(hq(), lab()), Options{})
		defer r.stop()
		h.failSet(errors.Join(nil, errors.Join(&host.DeviceError{Device: "vpngw1", Err: syscall.ENOBUFS})))
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		r.up("lab", "192.168.4.0/24", "10.20.0.0/16")
		r.wantState("hq", tunnel.Up)
		if s := r.wantState("lab", tunnel.Degraded); s.Why != "device vpngw1: no buffer space available" {
			t.Errorf("got why %q, want the device's error", s.Why)
		}
		h.failSet(errors.New("dump routes: no"))
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if s := r.wantState("hq", tunnel.Degraded); s.Code != diag.HostRefused {
			t.Errorf("got %s, want the kernel's error", s.Code)
		}
		h.failSet(nil)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		r.wantState("hq", tunnel.Up)
		r.wantState("lab", tunnel.Up)
	})
}

func TestKeysOfARemovedSAAreOverwritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		c := r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		r.do(sa.Remove{SPIIn: c.SPIIn, Why: diag.Cause{Code: diag.PeerDead}})
		none := make(ipsec.Secret, len(c.In.Encr))
		if r.loop(func() {}); !c.In.Encr.Equal(none) || !c.Out.Encr.Equal(none) {
			t.Error("they are there")
		}
	})
}

func TestRoutesStayWhileTheTunnelIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		c := r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		r.wantRoutes(hqRoute)
		r.do(sa.Remove{SPIIn: c.SPIIn, Why: diag.Cause{Code: diag.PeerDead}})
		r.wantState("hq", tunnel.Connecting)
		r.wantRoutes(hqRoute) // else packets would leave in clear

		if err := r.Down(context.Background(), "hq"); err != nil {
			t.Fatal(err)
		}
		r.wantState("hq", tunnel.Down)
		r.wantRoutes()
		r.wantCommands(sa.Lower{Tunnel: "hq"})
		if err := r.Up(context.Background(), "hq"); err != nil {
			t.Fatal(err)
		}
		r.wantState("hq", tunnel.Connecting)
		r.wantCommands(sa.Raise{Tunnel: "hq"})
		r.wantRoutes() // not before it has come up again
	})
}

func TestFailedSendIsTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		send := sa.Send{Path: ipsec.Path{
			Local:  netip.AddrPortFrom(netip.Addr{}, 500),
			Remote: netip.AddrPortFrom(addr("198.51.100.1"), 500), UDP: true,
		}}
		r.host.sendError = syscall.ENETUNREACH
		r.do(send)
		if s := r.wantState("hq", tunnel.Connecting); s.Code != diag.SendFailed || !strings.Contains(s.Why, "network is unreachable") {
			t.Errorf("got why %q, want the operating system's error", s.Why)
		}
		r.host.sendError = nil
		r.do(send)
		if s := r.wantState("hq", tunnel.Connecting); s.Why != "" {
			t.Errorf("after one that went: got why %q, want none", s.Why)
		}
	})
}

func TestSilentPeerIsTheReasonLongBeforeIKEGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		r.do(sa.IKEConnecting{SA: sa.IKESA{Peer: r.ike.peers[0], Path: ipsec.Path{Remote: netip.MustParseAddrPort("198.51.100.1:500")}}})
		if s := r.wantState("hq", tunnel.Connecting); s.Why != "" {
			t.Errorf("got why %q at once", s.Why)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if s := r.wantState("hq", tunnel.Connecting); s.Code != diag.NoAnswerYet || !strings.Contains(s.Why, "no answer from 198.51.100.1 so far") {
			t.Errorf("got why %q, want that there is no answer", s.Why)
		}
	})
}

func TestWhatTheOperatorWantedIsNoWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r := start(t, officeHost(), configOf(hq()), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		if err := r.Down(context.Background(), "hq"); err != nil {
			t.Fatal(err)
		}
		r.wantState("hq", tunnel.Down)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(log.String(), `level=INFO msg="tunnel is down"`) || strings.Contains(log.String(), "level=WARN") {
			t.Errorf("the log says\n%s", &log)
		}
	})
}
