package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

const (
	alibabaNear, alibabaFar = "169.254.30.2", "169.254.30.1"
	alibabaBGP              = `{"EnableBgp":"true","LocalAsn":"45104","TunnelCidr":"169.254.30.0/30","LocalBgpIp":"169.254.30.1"}`
)

// alibabaWithBGP is a body with BGP, whose SAs take the subnets given.
func alibabaWithBGP(local, remote string) lab.AlibabaBody {
	b := alibaba("hq")
	b.LocalSubnet, b.RemoteSubnet, b.BgpConfig = local, remote, alibabaBGP
	return b
}

func alibabaConfig(side string, c lab.Connection) lab.Config {
	conf := bodies(side, c)
	conf.CustomerGateways["cgw-1"] = lab.Entry{Address: lab.CustomerAddr, ASN: bgpNearASN}
	return conf
}

// alibabaCarrier is the other end of alibabaWithBGP, by a native connection that only carries; the customer's, or the
// cloud's.
func alibabaCarrier(customer bool) lab.Connection {
	c := native("hq", suites{ikeEncr: "aes256", ikeHash: "sha256", ikeGroup: "modp2048", espEncr: "aes256", espHash: "sha256", espGroup: "modp2048", initiate: true})
	c.Native.Local.Subnets, c.Native.Remote.Subnets = []string{"0.0.0.0/0"}, []string{"0.0.0.0/0"}
	c.Native.Inside = map[string]string{"local": alibabaNear + "/30", "remote": alibabaFar}
	c.Routes = []string{}
	if !customer {
		c = mirror(c)
	}
	return c
}

// alibabasCloud is a cloud's end by Alibaba's body, with a Speaker as the customer's BGP.
func alibabasCloud(t *testing.T, bgp map[string]any) (n *lab.Net, gw *lab.Vpngw, peer *lab.Speaker) {
	t.Helper()
	n = lab.Direct(t)
	own := map[string]any{"hold": "3s", "keepalive": "1s", "announce": []string{lab.CloudLAN}}
	for k, v := range bgp {
		own[k] = v
	}
	gw = n.Cloud.Vpngw(alibabaConfig("cloud", lab.Connection{Alibaba: alibabaWithBGP("0.0.0.0/0", "0.0.0.0/0"), Routes: []string{}, BGP: own}))
	n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{alibabaCarrier(true)}}).AwaitUp("hq")
	gw.AwaitUp("hq")
	peer = n.Customer.Speaker(lab.Speaking{ASN: bgpNearASN, Local: alibabaNear, Remote: alibabaFar, Hold: 9})
	if err := peer.Open(lab.Patience); err != nil {
		t.Fatalf("no session: %v", err)
	}
	return n, gw, peer
}

// A cloud's end takes from its peer what the cloud would take, and no route that is never right. Status names each that it
// does not take.
func TestBGPRefusesWhatACloudRefuses(t *testing.T) {
	t.Parallel()
	n, gw, peer := alibabasCloud(t, nil)
	good := lab.Prefixes(3)
	peer.Tell(good...)
	awaitLeads(n, n.Cloud, lab.Patience, good...)
	path, next := lab.Path(bgpNearASN), lab.NextHop(alibabaNear)
	for _, tt := range []struct {
		name, prefix string
		attrs        []byte // nil: right
	}{
		{"default route", "0.0.0.0/0", nil},
		{"100.64.0.0/10", "100.64.0.0/10", nil},
		{"what contains it", "100.0.0.0/8", nil},
		{"what is in it", "100.100.0.0/16", nil},
		{"our own network", lab.CloudLAN, nil},
		{"a part of it", "10.10.3.0/24", nil},
		{"loopback", "127.0.0.0/8", nil},
		{"multicast", "224.0.0.0/4", nil},
		{"link-local", "169.254.0.0/16", nil},
		{"the tunnel's network", "169.254.30.0/30", nil},
		{"this network", "0.0.0.0/8", nil},
		{"reserved", "240.0.0.0/4", nil},
		{"the peer's outer address", lab.CustomerAddr + "/32", nil},
		{"an empty AS path", "10.90.1.0/24", lab.Join(lab.Origin(), lab.Attr(0x40, 2), next)},
		{"another first AS", "10.90.2.0/24", lab.Join(lab.Origin(), lab.Path(65333, bgpNearASN), next)},
		{"our own AS", "10.90.3.0/24", lab.Join(lab.Origin(), lab.Path(bgpNearASN, 45104), next)},
		{"a next hop elsewhere", "10.90.4.0/24", lab.Join(lab.Origin(), path, lab.NextHop("192.0.2.1"))},
		{"our address as the next hop", "10.90.5.0/24", lab.Join(lab.Origin(), path, lab.NextHop(alibabaFar))},
	} {
		attrs := tt.attrs
		if attrs == nil {
			attrs = lab.Join(lab.Origin(), path, next)
		}
		peer.Send(lab.BGPMessage(lab.BGPUpdate, lab.UpdateBody(nil, attrs, lab.NLRI(tt.prefix))...))
		if tt.name != "our own AS" { // GoBGP itself leaves a loop out
			n.Await(lab.Patience, tt.name+": status names "+tt.prefix, func() (bool, string) {
				s := gw.Command("status", "--json")
				return strings.Contains(s, `"prefix": "`+tt.prefix+`"`), s
			})
		}
		if got := n.Cloud.Leads(""); slices.Contains(got, tt.prefix) || tt.prefix == "0.0.0.0/0" && slices.Contains(got, "default") {
			t.Errorf("%s: %s leads into the tunnel", tt.name, tt.prefix)
		}
		peer.Withdraw(tt.prefix)
	}
	awaitLeads(n, n.Cloud, lab.Patience, good...)
	if peer.Ended(0) {
		t.Errorf("the session has ended: %x", peer.Notification())
	}
}

// The 51st prefix is too many for Alibaba's end, as over_limit says.
func TestBGPHoldsAlibabasLimit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		over string
		ends bool
		in   int
	}{{"warn", false, 51}, {"truncate", false, 50}, {"end", true, 0}} {
		t.Run(tt.over, func(t *testing.T) {
			t.Parallel()
			n, gw, peer := alibabasCloud(t, map[string]any{"over_limit": tt.over})
			prefixes := lab.Prefixes(51)
			peer.Tell(prefixes[:50]...)
			awaitLeads(n, n.Cloud, lab.Patience, prefixes[:50]...)
			peer.Tell(prefixes[50])
			n.Await(lab.Patience, "an event of the limit", func() (bool, string) {
				events := gw.Command("events", "hq", "--json")
				return strings.Contains(events, `"code":"bgp-limit"`), events
			})
			if ended := peer.Ended(2 * time.Second); ended != tt.ends {
				t.Errorf("the session has ended: %v, want %v", ended, tt.ends)
			}
			n.Await(lab.Patience, fmt.Sprintf("%d routes", tt.in), func() (bool, string) {
				got := len(n.Cloud.Leads(""))
				return got == tt.in, fmt.Sprint(got)
			})
		})
	}
}

// A customer's end tells a cloud no more than the cloud takes, and nothing that the host has not been asked to tell.
func TestBGPTellsWithinTheCloudsLimits(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t)
	n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{alibabaCarrier(false)}})
	gw := n.Customer.Vpngw(alibabaConfig("customer", lab.Connection{
		Alibaba: alibabaWithBGP("0.0.0.0/0", "0.0.0.0/0"), Routes: []string{},
		BGP: map[string]any{"hold": "3s", "announce": []string{"connected"}, "export": []string{"10.0.0.0/8", lab.CustomerLAN}},
	}))
	for _, p := range append(lab.Prefixes(60), "100.64.0.0/10") {
		n.Customer.Address("lan", strings.Replace(p, ".0/", ".1/", 1))
	}
	gw.AwaitUp("hq")
	peer := n.Cloud.Speaker(lab.Speaking{ASN: bgpFarASN, Local: alibabaFar, Remote: alibabaNear, Hold: 9})
	if err := peer.Open(lab.Patience); err != nil {
		t.Fatal(err)
	}
	n.Await(lab.Patience, "50 prefixes are told", func() (bool, string) {
		got := peer.Told()
		return len(got) == 50, fmt.Sprint(len(got))
	})
	if got := peer.Told(); slices.Contains(got, "100.64.0.0/10") || slices.Contains(got, "203.0.113.0/24") || slices.Contains(got, "169.254.30.0/30") {
		t.Errorf("told: %v", got)
	}
	if open := string(peer.PeersOpen()); strings.Contains(open, hostname()) {
		t.Errorf("OPEN tells the host's name: %q", open)
	}
}

// Ten thousand routes of a native peer are in the kernel within 5 s, and gone as soon; a hundred thousand are refused by
// the limit without harm.
func TestBGPOfManyRoutes(t *testing.T) {
	many, tooMany := counted(2000, 10_000), counted(10_000, 100_000)
	n := lab.Direct(t)
	e := newBGPEnds(map[string]any{"max_prefixes": many, "over_limit": "truncate", "hold": "9s", "keepalive": "3s"})
	n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{e.carrier}})
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{e.ours}})
	gw.AwaitUp("row")
	peer := n.Cloud.Speaker(lab.Speaking{ASN: bgpFarASN, Local: bgpFar, Remote: bgpNear, Hold: 30})
	if err := peer.Open(lab.Patience); err != nil {
		t.Fatal(err)
	}
	child := gw.AwaitSpeakers(1)[0]
	prefixes := lab.LongPrefixes(tooMany)
	timed := func(what string, do func(...string), list []string, left int) {
		start := time.Now()
		do(list...)
		n.Await(within(5*time.Second), what, func() (bool, string) {
			got := len(n.Customer.Leads(""))
			return got == left, fmt.Sprint(got)
		})
		took := time.Since(start)
		rss := lab.ProcessMemory(child, "Rss")
		t.Logf("%s: %v, the child has %.0f MB", what, took.Round(10*time.Millisecond), float64(rss)/1e6)
		if took > within(5*time.Second) {
			t.Errorf("%s after %v", what, took)
		}
		if len(list) <= 10_000 && rss > 80e6 {
			t.Errorf("%s: the child has %d bytes", what, rss)
		}
	}
	timed("all routes are in the kernel", peer.Tell, prefixes[:many], many)
	timed("all routes are gone", peer.Withdraw, prefixes[:many], 0)
	timed("as many routes as the limit are in the kernel", peer.Tell, prefixes, many)
	if peer.Ended(time.Second) {
		t.Errorf("the session has ended: %x", peer.Notification())
	}
	gw.AwaitUp("row")
	timed("all routes are gone", peer.Withdraw, prefixes, 0)
	if now := gw.Speakers(); !slices.Equal(now, []int{child}) {
		t.Errorf("the child was %d and is %v", child, now)
	}
}

// hostname is this host's name as a capability has it, behind its length.
func hostname() string {
	name, _ := os.Hostname()
	return string(rune(len(name))) + name
}
