package gateway

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/tunnel"
)

func TestAdoptLeavesUnchangedConnectionsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq(), lab()), Options{})
		defer r.stop()
		c := r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		d := r.up("lab", "192.168.4.0/24", "10.20.0.0/16")

		// lab gets another device, a new one comes; hq stays as it is.
		changed, extra := lab(), connection("branch", "192.168.4.0/24", "10.30.0.0/16")
		changed.Tunnels[0].Device = "office"
		r.loop(func() { r.ike.actions = append(r.ike.actions, sa.Remove{SPIIn: d.SPIIn}) })
		r.adopt(extra, hq(), changed)

		s := r.wantState("hq", tunnel.Up)
		if len(s.Children) != 1 || s.Children[0].SPIIn != sa.Hex32(c.SPIIn) || r.host.tun("vpngw0").closed() {
			t.Error("hq was touched")
		}
		if s := r.wantState("lab", tunnel.Connecting); s.Device != "office" {
			t.Errorf("lab is on %s, want office", s.Device)
		}
		if s := r.wantState("branch", tunnel.Connecting); s.Device != "vpngw1" || r.host.tun("vpngw1").closed() {
			t.Errorf("branch is on %s, want vpngw1, which lab has left", s.Device)
		}
		r.wantRoutes(hqRoute)

		r.adopt(hq())
		r.wantState("hq", tunnel.Up)
		if !r.host.tun("office").closed() || !r.host.tun("vpngw1").closed() {
			t.Error("devices of tunnels that went are still there")
		}
	})
}

func TestWhatCannotBeAdoptedChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		set := r.ike.set
		listening := configOf(hq())
		listening.Listen = config.AddrsOf(addr("192.0.2.1"))
		conflicting := configOf(hq(), lab())
		conflicting.Connections[1].Tunnels[0].NATT = false
		for _, c := range []*config.Config{listening, conflicting} {
			if _, err := r.Adopt(context.Background(), c); err == nil {
				t.Error("a configuration that can't be adopted: no error")
			}
		}
		r.wantState("hq", tunnel.Up)
		if r.ike.set != set {
			t.Error("IKE got new peers")
		}
	})
}

func TestHeldTunnelStaysHeldOverAnAdopt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changed := hq()
		changed.Tunnels[0].ESPLifetime.Time = time.Minute
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		if err := r.Down(context.Background(), "hq"); err != nil {
			t.Fatal(err)
		}
		r.adopt(changed)
		r.wantState("hq", tunnel.Down)
		var last sa.Command
		r.loop(func() { last = r.ike.commands[len(r.ike.commands)-1] })
		if last != (sa.Lower{Tunnel: "hq"}) {
			t.Errorf("got %v, want IKE told again that it is held", last)
		}
	})
}

func TestAdoptTellsWhatItDidAndWhatIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changed := hq()
		changed.Tunnels[0].ESPLifetime.Time = time.Minute
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		r.loop(func() { r.host.tunError = errors.New("device vpngw1: busy") })
		got := r.adopt(changed, lab())
		why := diag.Report{Why: "device vpngw1: busy", Code: diag.DeviceFailed}
		if want := (Adopted{Added: 1, Changed: 1, Faults: []Fault{{"lab", why}}, Plan: got.Plan}); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v; want %+v", got, want)
		}
		if s := r.wantState("lab", tunnel.Down); s.Report != why {
			t.Errorf("got why %q", s.Why)
		}
	})
}

func TestAdoptFindsTheHostsAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := lab()
		other.Tunnels[0].Local.Address = addr("192.168.4.1") // the host has it, and no connection used it so far
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		r.adopt(hq(), other)
		r.loop(func() {
			if n := len(r.ike.peers); n != 2 || r.ike.peers[1].Local != addr("192.168.4.1") {
				t.Errorf("got %d peers, the last from %v, want it from 192.168.4.1", n, r.ike.peers[n-1].Local)
			}
		})
	})
}
