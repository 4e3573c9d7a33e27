package test

import (
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

// versionPair is native and strongswan in a version of IKE.
func versionPair(version int) (lab.Connection, lab.Conn) {
	ours, theirs := native("row", natSuites), strongswan("row", natSuites)
	if version == 1 {
		ours, theirs = native1("row", row1{suites: natSuites}), strongswan1("row", row1{suites: natSuites})
	}
	ours.DPD = map[string]any{"interval": "2s", "timeout": "6s"}
	theirs.Unique = "replace"
	return ours, theirs
}

// A strongSwan that is killed is missed after 8 s at most, and is up again within 5 s of its return.
func TestKilledPeerIsMissedAndFoundAgain(t *testing.T) {
	for version, name := range map[int]string{1: "IKEv1", 2: "IKEv2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, lab.CharonTools...)
			ours, theirs := versionPair(version)
			cloud := n.Cloud.Charon()
			cloud.PSK(psk)
			cloud.Load(theirs)
			gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{ours}})
			gw.AwaitUp("row")
			n.Host.Reaches(lab.CloudHost)

			start := time.Now()
			cloud.Kill()
			n.Await(within(9*time.Second), "the peer is missed", func() (bool, string) {
				row := gw.Tunnel("row")
				return row.State != "up", row.State
			})
			missed := time.Since(start)
			tries := n.Internet.Filter("forward", "ip saddr "+lab.CustomerAddr+" udp dport 500", "")
			n.Await(lab.Patience, "it is tried again", func() (bool, string) { return tries.Packets() >= 3, "" })
			cloud.Restart()
			start = time.Now()
			n.Await(within(5*time.Second), "it is up again", func() (bool, string) {
				row := gw.Tunnel("row")
				return row.State == "up", row.State + ": " + row.Why
			})
			if events := gw.Command("events", "row", "--json"); !strings.Contains(events, `"code":"peer-dead`) || !strings.Contains(events, `"state":"up"`) {
				t.Errorf("the events do not say that the peer was dead and the tunnel up:\n%s", events)
			}
			t.Logf("missed after %v, up %v after its return", missed.Round(10*time.Millisecond), time.Since(start).Round(10*time.Millisecond))
			n.Host.Reaches(lab.CloudHost)
		})
	}
}

// A tunnel comes up within a minute though 30 % of the packets are lost in each direction.
func TestSetUpOverALossyPath(t *testing.T) {
	rounds := 2
	if soak {
		rounds = 20
	}
	for version, name := range map[int]string{1: "IKEv1", 2: "IKEv2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, lab.CharonTools...)
			ours, theirs := versionPair(version)
			ours.DPD = nil
			cloud := n.Cloud.Charon()
			cloud.PSK(psk)
			cloud.Load(theirs)
			lost := n.Internet.Filter("forward", "udp dport 500 numgen random mod 10 < 3", "drop")
			gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{ours}})
			for range rounds {
				start := time.Now()
				gw.AwaitState("row", "up", within(time.Minute))
				t.Logf("up after %v, with %d packets lost until now", time.Since(start).Round(10*time.Millisecond), lost.Packets())
				gw.Command("down", "row")
				gw.Command("up", "row")
			}
			lost.Remove()
			gw.AwaitUp("row")
			n.Host.Reaches(lab.CloudHost)
		})
	}
}

// What the operator takes down stays down over a restart and over a crash of the daemon, sends nothing, and comes up on request.
func TestDownIsRemembered(t *testing.T) {
	t.Parallel()
	n, _, gw, _ := upAgainstStrongswan(t)
	gw.Command("down", "row")
	sent := n.Internet.Filter("forward", "ip saddr "+lab.CustomerAddr, "")
	for _, end := range []func(){gw.Stop, gw.Kill} {
		end()
		before := sent.Packets()
		gw.Restart()
		row := gw.AwaitState("row", "down", lab.Patience)
		if !strings.Contains(row.Why, "vpngw down") || sent.Packets() != before {
			t.Errorf("after a restart: %s (%s), %d packets sent", row.State, row.Why, sent.Packets()-before)
		}
	}
	gw.Command("up", "row")
	gw.AwaitUp("row")
	gw.Kill()
	gw.Restart()
	gw.AwaitUp("row")
	n.Host.Reaches(lab.CloudHost)
}
