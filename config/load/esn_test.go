package load

import (
	"testing"

	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// With esn: yes a peer that names no form of sequence numbers is refused, and the cause names ESN; by default it is taken.
func TestDemandedESNIsNamed(t *testing.T) {
	silent, err := ipsec.ParseProposal(ipsec.ProtoESP, "aes128gcm16")
	if err != nil {
		t.Fatal(err)
	}
	silent.Transforms = silent.Transforms[:1]
	for esn, want := range map[string]string{"yes": "ESN: ours esn, theirs none", "auto": "", "no": ""} {
		l, ps := parseText(nil, "f", []byte("version: 1\nconnections:\n  - native: {local: {address: 203.0.113.9, subnets: [192.168.3.0/24]}, remote: {address: 198.51.100.9, subnets: [10.20.0.0/16]}, psk: a-secret-of-the-tests, esp: {proposals: [aes128gcm16], esn: "+esn+"}}\n"))
		if ps.Failed() {
			t.Fatal(lines(ps))
		}
		own := sa.WithoutKE(l.Connections[0].Tunnels[0].ChildSAs()[0].Proposals)
		if _, ok := own[0].Choose(silent, false); ok != (want == "") {
			t.Errorf("esn %s: taken: %v", esn, ok)
		} else if got := sa.Difference([]ipsec.Proposal{silent}, own, false); !ok && got != want {
			t.Errorf("esn %s: %q", esn, got)
		}
	}
}
