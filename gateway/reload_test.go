package gateway

import (
	"context"
	"errors"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/ike/sa"
)

func TestReloadLeavesUnchangedConnectionsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := configOf(hq(), lab())
		hangup := make(chan os.Signal, 1)
		r := start(t, officeHost(), configOf(hq(), lab()), Options{
			Hangup: hangup,
			Load:   func() (*config.Config, diag.Problems) { return next, nil },
		})
		defer r.stop()
		c := r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		d := r.up("lab", "192.168.4.0/24", "10.20.0.0/16")

		// lab gets another device, a new one comes; hq stays as it is.
		changed, extra := lab(), connection("branch", "192.168.4.0/24", "10.30.0.0/16")
		changed.Tunnels[0].Device = "office"
		next = configOf(extra, hq(), changed)
		r.loop(func() { r.ike.actions = append(r.ike.actions, sa.Remove{SPIIn: d.SPIIn}) })
		hangup <- syscall.SIGHUP
		synctest.Wait()

		s := r.wantState("hq", Up)
		if len(s.Children) != 1 || s.Children[0].SPIIn != spiString(c.SPIIn) || r.host.tun("vpngw0").closed() {
			t.Error("hq was touched")
		}
		if s := r.wantState("lab", Connecting); s.Device != "office" {
			t.Errorf("lab is on %s, want office", s.Device)
		}
		if s := r.wantState("branch", Connecting); s.Device != "vpngw1" || r.host.tun("vpngw1").closed() {
			t.Errorf("branch is on %s, want vpngw1, which lab has left", s.Device)
		}
		r.wantRoutes(hqRoute)

		next = configOf(hq())
		if _, err := r.Reload(context.Background()); err != nil {
			t.Fatal(err)
		}
		r.wantState("hq", Up)
		if !r.host.tun("office").closed() || !r.host.tun("vpngw1").closed() {
			t.Error("devices of tunnels that went are still there")
		}
	})
}

func TestReloadNamesTheSettingsThatNeedARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := configOf(hq())
		next.Startup = config.Startup{Listen: config.AddrsOf(addr("192.0.2.1")), Threads: 2}
		r := start(t, officeHost(), configOf(hq()), Options{
			Load: func() (*config.Config, diag.Problems) { return next, nil },
		})
		defer r.stop()
		_, err := r.Reload(context.Background())
		if err == nil {
			t.Fatal("a reload changed the sockets and threads")
		}
		for _, want := range []string{"`listen`", "`threads`", "restart the daemon; nothing was changed"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s in it", err, want)
			}
		}
		if strings.Contains(err.Error(), "offload") {
			t.Errorf("%v names a setting that is the same", err)
		}
	})
}

func TestReloadWithErrorsChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		problems := diag.Problems{{Severity: diag.Error, Message: "no"}}
		var next *config.Config
		r := start(t, officeHost(), configOf(hq()), Options{
			Load: func() (*config.Config, diag.Problems) { return next, problems },
		})
		defer r.stop()
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		set := r.ike.set
		var invalid *InvalidConfigError
		if _, err := r.Reload(context.Background()); !errors.As(err, &invalid) || len(invalid.Problems) != 1 {
			t.Errorf("got %v, want an InvalidConfigError", err)
		}
		problems = nil
		for _, c := range []*config.Config{
			{Connections: configOf(hq()).Connections, Startup: config.Startup{Listen: config.AddrsOf(addr("192.0.2.1"))}},
			func() *config.Config { c := configOf(hq(), lab()); c.Connections[1].Tunnels[0].NATT = false; return c }(),
		} {
			next = c
			if _, err := r.Reload(context.Background()); err == nil {
				t.Error("a reload that can't be done: no error")
			}
		}
		r.wantState("hq", Up)
		if r.ike.set != set {
			t.Error("IKE got new peers")
		}
	})
}

func TestHeldTunnelStaysHeldOverReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changed := hq()
		changed.Tunnels[0].ESPLifetime.Time = time.Minute
		r := start(t, officeHost(), configOf(hq()), Options{
			Load: func() (*config.Config, diag.Problems) { return configOf(changed), nil },
		})
		defer r.stop()
		if err := r.Down(context.Background(), "hq"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Reload(context.Background()); err != nil {
			t.Fatal(err)
		}
		r.wantState("hq", Down)
		var last sa.Command
		r.loop(func() { last = r.ike.commands[len(r.ike.commands)-1] })
		if last != (sa.Lower{Tunnel: "hq"}) {
			t.Errorf("got %v, want IKE told again that it is held", last)
		}
	})
}

func TestReloadTellsWhatItDidAndWhatIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changed := hq()
		changed.Tunnels[0].ESPLifetime.Time = time.Minute
		warning := diag.Problem{Severity: diag.Warning, Message: "weak"}
		r := start(t, officeHost(), configOf(hq()), Options{
			Load: func() (*config.Config, diag.Problems) { return configOf(changed, lab()), diag.Problems{warning} },
		})
		defer r.stop()
		r.loop(func() { r.host.tunError = errors.New("device vpngw1: busy") })
		got, err := r.Reload(context.Background())
		want := Reloaded{
			Added: 1, Changed: 1, Warnings: diag.Problems{warning},
			Faults: []Fault{{"lab", "device vpngw1: busy"}},
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
		if s := r.wantState("lab", Down); s.Why != "device vpngw1: busy" {
			t.Errorf("got why %q", s.Why)
		}
	})
}

func TestReloadFindsTheHostsAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := lab()
		other.Tunnels[0].Local.Address = addr("192.168.4.1") // the host has it, and nobody wanted it so far
		r := start(t, officeHost(), configOf(hq()), Options{
			Load: func() (*config.Config, diag.Problems) { return configOf(hq(), other), nil },
		})
		defer r.stop()
		if _, err := r.Reload(context.Background()); err != nil {
			t.Fatal(err)
		}
		r.loop(func() {
			if n := len(r.ike.peers); n != 2 || r.ike.peers[1].Local != addr("192.168.4.1") {
				t.Errorf("got %d peers, the last from %v, want it from 192.168.4.1", n, r.ike.peers[n-1].Local)
			}
		})
	})
}
