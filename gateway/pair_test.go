package gateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/config"
	"vpngw/ipsec"
	"vpngw/tunnel"
)

// mirror returns the other end of a connection, which only responds.
func mirror(c *config.Connection) *config.Connection {
	m := *c
	m.Side = config.Cloud
	m.Tunnels = append([]config.Tunnel(nil), c.Tunnels...)
	for i := range m.Tunnels {
		t := &m.Tunnels[i]
		t.Local, t.Remote = t.Remote, t.Local
		t.Start = config.StartPassive
		t.Routes = t.Remote.Subnets
	}
	return &m
}

// startReal runs a gateway with the real IKE and ESP on a fake host.
func startReal(t *testing.T, h *fakeHost, c *config.Config, o Options) *running {
	t.Helper()
	o.Host = h
	g, err := New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	synctest.Wait()
	return &running{t, g, nil, h, func() error { cancel(); return <-done }}
}

// ping sends a numbered UDP packet into one TUN and expects it out of the other.
func ping(t *testing.T, from, to *fakeTUN, src, dst string, n uint32) {
	t.Helper()
	p := udpPacket(addr(src), addr(dst), n)
	from.put(p)
	synctest.Wait()
	select {
	case got := <-to.to:
		if !bytes.Equal(got[28:], p[28:]) {
			t.Errorf("packet %d came out as %x", n, got)
		}
	default:
		t.Errorf("packet %d was lost", n)
	}
}

func udpPacket(src, dst netip.Addr, n uint32) []byte {
	b := make([]byte, 32)
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum&0xffff+sum>>16))
	binary.BigEndian.PutUint16(b[20:], 4000)
	binary.BigEndian.PutUint16(b[22:], 4000)
	binary.BigEndian.PutUint16(b[24:], 12)
	binary.BigEndian.PutUint32(b[28:], n)
	return b
}

func TestTwoGatewaysCarryPackets(t *testing.T) {
	for _, encap := range []config.Encap{config.EncapNever, config.EncapAlways} {
		t.Run(string(encap), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNet()
				ours := hq()
				ours.Tunnels[0].Encap = encap
				customer := startReal(t, newHost(n, "203.0.113.9", "192.168.3.1"), configOf(ours), Options{})
				defer customer.stop()
				// The daemon starts before its peer, and its tunnel comes up without a command.
				time.Sleep(20 * time.Second)
				customer.wantState("hq", tunnel.Connecting)
				cloud := startReal(t, newHost(n, "198.51.100.1", "10.10.0.1"), configOf(mirror(ours)), Options{})
				defer cloud.stop()
				time.Sleep(40 * time.Second)

				a, b := customer.wantState("hq", tunnel.Up), cloud.wantState("hq", tunnel.Up)
				if a.IKE == nil || b.IKE == nil || a.IKE.SPIi != b.IKE.SPIi || a.IKE.State != "established" {
					t.Errorf("got IKE SAs %+v and %+v, want the same one", a.IKE, b.IKE)
				}
				customer.wantRoutes(hqRoute)
				cloud.wantRoutes("192.168.3.0/24 dev vpngw0 src 10.10.0.1")
				here, there := customer.host.tun("vpngw0"), cloud.host.tun("vpngw0")
				for i := range uint32(20) {
					ping(t, here, there, "192.168.3.7", "10.10.0.7", i)
					ping(t, there, here, "10.10.0.7", "192.168.3.7", i)
				}
				if s := customer.tunnelStatus("hq"); s.Children[0].PacketsOut != 20 || s.Children[0].PacketsIn != 20 {
					t.Errorf("got counters %+v, want 20 each way", s.Children[0])
				}
			})
		})
	}
}

func TestPeersDeleteAndRestartAreOvercome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet()
		customer := startReal(t, newHost(n, "203.0.113.9", "192.168.3.1"), configOf(hq()), Options{})
		defer customer.stop()
		h := newHost(n, "198.51.100.1", "10.10.0.1")
		cloud := startReal(t, h, configOf(mirror(hq())), Options{})
		time.Sleep(40 * time.Second)
		customer.wantState("hq", tunnel.Up)

		// An orderly end: Deletes, then nobody answers.
		if err := cloud.stop(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		customer.wantState("hq", tunnel.Connecting)
		customer.wantRoutes(hqRoute)
		cloud = startReal(t, h, configOf(mirror(hq())), Options{})
		time.Sleep(40 * time.Second)
		customer.wantState("hq", tunnel.Up)
		cloud.wantState("hq", tunnel.Up)
		ping(t, customer.host.tun("vpngw0"), h.tun("vpngw0"), "192.168.3.7", "10.10.0.7", 1)

		// Down holds, also against the peer; up undoes it.
		if err := customer.Down(context.Background(), "hq"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		customer.wantState("hq", tunnel.Down)
		cloud.wantState("hq", tunnel.Waiting)
		if err := customer.Up(context.Background(), "hq"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		customer.wantState("hq", tunnel.Up)
		if err := cloud.stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestUpBeginsThoughBothEndsOnlyAnswer: they wait for each other until somebody at either end asks for the tunnel.
func TestUpBeginsThoughBothEndsOnlyAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := newNet(), hq()
		c.Tunnels[0].Start = config.StartPassive
		customer := startReal(t, newHost(n, "203.0.113.9", "192.168.3.1"), configOf(c), Options{})
		defer customer.stop()
		cloud := startReal(t, newHost(n, "198.51.100.1", "10.10.0.1"), configOf(mirror(hq())), Options{})
		defer cloud.stop()
		time.Sleep(time.Minute)
		customer.wantState("hq", tunnel.Waiting)
		cloud.wantState("hq", tunnel.Waiting)

		if err := cloud.Up(context.Background(), "hq"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		customer.wantState("hq", tunnel.Up)
		was := cloud.wantState("hq", tunnel.Up).Children
		ping(t, customer.host.tun("vpngw0"), cloud.host.tun("vpngw0"), "192.168.3.7", "10.10.0.7", 1)

		// A tunnel that is up stays unchanged.
		if err := customer.Up(context.Background(), "hq"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if is := cloud.wantState("hq", tunnel.Up).Children; len(was) != 1 || len(is) != 1 || is[0].SPIIn != was[0].SPIIn {
			t.Errorf("got Child SAs %+v after %+v", is, was)
		}

		for _, f := range []func(context.Context, string) error{customer.Down, customer.Up} {
			if err := f(context.Background(), "hq"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		customer.wantState("hq", tunnel.Up)
	})
}

func TestWrongKeyIsTheReasonAtBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet()
		theirs := mirror(hq())
		theirs.Tunnels[0].PSK = ipsec.Secret("battery staple")
		customer := startReal(t, newHost(n, "203.0.113.9", "192.168.3.1"), configOf(hq()), Options{})
		defer customer.stop()
		cloud := startReal(t, newHost(n, "198.51.100.1", "10.10.0.1"), configOf(theirs), Options{})
		defer cloud.stop()
		time.Sleep(40 * time.Second)
		for _, s := range []TunnelStatus{customer.wantState("hq", tunnel.Connecting), cloud.wantState("hq", tunnel.Waiting)} {
			if !strings.Contains(strings.ToLower(s.Why), "pre-shared key") || strings.Contains(s.Why, "staple") {
				t.Errorf("got why %q, want the pre-shared key named and not told", s.Why)
			}
		}
	})
}

func TestAdoptLosesNoPacketOfTheOtherConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet()
		changed := lab()
		changed.Tunnels[0].ESPProposals = proposals(ipsec.ProtoESP, "aes256gcm16")
		both := mirror(lab())
		both.Tunnels[0].ESPProposals = append(both.Tunnels[0].ESPProposals, changed.Tunnels[0].ESPProposals...)
		customer := startReal(t, newHost(n, "203.0.113.9", "192.168.3.1", "192.168.4.1"), configOf(hq(), lab()), Options{})
		defer customer.stop()
		cloud := startReal(t, newHost(n, "198.51.100.1", "10.10.0.1", "10.20.0.1"), configOf(mirror(hq()), both), Options{})
		defer cloud.stop()
		time.Sleep(40 * time.Second)
		customer.wantState("hq", tunnel.Up)
		customer.wantState("lab", tunnel.Up)
		here, there := customer.host.tun("vpngw0"), cloud.host.tun("vpngw0")
		for i := range uint32(100) {
			if i == 50 {
				customer.adopt(hq(), changed)
			}
			ping(t, here, there, "192.168.3.7", "10.10.0.7", i)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		if s := customer.wantState("lab", tunnel.Up); s.Children[0].Proposal != "aes256gcm16" {
			t.Errorf("got proposal %s, want the new one", s.Children[0].Proposal)
		}
	})
}

// A killed daemon sends no Delete. The next one cleans up, and its tunnel is up
// before the peer notices.
func TestKilledDaemonIsBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet()
		h := newHost(n, "203.0.113.9", "192.168.3.1")
		cloud := startReal(t, newHost(n, "198.51.100.1", "10.10.0.1"), configOf(mirror(hq())), Options{})
		defer cloud.stop()
		first := startReal(t, h, configOf(hq()), Options{})
		time.Sleep(10 * time.Second)
		first.wantState("hq", tunnel.Up)

		h.net = newNet() // nobody receives its further messages
		if err := first.stop(); err != nil {
			t.Error(err)
		}
		h.net = n
		second := startReal(t, h, configOf(hq()), Options{})
		defer second.stop()
		time.Sleep(3 * time.Second)
		second.wantState("hq", tunnel.Up)
		cloud.wantState("hq", tunnel.Up)
		ping(t, h.tun("vpngw0"), cloud.host.tun("vpngw0"), "192.168.3.7", "10.10.0.7", 1)
		ping(t, cloud.host.tun("vpngw0"), h.tun("vpngw0"), "10.10.0.7", "192.168.3.7", 2)
	})
}

func TestRekeyReplacesWhatItIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet()
		customer := startReal(t, newHost(n, "203.0.113.9", "192.168.3.1"), configOf(hq()), Options{})
		defer customer.stop()
		cloud := startReal(t, newHost(n, "198.51.100.1", "10.10.0.1"), configOf(mirror(hq())), Options{})
		defer cloud.stop()
		time.Sleep(40 * time.Second)
		first := customer.wantState("hq", tunnel.Up)
		for _, what := range []Rekeying{RekeyChildren, TryRekey, RekeyIKE} {
			ike := what == RekeyIKE
			before := customer.wantState("hq", tunnel.Up)
			if err := customer.Rekey(context.Background(), "hq", what); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			after := customer.wantState("hq", tunnel.Up)
			if got := after.IKE.SPIi != before.IKE.SPIi; got != ike {
				t.Errorf("ike %v: a new IKE SA is %v", ike, got)
			}
			if got := after.Children[0].SPIIn != before.Children[0].SPIIn; got == ike {
				t.Errorf("ike %v: a new Child SA is %v", ike, got)
			}
			if len(after.Children) != len(first.Children) {
				t.Errorf("ike %v: got %d Child SAs, want %d", ike, len(after.Children), len(first.Children))
			}
		}
		if err := customer.Rekey(context.Background(), "hg", RekeyChildren); err == nil {
			t.Error("an unknown name is rekeyed")
		}
	})
}
