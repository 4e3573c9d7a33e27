package test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"vpngw/test/lab"
)

// vpngw probe finds what a strongSwan takes, in a few attempts, and what it writes is a body with which a tunnel comes up.
// It stops at once when the peer refuses the identity or the key.
func TestProbeWritesABodyThatWorks(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, lab.CharonTools...)
	cloud := n.Cloud.Charon()
	cloud.PSK(psk)
	key := n.File("probe.psk", psk)
	for _, r := range []struct {
		name     string
		theirs   lab.Conn
		key      string
		attempts int      // at most
		says     []string // in the body, or in the error
		fails    bool
	}{
		{"IKEv2", strongswan("row", suites{ikeEncr: "aes256", ikeHash: "sha384", ikeGroup: "ecp384", espEncr: "aes256gcm16", espGroup: "modp3072"}), key, 1, []string{"ike_version: 2", "aes256-sha384-prfsha384-ecp384", "aes256gcm16-modp3072"}, false},
		{"IKEv2 without PFS", strongswan("row", suites{ikeEncr: "aes128", ikeHash: "sha256", ikeGroup: "modp2048", espEncr: "aes128", espHash: "sha256"}), key, 1, []string{"aes128-sha256-prfsha256-modp2048", "[aes128-sha256"}, false},
		{"weak IKEv2", strongswan("row", suites{ikeEncr: "3des", ikeHash: "md5", ikeGroup: "modp1024", espEncr: "3des", espHash: "md5"}), key, 2, []string{"3des-md5-prfmd5-modp1024", "[3des-md5"}, false},
		{"IKEv1 with PFS", strongswan1("row", row1{suites: suites{ikeEncr: "aes128", ikeHash: "sha1", ikeGroup: "modp2048", espEncr: "aes128", espHash: "sha1", espGroup: "modp1024"}}), key, 6, []string{"ike_version: 1", "aes128-sha1-prfsha1-modp2048", "aes128-sha1-modp1024"}, false},
		{"a wrong key", strongswan("row", natSuites), n.File("wrong.psk", "another key altogether"), 1, []string{"AUTHENTICATION_FAILED"}, true},
	} {
		t.Run(r.name, func(t *testing.T) {
			n.Use(t)
			cloud.Load(r.theirs)
			seen := n.Internet.Filter("forward", "ip saddr "+lab.CustomerAddr, "")
			defer seen.Remove()
			cmd := exec.Command("ip", "netns", "exec", n.Customer.Name, n.Binary(), "probe", lab.CloudAddr,
				"--psk-file", r.key, "--local-subnets", lab.CustomerLAN, "--remote-subnets", lab.CloudLAN, "--control", n.Dir+"/none")
			var out, errs strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &errs
			err := cmd.Run()
			t.Logf("%d packets\n%s%s", seen.Packets(), errs.String(), out.String())
			if (err != nil) != r.fails {
				t.Fatalf("probe: %v", err)
			}
			for _, s := range r.says {
				if !strings.Contains(out.String()+errs.String(), s) {
					t.Errorf("it does not say %q", s)
				}
			}
			if n := strings.Count(errs.String(), "IKEv"); n < 1 || strings.Count(errs.String(), "\n") > r.attempts+1 {
				t.Errorf("more than %d attempts", r.attempts)
			}
			// The peer may handle our last Delete a moment after the probe has ended.
			n.Await(lab.Patience, "the peer has no IKE SA left", func() (bool, string) {
				left := cloud.SAs()
				return len(left) == 0, fmt.Sprintf("%+v", left)
			})
			if r.fails {
				return
			}
			gw := n.Customer.VpngwText("version: 1\nconnections:\n- psk_file: " + key + "\n  name: row\n  " + strings.ReplaceAll(out.String(), "\n", "\n  "))
			gw.AwaitUp("row")
			n.Host.Reaches(lab.CloudHost)
			gw.Stop()
			cloud.TerminateIKE("row")
		})
	}
}
