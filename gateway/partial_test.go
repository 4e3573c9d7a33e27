package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/tunnel"
)

// dual is a connection with an active tunnel and a standby one, with the same subnets.
func dual() *config.Connection {
	c := connection("hq", "192.168.3.0/24", "10.10.0.0/16")
	c.Partial = true
	second := c.Tunnels[0]
	c.Tunnels = append(c.Tunnels, second)
	c.Tunnels[0].Name, c.Tunnels[0].Role = "hq-1", config.Active
	c.Tunnels[1].Name, c.Tunnels[1].Role = "hq-2", config.Standby
	c.Tunnels[1].Remote.Address = addr("198.51.100.2")
	return c
}

// One of two connections can be the standby too, as with Huawei's ha_role; alone it has its routes.
func TestStandbyAloneHasRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := hq()
		c.Tunnels[0].Role = config.Standby
		r := start(t, officeHost(), configOf(c), Options{})
		defer r.stop()
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		r.wantRoutes(hqRoute)
	})
}

func TestTrafficMovesToTheStandbyAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const toStandby = "10.10.0.0/16 dev vpngw1 src 192.168.3.1"
		var log bytes.Buffer
		c := dual()
		c.Switching = config.DefaultSwitching
		r := start(t, officeHost(), configOf(c), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer r.stop()
		active := func(want string) {
			t.Helper()
			for _, name := range []string{"hq-1", "hq-2"} {
				if got := r.tunnelStatus(name).Active; got != (name == want) {
					t.Errorf("tunnel %s: active is %v", name, got)
				}
			}
		}
		r.up("hq-2", "192.168.3.0/24", "10.10.0.0/16")
		r.wantState("hq-2", tunnel.Up)
		r.wantRoutes()
		r.up("hq-1", "192.168.3.0/24", "10.10.0.0/16")
		r.wantRoutes(hqRoute)
		active("hq-1")
		st, err := r.Status(t.Context())
		if err != nil || len(st.Connections) != 1 || len(st.Connections[0].Unserved) > 0 {
			t.Errorf("got %+v, %v", st, err)
		}
		if err := r.Failover(t.Context(), "hq"); err != nil {
			t.Fatal(err)
		}
		r.wantRoutes(toStandby)
		active("hq-2")
		if err := r.Failback(t.Context(), "hq-2"); err != nil { // a tunnel's name will do
			t.Fatal(err)
		}
		r.wantRoutes(hqRoute)
		if err := r.Down(t.Context(), "hq-1"); err != nil {
			t.Fatal(err)
		}
		r.wantRoutes(toStandby)
		if err := r.Failback(t.Context(), "hq"); !errors.As(err, new(*tunnel.SwitchError)) {
			t.Errorf("back into a tunnel that is taken down: got %v", err)
		}
		if err := r.Failover(t.Context(), "hg"); !errors.As(err, new(*UnknownNameError)) {
			t.Errorf("got %v", err)
		}

		events, err := r.Events(t.Context(), "hq", 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		var moves []string
		for _, e := range events {
			if e.Code == diag.FailedOver || e.Code == diag.FailedBack {
				moves = append(moves, fmt.Sprint(e.Severity, " ", e.Tunnel, " ", e.State, ": ", e.Why))
			}
		}
		want := []string{
			"warning hq-2 up: the traffic of tunnel hq-1 goes through tunnel hq-2 now: the operator asked for it",
			"info hq-1 up: the traffic is back from tunnel hq-2 on tunnel hq-1: the operator asked for it",
			"warning hq-2 up: the traffic of tunnel hq-1 goes through tunnel hq-2 now: taken down by `vpngw down`",
		}
		if !slices.Equal(moves, want) {
			t.Errorf("got %q", moves)
		}
		if n := strings.Count(log.String(), `msg="traffic moves" conn=hq`); n != 3 || !strings.Contains(log.String(), `level=WARN msg="traffic moves" conn=hq tunnel=hq-2 from=hq-1`) {
			t.Errorf("the log tells of %d moves:\n%s", n, log.String())
		}
	})
}

// A reload that changes only when the traffic goes back takes effect, and moves nothing.
func TestReloadChangesWhenTheTrafficGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, manual := dual(), dual()
		c.Switching, manual.Switching = config.DefaultSwitching, config.Switching{Hold: time.Second, Manual: true}
		r := start(t, officeHost(), configOf(c), Options{})
		defer r.stop()
		r.up("hq-2", "192.168.3.0/24", "10.10.0.0/16")
		time.Sleep(10 * time.Second)
		r.adopt(manual)
		r.up("hq-1", "192.168.3.0/24", "10.10.0.0/16")
		time.Sleep(time.Hour)
		r.wantRoutes("10.10.0.0/16 dev vpngw1 src 192.168.3.1")
		r.adopt(c)
		time.Sleep(time.Second)
		r.wantRoutes(hqRoute) // it has been well for longer than 30 s
	})
}
