package test

import (
	"testing"
	"time"

	"vpngw/test/lab"
)

// Each cloud's body with BGP makes a session between two vpngw that hold the same body. Each end learns what the other one
// announces, and the hosts reach each other.
func TestBGPByEachCloudsBody(t *testing.T) {
	t.Parallel()
	tencent := tencentPage(t, nil)
	delete(tencent, "SecurityPolicyDatabases")
	tencent["RouteType"] = "Bgp"
	tencent["BgpConfig"] = map[string]string{"TunnelCidr": "169.254.128.8/30", "LocalBgpIp": "169.254.128.9", "RemoteBgpIp": "169.254.128.10"}
	gateways := func(side string, c lab.Connection) lab.Config {
		conf := pageGateways(side, c)
		for id, e := range conf.VPNGateways {
			e.ASN = 64512
			conf.VPNGateways[id] = e
		}
		return conf
	}
	own := native("hq", natSuites)
	own.Native.Local.Subnets, own.Native.Remote.Subnets = []string{"0.0.0.0/0"}, []string{"0.0.0.0/0"}
	own.Native.Inside = map[string]string{"local": bgpNear + "/30", "remote": bgpFar}
	own.Native.Local.ASN, own.Native.Remote.ASN = 65010, "65000.1"
	for _, tt := range []struct {
		name string
		conf func(side string, c lab.Connection) lab.Config
		ours lab.Connection
	}{
		{"alibaba", alibabaConfig, lab.Connection{Alibaba: alibabaWithBGP("0.0.0.0/0", "0.0.0.0/0")}},
		{"huawei", gateways, lab.Connection{Huawei: page(t, "huawei-bgp.txt"), Name: "hq"}},
		{"tencent", gateways, lab.Connection{Tencent: tencent, Name: "hq"}},
		{"native", func(_ string, c lab.Connection) lab.Config { return lab.Config{Connections: []lab.Connection{c}} }, own},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t)
			ours, theirs := tt.ours, tt.ours
			if theirs.Native != nil {
				theirs = mirror(theirs)
				theirs.Native.Local.ASN, theirs.Native.Remote.ASN = tt.ours.Native.Remote.ASN, tt.ours.Native.Local.ASN
			}
			ours.Routes, theirs.Routes = []string{}, []string{}
			ours.BGP = quick(nil)
			theirs.BGP = quick(map[string]any{"announce": []string{lab.CloudLAN}})
			cloud := n.Cloud.Vpngw(tt.conf("cloud", theirs))
			customer := n.Customer.Vpngw(tt.conf("customer", ours))
			customer.AwaitUp("hq")
			cloud.AwaitUp("hq")
			start := time.Now()
			awaitLeads(n, n.Customer, within(bgpPrompt), lab.CloudLAN)
			awaitLeads(n, n.Cloud, within(bgpPrompt), lab.CustomerLAN)
			t.Logf("both have their routes %v after the tunnel", time.Since(start).Round(10*time.Millisecond))
			n.Host.Reaches(lab.CloudHost)
			if r := routeTo(n.Customer, lab.CloudLAN); r.PrefSrc != "192.168.3.1" {
				t.Errorf("what the gateway itself sends comes from %q: %+v", r.PrefSrc, r)
			}
			customer.Stop()
			awaitLeads(n, n.Cloud, within(4*time.Second))
			cloud.Stop()
		})
	}
}

func routeTo(ns *lab.Namespace, prefix string) lab.KernelRoute {
	for _, r := range ns.KernelRoutes() {
		if r.Dst == prefix && r.Type != "unreachable" {
			return r
		}
	}
	return lab.KernelRoute{}
}

// One Alibaba body is enough for the customer's end, and for a cloud's end of strongSwan with BIRD.
func TestBGPWithStrongswanAndBIRDAsTheCloud(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, append(lab.RouterTools, lab.CharonTools...)...)
	body := alibabaWithBGP(lab.CloudLAN+","+alibabaFar+"/32", lab.CustomerLAN+","+alibabaNear+"/32")
	n.Cloud.Address("lo", alibabaFar+"/32")
	cloud := n.Cloud.Charon()
	cloud.Cloud(body, lab.CloudAddr, lab.CustomerAddr)
	gw := n.Customer.Vpngw(alibabaConfig("customer", lab.Connection{Alibaba: body, Routes: []string{}, BGP: quick(nil)}))
	gw.AwaitUp("hq")
	cloud.AwaitUp("hq", lab.Patience)
	n.Cloud.Run("ip", "route", "add", alibabaNear+"/32", "dev", "ipsec0", "src", alibabaFar) // BIRD needs a neighbour on a link
	n.Cloud.Run("ip", "addr", "add", alibabaFar, "peer", alibabaNear+"/32", "dev", "ipsec0")
	peer := n.Cloud.BIRD(lab.BGP{ASN: bgpFarASN, RouterID: alibabaFar, Announce: []string{lab.CloudLAN}, Peers: []lab.BGPPeer{
		{Local: alibabaFar, Remote: alibabaNear, RemoteASN: bgpNearASN},
	}})
	n.AwaitEstablished(peer, alibabaNear, lab.Patience)
	n.AwaitRoutes(peer, alibabaNear, lab.Patience, lab.CustomerLAN)
	awaitLeads(n, n.Customer, lab.Patience, lab.CloudLAN)
	n.Host.Reaches(lab.CloudHost)
}

// The Child SA is replaced every few seconds, and the session with a hold time of 3 s knows nothing of it.
func TestBGPSurvivesRekeys(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, lab.RouterTools...)
	e := newBGPEnds(nil)
	e.ours.Native.ESP.Packets = 4000 // 4 s of the flow, and less
	gw, peer := e.start(n, "BIRD")
	n.AwaitEstablished(peer, bgpNear, lab.Patience)
	awaitLeads(n, n.Customer, lab.Patience, lab.CloudLAN)
	was := *gw.Tunnel("row").Session
	flow := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 1000)
	first, spis := time.Now(), map[string]bool{}
	for time.Since(first) < time.Duration(counted(9, 60))*time.Second {
		for _, c := range gw.Tunnel("row").Children {
			spis[c.SPIIn] = true
		}
		time.Sleep(200 * time.Millisecond)
	}
	ab, ba := flow.Stop()
	lossless(t, ab, ba)
	t.Logf("%d Child SAs", len(spis))
	if len(spis) < counted(2, 15) {
		t.Errorf("%d Child SAs", len(spis))
	}
	if is := *gw.Tunnel("row").Session; is != was || is.State != "established" {
		t.Errorf("the session was %+v and is %+v", was, is)
	}
}
