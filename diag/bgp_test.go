package diag

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// The sentences fit the details that package bgp gives.
func TestSentencesOfBGP(t *testing.T) {
	peer := netip.MustParseAddrPort("169.254.11.1:0")
	net := netip.MustParsePrefix("10.1.0.0/16")
	for _, c := range []struct {
		cause Cause
		want  string
	}{
		{Cause{Code: BGPUp, Peer: peer, After: 90 * time.Second}, "the BGP session with 169.254.11.1 is established; the hold time is 1m30s"},
		{
			Cause{Code: BGPDown, Peer: peer, After: time.Minute}.Since(Cause{Code: BGPHold, Peer: peer}),
			"the BGP session with 169.254.11.1 has ended after 1m0s: nothing came from BGP's peer 169.254.11.1 within the hold time",
		},
		{
			Cause{Code: BGPWaits, Peer: peer}.Since(Cause{Code: BGPAS, Peer: peer, Ours: "65000", Theirs: "65001"}),
			"there is no BGP session with 169.254.11.1: the AS numbers of BGP do not match: the peer says that it is AS 65001; this end expects AS 65000",
		},
		{
			Cause{Code: BGPAS, Notify: "OPEN Message Error: Bad Peer AS"},
			"the AS numbers of BGP do not match: the peer answered OPEN Message Error: Bad Peer AS, so it expects another AS of this end",
		},
		{
			Cause{Code: BGPNotification, Notify: "Cease: Administrative Shutdown", Theirs: "maintenance"},
			`BGP was ended by "Cease: Administrative Shutdown", with the text "maintenance": its operator has shut the session down`,
		},
		{
			Cause{Code: BGPNotification, Notify: "UPDATE Message Error: Malformed AS_PATH", Err: "empty segment", Name: "sent"},
			`BGP was ended by "UPDATE Message Error: Malformed AS_PATH", which this end sent: empty segment`,
		},
		{
			Cause{Code: BGPNotification, Notify: "Cease", Name: "sent"},
			`BGP was ended by "Cease", which this end sent: see this host's log`,
		},
		{Cause{Code: BGPNotification, Notify: "error 9/9"}, `BGP was ended by "error 9/9": see the peer's log`},
		{
			Cause{Code: BGPPrefixRefused, Prefix: net, Ours: "what `accept` lists"},
			"10.1.0.0/16 is not accepted: this end expects what `accept` lists",
		},
		{
			Cause{Code: BGPPrefixRefused, Prefix: net, Ours: "the next hop 169.254.11.1", Theirs: "the next hop 192.0.2.1"},
			"10.1.0.0/16 is not accepted: this end expects the next hop 169.254.11.1; the peer tells the next hop 192.0.2.1",
		},
		{Cause{Code: BGPLimit, Count: 50, Ours: "the session ends"}, "BGP's peer tells more than 50 prefixes: the session ends"},
		{
			Cause{Code: BGPLimit, Prefix: net, Count: 50, Ours: "the rest is left out"},
			"10.1.0.0/16 is one too many: BGP's peer tells more than 50 prefixes: the rest is left out",
		},
		{
			Cause{Code: BGPChildPaused, Name: "hq", Count: 3, After: 5 * time.Minute}.Since(Cause{Code: BGPChildDied, Name: "hq", Err: "signal: killed"}),
			"the BGP process of hq has ended 3 times in a minute, as a peer's message can cause; it starts again in 5m0s, or by `vpngw up hq`: the BGP process of hq has ended: signal: killed",
		},
		{
			Cause{Code: BGPPortTaken, Name: "hq", Err: "address already in use"},
			"BGP of hq cannot listen on TCP port 179: address already in use; stop that program, or have it leave the addresses in the tunnels alone",
		},
	} {
		if got := c.cause.String(); got != c.want {
			t.Errorf("got  %q,\nwant %q", got, c.want)
		}
	}
}

// A cloud's body is written from the cloud's end, so the AS of either end has another name in its words.
func TestTheASOfEachEndInTheWordsOfTheDialects(t *testing.T) {
	for dialect, want := range map[string][2]string{ // of the customer's end, of the cloud's
		alibaba: {"customer_gateways.asn", "BgpConfig.LocalAsn"},
		huawei:  {"customer_gateways.asn", "vpn_gateways.asn"},
		tencent: {"customer_gateways.asn", "vpn_gateways.asn"},
		native:  {"local.asn", "remote.asn"},
	} {
		for _, cloud := range []bool{false, true} {
			a := Cause{Code: BGPAS}.Advice(dialect, cloud)
			got := [2]string{}
			copy(got[:], a.Change)
			if cloud && dialect != native {
				got[0], got[1] = got[1], got[0]
			}
			if got != want || a.Side != Either {
				t.Errorf("%s, cloud %v: got %v, want %v", dialect, cloud, a, want)
			}
		}
	}
}

// Every NOTIFICATION with a hint is one that a peer sends, and no hint asks for the peer's log.
func TestHintsOfBGP(t *testing.T) {
	for name, hint := range hintsBGP[BGPNotification] {
		if hint == "" || strings.HasSuffix(hint, ".") {
			t.Errorf("%s: %q", name, hint)
		}
		if s := (Cause{Code: BGPNotification, Notify: name}).String(); !strings.HasSuffix(s, hint) {
			t.Errorf("%s: got %q", name, s)
		}
	}
}
