package load

import (
	"fmt"
	"slices"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/config/native"
	"vpngw/ipsec"
)

// reservedAS are AS numbers that no speaker may have, by their RFCs.
var reservedAS = map[uint32]string{23456: "RFC 6793", 65535: "RFC 7300", 4294967295: "RFC 7300"}

// bgpEnds checks that the two ends of a tunnel can have a session at all.
func (l *loader) bgpEnds(v *dialect.Value, d *dialect.Draft, i int) {
	t := &d.Tunnels[i]
	asns := [2]*dialect.Value{d.Body, d.Body}
	if isNative(d.Entry) {
		asns = [2]*dialect.Value{d.Body.Field("local").Field("asn"), d.Body.Field("remote").Field("asn")}
		for j, end := range []config.End{t.Local, t.Remote} {
			if end.ASN == 0 {
				l.WarnRun(asns[j], dialect.Missing, "BGP needs the AS numbers of both ends: write asn: N for this one")
			}
		}
		if t.Inside.IsValid() && !carriesSession(t) {
			says, at := l.Warn, d.Places[i].Subnets
			if v.Given { // older files load and run as they did
				says = l.WarnRun
			}
			says(at, dialect.Conflict, "no pair of subnets carries BGP's own packets, between %v and %v: add %v to the subnets of both ends, or write 0.0.0.0/0 at both",
				t.Inside.Addr(), t.Peer, t.Inside.Masked())
		}
	}
	for j, end := range []config.End{t.Local, t.Remote} {
		if rfc := reservedAS[end.ASN]; rfc != "" {
			l.Warn(asns[j], dialect.Illegal, "the AS number %d is reserved (%s), and peers refuse it", end.ASN, rfc)
		}
	}
}

// carriesSession reports whether the tunnel protects packets between the two addresses in it.
func carriesSession(t *config.Tunnel) bool {
	return slices.ContainsFunc(t.EachPair(), func(p config.Pair) bool {
		return p.Local.Contains(t.Inside.Addr()) && p.Remote.Contains(t.Peer)
	})
}

func bgpKeyWant(k ipsec.Secret) string {
	if len(k) < 1 || len(k) > native.MaxBGPKey {
		return fmt.Sprintf("have 1 to %d bytes", native.MaxBGPKey)
	}
	return ""
}
