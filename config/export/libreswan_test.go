package export

import (
	"fmt"
	"strings"
	"testing"

	"vpngw/config"
)

// Libreswan is told what it reads, in its version 4.10, and PFS and sequence numbers outright, whatever its defaults are.
func TestLibreswanReadsWhatItIsTold(t *testing.T) {
	for _, tt := range []struct {
		name, version, ike, esp, dpd string
		want                         []string
		not                          []string
	}{
		{"IKEv2", "2", "aes128-sha256-modp2048", "aes128-sha256-modp2048", "{interval: 10s}", []string{"dpddelay=10s", "pfs=yes", "esn=either", "esp=aes128-sha2_256-modp2048"}, []string{"dpdtimeout=", "retransmit-timeout=", "phase2alg", "ikev1-policy"}},
		{"IKEv2, timeout", "2", "aes128-sha256-modp2048", "aes128-sha256-esn", "{interval: 10s, timeout: 30s}", []string{"dpddelay=10s", "retransmit-timeout=30s", "pfs=no", "esn=yes"}, []string{"dpdtimeout="}},
		{"either version", "any", "aes128-sha256-modp2048", "aes128-sha256-noesn", "{interval: 10s}", []string{"pfs=no", "esn=no"}, []string{"dpdtimeout="}},
		{"IKEv1", "1", "aes128-sha1-modp2048", "aes128-sha1-modp2048-noesn", "{interval: 10s, timeout: 30s}", []string{"dpddelay=10s", "dpdtimeout=50s", "pfs=yes", "ikev1-policy=accept"}, []string{"retransmit-timeout=", "esn="}},
		{"an AEAD with PFS", "2", "aes256gcm16-prfsha384-ecp384", "aes128gcm16-aes256gcm16-ecp384-ecp256", "{interval: 10s}", []string{"ike=aes_gcm256-sha2_384-dh20\n", "esp=aes_gcm128+aes_gcm256;dh20+dh19\n"}, nil},
		{"an AEAD without PFS", "2", "aes128-sha256-modp2048", "aes128gcm16", "{interval: 10s}", []string{"esp=aes_gcm128\n"}, nil},
		{"lists for IKEv1", "1", "aes128-aes256-sha1-modp2048-modp1536", "aes128-sha1-sha256-modp2048", "{interval: 10s}", []string{"ike=aes128-sha1-modp2048,aes128-sha1-modp1536,aes256-sha1-modp2048,aes256-sha1-modp1536\n", "esp=aes128-sha1-modp2048,aes128-sha2_256-modp2048\n"}, []string{"+"}},
		{"an elliptic group for IKEv1's ESP", "1", "aes128-sha1-ecp256", "aes128-sha1-ecp256", "{interval: 10s}", []string{"ike=aes128-sha1-dh19\n", "esp=aes128-sha1\n", "cannot be said here: ecp256 of ESP, which Libreswan does not have in IKEv1"}, nil},
		{"an elliptic group for IKEv1's ESP, and another for IKE", "1", "aes128-sha1-modp2048", "aes128-sha1-ecp256", "{interval: 10s}", []string{"    # cannot be said here: esp=, for Libreswan has none of these proposals"}, []string{"    esp="}},
		{"no cipher", "2", "des-sha256-modp2048", "des-sha256-modp2048", "{interval: 10s}", []string{"    # cannot be said here: ike=, for Libreswan has none of these proposals", "# cannot be said here: esp=, for"}, []string{" ike=\n", " esp=\n"}},
		{"no group", "2", "aes128-sha256-modp1024", "aes128-sha256", "{interval: 10s}", []string{"# cannot be said here: ike=, for Libreswan has none", "esp=aes128-sha2_256\n"}, []string{"    ike="}},
		{"one of two ciphers", "2", "des-aes128-sha256-modp2048", "aes128-sha256", "{interval: 10s}", []string{" ike=aes128-sha2_256-modp2048\n", "cannot be said here: des,"}, nil},
		{"one of two proposals", "2", "aes128-sha256-modp1024, aes128-sha256-modp2048", "aes128-sha256", "{interval: 10s}", []string{" ike=aes128-sha2_256-modp2048\n"}, nil},
		{"another group for PFS", "2", "aes128-sha256-modp2048", "aes128-sha256-ecp521", "{interval: 10s}", []string{"esp=aes128-sha2_256-dh21\n    # Libreswan 4.10 refuses a rekey", "ike has modp2048,", "esp has ecp521:"}, nil},
		{"the same group for PFS", "2", "aes128-sha256-modp2048", "aes128-sha256-modp2048", "{interval: 10s}", nil, []string{"refuses a rekey"}},
		{"no PFS", "2", "aes128-sha256-modp2048-ecp256", "aes128-sha256", "{interval: 10s}", nil, []string{"refuses a rekey"}},
		{"another group for PFS in IKEv1", "1", "aes128-sha256-modp2048", "aes128-sha256-modp3072", "{interval: 10s}", nil, []string{"refuses a rekey"}},
		{"PFS left to the peer", "2", "aes128-sha256-modp2048", "aes128-sha256-modp2048, aes128-sha256", "{interval: 10s}", []string{"pfs=yes", "cannot be said here: that PFS is left to the peer"}, nil},
	} {
		c := one(loaded(t, fmt.Sprintf(`{version: 1, connections: [{name: hq, dpd: %s, native: {ike_version: %s, psk: not-a-real-secret,
			local: {address: 203.0.113.9, subnets: [192.168.3.0/24]}, remote: {address: 198.51.100.1, subnets: [10.10.0.0/16]},
			ike: {proposals: [%s], lifetime: 25h}, esp: {proposals: [%s], lifetime: 1h, bytes: 5000000000, packets: 1000000000}}}]}`, tt.dpd, tt.version, tt.ike, tt.esp)))
		text := Write(c, Options{Format: "libreswan", Side: config.Customer}).Text
		for _, want := range append(tt.want, "ikelifetime=86400s", "that lives 25h", "salifetime=3600s", "ipsec-max-bytes=5000000000", "ipsec-max-packets=1000000000") {
			if !strings.Contains(text, want) {
				t.Errorf("%s: there is no %q in\n%s", tt.name, want, text)
			}
		}
		for _, not := range tt.not {
			if strings.Contains(text, not) {
				t.Errorf("%s: there is %q in\n%s", tt.name, not, text)
			}
		}
	}
}
