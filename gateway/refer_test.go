package gateway

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"vpngw/config"
)

// A reload that changes nothing of a tunnel leaves nothing of the old configuration in memory.
func TestAReloadKeepsOneConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := many(3)
		conns := []weak.Pointer[config.Connection]{}
		tunnels := []weak.Pointer[config.Tunnel]{}
		for _, c := range old.Connections {
			conns, tunnels = append(conns, weak.Make(c)), append(tunnels, weak.Make(&c.Tunnels[0]))
		}
		r := start(t, officeHost(), old, Options{})
		defer r.stop()
		time.Sleep(10 * time.Second)
		old = nil
		if _, err := r.Adopt(t.Context(), many(3)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		runtime.GC()
		for i := range conns {
			if conns[i].Value() != nil || tunnels[i].Value() != nil {
				t.Errorf("the connection %v or its tunnel is still in memory", conns[i].Value())
			}
		}
	})
}
