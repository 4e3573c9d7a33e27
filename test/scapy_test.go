package test

import (
	_ "embed"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vpngw/test/lab"
)

//go:embed testdata/esp.py
var espScript string

// espKeys returns the line of the key log for an SPI, in the format of Wireshark's esp_sa table.
func espKeys(t *testing.T, keylog, spi string) (encr, integ string) {
	t.Helper()
	text, err := os.ReadFile(keylog)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), `"`), `"`), `","`)
		if len(f) == 8 && strings.TrimPrefix(f[3], "0x") == strings.TrimPrefix(spi, "0x") {
			return strings.TrimPrefix(f[5], "0x"), strings.TrimPrefix(f[7], "0x")
		}
	}
	t.Fatalf("the key log has no SPI %s:\n%s", spi, text)
	return "", ""
}

// scapy, which shares nothing with vpngw, opens the raw ESP that vpngw sent, and
// vpngw opens what scapy sealed.
func TestScapyOpensOurESPAndWeItsOwn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ esp, crypt, auth string }{
		{"aes128gcm16", "AES-GCM", "NULL"},
		{"aes256gcm16", "AES-GCM", "NULL"},
		{"aes128-sha256", "AES-CBC", "SHA2-256-128"},
		{"3des-md5", "3DES", "HMAC-MD5-96"},
	} {
		t.Run(tt.esp, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, "tcpdump", "/usr/bin/python3")
			c := native("row", natSuites)
			c.Native.ESP = lab.NativeESP{Proposals: []string{tt.esp}, ESN: "no"}
			keylog := filepath.Join(n.Dir, "keys")
			cloud := n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(c)}})
			customer := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{c}}, "--insecure-keylog", keylog)
			customer.AwaitUp("row")
			cloud.AwaitUp("row")

			wire := n.Internet.Capture("cloud", "proto 50")
			if p := n.Host.Ping(lab.CloudHost, 20, lab.Echo{Size: 333}); p.Lost() != 0 {
				t.Errorf("ping: %v", p)
			}
			pcap := wire.Stop()
			sa := customer.Tunnel("row").Children[0]
			args := func(what, spi, from, to string) []string {
				encr, integ := espKeys(t, keylog, spi)
				return []string{what, spi, tt.crypt, encr, tt.auth, integ, from, to}
			}
			for _, a := range [][]string{
				args("open", sa.SPIOut, lab.CustomerAddr, lab.CloudAddr),
				args("open", sa.SPIIn, lab.CloudAddr, lab.CustomerAddr),
			} {
				if out := n.Scapy(espScript, append(a, pcap)...); strings.TrimSpace(out) != "20" {
					t.Errorf("scapy opened %s of 20 pings with SPI %s", out, a[1])
				}
			}

			arrived := n.Host.Filter("input", "icmp type echo-request icmp id 4711", "")
			out := n.Internet.Scapy(espScript, append(args("seal", sa.SPIIn, lab.CloudAddr, lab.CustomerAddr), lab.CloudHost, lab.CustomerHost)...)
			n.Await(lab.Patience, "scapy's ten pings at the host", func() (bool, string) { return arrived.Packets() == 10, out })
			after := customer.Tunnel("row").Children[0]
			if got := after.PacketsIn - sa.PacketsIn; got != 10 {
				t.Errorf("vpngw counts %d packets in, want 10; drops %v", got, after.Drops)
			}
		})
	}
}
