package gateway

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/esp"
	"vpngw/ike/sa"
	"vpngw/tunnel"
)

// lazy is hq with start: onTraffic.
func lazy() *config.Connection {
	c := hq()
	c.Tunnels[0].Start = config.StartOnTraffic
	return c
}

// comeOut expects numbered packets out of a TUN, in this order and no others.
func comeOut(t *testing.T, from *fakeTUN, ns ...uint32) {
	t.Helper()
	synctest.Wait()
	for _, n := range ns {
		select {
		case got := <-from.to:
			if want := udpPacket(addr("192.168.3.7"), addr("10.10.0.7"), n); !bytes.Equal(got[28:], want[28:]) {
				t.Errorf("got packet %x, want %d", got[28:], n)
			}
		default:
			t.Errorf("packet %d did not come", n)
		}
	}
	select {
	case got := <-from.to:
		t.Errorf("packet %x came too", got)
	default:
	}
}

func (n *fakeNet) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.sent)
}

func TestTheFirstPacketsOfAColdTunnelArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet()
		c := lazy()
		customer := startReal(t, newHost(n, "203.0.113.9", "192.168.3.1"), configOf(c), Options{})
		defer customer.stop()
		cloudHost := newHost(n, "198.51.100.1", "10.10.0.1")
		cloud := startReal(t, cloudHost, configOf(mirror(c)), Options{})
		put := func(i uint32) { customer.host.tun("vpngw0").put(udpPacket(addr("192.168.3.7"), addr("10.10.0.7"), i)) }

		time.Sleep(time.Hour)
		if st := customer.wantState("hq", tunnel.Waiting); st.Code != diag.AwaitsTraffic || n.count() != 0 {
			t.Errorf("it waits because of %q, and %d datagrams were sent", st.Code, n.count())
		}
		customer.wantRoutes(hqRoute) // before the first SA
		put(1)
		put(2)
		put(3)
		time.Sleep(3 * time.Second)
		comeOut(t, cloud.host.tun("vpngw0"), 1, 2, 3)
		customer.wantState("hq", tunnel.Up)
		put(4)
		comeOut(t, cloud.host.tun("vpngw0"), 4)

		// The peer's Delete brings no attempt. A packet does, for a minute, and waits for 10 s.
		cloud.stop()
		time.Sleep(time.Second)
		before := n.count()
		time.Sleep(time.Hour)
		customer.wantState("hq", tunnel.Waiting)
		if got := n.count(); got != before {
			t.Errorf("%d datagrams were sent after the peer's Delete", got-before)
		}
		put(5)
		time.Sleep(time.Second)
		customer.wantState("hq", tunnel.Connecting)
		if n.count() == before {
			t.Error("a packet raises nothing")
		}
		dropped := func() uint64 { return customer.data.PlaneCounters().Drops["no-sa"] }
		if got := dropped(); got != 0 {
			t.Errorf("%d packets were dropped within a second", got)
		}
		time.Sleep(9100 * time.Millisecond)
		if got := dropped(); got != 1 {
			t.Errorf("%d packets were dropped after 10 s, want 1", got)
		}
		time.Sleep(10 * time.Minute)
		customer.wantState("hq", tunnel.Waiting)
		before = n.count()
		time.Sleep(time.Hour)
		if got := n.count(); got != before {
			t.Errorf("%d datagrams were sent, and nobody asked", got-before)
		}

		cloud = startReal(t, cloudHost, configOf(mirror(c)), Options{})
		defer cloud.stop()
		time.Sleep(time.Minute)
		customer.wantState("hq", tunnel.Waiting)
		put(6)
		time.Sleep(3 * time.Second)
		comeOut(t, cloud.host.tun("vpngw0"), 6)
		customer.wantState("hq", tunnel.Up)
	})
}

// A packet that comes while the peer is not there yet arrives if the peer comes within 10 s.
func TestAPacketWaitsForThePeer(t *testing.T) {
	for _, late := range []time.Duration{4 * time.Second, 14 * time.Second} {
		t.Run(fmt.Sprint(late), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNet()
				c := lazy()
				customer := startReal(t, newHost(n, "203.0.113.9", "192.168.3.1"), configOf(c), Options{})
				defer customer.stop()
				customer.host.tun("vpngw0").put(udpPacket(addr("192.168.3.7"), addr("10.10.0.7"), 1))
				time.Sleep(late)
				cloud := startReal(t, newHost(n, "198.51.100.1", "10.10.0.1"), configOf(mirror(c)), Options{})
				defer cloud.stop()
				time.Sleep(30 * time.Second)
				customer.wantState("hq", tunnel.Up)
				if late < 10*time.Second {
					comeOut(t, cloud.host.tun("vpngw0"), 1)
				} else {
					comeOut(t, cloud.host.tun("vpngw0"))
				}
			})
		})
	}
}

// A reload changes the start of a tunnel that runs, with its device.
func TestReloadChangesTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet()
		c, passive := lazy(), lazy()
		passive.Tunnels[0].Start = config.StartPassive
		customer := startReal(t, newHost(n, "203.0.113.9", "192.168.3.1"), configOf(passive), Options{})
		defer customer.stop()
		cloud := startReal(t, newHost(n, "198.51.100.1", "10.10.0.1"), configOf(mirror(c)), Options{})
		defer cloud.stop()
		put := func(i uint32) { customer.host.tun("vpngw0").put(udpPacket(addr("192.168.3.7"), addr("10.10.0.7"), i)) }
		put(1)
		time.Sleep(time.Minute)
		customer.wantState("hq", tunnel.Waiting)
		customer.wantRoutes()
		customer.adopt(c)
		customer.wantRoutes(hqRoute)
		put(2)
		time.Sleep(3 * time.Second)
		comeOut(t, cloud.host.tun("vpngw0"), 2)
		if err := customer.Down(context.Background(), "hq"); err != nil {
			t.Fatal(err)
		}
		put(3)
		time.Sleep(3 * time.Second)
		comeOut(t, cloud.host.tun("vpngw0"))
		customer.wantState("hq", tunnel.Down)
		if err := customer.Up(context.Background(), "hq"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		customer.wantState("hq", tunnel.Up)
	})
}

// A packet has IKE initiate the tunnel, and forget what has failed before; after a minute without packets it does no more.
func TestAcquireIsACommandToIKE(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(lazy(), lab()), Options{})
		defer r.stop()
		initiates := func(want bool) {
			t.Helper()
			synctest.Wait()
			r.loop(func() {
				if got := r.ike.peers[0].Children[0].Initiate; got != want {
					t.Errorf("IKE initiates: %v, want %v", got, want)
				}
			})
		}
		initiates(false)
		for range 3 {
			r.in.tell(esp.Acquire{Tunnel: "hq"})
			r.in.tell(esp.Acquire{Tunnel: "nobody"})
			initiates(true)
		}
		r.wantCommands(sa.Raise{Tunnel: "hq"})
		time.Sleep(61 * time.Second)
		initiates(false)
		r.wantState("hq", tunnel.Waiting)
	})
}

// A device that was lost and made again has packets wait, too.
func TestPacketsWaitInANewDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet()
		customer := startReal(t, newHost(n, "203.0.113.9", "192.168.3.1"), configOf(lazy()), Options{})
		defer customer.stop()
		cloud := startReal(t, newHost(n, "198.51.100.1", "10.10.0.1"), configOf(mirror(lazy())), Options{})
		defer cloud.stop()
		customer.host.tun("vpngw0").Close()
		time.Sleep(5 * time.Second)
		customer.host.tun("vpngw0").put(udpPacket(addr("192.168.3.7"), addr("10.10.0.7"), 1))
		time.Sleep(3 * time.Second)
		comeOut(t, cloud.host.tun("vpngw0"), 1)
	})
}
