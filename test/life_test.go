package test

import (
	"slices"
	"strconv"
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

// A strongSwan that is killed is missed after 8 s at most, by a DPD of 2 s and three questions in 6 s, and is up again within 5 s of its return.
func TestKilledPeerIsMissedAndFoundAgain(t *testing.T) {
	t.Parallel()
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
			tries := n.Internet.Filter("forward", "ip saddr "+lab.CustomerAddr+" udp dport 500", "")
			for range counted(1, 10) {
				n.Host.Reaches(lab.CloudHost)
				start := time.Now()
				cloud.Kill()
				n.Await(within(9*time.Second), "the peer is missed", func() (bool, string) {
					row := gw.Tunnel("row")
					return row.State != "up", row.State
				})
				missed, before := time.Since(start), tries.Packets()
				if missed > within(8*time.Second) {
					t.Errorf("missed after %v", missed)
				}
				n.Await(lab.Patience, "it is tried again", func() (bool, string) { return tries.Packets() >= before+3, "" })
				cloud.Restart()
				start = time.Now()
				n.Await(within(5*time.Second), "it is up again", func() (bool, string) {
					row := gw.Tunnel("row")
					return row.State == "up", row.State + ": " + row.Why
				})
				t.Logf("missed after %v, up %v after its return", missed.Round(10*time.Millisecond), time.Since(start).Round(10*time.Millisecond))
			}
			if events := gw.Command("events", "row", "--json"); !strings.Contains(events, `"code":"peer-dead`) || !strings.Contains(events, `"state":"up"`) {
				t.Errorf("the events do not say that the peer was dead and the tunnel up:\n%s", events)
			}
			n.Host.Reaches(lab.CloudHost)
		})
	}
}

// A cloud's end with DpdAction clear does not try a dead peer again. When the peer begins, the tunnel is up within a second.
func TestDeadPeerIsClearedAtTheCloudsEnd(t *testing.T) {
	t.Parallel()
	for version, name := range map[int]string{1: "IKEv1", 2: "IKEv2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, lab.CharonTools...)
			ours, theirs := versionPair(version)
			ours.Side = "cloud"
			ours.DPD = map[string]any{"interval": "2s", "timeout": "6s", "action": "clear"}
			peer := n.Cloud.Charon()
			peer.PSK(psk)
			peer.Load(theirs)
			gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{ours}})
			gw.AwaitUp("row")
			n.Host.Reaches(lab.CloudHost)
			peer.Kill()
			n.Await(within(9*time.Second), "the peer is missed", func() (bool, string) {
				row := gw.Tunnel("row")
				return strings.Contains(row.Why, "the peer is dead"), row.State + ": " + row.Why
			})
			sent := n.Internet.Filter("forward", "ip saddr "+lab.CustomerAddr, "")
			n.Customer.Run("ip", "addr", "add", "192.0.2.77/32", "dev", "lo") // a link event has others tried at once
			time.Sleep(time.Duration(counted(5, 60)) * time.Second)           // to see that nothing comes
			if sent.Packets() > 0 {
				t.Errorf("%d packets sent to the dead peer", sent.Packets())
			}
			peer.Restart()
			start := time.Now()
			if err := peer.Initiate("row"); err != nil {
				t.Error(err)
			}
			gw.AwaitUp("row")
			if took := time.Since(start); took > within(time.Second) {
				t.Errorf("up %v after the peer has begun", took)
			}
			n.Host.Reaches(lab.CloudHost)
		})
	}
}

// A peer that comes back is up within a second of a link event, though the next try is half a minute off.
func TestLinkEventBringsAnAbsentPeerBack(t *testing.T) {
	t.Parallel()
	for version, name := range map[int]string{1: "IKEv1", 2: "IKEv2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, lab.CharonTools...)
			ours, theirs := versionPair(version)
			peer := n.Cloud.Charon()
			peer.PSK(psk)
			peer.Load(theirs)
			gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{ours}})
			gw.AwaitUp("row")
			for i := range counted(1, 10) {
				peer.Kill()
				n.Await(within(9*time.Second), "the peer is missed", func() (bool, string) {
					row := gw.Tunnel("row")
					return row.State != "up", row.State
				})
				time.Sleep(time.Duration(counted(0, 70)) * time.Second) // past the minute of quick tries
				peer.Restart()
				start := time.Now()
				n.Customer.Run("ip", "addr", "add", "192.0.2."+strconv.Itoa(70+i)+"/32", "dev", "lo")
				gw.AwaitUp("row")
				took := time.Since(start)
				t.Logf("up %v after the link event", took.Round(10*time.Millisecond))
				if took > time.Second && soak {
					t.Errorf("up %v after the link event", took)
				}
			}
			n.Host.Reaches(lab.CloudHost)
		})
	}
}

// early_rekey says within seconds of the start that strongSwan has other PFS, while the tunnel carries on. IKEv1's first quick mode says it.
func TestEarlyRekeyTellsOfOtherPFS(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, theirs string
		version      int
		initiate     bool
		state        string
		why          []string
	}{
		{"the same", "modp2048", 2, true, "up", nil},
		{"another group", "modp3072", 2, true, "up", []string{"PFS differs", "modp2048"}},
		{"another group, strongSwan begins", "modp3072", 2, false, "up", []string{"PFS differs", "modp2048"}},
		{"none", "", 2, true, "up", []string{"PFS differs", "modp2048"}},
		{"another group, IKEv1", "modp3072", 1, true, "connecting", []string{"PFS"}},
		{"none, IKEv1", "", 1, true, "connecting", []string{"PFS"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, lab.CharonTools...)
			s := natSuites
			s.initiate = tt.initiate
			ours, theirs := native("row", s), strongswan("row", s)
			if tt.version == 1 {
				ours, theirs = native1("row", row1{suites: s}), strongswan1("row", row1{suites: s})
			}
			of := s
			s.espGroup, of.espGroup = "modp2048", tt.theirs
			ours.Native.ESP.Proposals = []string{s.esp()}
			ours.EarlyRekey = true
			child(&theirs, func(c *lab.Child) { c.ESPProposals = []string{of.esp()} })
			cloud := n.Cloud.Charon()
			cloud.PSK(psk)
			cloud.Load(theirs)
			gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{ours}})
			if !tt.initiate {
				cloud.Initiate("row")
			}
			if tt.version == 2 {
				gw.AwaitUp("row")
				n.Host.Reaches(lab.CloudHost)
			}
			if tt.why != nil {
				row := gw.AwaitWhy("row", tt.why...)
				t.Logf("%s: %s", row.State, row.Why)
				if row.State != tt.state {
					t.Errorf("the tunnel is %s", row.State)
				}
			} else {
				first := gw.Tunnel("row").Children[0].SPIIn
				n.Await(lab.Patience, "it is rekeyed", func() (bool, string) {
					row := gw.Tunnel("row")
					return slices.ContainsFunc(row.Children, func(c lab.ChildStatus) bool {
						return c.SPIIn != first && strings.Contains(c.Proposal, "modp2048")
					}), row.State
				})
			}
			if tt.version == 2 {
				n.Host.Reaches(lab.CloudHost)
				if events := gw.Command("events", "row", "--json"); strings.Contains(events, `"pfs-mismatch"`) != (tt.why != nil) {
					t.Errorf("the events:\n%s", events)
				}
			}
		})
	}
}

// A tunnel comes up within a minute though 30 % of the packets are lost in each direction.
func TestSetUpOverALossyPath(t *testing.T) {
	t.Parallel()
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
			for range counted(2, 20) {
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
