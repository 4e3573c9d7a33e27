package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

var rekeySuites = suites{ikeEncr: "aes256gcm16", ikeHash: "sha256", ikeGroup: "x25519", espEncr: "aes128gcm16", espGroup: "x25519", initiate: true}

// counts are how often each kind is rekeyed: all of the bar with SOAK=1.
func rekeyCounts() (child, ike int) {
	return counted(4, 100), counted(2, 20)
}

// rekeyed returns how many Child SAs and IKE SAs charon has replaced so far.
func rekeyed(c *lab.Charon) (child, ike int) {
	log := c.Log()
	return strings.Count(log, "CHILD_SA closed"), strings.Count(log, "rekeyed between")
}

// load is 1000 numbered packets a second each way, and one TCP stream. The stream is kept
// to 50 Mbit/s: at full speed charon's user-space ESP cannot keep up, and packets are
// lost, rekeying or not. At 200 Mbit/s its socket's buffer (208 KiB, not configurable) is
// full when the machine does not run charon for 5 ms.
type load struct {
	n    *lab.Net
	flow *lab.Flow
	tcp  *lab.Process
}

func startLoad(n *lab.Net) *load {
	l := &load{n: n}
	server := n.CloudHost.Start("iperf-server", "iperf3", "-s", "-B", lab.CloudHost, "--forceflush")
	server.AwaitLog("Server listening")
	l.tcp = n.Host.Start("iperf-client", "iperf3", "-c", lab.CloudHost, "-t", "36000", "-b", "50M", "--forceflush")
	l.tcp.AwaitLog("sec")
	l.flow = n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 1000)
	return l
}

func (l *load) stop(t *testing.T, gw *lab.Vpngw) {
	t.Helper()
	if !l.tcp.Running() {
		t.Errorf("the TCP stream has ended:\n%s", l.tcp.Log())
	}
	l.tcp.Kill()
	ab, ba := l.flow.Stop()
	for _, c := range gw.Tunnel("row").Children {
		for name, n := range c.Drops {
			if n > 0 {
				t.Logf("drops: %s %d", name, n)
			}
		}
	}
	lossless(t, ab, ba)
}

// onePair waits for both ends to have one IKE SA with one Child SA, in a soak 30 s
// after the last rekey at the latest.
func onePair(t *testing.T, n *lab.Net, gw *lab.Vpngw, peer *lab.Charon) {
	t.Helper()
	n.Await(within(30*time.Second), "one pair at each end", func() (bool, string) {
		ours, theirs := gw.Tunnel("row").Children, peer.SAs()
		return len(ours) == 1 && len(theirs) == 1 && len(theirs[0].Children) == 1, fmt.Sprintf("ours %+v\ntheirs %+v", ours, theirs)
	})
}

func TestStrongswanRekeysWithoutLoss(t *testing.T) {
	n := lab.Direct(t, append(lab.CharonTools, "iperf3")...)
	cloud := n.Cloud.Charon()
	cloud.PSK(psk)
	cloud.Load(strongswan("row", rekeySuites))
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{native("row", rekeySuites)}})
	gw.AwaitUp("row")
	l := startLoad(n)
	children, ikes := rekeyCounts()
	rekey := func(count int, start func(string) error, which func(child, ike int) int) {
		for range count {
			before := which(rekeyed(cloud))
			if err := start("row"); err != nil {
				t.Fatalf("rekey: %v", err)
			}
			n.Await(lab.Patience, "rekeyed", func() (bool, string) { return which(rekeyed(cloud)) > before, "" })
			onePair(t, n, gw, cloud)
		}
	}
	rekey(children, cloud.RekeyChild, func(child, _ int) int { return child })
	rekey(ikes, cloud.RekeyIKE, func(_, ike int) int { return ike })
	l.stop(t, gw)
	t.Logf("%d Child SA and %d IKE SA rekeys started by strongSwan", children, ikes)
}

// vpngw rekeys when a lifetime nears its end. Packets end the Child SAs here,
// so that there are no more rekeys when the traffic has stopped.
func TestVpngwRekeysWithoutLoss(t *testing.T) {
	children, ikes := rekeyCounts()
	run := func(t *testing.T, change func(*lab.Native), enough func(child, ike int) bool, length time.Duration) {
		beside(t)
		n := lab.Direct(t, append(lab.CharonTools, "iperf3")...)
		cloud := n.Cloud.Charon()
		cloud.PSK(psk)
		cloud.Load(strongswan("row", rekeySuites))
		c := native("row", rekeySuites)
		change(c.Native)
		gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{c}})
		gw.AwaitUp("row")
		l := startLoad(n)
		n.Await(length, "enough rekeys", func() (bool, string) {
			child, ike := rekeyed(cloud)
			return enough(child, ike), fmt.Sprintf("%d Child SAs and %d IKE SAs", child, ike)
		})
		l.stop(t, gw)
		onePair(t, n, gw, cloud)
	}
	t.Run("Child", func(t *testing.T) {
		run(t, func(c *lab.Native) { c.ESP.Packets = 16_000 },
			func(child, _ int) bool { return child >= children }, time.Duration(children)*lab.Patience)
	})
	t.Run("IKE", func(t *testing.T) {
		run(t, func(c *lab.Native) { c.IKE.Lifetime = "10s" },
			func(_, ike int) bool { return ike >= ikes }, time.Duration(ikes)*lab.Patience)
	})
}
