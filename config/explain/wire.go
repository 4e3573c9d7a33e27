package explain

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"vpngw/config"
	"vpngw/ipsec"
)

// versions is the form on the wire in the versions of IKE that a tunnel may speak.
func versions(t *config.Tunnel, two, one string) string {
	switch t.IKEVersion {
	case 1:
		return one
	case 2:
		return two
	}
	if one == "" || one == two {
		return two
	}
	return two + "; IKEv1: " + one
}

// phase is one of the two SAs that have algorithms: the IKE SA, or the Child SA.
type phase struct {
	of     func(*config.Tunnel) []ipsec.Proposal
	number func(wireName) string // the number in IKEv1
	says   func(wireName) string // what the phase's RFC says against it
	rfc    string
}

var (
	ike = phase{func(t *config.Tunnel) []ipsec.Proposal { return t.IKEProposals }, func(w wireName) string { return w.ike1 }, func(w wireName) string { return w.rfc8247 }, "RFC 8247"}
	esp = phase{func(t *config.Tunnel) []ipsec.Proposal { return t.ESPProposals }, func(w wireName) string { return w.esp1 }, func(w wireName) string { return w.rfc8221 }, "RFC 8221"}
)

// algorithms are the algorithms of one type, a Param for each proposal.
func algorithms(t *config.Tunnel, of phase, typ ipsec.TransformType) []Param {
	var out []Param
	ps := of.of(t)
	for i, p := range ps {
		var names, two, one, weak []string
		for _, tr := range p.Of(typ) {
			w := wireNames[ipsec.Transform{Type: tr.Type, ID: tr.ID}]
			names = append(names, title(tr))
			two = append(two, bits(fmt.Sprintf("%s (%d)", w.ikev2, tr.ID), ", %d bit", tr.KeyBits))
			if n := of.number(w); n != "" {
				one = append(one, bits(n, ", key length %d", tr.KeyBits))
			}
			if why := of.says(w); why != "" {
				weak = append(weak, fmt.Sprintf("%s: %s: %s", title(tr), of.rfc, why))
			}
		}
		said := Param{Value: strings.Join(names, ", "), Wire: versions(t, strings.Join(two, ", or "), strings.Join(one, ", or ")), Weak: strings.Join(weak, "; ")}
		switch {
		case len(names) > 0:
		case typ == ipsec.Integ:
			said.Value = "the cipher's own"
		case typ == ipsec.KE:
			said.Value = "none"
		default:
			continue
		}
		if len(ps) > 1 {
			said.Name = fmt.Sprintf(", proposal %d", i+1)
		}
		out = append(out, said)
	}
	return out
}

func title(t ipsec.Transform) string {
	switch t {
	case ipsec.Transform{Type: ipsec.ESN, ID: ipsec.ESNNo}:
		return "32 bits"
	case ipsec.Transform{Type: ipsec.ESN, ID: ipsec.ESNYes}:
		return "64 bits (ESN)"
	}
	return t.String()
}

func bits(s, format string, n uint16) string {
	if n == 0 {
		return s
	}
	return s + fmt.Sprintf(format, n)
}

// wireName is the form of an algorithm on the wire: its name in IANA's registry for
// IKEv2, and its attribute or transform in IKEv1's phases (RFC 2409 appendix A, RFC 2407
// section 4.4.4 and 4.5). It also has what the RFCs say against the algorithm.
type wireName struct {
	ikev2, ike1, esp1, rfc8247, rfc8221 string
}

const (
	mustNot   = "MUST NOT"
	shouldNot = "SHOULD NOT"
	mustMinus = "MUST-"
	may       = "MAY"
)

var wireNames = map[ipsec.Transform]wireName{
	{Type: ipsec.Encr, ID: ipsec.EncrDES}:              {"ENCR_DES", "encryption 1", "transform 2", mustNot, mustNot},
	{Type: ipsec.Encr, ID: ipsec.Encr3DES}:             {"ENCR_3DES", "encryption 5", "transform 3", may, shouldNot},
	{Type: ipsec.Encr, ID: ipsec.EncrNull}:             {"ENCR_NULL", "", "transform 11", mustNot, "MUST be there, and does not encrypt"},
	{Type: ipsec.Encr, ID: ipsec.EncrAESCBC}:           {"ENCR_AES_CBC", "encryption 7", "transform 12", "", ""},
	{Type: ipsec.Encr, ID: ipsec.EncrAESGCM16}:         {"ENCR_AES_GCM_16", "", "transform 20", "", ""},
	{Type: ipsec.Encr, ID: ipsec.EncrChaCha20Poly1305}: {"ENCR_CHACHA20_POLY1305", "", "", "", ""},

	{Type: ipsec.PRF, ID: ipsec.PRFHMACMD5}:    {"PRF_HMAC_MD5", "hash 1", "", mustNot, ""},
	{Type: ipsec.PRF, ID: ipsec.PRFHMACSHA1}:   {"PRF_HMAC_SHA1", "hash 2", "", mustMinus, ""},
	{Type: ipsec.PRF, ID: ipsec.PRFHMACSHA256}: {"PRF_HMAC_SHA2_256", "hash 4", "", "", ""},
	{Type: ipsec.PRF, ID: ipsec.PRFHMACSHA384}: {"PRF_HMAC_SHA2_384", "hash 5", "", "", ""},
	{Type: ipsec.PRF, ID: ipsec.PRFHMACSHA512}: {"PRF_HMAC_SHA2_512", "hash 6", "", "", ""},

	{Type: ipsec.Integ, ID: ipsec.IntegMD5_96}:     {"AUTH_HMAC_MD5_96", "hash 1", "authentication algorithm 1", mustNot, mustNot},
	{Type: ipsec.Integ, ID: ipsec.IntegSHA1_96}:    {"AUTH_HMAC_SHA1_96", "hash 2", "authentication algorithm 2", mustMinus, mustMinus},
	{Type: ipsec.Integ, ID: ipsec.IntegSHA256_128}: {"AUTH_HMAC_SHA2_256_128", "hash 4", "authentication algorithm 5", "", ""},
	{Type: ipsec.Integ, ID: ipsec.IntegSHA384_192}: {"AUTH_HMAC_SHA2_384_192", "hash 5", "authentication algorithm 6", "", ""},
	{Type: ipsec.Integ, ID: ipsec.IntegSHA512_256}: {"AUTH_HMAC_SHA2_512_256", "hash 6", "authentication algorithm 7", "", ""},

	{Type: ipsec.KE, ID: ipsec.KEMODP768}:    {"768-bit MODP", "group 1", "group 1", mustNot, mustNot},
	{Type: ipsec.KE, ID: ipsec.KEMODP1024}:   {"1024-bit MODP", "group 2", "group 2", shouldNot, shouldNot},
	{Type: ipsec.KE, ID: ipsec.KEMODP1536}:   {"1536-bit MODP", "group 5", "group 5", shouldNot, shouldNot},
	{Type: ipsec.KE, ID: ipsec.KEMODP2048}:   {"2048-bit MODP", "group 14", "group 14", "", ""},
	{Type: ipsec.KE, ID: ipsec.KEMODP3072}:   {"3072-bit MODP", "group 15", "group 15", "", ""},
	{Type: ipsec.KE, ID: ipsec.KEMODP4096}:   {"4096-bit MODP", "group 16", "group 16", "", ""},
	{Type: ipsec.KE, ID: ipsec.KEECP256}:     {"256-bit random ECP", "group 19", "group 19", "", ""},
	{Type: ipsec.KE, ID: ipsec.KEECP384}:     {"384-bit random ECP", "group 20", "group 20", "", ""},
	{Type: ipsec.KE, ID: ipsec.KEECP521}:     {"521-bit random ECP", "group 21", "group 21", "", ""},
	{Type: ipsec.KE, ID: ipsec.KEMODP2048SG}: {"2048-bit MODP with 256-bit prime order subgroup", "group 24", "group 24", shouldNot, shouldNot},
	{Type: ipsec.KE, ID: ipsec.KEX25519}:     {"Curve25519", "", "", "", ""},

	{Type: ipsec.ESN, ID: ipsec.ESNNo}:  {"No Extended Sequence Numbers", "", "", "", ""},
	{Type: ipsec.ESN, ID: ipsec.ESNYes}: {"Extended Sequence Numbers", "", "", "", ""},
}

// idTypes are the names of RFC 7296 section 3.5.
var idTypes = map[ipsec.IDType]string{
	ipsec.IDIPv4: "ID_IPV4_ADDR", ipsec.IDFQDN: "ID_FQDN", ipsec.IDEmail: "ID_RFC822_ADDR",
	ipsec.IDIPv6: "ID_IPV6_ADDR", ipsec.IDDN: "ID_DER_ASN1_DN", ipsec.IDKeyID: "ID_KEY_ID",
}

func selectors(ps []netip.Prefix, of func(netip.Prefix) string) string {
	var out []string
	for _, p := range ps {
		out = append(out, of(p))
	}
	return strings.Join(out, ", ")
}

// selector2 is a traffic selector (RFC 7296 section 3.13.1).
func selector2(p netip.Prefix) string {
	s := ipsec.SelectorOf(p)
	if p.Addr().Is4() {
		return fmt.Sprintf("TS_IPV4_ADDR_RANGE (7) %v-%v", s.Start, s.End)
	}
	return fmt.Sprintf("TS_IPV6_ADDR_RANGE (8) %v-%v", s.Start, s.End)
}

// selector1 is an identity of phase 2 (RFC 2407 section 4.6.2).
func selector1(p netip.Prefix) string {
	switch {
	case p.Addr().Is4() && p.Bits() == 32:
		return fmt.Sprintf("ID_IPV4_ADDR (1) %v", p.Addr())
	case p.Addr().Is4():
		return fmt.Sprintf("ID_IPV4_ADDR_SUBNET (4) %v/%v", p.Addr(), net.IP(net.CIDRMask(p.Bits(), 32)))
	case p.Bits() == 128:
		return fmt.Sprintf("ID_IPV6_ADDR (5) %v", p.Addr())
	}
	return fmt.Sprintf("ID_IPV6_ADDR_SUBNET (6) %v", p)
}
