package ipsec

import (
	"strings"
	"testing"
)

func TestParseProposalWritesEveryAlgorithm(t *testing.T) {
	for _, row := range []struct {
		proto    Protocol
		in, want string
	}{
		{ProtoIKE, "aes128-sha256-modp2048", "aes128-sha256-prfsha256-modp2048"},
		{ProtoIKE, "aes256gcm16-prfsha384-ecp384", "aes256gcm16-prfsha384-ecp384"},
		{ProtoIKE, "aes256gcm-sha384-ecp384", "aes256gcm16-prfsha384-ecp384"}, // an AEAD's hash is the PRF's
		{ProtoIKE, "aes-sha-modp1024", "aes128-sha1-prfsha1-modp1024"},
		{ProtoIKE, "aes128-aes256-sha1-sha256-modp2048-x25519", "aes128-aes256-sha1-sha256-prfsha1-prfsha256-modp2048-x25519"},
		{ProtoIKE, "3des-md5-prfsha1-modp768", "3des-md5-prfsha1-modp768"},
		{ProtoESP, "aes128gcm16", "aes128gcm16"},
		{ProtoESP, "aes128gcm16-esn", "aes128gcm16-esn"},
		{ProtoESP, "aes128gcm16-esn-noesn", "aes128gcm16-esn-noesn"},
		{ProtoESP, "aes128-sha256-modp2048", "aes128-sha256-modp2048"},
		{ProtoESP, "null-sha256", "null-sha256"},
	} {
		p, err := ParseProposal(row.proto, row.in)
		if err != nil {
			t.Errorf("%s: %v", row.in, err)
			continue
		}
		if got := p.String(); got != row.want {
			t.Errorf("%s: got %s, want %s", row.in, got, row.want)
		}
		again, err := ParseProposal(row.proto, p.String())
		if err != nil || again.String() != p.String() {
			t.Errorf("%s does not parse to itself: %v, %v", p, again, err)
		}
	}
}

func TestParseProposalSaysWhatIsWrong(t *testing.T) {
	for _, row := range []struct {
		proto    Protocol
		in, want string
	}{
		{ProtoIKE, "", `no algorithm is called ""`},
		{ProtoIKE, "aes128-sha257-modp2048", `no algorithm is called "sha257"`},
		{ProtoIKE, "sha256-modp2048", "no encryption algorithm"},
		{ProtoIKE, "aes128-modp2048", "needs an integrity algorithm"},
		{ProtoIKE, "aes128-sha256", "no key exchange group"},
		{ProtoIKE, "aes128gcm16-ecp256", "no PRF"},
		{ProtoIKE, "aes128-aes128gcm16-sha256-ecp256", "cannot share a proposal"},
		{ProtoIKE, "aes128-aes-sha256-ecp256", "twice"},
		{ProtoIKE, "null-sha256-ecp256", "must encrypt"},
		{ProtoIKE, "aes128-sha256-ecp256-esn", "no meaning for IKE"},
		{ProtoESP, "aes128gcm16-sha256", "its own integrity"},
		{ProtoESP, "aes128-sha256-prfsha256", "no meaning for ESP"},
	} {
		_, err := ParseProposal(row.proto, row.in)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q: got %v, want %q in it", row.in, err, row.want)
		}
	}
}

func TestChooseTakesOneAlgorithmOfEachType(t *testing.T) {
	for _, row := range []struct {
		proto            Protocol
		own, offer, want string // want empty: nothing in common
	}{
		{ProtoIKE, "aes256-aes128-sha256-modp2048", "aes128-aes256-sha1-sha256-modp1024-modp2048", "aes256-sha256-prfsha256-modp2048"},
		{ProtoIKE, "aes256-sha256-modp2048", "aes128-sha256-modp2048", ""},
		{ProtoIKE, "aes256-sha256-modp2048", "aes256-sha256-modp1024", ""},
		{ProtoIKE, "aes256gcm16-prfsha256-ecp256", "aes256-sha256-ecp256", ""},
		{ProtoESP, "aes128gcm16-esn-noesn", "aes128gcm16", "aes128gcm16"},
		{ProtoESP, "aes128gcm16-esn-noesn", "aes128gcm16-noesn-esn", "aes128gcm16-esn"},
		{ProtoESP, "aes128gcm16-esn", "aes128gcm16", ""},
		{ProtoESP, "aes128-sha256-modp2048", "aes128-sha256", ""}, // PFS wanted, none offered
		{ProtoESP, "aes128-sha256", "aes128-sha256-modp2048", ""},
	} {
		own, err := ParseProposal(row.proto, row.own)
		if err != nil {
			t.Fatal(err)
		}
		offer, err := ParseProposal(row.proto, row.offer)
		if err != nil {
			t.Fatal(err)
		}
		s, ok := own.Choose(offer, true)
		if ok != (row.want != "") || ok && s.String() != row.want {
			t.Errorf("%s of %s: got %v %v, want %q", row.own, row.offer, s, ok, row.want)
		}
	}
}

func TestChooseWithoutKeyExchangeIgnoresGroups(t *testing.T) {
	own, _ := ParseProposal(ProtoESP, "aes128-sha256-modp2048")
	offer, _ := ParseProposal(ProtoESP, "aes128-sha256")
	if s, ok := own.Choose(offer, false); !ok || s.KE != (Transform{}) {
		t.Errorf("got %v %v", s, ok)
	}
}

func TestChooseTakesAnOfferedNone(t *testing.T) {
	own, _ := ParseProposal(ProtoESP, "aes128-sha256")
	offer, _ := ParseProposal(ProtoESP, "aes128-sha256-modp2048")
	offer.Transforms = append(offer.Transforms, Transform{Type: KE, ID: KENone})
	if s, ok := own.Choose(offer, true); !ok || s.KE != (Transform{}) {
		t.Errorf("group NONE beside others: got %v %v", s, ok)
	}
	own, _ = ParseProposal(ProtoESP, "aes128gcm16")
	offer, _ = ParseProposal(ProtoESP, "aes128gcm16")
	offer.Transforms = append(offer.Transforms, Transform{Type: Integ, ID: IntegNone})
	if s, ok := own.Choose(offer, true); !ok || s.Integ != (Transform{}) {
		t.Errorf("integrity NONE beside an AEAD: got %v %v", s, ok)
	}
}

func TestWeakAlgorithmsSayWhy(t *testing.T) {
	p, _ := ParseProposal(ProtoIKE, "des-md5-modp768")
	s, _ := p.Choose(p, true)
	if got := len(s.Weak()); got != 3 {
		t.Errorf("%d reasons, want 3: %q", got, s.Weak())
	}
	p, _ = ParseProposal(ProtoIKE, "aes256gcm16-prfsha384-ecp384")
	s, _ = p.Choose(p, true)
	if s.Weak() != nil {
		t.Errorf("strong suite called weak: %q", s.Weak())
	}
}

func TestAlgorithmNamesAreUnique(t *testing.T) {
	for _, a := range Algorithms {
		if ByName(a.Name) == nil || ByName(a.Name).Transform != a.Transform || Lookup(a.Transform).Name != a.Name {
			t.Errorf("%s does not find itself", a.Name)
		}
	}
	for alias, name := range aliases {
		if ByName(alias) == nil || ByName(alias).Name != name {
			t.Errorf("alias %s finds nothing", alias)
		}
	}
}
