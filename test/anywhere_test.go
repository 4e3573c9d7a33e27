package test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"vpngw/test/lab"
)

// strangers are two customers whose addresses nobody has configured, one behind a masquerading router and one that has a public address.
const (
	branchAddr, branchAddr2 = "192.0.2.9", "192.0.2.10"
	branchHost              = "192.168.4.10"
)

// Six tunnels at once with strongSwan from two addresses, by IKEv2 and IKEv1 in both modes: each peer is its own, by its identity. One
// comes back from another address, and takes the place of what it was.
func TestPeersFromAnywhere(t *testing.T) {
	t.Parallel()
	n := lab.BehindNAT(t, lab.CharonTools...)
	branch, host := n.Namespace("branch"), n.Namespace("bhost")
	n.Link(branch, "wan", n.Internet, "branch")
	branch.Address("wan", branchAddr+"/24")
	n.Internet.Address("branch", "192.0.2.254/24")
	branch.Route("default", "192.0.2.254")
	n.Link(branch, "lan", host, "eth0")
	branch.Address("lan", "192.168.4.1/24")
	host.Address("eth0", branchHost+"/24")
	host.Route("default", "192.168.4.1")

	s := suites{ikeEncr: "aes256", ikeHash: "sha256", ikeGroup: "ecp256", espEncr: "aes128", espHash: "sha256"}
	type site struct {
		name, net, from string // net: the first three numbers of its network
		charon          *lab.Charon
		gateway, host   *lab.Namespace
	}
	sites := []site{
		{"office", "192.168.3", lab.CustomerAddr, n.Customer.Charon(), n.Customer, n.Host},
		{"branch", "192.168.4", branchAddr, branch.Charon(), branch, host},
	}
	// Each tunnel has networks of its own at both ends: strongSwan has one route to one network.
	cloudNet := func(i int) string { return fmt.Sprintf("10.10.%d.0/24", i) }
	reaches := func(at site, i int) {
		t.Helper()
		from, to := fmt.Sprintf("10.10.%d.10", i), fmt.Sprintf("%s.%d", at.net, 64*i+10)
		n.Await(lab.Patience, "the hub's host reaches "+to, func() (bool, string) {
			out, err := n.CloudHost.Try("ping", "-n", "-c", "1", "-W", "1", "-I", from, to)
			return err == nil, out
		})
	}
	modes := []struct {
		name, mode string
		version    int
	}{{"two", "", 2}, {"main", "main", 1}, {"aggressive", "aggressive", 1}}
	var hub lab.Config
	for _, at := range sites {
		at.charon.PSK(psk)
		for i, m := range modes {
			name := at.name + "-" + m.name
			block := fmt.Sprintf("%s.%d/26", at.net, 64*i)
			theirs := strongswan(name, s)
			theirs.Version, theirs.LocalAddrs, theirs.RemoteAddrs = fmt.Sprint(m.version), nil, []string{lab.CloudAddr}
			if m.mode == "aggressive" {
				theirs.Aggressive = "yes"
			}
			theirs.Local.ID, theirs.Remote.ID = name+".example", lab.CloudAddr
			theirs.Children = map[string]lab.Child{name: {LocalTS: []string{block}, RemoteTS: []string{cloudNet(i)}, ESPProposals: []string{s.esp()}}}
			at.charon.Load(theirs)
			if i > 0 {
				at.host.Address("eth0", fmt.Sprintf("%s.%d/24", at.net, 64*i+10))
				at.gateway.Address("lan", fmt.Sprintf("%s.%d/24", at.net, 64*i+1))
				if at.gateway == branch {
					n.CloudHost.Address("eth0", fmt.Sprintf("10.10.%d.10/16", i))
				}
			}
			hub.Connections = append(hub.Connections, lab.Connection{Name: name, PSK: psk, Native: &lab.Native{
				IKEVersion: m.version, Mode: m.mode,
				Local:  lab.NativeEnd{Address: lab.CloudAddr, Subnets: []string{cloudNet(i)}},
				Remote: lab.NativeEnd{Address: "any", ID: name + ".example", Subnets: []string{block}},
				IKE:    lab.NativeIKE{Proposals: []string{s.ike()}}, ESP: lab.NativeESP{Proposals: []string{s.esp()}},
			}})
		}
	}
	gw := n.Cloud.Vpngw(hub)
	if st := gw.Tunnel("office-two"); st.State != "waiting" || st.Remote != "any" {
		t.Errorf("before anybody came it is %s to %q", st.State, st.Remote)
	}
	var begun sync.WaitGroup
	for _, at := range sites {
		for _, m := range modes {
			begun.Go(func() {
				if err := at.charon.Initiate(at.name + "-" + m.name); err != nil {
					t.Errorf("%s-%s: %v", at.name, m.name, err)
				}
			})
		}
	}
	begun.Wait()
	for _, at := range sites {
		for i, m := range modes {
			if st := gw.AwaitUp(at.name + "-" + m.name); st.Remote != at.from || st.IKE.Mode != m.mode {
				t.Errorf("%s-%s: %s to %s, want %s", at.name, m.name, st.IKE.Mode, st.Remote, at.from)
			}
			reaches(at, i)
		}
	}

	// The branch's host dies, and comes back from another address without a word of farewell.
	sites[1].charon.Kill()
	branch.Run("ip", "addr", "flush", "dev", "wan")
	branch.Address("wan", branchAddr2+"/24")
	branch.Route("default", "192.0.2.254")
	sites[1].charon.Restart()
	for i, m := range modes {
		name := "branch-" + m.name
		moved := time.Now()
		if err := sites[1].charon.Initiate(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		n.Await(lab.Patience, name+" has moved", func() (bool, string) {
			st := gw.Tunnel(name)
			return st.State == "up" && st.Remote == branchAddr2, st.State + " to " + st.Remote
		})
		reaches(sites[1], i)
		t.Logf("%s: moved within %v", name, time.Since(moved).Round(10*time.Millisecond))
	}
	if st := gw.Tunnel("office-two"); st.State != "up" || st.Remote != lab.CustomerAddr {
		t.Errorf("the other peer is %s to %s", st.State, st.Remote)
	}
	gw.Stop()
}
