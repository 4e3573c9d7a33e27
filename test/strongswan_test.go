package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"vpngw/test/lab"
)

const psk = "Interop-key.of-31-characters.xy!"

// suites are the algorithms of one row of the matrix, under names that vpngw
// and swanctl.conf share.
type suites struct {
	ikeEncr, ikeHash, ikeGroup string
	espEncr, espHash, espGroup string // espGroup "": no PFS
	initiate                   bool   // vpngw does; else it answers
}

func aead(cipher string) bool {
	return strings.Contains(cipher, "gcm") || strings.Contains(cipher, "poly1305")
}

func (s suites) ike() string {
	if aead(s.ikeEncr) {
		return s.ikeEncr + "-prf" + s.ikeHash + "-" + s.ikeGroup
	}
	return s.ikeEncr + "-" + s.ikeHash + "-" + s.ikeGroup
}

func (s suites) esp() string {
	p := s.espEncr
	if !aead(p) {
		p += "-" + s.espHash
	}
	if s.espGroup != "" {
		p += "-" + s.espGroup
	}
	return p
}

// The algorithms of the matrix, with strongSwan's names for them.
var (
	ciphers = []string{"aes128", "aes192", "aes256", "aes128gcm16", "aes192gcm16", "aes256gcm16", "chacha20poly1305", "3des", "des"}
	hashes  = []string{"sha256", "sha1", "md5", "sha384", "sha512"}
	groups  = []string{"modp2048", "x25519", "ecp256", "ecp384", "ecp521", "modp768", "modp1024", "modp1536", "modp3072", "modp4096", "modp2048s256"}
	viciAlg = map[string]string{
		"aes128": "AES_CBC", "aes192": "AES_CBC", "aes256": "AES_CBC", "aes128gcm16": "AES_GCM_16", "aes192gcm16": "AES_GCM_16",
		"aes256gcm16": "AES_GCM_16", "chacha20poly1305": "CHACHA20_POLY1305", "3des": "3DES_CBC", "des": "DES_CBC",
		"sha256": "HMAC_SHA2_256_128", "sha1": "HMAC_SHA1_96", "md5": "HMAC_MD5_96", "sha384": "HMAC_SHA2_384_192", "sha512": "HMAC_SHA2_512_256",
		"modp2048": "MODP_2048", "x25519": "CURVE_25519", "ecp256": "ECP_256", "ecp384": "ECP_384", "ecp521": "ECP_521",
		"modp768": "MODP_768", "modp1024": "MODP_1024", "modp1536": "MODP_1536", "modp3072": "MODP_3072", "modp4096": "MODP_4096", "modp2048s256": "MODP_2048_256",
	}
)

// native is a connection of the customer's gateway to the cloud's.
func native(name string, s suites) lab.Connection {
	return lab.Connection{Name: name, PSK: psk, Native: &lab.Native{
		IKEVersion: 2,
		Initiate:   &s.initiate,
		Local:      lab.NativeEnd{Address: lab.CustomerAddr, Subnets: []string{lab.CustomerLAN}},
		Remote:     lab.NativeEnd{Address: lab.CloudAddr, Subnets: []string{lab.CloudLAN}},
		IKE:        lab.NativeIKE{Proposals: []string{s.ike()}},
		ESP:        lab.NativeESP{Proposals: []string{s.esp()}},
	}}
}

// strongswan is the other end of native.
func strongswan(name string, s suites) lab.Conn {
	return lab.Conn{
		Name: name, Version: "2", LocalAddrs: []string{lab.CloudAddr}, RemoteAddrs: []string{lab.CustomerAddr},
		Proposals: []string{s.ike()}, Mobike: "no",
		Local: &lab.Auth{Auth: "psk", ID: lab.CloudAddr}, Remote: &lab.Auth{Auth: "psk", ID: lab.CustomerAddr},
		Children: map[string]lab.Child{name: {
			LocalTS: []string{lab.CloudLAN}, RemoteTS: []string{lab.CustomerLAN}, ESPProposals: []string{s.esp()},
		}},
	}
}

// matrix returns rows in which every pair of values occurs. Without SOAK=1 it
// is a sample that has every value.
func matrix() []suites {
	pfs := append([]string{""}, groups...)
	sizes := []int{len(groups), len(pfs), len(ciphers), len(ciphers), len(hashes), len(hashes), 2}
	rows := covering(sizes)
	if !soak {
		rows = sampled(sizes, rows)
	}
	var out []suites
	for _, r := range rows {
		out = append(out, suites{
			ikeGroup: groups[r[0]], espGroup: pfs[r[1]], ikeEncr: ciphers[r[2]], espEncr: ciphers[r[3]],
			ikeHash: hashes[r[4]], espHash: hashes[r[5]], initiate: r[6] == 0,
		})
	}
	return out
}

// Every algorithm that vpngw and strongSwan share carries traffic, with either
// end as initiator, also after a rekey (which uses PFS).
func TestEveryAlgorithmAgainstStrongswan(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, append(lab.CharonTools, "iperf3")...)
	cloud := n.Cloud.Charon()
	cloud.PSK(psk, lab.CloudAddr, lab.CustomerAddr)
	lists(t, cloud)

	rows := matrix()
	for i, s := range rows {
		role := "answers"
		if s.initiate {
			role = "initiates"
		}
		t.Run(fmt.Sprintf("%03d/%s/ike=%s/esp=%s", i+1, role, s.ike(), s.esp()), func(t *testing.T) {
			n.Use(t)
			cloud.Load(strongswan("row", s))
			gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{native("row", s)}})
			if !s.initiate {
				if err := cloud.Initiate("row"); err != nil {
					t.Fatalf("strongSwan initiates: %v; vpngw says: %s", err, gw.Tunnel("row").Why)
				}
			}
			up := gw.AwaitUp("row")
			if !strings.HasPrefix(up.IKE.Proposal, s.ikeEncr+"-") || !strings.HasSuffix(up.IKE.Proposal, "-"+s.ikeGroup) {
				t.Errorf("status shows IKE proposal %s, want %s", up.IKE.Proposal, s.ike())
			}
			if p := n.Host.Ping(lab.CloudHost, 100); p.Lost() != 0 {
				t.Errorf("ping: %v", p)
			}
			if err := cloud.RekeyChild("row"); err != nil {
				t.Errorf("rekey: %v", err)
			}
			n.Await(lab.Patience, "the rekeyed Child SA", func() (bool, string) {
				c := gw.Tunnel("row").Children
				return slices.ContainsFunc(c, func(c lab.ChildStatus) bool { return c.SPIIn != up.Children[0].SPIIn }), fmt.Sprintf("%+v", c)
			})
			if p := n.CloudHost.Ping(lab.CustomerHost, 100); p.Lost() != 0 {
				t.Errorf("ping after the rekey: %v", p)
			}
			stream(t, n.Host, n.CloudHost, lab.CloudHost)
			gw.Stop()
			n.Await(lab.Patience, "strongSwan has no SA left", func() (bool, string) {
				sas := cloud.SAs()
				return len(sas) == 0, fmt.Sprintf("%+v", sas)
			})
		})
	}
}

// lists prints the algorithms of both, and those of strongSwan that vpngw refuses.
func lists(t *testing.T, c *lab.Charon) {
	t.Helper()
	has := c.Algorithms()
	var theirs []string
	for _, kind := range []string{"encryption", "aead", "integrity", "dh"} {
		theirs = append(theirs, has[kind]...)
	}
	var accepted []string
	known := map[string]bool{}
	for _, name := range slices.Concat(ciphers, hashes, groups) {
		known[viciAlg[name]] = true
		if slices.Contains(theirs, viciAlg[name]) {
			accepted = append(accepted, name)
		} else {
			t.Errorf("strongSwan lacks %s: the matrix is not whole", name)
		}
	}
	refused := slices.DeleteFunc(theirs, func(name string) bool { return known[name] })
	t.Logf("accepted by both: %s", strings.Join(accepted, " "))
	t.Logf("strongSwan has, vpngw refuses: %s", strings.Join(refused, " "))
}
