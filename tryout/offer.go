package tryout

import "vpngw/ipsec"

// offer is what one attempt offers.
type offer struct {
	name     string
	ike, esp []ipsec.Proposal
}

func parse(proto ipsec.Protocol, texts ...string) (out []ipsec.Proposal) {
	for _, t := range texts {
		p, err := ipsec.ParseProposal(proto, t)
		if err != nil {
			panic(err) // the tables are ours
		}
		out = append(out, p)
	}
	return out
}

const (
	aeads  = "aes256gcm16-aes128gcm16-chacha20poly1305"
	strong = "aes256-aes192-aes128-sha256-sha384-sha512"
	weak   = "aes256-aes192-aes128-3des-des-sha256-sha1-md5"
	groups = "x25519-ecp256-ecp384-ecp521-modp2048-modp3072-modp4096"
	old    = "modp1536-modp1024-modp768-modp2048s256"
)

// offers are the attempts of a version, those first that a peer should take. One message of IKEv2 offers all; in IKEv1
// each combination is a transform, so an attempt has fewer, and all of its quick mode have one group.
func offers(version int, aggressive bool) []offer {
	esp := parse(ipsec.ProtoESP, aeads+"-noesn", weak+"-noesn")
	if version == 2 {
		pfs := append(parse(ipsec.ProtoESP, aeads+"-"+groups+"-"+old+"-noesn", weak+"-"+groups+"-"+old+"-noesn"), esp...)
		return []offer{
			{name: "strong algorithms", ike: parse(ipsec.ProtoIKE, aeads+"-prfsha256-prfsha384-prfsha512-"+groups, strong+"-"+groups), esp: pfs},
			{name: "all algorithms, weak ones too", ike: parse(ipsec.ProtoIKE, weak+"-"+groups+"-"+old), esp: pfs},
		}
	}
	sets := []offer{
		{name: "AES and SHA-2", ike: parse(ipsec.ProtoIKE, "aes256-aes128-sha256-sha1-modp2048-modp3072-ecp256")},
		{name: "weak algorithms", ike: parse(ipsec.ProtoIKE, "aes128-3des-des-sha1-md5-modp1024-modp768-modp1536")},
		{name: "AES of other sizes and groups", ike: parse(ipsec.ProtoIKE, "aes256-aes192-aes128-sha256-sha384-sha512-modp1024-modp1536")},
	}
	if aggressive { // message 1 has a key exchange value: one group for each attempt
		sets = nil
		for _, g := range []string{"modp2048", "modp1024", "modp1536", "modp3072"} {
			sets = append(sets, offer{name: "group " + g, ike: parse(ipsec.ProtoIKE, "aes256-aes128-3des-sha256-sha1-md5-"+g)})
		}
	}
	for i := range sets {
		sets[i].esp = esp
	}
	return sets
}

// pfsOffers are what is left to try with IKEv1 once phase 1 fits and a quick mode without PFS does not: one group for
// each attempt, that of phase 1 first.
func pfsOffers(version int, r *Result) (out []offer) {
	if version != 1 || r.IKE.Encr.Type == 0 {
		return nil
	}
	first := ipsec.Lookup(r.IKE.KE).Name
	for _, g := range []string{first, "modp2048", "modp1024", "modp1536", "modp3072", "ecp256"} {
		if g == first && len(out) > 0 {
			continue
		}
		out = append(out, offer{
			name: "PFS " + g, ike: []ipsec.Proposal{r.IKE.Proposal()},
			esp: parse(ipsec.ProtoESP, aeads+"-"+g+"-noesn", weak+"-"+g+"-noesn"),
		})
	}
	return out
}
