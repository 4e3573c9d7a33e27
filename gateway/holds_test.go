package gateway

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"vpngw/ike/sa"
	"vpngw/tunnel"
)

// memory are Holds that outlive a Gateway.
type memory struct {
	held map[string]bool
	err  error
}

func (m *memory) Held(tunnel string) bool { return m.held[tunnel] }

func (m *memory) Hold(tunnel string, held bool) error {
	if m.err != nil {
		return m.err
	}
	delete(m.held, tunnel)
	if held {
		m.held[tunnel] = true
	}
	return nil
}

func TestDownOutlivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{held: map[string]bool{}}
		ctx := t.Context()
		state := func(r *running) tunnel.State {
			st, err := r.Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return st.Connections[0].Tunnels[0].State
		}
		r := start(t, officeHost(), configOf(hq()), Options{Holds: m})
		if err := r.Down(ctx, "hq"); err != nil {
			t.Fatal(err)
		}
		r.stop()
		r = start(t, officeHost(), configOf(hq()), Options{Holds: m})
		if got := state(r); got != tunnel.Down {
			t.Errorf("after a restart: %s", got)
		}
		if !slices.ContainsFunc(r.ike.commands, func(c sa.Command) bool { return c == sa.Lower{Tunnel: "hq"} }) {
			t.Errorf("IKE is not told: %v", r.ike.commands)
		}
		if err := r.Up(ctx, "hq"); err != nil {
			t.Fatal(err)
		}
		if got := state(r); got == tunnel.Down || len(m.held) > 0 {
			t.Errorf("after up: %s, held %v", got, slices.Collect(maps.Keys(m.held)))
		}
		// A connection that leaves the configuration is forgotten.
		if err := r.Down(ctx, "hq"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Adopt(ctx, configOf()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Adopt(ctx, configOf(hq())); err != nil {
			t.Fatal(err)
		}
		if got := state(r); got == tunnel.Down || len(m.held) > 0 {
			t.Errorf("added again: %s, held %v", got, m.held)
		}
		// What cannot be kept is done all the same, and said.
		m.err = errors.New("disk full")
		if err := r.Down(ctx, "hq"); err == nil || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("got %v", err)
		}
		if got := state(r); got != tunnel.Down {
			t.Errorf("%s, though the operator took it down", got)
		}
		r.stop()
	})
}

// A tunnel that the operator has taken down is down again when a configuration without it is gone back on, and is
// forgotten when that stays.
func TestAHeldTunnelIsHeldWhenItComesBackFromATrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{held: map[string]bool{}}
		ctx := t.Context()
		r := start(t, officeHost(), configOf(hq(), lab()), Options{Holds: m})
		defer r.stop()
		if err := r.Down(ctx, "hq"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := r.AdoptForNow(ctx, configOf(lab())); err != nil {
				t.Fatal(err)
			}
			r.adopt(hq(), lab())
			r.wantState("hq", tunnel.Down)
		}
		if _, err := r.AdoptForNow(ctx, configOf(lab())); err != nil {
			t.Fatal(err)
		}
		if err := r.Keep(ctx); err != nil || len(m.held) > 0 {
			t.Errorf("kept: %v, held %v", err, m.held)
		}
		r.adopt(hq(), lab())
		r.wantState("hq", tunnel.Connecting)
	})
}
