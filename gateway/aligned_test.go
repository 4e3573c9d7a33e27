package gateway

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/config"
	"vpngw/tunnel"
)

// A list in another order is no change: the plan is empty, and SAs, their names and the device stay, also when
// something else changes afterwards.
func TestAnotherOrderIsNoChange(t *testing.T) {
	for name, children := range map[string]config.Children{"lists": config.Lists, "pairs": config.Pairs} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				made := func(mirrored, turned bool, mtu int) *config.Connection {
					c := hq()
					tun := &c.Tunnels[0]
					tun.Children = children
					tun.Local.Subnets, tun.Remote.Subnets = prefixes("192.168.3.0/24", "192.168.4.0/24"), prefixes("10.10.0.0/16", "10.11.0.0/16", "10.12.0.0/16")
					tun.Routes = prefixes("10.10.0.0/16", "10.11.0.0/16", "10.12.0.0/16")
					tun.MTU = mtu
					if turned {
						slices.Reverse(tun.Local.Subnets)
						slices.Reverse(tun.Remote.Subnets)
						slices.Reverse(tun.Routes)
					}
					if mirrored {
						c = mirror(c)
					}
					return c
				}
				n := newNet()
				customer := startReal(t, newHost(n, "203.0.113.9", "192.168.3.1"), configOf(made(false, false, 0)), Options{})
				defer customer.stop()
				cloud := startReal(t, newHost(n, "198.51.100.1", "10.10.0.1"), configOf(made(true, false, 0)), Options{})
				defer cloud.stop()
				time.Sleep(40 * time.Second)
				customer.wantState("hq", tunnel.Up)
				before := customer.standing("hq")
				got, err := customer.Plan(context.Background(), configOf(made(false, true, 0)))
				if want := (Plan{DaemonRestart: []string{}, Connections: []ConnectionChange{}, Unchanged: 1}); err != nil || !reflect.DeepEqual(got, want) {
					t.Fatalf("got %+v, %v", got, err)
				}
				customer.adopt(made(false, true, 0))
				time.Sleep(40 * time.Second)
				customer.adopt(made(false, true, 1300)) // a change that is live, with the lists in the other order
				time.Sleep(40 * time.Second)
				customer.wantState("hq", tunnel.Up)
				if now := customer.standing("hq"); now.ike != before.ike || !slices.Equal(now.children, before.children) || now.tun != before.tun {
					t.Errorf("before %+v, now %+v", before, now)
				}
				if len(before.children) != map[string]int{"lists": 1, "pairs": 6}[name] {
					t.Errorf("%d Child SAs", len(before.children))
				}
			})
		})
	}
}
