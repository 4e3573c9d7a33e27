package test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"vpngw/test/lab"
)

var natSuites = suites{ikeEncr: "aes256", ikeHash: "sha256", ikeGroup: "modp2048", espEncr: "aes128gcm16", initiate: true}

// vpngw has a private address and the public one as its identity; either end initiates.
func TestBehindNAT(t *testing.T) {
	t.Parallel()
	for _, initiate := range []bool{true, false} {
		t.Run(fmt.Sprintf("vpngw initiates=%v", initiate), func(t *testing.T) {
			t.Parallel()
			n := lab.BehindNAT(t, lab.CharonTools...)
			n.NAT.Forward("wan", lab.CustomerPrivate)
			s := natSuites
			s.initiate = initiate
			cloud := n.Cloud.Charon()
			cloud.PSK(psk)
			cloud.Load(strongswan("row", s))
			gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{native("row", s)}})
			if !initiate {
				if err := cloud.Initiate("row"); err != nil {
					t.Fatalf("strongSwan initiates: %v", err)
				}
			}
			up := gw.AwaitUp("row")
			if !up.IKE.Encap {
				t.Errorf("ESP is not in UDP behind a NAT")
			}
			t.Logf("nat: %s", up.IKE.NAT)
			if p := n.Host.Ping(lab.CloudHost, 200); p.Lost() != 0 {
				t.Errorf("ping: %v", p)
			}
			if p := n.CloudHost.Ping(lab.CustomerHost, 200); p.Lost() != 0 {
				t.Errorf("ping back: %v", p)
			}
			tooBig(t, n)
			mss(t, n)
		})
	}
}

var needed = regexp.MustCompile(`mtu ?= ?(\d+)`)

// tooBig sends a packet that is too big, expects the gateway's error with an
// MTU, and expects that a packet of that MTU passes.
func tooBig(t *testing.T, n *lab.Net) {
	t.Helper()
	out, err := n.Host.Try("ping", "-n", "-c", "1", "-W", "10", "-M", "do", "-s", "1472", lab.CloudHost)
	m := needed.FindStringSubmatch(out)
	if err == nil || m == nil {
		t.Fatalf("a ping that is too big is not answered with an MTU:\n%s", out)
	}
	mtu, _ := strconv.Atoi(m[1])
	t.Logf("the tunnel's MTU is %d", mtu)
	out, err = n.Host.Try("ping", "-n", "-c", "1", "-W", "10", "-M", "do", "-s", strconv.Itoa(mtu-28), lab.CloudHost)
	if err != nil {
		t.Errorf("a ping of the MTU that was told does not pass:\n%s", out)
	}
}

// mss opens a TCP connection and looks at the SYNs that arrive at either host.
func mss(t *testing.T, n *lab.Net) {
	t.Helper()
	var dev struct{ MTU int }
	link := n.Customer.Run("sh", "-c", "ip -j link show type tun | sed 's/^\\[//;s/\\]$//'")
	if err := json.Unmarshal([]byte(link), &dev); err != nil {
		t.Fatalf("ip link: %v\n%s", err, link)
	}
	limit := dev.MTU - 40
	for _, host := range []*lab.Namespace{n.Host, n.CloudHost} {
		fits := host.Filter("input", fmt.Sprintf("tcp flags & syn == syn tcp option maxseg size <= %d", limit), "")
		big := host.Filter("input", fmt.Sprintf("tcp flags & syn == syn tcp option maxseg size > %d", limit), "")
		defer func() {
			if fits.Packets() == 0 || big.Packets() != 0 {
				t.Errorf("%s: %d SYNs with an MSS of at most %d, %d with more", host.Name, fits.Packets(), limit, big.Packets())
			}
		}()
	}
	n.Host.Transfer(n.CloudHost, lab.CloudHost, 1000)
}

// When the NAT moves the flow to another port, the end outside the NAT follows the first
// authenticated packet, and no forged packet. In a soak, it does so within 200 ms.
func TestPeerFollowsANATThatMoves(t *testing.T) {
	t.Run("IKEv2", func(t *testing.T) { natMoves(t, native("row", natSuites)) })
	t.Run("IKEv1", func(t *testing.T) { natMoves(t, native1("row", row1Default)) })
}

func natMoves(t *testing.T, c lab.Connection) {
	beside(t)
	n := lab.BehindNAT(t)
	n.NAT.Masquerade("wan", "40000-40009")
	_, cloud := joined(n, c)
	n.Host.Reaches(lab.CloudHost)
	before := cloud.Tunnel("row")

	// A forged packet has the right SPI and another source address, but no valid ICV.
	f := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 1000)
	arrives(t, n, f)
	misled := n.Internet.Filter("input", "udp sport 4500", "")
	n.Internet.Do(func() { forge(t, before.Children[0].SPIIn) })
	arrives(t, n, f)
	ab, ba := f.Stop()
	lossless(t, ab, ba)
	if k := misled.Packets(); k != 0 {
		t.Errorf("%d packets go to where forged ones came from", k)
	}

	f = n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 1000)
	arrives(t, n, f)
	moved := n.Internet.Filter("forward", "udp sport 4500 udp dport 41000-41009", "")
	n.NAT.Masquerade("wan", "41000-41009")
	n.Await(lab.Patience, "packets to the NAT's new port", func() (bool, string) {
		k := moved.Packets()
		return k > 500, fmt.Sprint(k)
	})
	arrives(t, n, f)
	ab, ba = f.Stop()
	t.Logf("while the NAT moved: there: %v; back: %v", ab, ba)
	// The conntrack flush and the first packet behind it take a few ms; a
	// timeout would take seconds.
	if soak && (ba.Lost > 100 || ba.Gap > 200*time.Millisecond) {
		t.Errorf("the peer followed late: %v", ba)
	}
	if after := cloud.Tunnel("row"); after.Children[0].SPIIn != before.Children[0].SPIIn {
		t.Errorf("a new Child SA was needed: %+v", after)
	}
}

func TestTwoVpngwBehindOneNAT(t *testing.T) {
	t.Parallel()
	n := lab.TwoBehindNAT(t, lab.CharonTools...)
	cloud := n.Cloud.Charon()
	one, two := strongswan("one", natSuites), strongswan("two", natSuites)
	one.Remote.ID, two.Remote.ID = "one.example", "two.example"
	child(&two, func(c *lab.Child) { c.RemoteTS = []string{lab.Customer2LAN} })
	cloud.PSK(psk)
	cloud.Load(one)
	cloud.Load(two)

	first, second := native("one", natSuites), native("two", natSuites)
	first.Native.Local.ID, second.Native.Local.ID = "one.example", "two.example"
	second.Native.Local.Subnets = []string{lab.Customer2LAN}
	gw1 := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{first}})
	gw2 := n.Customer2.Vpngw(lab.Config{Connections: []lab.Connection{second}})
	gw1.AwaitUp("one")
	gw2.AwaitUp("two")
	for range 2 { // the second tunnel must not have taken the first one's place
		if p := n.Host.Ping(lab.CloudHost, 100); p.Lost() != 0 {
			t.Errorf("ping from the first office: %v", p)
		}
		if p := n.Host2.Ping(lab.CloudHost, 100); p.Lost() != 0 {
			t.Errorf("ping from the second office: %v", p)
		}
	}
	if sas := cloud.SAs(); len(sas) != 2 {
		t.Errorf("the cloud has %d IKE SAs, want 2: %+v", len(sas), sas)
	}
}
