package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

// onTraffic is the connection in native of a version of IKE, with start: onTraffic, and strongSwan's end of it.
func onTraffic(version int) (lab.Connection, lab.Conn) {
	ours, theirs := versionPair(version)
	ours.DPD, ours.Native.Initiate, ours.Start = nil, nil, "onTraffic"
	return ours, theirs
}

// cold says how a tunnel without SAs came about.
var cold = []struct {
	name string
	make func(t *testing.T, gw *lab.Vpngw, cloud *lab.Charon)
}{
	{"the daemon starts", func(_ *testing.T, gw *lab.Vpngw, _ *lab.Charon) { gw.Stop(); gw.Restart() }},
	{"the peer deletes", func(t *testing.T, _ *lab.Vpngw, cloud *lab.Charon) {
		if err := cloud.TerminateIKE("row"); err != nil {
			t.Fatal(err)
		}
	}},
}

// The first ping of a cold tunnel is answered: from the gateway itself and from a host behind it, after a start and after the
// peer's Delete, which brings no attempt by itself.
func TestTheFirstPingOfAColdTunnelIsAnswered(t *testing.T) {
	rounds := counted(4, 20)
	for version, name := range map[int]string{1: "IKEv1", 2: "IKEv2"} {
		for _, offload := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, offload %v", name, offload), func(t *testing.T) {
				t.Parallel()
				n := lab.Direct(t, lab.CharonTools...)
				ours, theirs := onTraffic(version)
				cloud := charon1(n.Cloud)
				cloud.PSK(psk)
				cloud.Load(theirs)
				gw := n.Customer.Vpngw(lab.Config{Offload: &offload, Connections: []lab.Connection{ours}})
				answered := 0
				var longest time.Duration
				for i := range rounds {
					how, from := cold[(i+1)/2%2], []*lab.Namespace{n.Host, n.Customer}[i%2]
					if i > 0 {
						how.make(t, gw, cloud)
					}
					gw.AwaitState("row", "waiting", lab.Patience)
					n.Await(lab.Patience, "strongSwan has no SA", func() (bool, string) { return len(cloud.SAs()) == 0, "" })
					began := n.Internet.Filter("forward", "ip saddr "+lab.CustomerAddr, "")
					time.Sleep(200 * time.Millisecond)
					if got := began.Packets(); got != 0 {
						t.Errorf("%d packets were sent without traffic", got)
					}
					began.Remove()
					start := time.Now()
					p := from.Ping(lab.CloudHost, 1)
					longest = max(longest, time.Since(start))
					if answered += p.Received; p.Received != 1 {
						t.Errorf("%s, from %v: the first ping is not answered: %v", how.name, i%2, p)
						drops(t, gw)
					}
					gw.AwaitUp("row")
				}
				t.Logf("%d of %d first pings answered; the slowest after %v", answered, rounds, longest.Round(time.Millisecond))
			})
		}
	}
}

// startBody is a connection for the standard networks in one dialect, whose body says how the cloud's end starts.
type startBody struct {
	dialect, word string // the word of the body; empty: the body has none
	means         string // for the cloud's end
	config        func(t *testing.T, side, word, beside string) lab.Config
	name          string // of the tunnel
}

func startBodies() []startBody {
	native := func(_ *testing.T, side, word, beside string) lab.Config {
		c := native("hq", natSuites)
		c.Native.Initiate, c.Start, c.Side = nil, beside, side
		if word != "" {
			yes := word == "true"
			c.Native.Initiate = &yes
		}
		if side == "cloud" {
			c.Native.Local, c.Native.Remote = c.Native.Remote, c.Native.Local
		}
		return lab.Config{Connections: []lab.Connection{c}}
	}
	alibaba := func(_ *testing.T, side, word, beside string) lab.Config {
		b := alibaba("hq")
		b.EffectImmediately = word == "true"
		return bodies(side, lab.Connection{Alibaba: b, Start: beside})
	}
	huawei := func(t *testing.T, side, _, beside string) lab.Config {
		text := strings.NewReplacer("192.168.0.0/24", lab.CustomerLAN, "10.0.0.0/24", lab.CloudLAN).Replace(page(t, "huawei-policy.txt"))
		return pageGateways(side, lab.Connection{Huawei: text, Name: "hq", Start: beside})
	}
	tencent := func(t *testing.T, side, word, beside string) lab.Config {
		b := tencentPage(t, map[string][]string{lab.CloudLAN: {lab.CustomerLAN}})
		b["NegotiationType"] = word
		return pageGateways(side, lab.Connection{Tencent: b, Name: "hq", Start: beside})
	}
	return []startBody{
		{"native", "", "passive", native, "hq"},
		{"native", "true", "active", native, "hq"},
		{"native", "false", "passive", native, "hq"},
		{"alibaba", "true", "active", alibaba, "hq"},
		{"alibaba", "false", "onTraffic", alibaba, "hq"},
		{"huawei", "", "passive", huawei, "hq"},
		{"tencent", "active", "active", tencent, "hq"},
		{"tencent", "passive", "passive", tencent, "hq"},
		{"tencent", "flowTrigger", "onTraffic", tencent, "hq"},
	}
}

// Each end starts as told: by the body at the cloud's end, by start: beside the body at either. The other end only answers.
func TestEachStartOfEachDialect(t *testing.T) {
	t.Parallel()
	for _, dialect := range []string{"native", "alibaba", "huawei", "tencent"} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t)
			for i, b := range startBodies() {
				if b.dialect != dialect {
					continue
				}
				// The cloud's end by the body's word. The customer's starts at once, but for initiate: false.
				customers := "active"
				if b.dialect == "native" && b.word != "" {
					customers = b.means
				}
				b.starts(t, n, "cloud", "", b.means)
				b.starts(t, n, "customer", "", customers)
				if first := i == 0 || startBodies()[i-1].dialect != dialect; !first {
					continue
				}
				for _, beside := range []string{"active", "passive", "onTraffic"} {
					b.starts(t, n, "cloud", beside, beside)
					b.starts(t, n, "customer", beside, beside)
				}
			}
		})
	}
}

// starts holds one end to how it is to start.
func (b startBody) starts(t *testing.T, n *lab.Net, side, beside, want string) {
	t.Run(fmt.Sprintf("%s %s, start %q", side, b.word, beside), func(t *testing.T) {
		n.Use(t)
		ends := map[string]*lab.Namespace{"customer": n.Customer, "cloud": n.Cloud}
		hosts := map[string]*lab.Namespace{"customer": n.Host, "cloud": n.CloudHost}
		target := map[string]string{"customer": lab.CloudHost, "cloud": lab.CustomerHost}[side]
		other := map[string]string{"customer": "cloud", "cloud": "customer"}[side]
		word := b.word
		if b.dialect == "native" {
			word = ""
		}
		peer := ends[other].Vpngw(b.config(t, other, word, "passive"))
		ike := n.Internet.Filter("forward", "udp dport { 500, 4500 }", "")
		gw := ends[side].Vpngw(b.config(t, side, b.word, beside))
		defer func() { gw.Stop(); peer.Stop(); ike.Remove() }()
		if want == "active" {
			gw.AwaitUp(b.name)
			return
		}
		row := gw.AwaitState(b.name, "waiting", lab.Patience)
		if waits := strings.Contains(row.Why, "packet"); waits != (want == "onTraffic") || ike.Packets() != 0 {
			t.Errorf("it waits because %q, and %d IKE packets were sent", row.Why, ike.Packets())
		}
		p := hosts[side].Ping(target, 1, lab.Echo{Wait: map[string]time.Duration{"passive": time.Second, "onTraffic": 10 * time.Second}[want]})
		switch {
		case want == "passive" && (ike.Packets() != 0 || gw.Tunnel(b.name).State != "waiting"):
			t.Errorf("a packet raises a passive end: %s, %d IKE packets", gw.Tunnel(b.name).State, ike.Packets())
		case want == "onTraffic" && p.Received != 1:
			t.Errorf("the first ping: %v", p)
			t.Log(gw.Log())
		case want == "onTraffic":
			gw.AwaitUp(b.name)
		}
	})
}

// With a Child SA for each pair of networks, one packet raises all of them, and a packet for a pair whose Child SA the peer has
// deleted raises that one, while the other goes on.
func TestAPacketRaisesItsPair(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, lab.CharonTools...)
	n.Cloud.Address("lan", "10.10.64.1/32") // charon routes only subnets in which it has an address
	n.CloudHost.Address("eth0", "10.10.64.10/32")
	targets := []string{lab.CloudHost, "10.10.64.10"}
	ours, theirs := onTraffic(1)
	ours.Native.Remote.Subnets = []string{"10.10.0.0/18", "10.10.64.0/18"}
	child := theirs.Children["row"]
	theirs.Children = map[string]lab.Child{}
	for i, s := range ours.Native.Remote.Subnets {
		child.LocalTS = []string{s}
		theirs.Children[fmt.Sprintf("c%d", i)] = child
	}
	cloud := charon1(n.Cloud)
	cloud.PSK(psk)
	cloud.Load(theirs)
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{ours}})
	gw.AwaitState("row", "waiting", lab.Patience)
	for i := range 3 {
		if p := n.Host.Ping(targets[i%2], 1); p.Received != 1 {
			t.Errorf("round %d: the first ping of %s: %v", i+1, targets[i%2], p)
		}
		if up := gw.AwaitUp("row"); len(up.Children) != 2 {
			t.Errorf("%d Child SAs, want 2", len(up.Children))
		}
		if err := cloud.TerminateChild(fmt.Sprintf("c%d", (i+1)%2)); err != nil {
			t.Fatal(err)
		}
		gw.AwaitState("row", "degraded", lab.Patience)
		if p := n.Host.Ping(targets[i%2], 10); p.Lost() != 0 {
			t.Errorf("the other pair: %v", p)
		}
		if row := gw.Tunnel("row"); row.State != "degraded" {
			t.Errorf("it is %s without a packet for the pair", row.State)
		}
	}
}

// Two vpngw that both wait for traffic, over raw ESP: whichever end has the first packet raises the tunnel, and gets its answer.
func TestTheFirstPingBetweenTwoThatWaitIsAnswered(t *testing.T) {
	rounds := counted(3, 20)
	for version, name := range map[int]string{1: "IKEv1", 2: "IKEv2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t)
			ours, _ := onTraffic(version)
			cloud := n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(ours)}})
			gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{ours}})
			answered := 0
			for i := range rounds {
				if i > 0 { // each end is started again in its turn, and deletes its SAs before
					again := []*lab.Vpngw{gw, cloud}[i/2%2]
					again.Stop()
					again.Restart()
				}
				gw.AwaitState("row", "waiting", lab.Patience)
				cloud.AwaitState("row", "waiting", lab.Patience)
				from, to := n.Host, lab.CloudHost
				if i%2 == 1 {
					from, to = n.CloudHost, lab.CustomerHost
				}
				p := from.Ping(to, 1)
				if answered += p.Received; p.Received != 1 {
					t.Errorf("round %d: the first ping is not answered: %v", i+1, p)
					drops(t, gw, cloud)
				}
				gw.AwaitUp("row")
				cloud.AwaitUp("row")
			}
			t.Logf("%d of %d first pings answered", answered, rounds)
		})
	}
}
