package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"vpngw/test/lab"
)

// charon1 is strongSwan as a peer of IKEv1. Without delete_rekeyed it keeps a
// rekeyed Child SA until the end of its lifetime.
func charon1(ns *lab.Namespace) *lab.Charon {
	return ns.Charon("delete_rekeyed = yes", "i_dont_care_about_security_and_use_aggressive_mode_psk = yes")
}

// row1 is a row of IKEv1's matrix.
type row1 struct {
	suites
	aggressive bool
}

func (r row1) mode() string {
	if r.aggressive {
		return "aggressive"
	}
	return "main"
}

// native1 and strongswan1 are the two ends of a row.
func native1(name string, r row1) lab.Connection {
	c := native(name, r.suites)
	c.Native.IKEVersion, c.Native.Mode = 1, r.mode()
	if strings.HasPrefix(r.espEncr, "null") {
		c.Allow = []string{"null-encryption"}
	}
	return c
}

func strongswan1(name string, r row1) lab.Conn {
	c := strongswan(name, r.suites)
	c.Version = "1"
	if r.aggressive {
		c.Aggressive = "yes"
	}
	return c
}

// The algorithms of IKEv1's phases. NULL is for ESP only.
var (
	ciphers1    = []string{"aes128", "des", "3des", "aes192", "aes256"}
	hashes1     = []string{"md5", "sha1", "sha256", "sha384", "sha512"}
	groups1     = []string{"modp1024", "modp768", "modp1536", "modp2048", "modp3072", "modp4096", "modp2048s256", "ecp256", "ecp384", "ecp521"}
	espCiphers1 = []string{"aes128", "des", "3des", "aes192", "aes256", "aes128gcm16", "aes192gcm16", "aes256gcm16", "null"}
)

// matrix1 has every pair of two values in one of its rows, so every cipher with every hash of a
// phase too. If it is not whole it is a sample with every value.
func matrix1(whole bool) []row1 {
	pfs := append([]string{""}, groups1...)
	sizes := []int{len(ciphers1), len(hashes1), len(groups1), len(espCiphers1), len(hashes1), len(pfs), 2, 2}
	rows := covering(sizes)
	if !whole {
		rows = sampled(sizes, rows)
	}
	var out []row1
	for _, r := range rows {
		out = append(out, row1{suites{
			ikeEncr: ciphers1[r[0]], ikeHash: hashes1[r[1]], ikeGroup: groups1[r[2]],
			espEncr: espCiphers1[r[3]], espHash: hashes1[r[4]], espGroup: pfs[r[5]], initiate: r[6] == 0,
		}, r[7] == 1})
	}
	return out
}

// The whole matrix contains each required value and pair, which the test names one by one.
func TestIKEv1MatrixIsWhole(t *testing.T) {
	t.Parallel()
	rows := matrix1(true)
	var wanted []string
	for _, h := range []string{"md5", "sha1", "sha256", "sha384", "sha512"} {
		for _, c := range []string{"des", "3des", "aes128", "aes192", "aes256"} {
			wanted = append(wanted, "phase 1 "+c+"-"+h, "ESP "+c+"-"+h)
		}
		wanted = append(wanted, "ESP null-"+h)
	}
	for _, c := range []string{"aes128gcm16", "aes192gcm16", "aes256gcm16"} {
		wanted = append(wanted, "ESP "+c)
	}
	groups := []string{"modp768", "modp1024", "modp1536", "modp2048", "modp3072", "modp4096", "modp2048s256", "ecp256", "ecp384", "ecp521"}
	for _, mode := range []string{"main", "aggressive"} {
		for _, role := range []string{"initiator", "responder"} {
			wanted = append(wanted, mode+" as "+role, mode+" without PFS", role+" without PFS")
			for _, g := range groups {
				wanted = append(wanted, mode+" "+g, role+" "+g, mode+" PFS "+g, role+" PFS "+g)
			}
		}
	}
	for _, g := range groups {
		wanted = append(wanted, "phase 1 "+g+" without PFS")
	}
	has := map[string]bool{}
	for _, r := range rows {
		role, pfs := "responder", "PFS "+r.espGroup
		if r.initiate {
			role = "initiator"
		}
		if r.espGroup == "" {
			pfs = "without PFS"
		}
		for _, s := range []string{
			"phase 1 " + r.ikeEncr + "-" + r.ikeHash, "ESP " + r.espEncr + "-" + r.espHash, "ESP " + r.espEncr, r.mode() + " as " + role,
			r.mode() + " " + r.ikeGroup, role + " " + r.ikeGroup, r.mode() + " " + pfs, role + " " + pfs, "phase 1 " + r.ikeGroup + " " + pfs,
		} {
			has[s] = true
		}
	}
	for _, w := range wanted {
		if !has[w] {
			t.Errorf("no row has %s", w)
		}
	}
	t.Logf("%d rows", len(rows))
}

func TestEveryIKEv1AlgorithmAgainstStrongswan(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, lab.CharonTools...)
	cloud := charon1(n.Cloud)
	cloud.PSK(psk, lab.CloudAddr, lab.CustomerAddr)
	lists1(t, cloud)
	for i, r := range matrix1(soak) {
		role := "answers"
		if r.initiate {
			role = "initiates"
		}
		t.Run(fmt.Sprintf("%03d/%s/%s/ike=%s/esp=%s", i+1, role, r.mode(), r.ike(), r.esp()), func(t *testing.T) {
			n.Use(t)
			cloud.Load(strongswan1("row", r))
			gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{native1("row", r)}})
			if !r.initiate {
				if err := cloud.Initiate("row"); err != nil {
					t.Fatalf("strongSwan initiates: %v; vpngw says: %s", err, gw.Tunnel("row").Why)
				}
			}
			up := gw.AwaitUp("row")
			if up.IKE.Version != 1 || up.IKE.Mode != r.mode() || !strings.HasPrefix(up.IKE.Proposal, r.ikeEncr+"-"+r.ikeHash) || !strings.HasSuffix(up.IKE.Proposal, "-"+r.ikeGroup) {
				t.Errorf("status shows IKEv%d %s %s, want %s", up.IKE.Version, up.IKE.Mode, up.IKE.Proposal, r.ike())
			}
			if got := up.Children[0].Proposal; got != r.esp() {
				t.Errorf("status shows ESP proposal %s, want %s", got, r.esp())
			}
			n.Host.Reaches(lab.CloudHost) // nothing tells an initiator when the peer has message 3
			if p := n.Host.Ping(lab.CloudHost, 50); p.Lost() != 0 {
				t.Errorf("ping: %v", p)
			}
			if err := cloud.RekeyChild("row"); err != nil {
				t.Errorf("rekey: %v", err)
			}
			n.Await(lab.Patience, "the rekeyed Child SA in place of the old one", func() (bool, string) {
				c := gw.Tunnel("row").Children
				return len(c) == 1 && c[0].SPIIn != up.Children[0].SPIIn, fmt.Sprintf("%+v", c)
			})
			if p := n.CloudHost.Ping(lab.CustomerHost, 50); p.Lost() != 0 {
				t.Errorf("ping after the rekey: %v\n%s", p, gw.Command("status", "--drops"))
			}
			gw.Stop()
			n.Await(lab.Patience, "strongSwan has no SA left", func() (bool, string) {
				sas := cloud.SAs()
				return len(sas) == 0, fmt.Sprintf("%+v", sas)
			})
		})
	}
}

// lists1 prints the algorithms of both, and those of strongSwan that vpngw refuses.
func lists1(t *testing.T, c *lab.Charon) {
	t.Helper()
	has := c.Algorithms()
	var theirs []string
	for _, kind := range []string{"encryption", "aead", "integrity", "dh"} {
		theirs = append(theirs, has[kind]...)
	}
	known := map[string]bool{}
	for _, name := range slices.Concat(ciphers1, []string{"aes128gcm16"}, hashes1, groups1) {
		known[viciAlg[name]] = true
		if !slices.Contains(theirs, viciAlg[name]) {
			t.Errorf("strongSwan lacks %s: the matrix is not whole", name)
		}
	}
	refused := slices.DeleteFunc(theirs, func(name string) bool { return known[name] || name == "NULL" })
	t.Logf("accepted by both: phase 1 %s; ESP %s; %s; %s", strings.Join(ciphers1, " "), strings.Join(espCiphers1, " "), strings.Join(hashes1, " "), strings.Join(groups1, " "))
	t.Logf("strongSwan has, vpngw refuses for IKEv1: %s (and AES_GCM_16 in phase 1)", strings.Join(refused, " "))
}

// The clouds' defaults carry traffic: Alibaba's with a minimal body and a key, Huawei's
// IKEv1 defaults and Tencent's in the native dialect.
func TestIKEv1DefaultsOfTheClouds(t *testing.T) {
	t.Parallel()
	minimal := alibaba("hq")
	minimal.IkeConfig, minimal.IpsecConfig = `{"Psk":"`+psk+`"}`, "{}"
	cases := []struct {
		name string
		row  row1
		conn lab.Config
	}{
		{
			"alibaba",
			row1{suites{ikeEncr: "aes128", ikeHash: "md5", ikeGroup: "modp1024", espEncr: "aes128", espHash: "md5", espGroup: "modp1024", initiate: true}, false},
			bodies("", lab.Connection{Alibaba: minimal}),
		},
		{name: "huawei", row: row1{suites{ikeEncr: "aes128", ikeHash: "sha256", ikeGroup: "modp3072", espEncr: "aes128", espHash: "sha256", espGroup: "modp3072", initiate: true}, false}},
		{name: "tencent", row: row1{suites{ikeEncr: "3des", ikeHash: "sha1", ikeGroup: "modp768", espEncr: "aes128", espHash: "sha1", initiate: true}, false}},
	}
	n := lab.Direct(t, lab.CharonTools...)
	cloud := charon1(n.Cloud)
	cloud.PSK(psk, lab.CloudAddr, lab.CustomerAddr)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n.Use(t)
			if c.conn.Connections == nil {
				c.conn = lab.Config{Connections: []lab.Connection{native1("hq", c.row)}}
			}
			cloud.Load(strongswan1("hq", c.row))
			gw := n.Customer.Vpngw(c.conn)
			up := gw.AwaitUp("hq")
			if up.IKE.Version != 1 || up.Children[0].Proposal != c.row.esp() {
				t.Errorf("IKEv%d %s, ESP %s", up.IKE.Version, up.IKE.Proposal, up.Children[0].Proposal)
			}
			n.Host.Reaches(lab.CloudHost) // as above
			if p := n.Host.Ping(lab.CloudHost, 200); p.Lost() != 0 {
				t.Errorf("ping: %v", p)
			}
			gw.Stop()
			n.Await(lab.Patience, "strongSwan has no SA left", func() (bool, string) { return len(cloud.SAs()) == 0, "" })
		})
	}
}
