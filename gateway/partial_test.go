package gateway

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"vpngw/config"
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

func TestStandbyComesUpWithoutRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r := start(t, officeHost(), configOf(dual()), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer r.stop()
		r.up("hq-2", "192.168.3.0/24", "10.10.0.0/16")
		r.wantState("hq-2", tunnel.Up)
		r.wantRoutes()
		r.up("hq-1", "192.168.3.0/24", "10.10.0.0/16")
		r.wantRoutes(hqRoute)
		st, err := r.Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"failover between its tunnels", "routes into hq-2, the standby"}
		if len(st.Connections) != 1 || len(st.Connections[0].Tunnels) != 2 || !slices.Equal(st.Connections[0].Unserved, want) {
			t.Errorf("got %+v", st.Connections)
		}
		if !strings.Contains(log.String(), `conn=hq what="failover between its tunnels, routes into hq-2, the standby"`) {
			t.Errorf("the log does not name the unserved features:\n%s", log.String())
		}
		if err := r.Down(context.Background(), "hq-1"); err != nil {
			t.Fatal(err)
		}
		r.wantRoutes("10.10.0.0/16 dev vpngw1 src 192.168.3.1")
	})
}
