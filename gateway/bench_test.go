package gateway

import (
	"context"
	"fmt"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/ike"
	"vpngw/ike/sa"
	"vpngw/ipsec"
	"vpngw/tunnel"
)

// many returns n connections with a peer each.
func many(n int) *config.Config {
	c := &config.Config{}
	for i := range n {
		conn := connection(fmt.Sprintf("c%d", i), fmt.Sprintf("192.168.%d.0/24", i%250), fmt.Sprintf("10.%d.%d.0/24", i/250, i%250))
		conn.Tunnels[0].Remote.Address = addr(fmt.Sprintf("198.51.%d.%d", i/250, 1+i%250))
		conn.Tunnels[0].Remote.ID = ipsec.IdentityOf(conn.Tunnels[0].Remote.Address)
		c.Connections = append(c.Connections, conn)
	}
	return c
}

// overhear is a real Endpoint. A test can insert Actions before those of the Endpoint.
type overhear struct {
	*ike.Endpoint
	extra []sa.Action
}

func (o *overhear) Next() sa.Action {
	if len(o.extra) > 0 {
		a := o.extra[0]
		o.extra = o.extra[1:]
		return a
	}
	return o.Endpoint.Next()
}

// runMany runs a gateway of n tunnels with the real IKE on a fake host.
func runMany(b *testing.B, c *config.Config) (*Gateway, *overhear) {
	h := newHost(newNet(), "203.0.113.9", "192.168.3.1")
	o := &overhear{}
	g, err := New(c, Options{Host: h, IKE: func(c ike.Config) IKE {
		o.Endpoint = ike.New(c)
		return o
	}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	if _, err := g.Status(ctx); err != nil { // the loop runs
		b.Fatal(err)
	}
	return g, o
}

// One tunnel of n gets its Child SA, comes up with its routes, and is taken down
// again. The work is that of its group, however many tunnels there are.
func BenchmarkOneTunnelChanges(b *testing.B) {
	for _, n := range []int{1, 100, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := many(n)
			for i, conn := range c.Connections {
				conn.Tunnels[0].Start = config.StartPassive // they are quiet
				if i == n/2 {
					conn.Tunnels[0].Start = config.StartActive
				}
			}
			g, o := runMany(b, c)
			ctx := context.Background()
			name := fmt.Sprintf("c%d", n/2)
			e := g.fleet.byName[name]
			do := func(want tunnel.State, as ...sa.Action) {
				if err := g.call(ctx, func(now time.Time) error {
					o.extra = append(o.extra, as...)
					g.perform(now)
					g.decide(now, e.group)
					if st := e.status(); st.State != want {
						return fmt.Errorf("got %s: %v", st.State, st.Cause)
					}
					return nil
				}); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				spi, err := g.data.AllocSPI()
				if err != nil {
					b.Fatal(err)
				}
				c := childOf(name, e.tunnel.Local.Subnets[0].String(), e.tunnel.Remote.Subnets[0].String(), spi)
				do(tunnel.Up, sa.InstallIn{SA: c}, sa.ChildIn{SA: c}, sa.InstallOut{SA: c}, sa.ChildOut{SA: c})
				do(tunnel.Connecting, sa.Remove{SPIIn: c.SPIIn}, sa.ChildGone{SA: c})
				if err := g.Down(ctx, name); err != nil {
					b.Fatal(err)
				}
				if err := g.Up(ctx, name); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// An Adopt of n connections of which one has changed.
func BenchmarkAdoptOneChange(b *testing.B) {
	for _, n := range []int{1, 100, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			g, _ := runMany(b, many(n))
			next := [2]*config.Config{many(n), many(n)}
			next[1].Connections[n/2].Tunnels[0].Routes = nil
			i := 0
			for b.Loop() {
				i++
				if _, err := g.Adopt(context.Background(), next[i%2]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A snapshot for metrics holds up the control loop for as long as it takes.
func BenchmarkMetrics(b *testing.B) {
	for _, n := range []int{500, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			g, _ := runMany(b, many(n))
			for b.Loop() {
				if _, err := g.Metrics(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
