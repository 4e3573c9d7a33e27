package gateway

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/ike/sa"
)

// A reload that changes only `balance` does in a running pair what the plan says: routes move, and no SA and no device goes.
func TestBalanceChangesInARunningPair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		one, both := dual(), dual()
		one.Switching, both.Switching = config.DefaultSwitching, config.DefaultSwitching
		both.Switching.Balance = true
		r := start(t, officeHost(), configOf(one), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer r.stop()
		first := r.up("hq-1", "192.168.3.0/24", "10.10.0.0/16")
		r.up("hq-2", "192.168.3.0/24", "10.10.0.0/16")
		const second = "10.10.0.0/16 dev vpngw1 src 192.168.3.1"
		byFlow := func(want bool) {
			t.Helper()
			for _, s := range r.host.states {
				for _, d := range s.Devices {
					if d.ByFlow != want {
						t.Errorf("%s: by flow is %v", d.Name, d.ByFlow)
					}
				}
			}
		}
		r.wantRoutes(hqRoute)
		byFlow(false)
		for _, step := range []struct {
			to     *config.Connection
			routes []string
		}{{both, []string{hqRoute, second}}, {one, []string{hqRoute}}, {both, []string{hqRoute, second}}} {
			before := []standing{r.standing("hq-1"), r.standing("hq-2")}
			plan, err := r.Plan(context.Background(), configOf(step.to))
			if err != nil || len(plan.Connections) != 1 || len(plan.Connections[0].Tunnels) != 2 {
				t.Fatalf("got plan %+v, %v", plan, err)
			}
			for _, c := range plan.Connections[0].Tunnels {
				if want := []FieldChange{{"balance", Live}}; c.Class != Live || !reflect.DeepEqual(c.Fields, want) {
					t.Errorf("%s: got %s for %v, want %v", c.Name, c.Class, c.Fields, want)
				}
			}
			if done := r.adopt(step.to); !reflect.DeepEqual(done.Plan, plan) {
				t.Errorf("done: %+v\nplan: %+v", done.Plan, plan)
			}
			r.wantRoutes(step.routes...)
			byFlow(len(step.routes) > 1)
			for i, name := range []string{"hq-1", "hq-2"} {
				if got := happened(before[i], r.standing(name)); got != Live {
					t.Errorf("%s: %s happened", name, got)
				}
			}
		}

		// One leaves and comes back: at once where the operator did it, else when it has been well for the hold.
		if err := r.Down(t.Context(), "hq-1"); err != nil {
			t.Fatal(err)
		}
		r.wantRoutes(second)
		if err := r.Up(t.Context(), "hq-1"); err != nil {
			t.Fatal(err)
		}
		r.wantRoutes(hqRoute, second)
		r.do(sa.Remove{SPIIn: first.SPIIn, Why: diag.Cause{Code: diag.PeerDeletedESP}}, sa.ChildGone{SA: first, Why: diag.Cause{Code: diag.PeerDeletedESP}})
		r.wantRoutes(second)
		r.up("hq-1", "192.168.3.0/24", "10.10.0.0/16")
		time.Sleep(30*time.Second - time.Millisecond)
		r.wantRoutes(second)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		r.wantRoutes(hqRoute, second)
		events, err := r.Events(t.Context(), "hq", 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		var moves []string
		for _, e := range events {
			if e.Code == diag.FailedOver || e.Code == diag.Rejoined {
				moves = append(moves, fmt.Sprint(e.Severity, " ", e.Tunnel, ": ", e.Why))
			}
		}
		want := []string{
			"warning hq-2: the traffic of tunnel hq-1 goes through tunnel hq-2 now: taken down by `vpngw down`",
			"warning hq-2: the traffic of tunnel hq-1 goes through tunnel hq-2 now",
			"info hq-1: tunnel hq-1 takes traffic again beside tunnel hq-2, for it has been well for 30s",
		}
		if !slices.Equal(moves, want) {
			t.Errorf("got %q", moves)
		}
		if n := strings.Count(log.String(), `msg="traffic moves" conn=hq`); n != len(want) {
			t.Errorf("the log tells of %d moves:\n%s", n, log.String())
		}
	})
}
