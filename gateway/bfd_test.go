package gateway

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/config"
	"vpngw/dpd"
	"vpngw/tunnel"
)

// bfdPair are two gateways with BFD between them, over the real IKE and ESP.
type bfdPair struct {
	*testing.T
	net             *fakeNet
	customer, cloud *running
	host            *fakeHost // the cloud's
}

func bfdConns(block string) (ours, theirs *config.Connection) {
	ours = connection("hq", "0.0.0.0/0", "0.0.0.0/0")
	if netip.MustParsePrefix(block).Addr().Is6() {
		ours = connection("hq", "::/0", "::/0")
	}
	bgpOf(ours, block)
	t := &ours.Tunnels[0]
	t.BGP.BFD = &dpd.BFD{Interval: 300 * time.Millisecond, Multiplier: 3}
	theirs = mirror(ours)
	m := &theirs.Tunnels[0]
	m.Inside, m.Peer = netip.PrefixFrom(t.Peer, t.Inside.Bits()), t.Inside.Addr()
	b := *t.BGP
	m.BGP, m.Routes = &b, nil
	return ours, theirs
}

func newBFDPair(t *testing.T, block string) *bfdPair {
	ours, theirs := bfdConns(block)
	return startBFD(t, ours, theirs)
}

func startBFD(t *testing.T, ours, theirs *config.Connection) *bfdPair {
	p := &bfdPair{T: t, net: newNet()}
	p.host = newHost(p.net, "198.51.100.1", "10.10.0.1")
	p.cloud = startReal(t, p.host, configOf(theirs), Options{})
	p.customer = startReal(t, newHost(p.net, "203.0.113.9", "192.168.3.1"), configOf(ours), Options{})
	time.Sleep(5 * time.Second)
	p.want(p.customer, "up")
	p.want(p.cloud, "up")
	return p
}

func (p *bfdPair) want(r *running, state string) *BFDStatus {
	p.Helper()
	b := r.tunnelStatus("hq").BFD
	if b == nil || b.State != state {
		p.Errorf("BFD is %+v, want %s", b, state)
	}
	return b
}

// cut has nothing reach the cloud any more, or again.
func (p *bfdPair) cut(is bool) {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	if delete(p.net.hosts, addr("198.51.100.1")); !is {
		p.net.hosts[addr("198.51.100.1")] = p.host
	}
}

func TestBFDBetweenTwoGateways(t *testing.T) {
	for _, block := range []string{"169.254.9.0/30", "fd00:9::/126"} {
		synctest.Test(t, func(t *testing.T) {
			p := newBFDPair(t, block)
			defer p.cloud.stop()
			defer p.customer.stop()
			b := p.want(p.customer, "up")
			if b.Interval != 300 || b.Detect != 900 || b.Discarded != 0 || b.Local == "" || b.Remote == "" || b.Why != "" {
				t.Errorf("got %+v", b)
			}
			for range 10 {
				if err := p.customer.Rekey(t.Context(), "hq", RekeyChildren); err != nil {
					t.Fatal(err)
				}
				time.Sleep(1500 * time.Millisecond)
			}
			if again := p.want(p.customer, "up"); again.Since != b.Since {
				t.Error("a rekey ends the session")
			}
			if n := len(p.customer.host.tun("vpngw0").to) + len(p.host.tun("vpngw0").to); n > 0 {
				t.Errorf("%d of BFD's packets came to a TUN", n)
			}

			p.cut(true)
			time.Sleep(950 * time.Millisecond)
			if s := p.cloud.tunnelStatus("hq"); s.State != tunnel.Degraded || s.Code != "bfd-down" {
				t.Errorf("the cloud hears nothing, and its tunnel is %s (%s)", s.State, s.Code)
			}
			if b := p.want(p.cloud, "down"); b.Why == "" {
				t.Error("nobody says why")
			}
			synctest.Wait() // the cloud tells, and the customer believes
			if s := p.customer.tunnelStatus("hq"); s.State != tunnel.Degraded || s.Code != "bfd-down" {
				t.Errorf("the customer's tunnel is %s (%s)", s.State, s.Code)
			}
			p.cut(false)
			time.Sleep(4 * time.Second)
			p.want(p.customer, "up")
			p.want(p.cloud, "up")
			p.cloud.wantState("hq", tunnel.Up)
		})
	}
}

// The peer learns of an end on purpose, however it comes, before the SAs go.
func TestBFDsEndIsToldThePeer(t *testing.T) {
	for name, end := range map[string]func(*running) error{
		"down":     func(r *running) error { return r.Down(context.Background(), "hq") },
		"removal":  func(r *running) error { _, err := r.Adopt(context.Background(), configOf(lab())); return err },
		"the stop": nil,
		"BFD goes": func(r *running) error { return adoptWithoutBFD(r) },
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newBFDPair(t, "169.254.9.0/30")
			defer p.cloud.stop()
			p.net.mu.Lock()
			p.net.sent = nil
			p.net.mu.Unlock()
			if end == nil {
				p.customer.stop()
			} else {
				defer p.customer.stop()
				if err := end(p.customer); err != nil {
					t.Fatal(err)
				}
			}
			p.net.mu.Lock()
			if first := p.net.sent[0]; first.Remote != netip.MustParseAddrPort("198.51.100.1:0") {
				t.Errorf("%s: the first packet goes to %v, and is not one of ESP", name, first.Remote)
			}
			p.net.mu.Unlock()
			for range 20 {
				if s := p.cloud.tunnelStatus("hq"); s.Code == "bfd-down" {
					t.Errorf("%s: the peer takes it for a failure", name)
				}
				time.Sleep(100 * time.Millisecond)
			}
			if b := p.cloud.tunnelStatus("hq").BFD; b.State == "up" {
				t.Errorf("%s: the peer's session is still up", name)
			}
			if n := len(p.customer.host.tun("vpngw0").to); name == "BFD goes" && n == 0 {
				t.Error("without BFD the peer's packets are packets like others")
			}
		})
	}
}

func adoptWithoutBFD(r *running) error {
	ours, _ := bfdConns("169.254.9.0/30")
	ours.Tunnels[0].BGP.BFD = nil
	_, err := r.Adopt(context.Background(), configOf(ours))
	return err
}

// A loop that was late takes what has come before it looks for what is missing.
func TestALateLoopIsNoFailureOfThePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := bfdConns("169.254.9.0/30")
		ours.Tunnels[0].BGP.BFD = &dpd.BFD{Interval: 300 * time.Millisecond, Multiplier: 10} // the peer has patience
		p := startBFD(t, ours, theirs)
		defer p.cloud.stop()
		defer p.customer.stop()
		since := p.want(p.customer, "up").Since
		for range 20 {
			p.customer.loop(func() { time.Sleep(1500 * time.Millisecond) })
			time.Sleep(650 * time.Millisecond)
		}
		if again := p.want(p.customer, "up"); again.Since != since {
			t.Error("the session was down")
		}
	})
}

func TestBFDFollowsTheDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newBFDPair(t, "169.254.9.0/30")
		defer p.cloud.stop()
		defer p.customer.stop()
		p.customer.host.tun("vpngw0").Close()
		time.Sleep(15 * time.Second) // until the device and the SAs are made again
		p.want(p.customer, "up")
		p.want(p.cloud, "up")
	})
}

// A group takes one packet at a time, however many come.
func TestAFloodOfBFDCostsOneFact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newBFDPair(t, "169.254.9.0/30")
		defer p.cloud.stop()
		defer p.customer.stop()
		p.customer.loop(func() {
			e := p.cloud.fleet.byName["hq"]
			for range 10_000 {
				if err := e.open.data.SendBFD(addr("169.254.9.2"), addr("169.254.9.1"), make([]byte, 24)); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			if n := len(p.customer.in.events); n > 2 {
				t.Errorf("%d events wait", n)
			}
		})
		time.Sleep(3 * time.Second)
		p.want(p.customer, "up")
	})
}

func TestDiscriminatorsAreUnique(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, _ := bfdConns("169.254.9.0/30")
		other, _ := bfdConns("169.254.10.0/30")
		other.Name, other.Tunnels[0].Name, other.Tunnels[0].Remote.Address = "lab", "lab", addr("198.51.100.2")
		r := start(t, officeHost(), configOf(ours, other), Options{})
		defer r.stop()
		a, b := r.fleet.byName["hq"].discriminator, r.fleet.byName["lab"].discriminator
		if a == 0 || b == 0 || a == b || len(r.fleet.drawn) != 2 {
			t.Errorf("got %x and %x, %v", a, b, r.fleet.drawn)
		}
		r.adopt(ours)
		if r.fleet.byName["hq"].discriminator != a || len(r.fleet.drawn) != 1 {
			t.Errorf("after a reload: %x of %v", r.fleet.byName["hq"].discriminator, r.fleet.drawn)
		}
		r.adopt(hq())
		if n := len(r.fleet.drawn); n > 1 {
			t.Errorf("%d are drawn", n)
		}
	})
}
