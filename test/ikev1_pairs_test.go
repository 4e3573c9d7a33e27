package test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

var row1Default = row1{suites{ikeEncr: "aes128", ikeHash: "sha1", ikeGroup: "modp1024", espEncr: "aes128", espHash: "sha1", initiate: true}, false}

// Three local and four remote subnets, cut out of the standard networks.
var (
	localSubnets  = []string{"192.168.3.0/26", "192.168.3.64/26", "192.168.3.128/25"}
	remoteSubnets = []string{"10.10.0.0/18", "10.10.64.0/18", "10.10.128.0/18", "10.10.192.0/18"}
	localHosts    = []string{"192.168.3.10", "192.168.3.70", "192.168.3.200"}
	remoteHosts   = []string{"10.10.0.10", "10.10.64.10", "10.10.128.10", "10.10.192.10"}
)

// Twelve quick modes carry traffic each. If the peer refuses one, the other
// eleven do, and the status names the missing one.
func TestIKEv1ManyPairsAgainstStrongswan(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, lab.CharonTools...)
	for _, r := range remoteSubnets[1:] { // charon routes only subnets in which it has an address
		n.Cloud.Address("lan", strings.TrimSuffix(r, "0/18")+"1/32")
	}
	cloud := charon1(n.Cloud)
	cloud.PSK(psk, lab.CloudAddr, lab.CustomerAddr)
	for _, a := range localHosts[1:] {
		n.Host.Address("eth0", a+"/32")
	}
	for _, a := range remoteHosts[1:] {
		n.CloudHost.Address("eth0", a+"/32")
	}
	conn := native1("row", row1Default)
	conn.Native.Local.Subnets, conn.Native.Remote.Subnets = localSubnets, remoteSubnets
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprintf("one refused=%v", refuse), func(t *testing.T) {
			n.Use(t)
			peer := strongswan1("row", row1Default)
			peer.Children = map[string]lab.Child{}
			for i, l := range localSubnets {
				for j, r := range remoteSubnets {
					if refuse && i == 1 && j == 2 {
						continue
					}
					peer.Children[fmt.Sprintf("c%d%d", i, j)] = lab.Child{LocalTS: []string{r}, RemoteTS: []string{l}, ESPProposals: []string{row1Default.esp()}}
				}
			}
			cloud.Load(peer)
			gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{conn}})
			want := 12
			if refuse {
				want = 11
				gw.AwaitState("row", "degraded", lab.Patience)
			} else {
				gw.AwaitUp("row")
			}
			n.Await(lab.Patience, "the Child SAs", func() (bool, string) {
				c := gw.Tunnel("row").Children
				return len(c) == want, fmt.Sprint(len(c))
			})
			n.Await(lab.Patience, "strongSwan's Child SAs", func() (bool, string) { // charon installs them with message 3
				installed := 0
				for _, ike := range cloud.SAs() {
					for _, ch := range ike.Children {
						if ch.State == "INSTALLED" {
							installed++
						}
					}
				}
				return installed >= want, fmt.Sprint(installed)
			})
			carried := 0
			for i, l := range localHosts {
				for j, r := range remoteHosts {
					if refuse && i == 1 && j == 2 {
						continue
					}
					if p := n.Host.Ping(r, 20, lab.Echo{Source: l}); p.Lost() != 0 {
						t.Errorf("%s to %s: %v", l, r, p)
					} else {
						carried++
					}
				}
			}
			row := gw.Tunnel("row")
			t.Logf("%d Child SAs, %d pairs carry traffic; %s: %s", len(row.Children), carried, row.State, row.Why)
			for _, c := range row.Children {
				if c.PacketsIn == 0 || c.PacketsOut == 0 {
					t.Errorf("%v === %v: %d packets in, %d out", c.LocalTS, c.RemoteTS, c.PacketsIn, c.PacketsOut)
				}
			}
			if refuse && (!strings.Contains(row.Why, localSubnets[1]) || !strings.Contains(row.Why, remoteSubnets[2])) {
				t.Errorf("why is %q", row.Why)
			}
			gw.Stop()
			n.Await(lab.Patience, "strongSwan has no SA left", func() (bool, string) { return len(cloud.SAs()) == 0, "" })
		})
	}
}

func TestIKEv1StatusSaysWhy(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, lab.CharonTools...)
	cloud := charon1(n.Cloud)
	for _, c := range []struct {
		name     string
		initiate bool
		spoil    func(*lab.Conn, *string)
		want     []string
	}{
		{"wrong key, we answer", false, func(_ *lab.Conn, key *string) { *key = "not the key" }, []string{"message 5 does not decrypt: the pre-shared keys differ"}},
		{"wrong key, we begin", true, func(_ *lab.Conn, key *string) { *key = "not the key" }, []string{"the pre-shared keys differ"}},
		{"other proposal", true, func(c *lab.Conn, _ *string) { c.Proposals = []string{"aes256-sha384-ecp256"} }, []string{"NO-PROPOSAL-CHOSEN", "aes128"}},
		{"other ESP proposal", true, func(c *lab.Conn, _ *string) {
			child(c, func(ch *lab.Child) { ch.ESPProposals = []string{"3des-md5"} })
		}, []string{"NO-PROPOSAL-CHOSEN", "aes128-sha1"}},
		{"other subnets", true, func(c *lab.Conn, _ *string) { child(c, func(ch *lab.Child) { ch.LocalTS = []string{"10.99.0.0/16"} }) }, []string{"INVALID-ID-INFORMATION", lab.CloudLAN}},
		{"other subnets, we answer", false, func(c *lab.Conn, _ *string) { child(c, func(ch *lab.Child) { ch.LocalTS = []string{"10.99.0.0/16"} }) }, []string{"10.99.0.0/16", lab.CloudLAN}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n.Use(t)
			r := row1Default
			r.initiate = c.initiate
			conn, key := strongswan1("row", r), psk
			c.spoil(&conn, &key)
			cloud.PSK(key, lab.CloudAddr, lab.CustomerAddr)
			cloud.Load(conn)
			gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{native1("row", r)}})
			if !c.initiate {
				go cloud.Initiate("row")
			}
			t.Logf("%s", gw.AwaitWhy("row", c.want...).Why)
			gw.Stop()
			// An attempt of ours that has just begun leaves strongSwan an SA that it would take for the next row's.
			n.Await(lab.Patience, "strongSwan has no SA left", func() (bool, string) {
				cloud.TerminateIKE("row")
				return len(cloud.SAs()) == 0, ""
			})
		})
	}
}

// Either end notices a dead peer (in a soak, within the interval and the retries), and does not
// take a live peer for dead.
func TestIKEv1DeadPeerAgainstStrongswan(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, lab.CharonTools...)
	cloud := charon1(n.Cloud)
	cloud.PSK(psk, lab.CloudAddr, lab.CustomerAddr)
	peer := strongswan1("row", row1Default)
	peer.DPDDelay = "2s"
	cloud.Load(peer)
	conn := native1("row", row1Default)
	conn.DPD = map[string]any{"interval": "2s", "timeout": "6s", "message": "seq-hash-notify"}
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{conn}})
	up := gw.AwaitUp("row")
	// Nothing but liveness checks, from both ends.
	n.Await(lab.Patience, "six liveness checks answered", func() (bool, string) {
		acks := strings.Count(cloud.Log(), "N(DPD_ACK)")
		return acks >= 6, fmt.Sprint(acks)
	})
	if now := gw.AwaitUp("row"); now.IKE.SPIi != up.IKE.SPIi || now.Children[0].SPIIn != up.Children[0].SPIIn {
		t.Error("a peer that was there was taken for dead")
	}
	cloud.Kill()
	gone := time.Now()
	why := gw.AwaitWhy("row", "dead").Why
	took := time.Since(gone)
	t.Logf("noticed after %v: %s", took.Round(100*time.Millisecond), why)
	if took > within(10*time.Second) {
		t.Errorf("noticed after %v, want 8 s", took)
	}
	cloud.Restart()
	gw.AwaitState("row", "up", 2*lab.Patience)
}

// Both vpngw rekey IKEv1 at the same moment, phase 1 and phase 2.
func TestBothVpngwRekeyIKEv1AtOnceWithoutLoss(t *testing.T) {
	rounds := []struct {
		collision
		count int
	}{{collision{false, false}, 3}, {collision{true, true}, 1}, {collision{false, true}, 1}}
	if soak {
		for i, n := range []int{100, 20, 20} {
			rounds[i].count = n
		}
	}
	for _, aggressive := range []bool{false, true} {
		r := row1Default
		r.aggressive = aggressive
		t.Run(r.mode(), func(t *testing.T) {
			beside(t)
			n := lab.Direct(t)
			c := native1("row", r)
			gw, cloud := joined(n, c)
			flow := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 1000)
			for _, r := range rounds {
				for range r.count {
					time.Sleep(2500 * time.Millisecond)
					r.between(t, gw, cloud)
				}
			}
			n.Await(within(30*time.Second), "one pair at each end, the same", func() (bool, string) {
				a, b := gw.Tunnel("row"), cloud.Tunnel("row")
				return len(a.Children) == 1 && len(b.Children) == 1 && a.Children[0].SPIIn == b.Children[0].SPIOut, fmt.Sprintf("%+v\n%+v", a, b)
			})
			ab, ba := flow.Stop()
			t.Logf("%v", rounds)
			lossless(t, ab, ba)
		})
	}
}

// With the keys that vpngw logs, tshark decrypts every message of main and
// aggressive mode, and the pings in ESP.
func TestTsharkDecryptsIKEv1(t *testing.T) {
	t.Parallel()
	for _, aggressive := range []bool{false, true} {
		for _, peer := range []string{"strongSwan", "vpngw"} {
			r := row1Default
			r.aggressive = aggressive
			t.Run(r.mode()+" mode with "+peer, func(t *testing.T) {
				t.Parallel()
				n := lab.Direct(t, append(lab.CharonTools, "tcpdump", "tshark")...)
				keys := filepath.Join(n.Dir, "keys")
				wire := n.Internet.Capture("cloud", "udp port 500 or udp port 4500 or proto 50")
				c := native1("row", r)
				var answerer *lab.Vpngw
				if peer == "vpngw" {
					answerer = n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(c)}})
				} else {
					cloud := charon1(n.Cloud)
					cloud.PSK(psk, lab.CloudAddr, lab.CustomerAddr)
					cloud.Load(strongswan1("row", r))
				}
				gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{c}}, "--insecure-keylog", keys)
				gw.AwaitUp("row")
				if answerer != nil {
					answerer.AwaitUp("row")
				}
				n.Host.Reaches(lab.CloudHost) // an initiator does not learn when the peer has got message 3
				if p := n.Host.Ping(lab.CloudHost, 20); p.Lost() != 0 {
					t.Errorf("ping: %v", p)
				}
				before := gw.Tunnel("row")
				if err := gw.Rekey("row", false); err != nil {
					t.Fatal(err)
				}
				gw.AwaitRekey(before, false)
				gw.Stop()
				pcap := wire.Stop()
				encrypted, read := 0, 0
				var inside []string
				for line := range strings.Lines(n.Decrypted(pcap, keys, "-Y", "isakmp.flag_e == 1", "-T", "fields",
					"-e", "isakmp.exchangetype", "-e", "isakmp.typepayload")) {
					f := strings.Split(strings.TrimRight(line, "\n"), "\t")
					encrypted++
					if len(f) == 2 && strings.Contains(","+f[1]+",", ",8,") { // there is a HASH in all of them
						read++
						inside = append(inside, f[0]+":"+f[1])
					}
				}
				if bad := malformed1(n, pcap, keys); len(bad) > 0 {
					t.Errorf("malformed, says tshark: %q", bad)
				}
				pings := strings.Count(n.Decrypted(pcap, keys, "-Y", "esp && icmp && esp.icv_good == 1"), "\n")
				slices.Sort(inside)
				t.Logf("%d of %d encrypted messages read, %d pings in ESP with a good ICV; exchange:payloads %s", read, encrypted, pings, strings.Join(slices.Compact(inside), " "))
				if read != encrypted || encrypted < 6 || pings < 40 {
					t.Errorf("%d of %d messages, %d pings", read, encrypted, pings)
				}
			})
		}
	}
}

// malformed1 returns the IKEv1 messages of a capture that tshark cannot read. It leaves out
// retransmissions: tshark takes a retransmission for a further message, with another IV.
func malformed1(n *lab.Net, pcap, keys string) (bad []string) {
	sent := map[string]bool{}
	for line := range strings.Lines(n.Decrypted(pcap, keys, "-Y", "isakmp", "-T", "fields", "-e", "_ws.malformed", "-e", "udp.payload")) {
		why, payload, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		if why != "" && !sent[payload] {
			bad = append(bad, why+" "+payload)
		}
		sent[payload] = true
	}
	return bad
}
