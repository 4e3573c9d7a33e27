package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

// Of twelve pairs of subnets the peer has the last two, and refuses the others or says nothing about them. The two are up at once, are
// rekeyed in time without loss (in a soak, with a lifetime of 90 s), and keep their ISAKMP SA; the status names a pair that has no answer.
func TestIKEv1PairsThatThePeerRefusesDelayNoOther(t *testing.T) {
	cases := []struct {
		peer, how string
		want      []string // in the status
	}{
		{"strongSwan", "in silence", []string{"quick mode"}},
		{"vpngw", "in silence", []string{"quick mode"}},
		{"strongSwan", "by INVALID-ID", []string{"INVALID-ID-INFORMATION"}},
		{"strongSwan", "by NO-PROPOSAL", []string{"NO-PROPOSAL-CHOSEN"}},
	}
	for _, c := range cases[:counted(1, len(cases))] {
		t.Run(c.peer+" "+c.how, func(t *testing.T) {
			beside(t)
			n := lab.Direct(t, lab.CharonTools...)
			n.Host.Address("eth0", localHosts[2]+"/32")
			for i, r := range remoteSubnets[1:] { // charon routes only subnets in which it has an address
				n.Cloud.Address("lan", strings.TrimSuffix(r, "0/18")+"1/32")
				n.CloudHost.Address("eth0", remoteHosts[i+1]+"/32")
			}
			if c.how == "in silence" { // an error, or the Delete of a Child SA, is shorter than the answer to a liveness check
				n.Cloud.Filter("output", "udp length < 92 udp sport 500 @th,208,8 5", "drop")
				n.Cloud.Filter("output", "udp length < 92 udp sport 4500 @th,240,8 5", "drop")
			}
			ours := native1("row", row1Default)
			ours.Native.Local.Subnets, ours.Native.Remote.Subnets = localSubnets, remoteSubnets
			ours.DPD = map[string]any{"interval": "5s", "timeout": "15s"}
			if soak {
				ours.Native.ESP.Lifetime = "90s"
			}
			if c.peer == "vpngw" {
				theirs := mirror(ours)
				theirs.Native.Local.Subnets, theirs.Native.Remote.Subnets = remoteSubnets[2:], localSubnets[2:]
				n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{theirs}})
			} else {
				cloud := charon1(n.Cloud)
				cloud.PSK(psk, lab.CloudAddr, lab.CustomerAddr)
				cloud.Load(refusing(c.how == "by NO-PROPOSAL"))
			}
			gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{ours}})
			began := time.Now()
			n.Await(lab.Patience, "two Child SAs", func() (bool, string) {
				up := gw.Tunnel("row").Children
				return len(up) == 2, fmt.Sprint(len(up))
			})
			if took := time.Since(began); took > within(2*time.Second) {
				t.Errorf("both pairs are up %v after the daemon's start", took)
			} else {
				t.Logf("both pairs are up %v after the daemon's start", took.Round(10*time.Millisecond))
			}
			for _, to := range remoteHosts[2:] {
				n.Await(lab.Patience, "the pair to "+to+" carries traffic", func() (bool, string) {
					p := n.Host.Ping(to, 1, lab.Echo{Source: localHosts[2]})
					return p.Lost() == 0, p.String()
				})
			}
			first := gw.Tunnel("row")
			var flows []*lab.Flow
			for _, to := range remoteHosts[2:] {
				flows = append(flows, n.StartFlow(n.Host, localHosts[2], n.CloudHost, to, 200))
			}
			seen := map[string]bool{}
			if soak {
				seen = served(t, gw, 5*time.Minute)
			} else if err := gw.Rekey("row", false); err != nil {
				t.Fatal(err)
			}
			n.Await(within(8*time.Second), "new keys carry both pairs", func() (bool, string) {
				carry := 0
				now := gw.Tunnel("row").Children
				for _, ch := range now {
					seen[ch.SPIIn] = true
					old := slices.ContainsFunc(first.Children, func(f lab.ChildStatus) bool { return f.SPIIn == ch.SPIIn })
					if !old && ch.PacketsIn > 0 && ch.PacketsOut > 0 {
						carry++
					}
				}
				return carry == 2, fmt.Sprintf("%+v", now)
			})
			for _, f := range flows {
				there, back := f.Stop()
				lossless(t, there, back)
			}
			row := gw.Tunnel("row")
			if soak {
				row = gw.AwaitWhy("row", c.want...)
			}
			t.Logf("%d Child SAs had the two pairs; %s: %s", len(seen), row.State, row.Why)
			if row.State != "degraded" || !strings.Contains(row.Why, localSubnets[0]+" === "+remoteSubnets[0]) || strings.Contains(row.Why, remoteSubnets[3]) && strings.Contains(row.Why, localSubnets[2]) {
				t.Errorf("%s: %s; want the pairs that are missing", row.State, row.Why)
			}
			if row.IKE.SPIi != first.IKE.SPIi {
				t.Error("the ISAKMP SA was given up")
			}
			if soak && len(seen) < 6 {
				t.Errorf("%d Child SAs in five minutes, with a lifetime of 90 s", len(seen))
			}
			gw.Stop()
		})
	}
}

// refusing is a peer with two of the twelve pairs. The others it does not know, or has other proposals for.
func refusing(proposals bool) lab.Conn {
	peer := strongswan1("row", row1Default)
	peer.Children = map[string]lab.Child{}
	for i, l := range localSubnets {
		for j, r := range remoteSubnets {
			ch := lab.Child{LocalTS: []string{r}, RemoteTS: []string{l}, ESPProposals: []string{row1Default.esp()}}
			good := i == 2 && j >= 2
			if !good {
				ch.ESPProposals = []string{"3des-md5"}
			}
			if good || proposals {
				peer.Children[fmt.Sprintf("c%d%d", i, j)] = ch
			}
		}
	}
	return peer
}

// served watches a tunnel with two pairs for a while: each has a Child SA at any time. It returns all that there were.
func served(t *testing.T, gw *lab.Vpngw, d time.Duration) map[string]bool {
	seen := map[string]bool{}
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		var pairs []string
		for _, ch := range gw.Tunnel("row").Children {
			seen[ch.SPIIn] = true
			if p := fmt.Sprint(ch.LocalTS, ch.RemoteTS); !slices.Contains(pairs, p) {
				pairs = append(pairs, p)
			}
		}
		if len(pairs) != 2 {
			t.Errorf("Child SAs for %q", pairs)
		}
	}
	return seen
}
