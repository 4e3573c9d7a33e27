package test

import (
	"testing"

	"vpngw/test/lab"
)

// What keeps a real peer from a session is explained by the first finding of vpngw doctor.
func TestDoctorExplainsWhyThereIsNoBGP(t *testing.T) {
	for _, c := range []struct {
		what  string
		spoil func(e *bgpEnds)
		after func(n *lab.Net)
		want  explained
	}{
		{"another AS there", func(e *bgpEnds) { e.theirs.ASN = bgpFarASN + 1 }, nil, explained{"bgp-as-mismatch", "either", "remote.asn"}},
		{"another AS here", func(e *bgpEnds) { e.theirs.Peers[0].RemoteASN = bgpNearASN + 1 }, nil, explained{"bgp-as-mismatch bgp-notification", "either", ""}},
		{"a password there", func(e *bgpEnds) { e.theirs.Peers[0].Password = "a password of BGP" }, nil, explained{"bgp-password", "either", "bgp.key"}},
		{"a password here", func(e *bgpEnds) { e.ours.BGP = quick(map[string]any{"key": "a password of BGP"}) }, nil, explained{"bgp-password", "either", "bgp.key"}},
		{"TTL security here", func(e *bgpEnds) { e.ours.BGP = quick(map[string]any{"ttl_security": true}) }, nil, explained{"bgp-ttl", "either", "bgp.ttl_security"}},
		// BIRD takes the connection and closes it, for it hears no OPEN: the sentence can only ask.
		{"TTL security there", func(e *bgpEnds) { e.theirs.Peers[0].TTLSecurity = true }, nil, explained{"bgp-connection-refused", "theirs", ""}},
		{"a filter here", func(*bgpEnds) {}, closeBGP, explained{"filter-in", "ours", ""}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, append(lab.RouterTools, "nft")...)
			e := newBGPEnds(nil)
			c.spoil(&e)
			if c.after != nil {
				c.after(n)
			}
			gw, _ := e.start(n, "BIRD")
			p := &patient{n: n, gw: gw}
			f := p.diagnose(c.want)
			t.Logf("%s: %s; %v", f.Code, f.Why, f.Change)
			if !c.want.is(f) {
				t.Errorf("got %+v, want %+v", f, c.want)
			}
		})
	}
}

// closeBGP drops BGP's packets that come to the customer's gateway.
func closeBGP(n *lab.Net) {
	n.Customer.Filter("input", "tcp dport 179", "drop")
	n.Customer.Filter("input", "tcp sport 179", "drop")
}
