package test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vpngw/test/lab"
)

// Wireshark shares no code with vpngw. With the keys that vpngw logs, it
// decrypts and checks the packets of both ends.

var readable = []suites{
	{ikeEncr: "aes256gcm16", ikeHash: "sha384", ikeGroup: "ecp384", espEncr: "aes128gcm16", espGroup: "x25519", initiate: true},
	{ikeEncr: "aes128", ikeHash: "sha256", ikeGroup: "modp2048", espEncr: "aes256", espHash: "sha256", initiate: true},
}

// peer starts rekeys at the other end.
type peer interface {
	rekey(ike bool) error
}

type charonPeer struct{ *lab.Charon }

func (c charonPeer) rekey(ike bool) error {
	if ike {
		return c.RekeyIKE("row")
	}
	return c.RekeyChild("row")
}

type vpngwPeer struct{ *lab.Vpngw }

func (v vpngwPeer) rekey(ike bool) error { return v.Rekey("row", ike) }

func TestTsharkDecryptsAcrossRekeys(t *testing.T) {
	t.Parallel()
	for _, s := range readable {
		t.Run(fmt.Sprintf("strongSwan, in UDP/ike=%s/esp=%s", s.ike(), s.esp()), func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, append(lab.CharonTools, "tcpdump", "tshark")...)
			tsharkDecrypts(t, n, s, true, func() peer {
				cloud := n.Cloud.Charon()
				cloud.PSK(psk)
				cloud.Load(strongswan("row", s))
				return charonPeer{cloud}
			})
		})
		t.Run(fmt.Sprintf("vpngw, raw/ike=%s/esp=%s", s.ike(), s.esp()), func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, "tcpdump", "tshark")
			tsharkDecrypts(t, n, s, false, func() peer {
				c := mirror(native("row", s))
				c.Native.ESP.ESN = "no" // Wireshark 4.0 does not know the upper half of the numbers
				return vpngwPeer{n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{c}})}
			})
		})
	}
}

// between lists the rekeys between two steps of the run.
var between = []struct{ byPeer, ike bool }{{false, false}, {true, true}, {true, false}, {false, true}, {false, false}}

const pingsPerStep = 20

func tsharkDecrypts(t *testing.T, n *lab.Net, s suites, inUDP bool, start func() peer) {
	keys := filepath.Join(n.Dir, "keys")
	wire := n.Internet.Capture("cloud", "udp port 500 or udp port 4500 or proto 50")
	cloud := start()
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{native("row", s)}}, "--insecure-keylog", keys)
	gw.AwaitUp("row")
	ping := func(step int) {
		t.Helper()
		if p := n.Host.Ping(lab.CloudHost, pingsPerStep, lab.Echo{Ident: ident(step)}); p.Lost() != 0 {
			t.Errorf("step %d: ping: %v", step, p)
		}
	}
	ping(0)
	for i, r := range between {
		before := gw.Tunnel("row")
		by := peer(vpngwPeer{gw})
		if r.byPeer {
			by = cloud
		}
		if err := by.rekey(r.ike); err != nil {
			t.Fatalf("rekey %+v: %v", r, err)
		}
		gw.AwaitRekey(before, r.ike)
		n.Await(lab.Patience, "both ends use one Child SA only", func() (bool, string) {
			c := gw.Tunnel("row").Children
			return len(c) == 1, fmt.Sprintf("%+v", c)
		})
		ping(i + 1)
	}
	gw.Stop()
	pcap := wire.Stop()
	espIsReadable(t, n, pcap, keys, inUDP)
	ikeIsReadable(t, n, pcap, keys)
}

// ident is the ICMP identifier of a step's pings.
func ident(step int) uint16 { return uint16(0x4000 + step) }

// espIsReadable checks that tshark sees the pings of every step inside ESP, both
// ways, with good ICVs, and on other SAs after each rekey of the Child SA.
func espIsReadable(t *testing.T, n *lab.Net, pcap, keys string, inUDP bool) {
	t.Helper()
	type probe struct{ step, kind string }
	last := map[probe]string{} // the SPI of the last ping
	seen := map[probe]int{}
	good := 0
	for line := range strings.Lines(n.Decrypted(pcap, keys, "-Y", "esp", "-T", "fields",
		"-e", "esp.icv_good", "-e", "icmp.ident", "-e", "icmp.type", "-e", "esp.spi", "-e", "udp.dstport")) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != 5 || f[0] != "1" {
			t.Errorf("an ESP packet that tshark cannot check: %q", line)
			continue
		}
		if (f[4] != "") != inUDP {
			t.Errorf("in UDP is not %v: %q", inUDP, line)
		}
		good++
		w := probe{f[1], f[2]}
		seen[w]++
		last[w] = f[3]
	}
	t.Logf("%d ESP packets decrypted, every ICV good", good)
	for _, kind := range []string{"8", "0"} { // echo request, echo reply
		for step := range len(between) + 1 {
			w := probe{fmt.Sprint(ident(step)), kind}
			if seen[w] != pingsPerStep {
				t.Errorf("step %d: %d pings of ICMP type %s, want %d", step, seen[w], kind, pingsPerStep)
			}
			if step == 0 {
				continue
			}
			moved := last[w] != last[probe{fmt.Sprint(ident(step - 1)), kind}]
			if r := between[step-1]; moved == r.ike {
				t.Errorf("after rekey %+v, ICMP type %s: on another SA is %v", r, kind, moved)
			}
		}
	}
}

// ikeIsReadable checks that tshark sees the inside of every encrypted message,
// with good ICVs, of as many IKE SAs as there were.
func ikeIsReadable(t *testing.T, n *lab.Net, pcap, keys string) {
	t.Helper()
	ikes, children := 1, 0
	for _, r := range between {
		if r.ike {
			ikes++
		} else {
			children++
		}
	}
	if bad := n.Decrypted(pcap, keys, "-Y", "isakmp.ikev2.integrity_checksum || _ws.malformed"); bad != "" {
		t.Errorf("messages that tshark cannot check:\n%s", bad)
	}
	var auth, childSAs, ikeSAs, deletes int
	var spis []string
	for line := range strings.Lines(n.Decrypted(pcap, keys, "-Y", "isakmp.exchangetype >= 35", "-T", "fields",
		"-e", "isakmp.ispi", "-e", "isakmp.exchangetype", "-e", "isakmp.enc.decrypted", "-e", "isakmp.typepayload",
		"-e", "isakmp.id.data.ipv4_addr", "-e", "isakmp.ts.start_ipv4")) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != 6 || f[2] == "" {
			t.Errorf("a message that tshark cannot decrypt: %q", line)
			continue
		}
		if !slices.Contains(spis, f[0]) {
			spis = append(spis, f[0])
		}
		payloads := strings.Split(f[3], ",")
		has := func(payload ...string) bool {
			return !slices.ContainsFunc(payload, func(p string) bool { return !slices.Contains(payloads, p) })
		}
		const sa, ke, idI, idR, auths, nonce, del, tsI, tsR = "33", "34", "35", "36", "39", "40", "42", "44", "45"
		const selectors = "192.168.3.0,10.10.0.0"
		switch {
		case f[1] == "35" && has(idI, auths, sa, tsI, tsR) && f[4] == lab.CustomerAddr+","+lab.CloudAddr && f[5] == selectors:
			auth++
		case f[1] == "35" && has(idR, auths, sa, tsI, tsR) && f[4] == lab.CloudAddr && f[5] == selectors:
			auth++
		case f[1] == "36" && has(sa, nonce, tsI, tsR) && (f[5] == selectors || f[5] == "10.10.0.0,192.168.3.0"):
			childSAs++
		case f[1] == "36" && has(sa, nonce, ke):
			ikeSAs++
		case f[1] == "37" && has(del):
			deletes++
		case f[1] == "37":
		default:
			t.Errorf("a message with other payloads than RFC 7296 has: %q", line)
		}
	}
	t.Logf("messages decrypted on %d IKE SAs: %d IKE_AUTH, %d and %d that rekey Child and IKE SAs, %d deletes", len(spis), auth, childSAs, ikeSAs, deletes)
	if len(spis) != ikes || auth < 2 || childSAs < 2*children || ikeSAs < 2*(ikes-1) || deletes < 2*children+ikes {
		t.Errorf("want %d IKE SAs, at least 2 IKE_AUTH, %d and %d that rekey Child and IKE SAs, %d deletes", ikes, 2*children, 2*(ikes-1), 2*children+ikes)
	}
}
