package doctor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/host"
	"vpngw/tunnel"
)

var inner, innerPeer = netip.MustParseAddr("169.254.11.2"), netip.MustParseAddr("169.254.11.1")

// speaking is a healthy tunnel with a session, which is established and brings prefixes both ways.
func speaking() *Tunnel {
	t := healthy()
	t.Want.BGP, t.Want.Inside, t.Want.Peer = &config.BGP{}, netip.PrefixFrom(inner, 30), innerPeer
	t.BGP = &BGP{
		Local: inner, Remote: innerPeer, Announces: true, Established: true, Hold: 90 * time.Second, Complete: true,
		Out: 3, Large: 1400, Neighbor: host.Neighbor{Ping: host.Accepted, Large: host.Accepted},
	}
	return t
}

// missing is the same tunnel without a session, of which the peer's host says no more than its pings.
func missing(t *Tunnel, why diag.Cause) {
	b := t.BGP
	b.Established, b.Out, b.Last = false, 0, why
	b.Neighbor.Plain, b.Neighbor.Alike = host.Silence, host.Silence
	t.State, t.Cause = tunnel.Degraded, diag.Cause{Code: diag.BGPWaits, Peer: netip.AddrPortFrom(innerPeer, 0)}.Since(why)
}

func TestEachFaultOfBGPIsFound(t *testing.T) {
	none := diag.Cause{}
	waits := diag.Cause{Code: diag.BGPWaits, Peer: netip.AddrPortFrom(innerPeer, 0)}
	silent := diag.Cause{Code: diag.BGPNoAnswer, Peer: netip.AddrPortFrom(innerPeer, 0)}
	open := func(t *Tunnel) { t.BGP.Neighbor.Plain, t.BGP.Neighbor.Alike = host.Accepted, host.Accepted }
	for _, c := range []struct {
		name  string
		spoil func(*Tunnel)
		want  []diag.Code
		says  string
	}{
		{"nothing", func(*Tunnel) {}, nil, ""},
		{"the tunnel is down", func(t *Tunnel) { missing(t, silent); connecting(t, diag.PSKMismatch) }, []diag.Code{diag.PSKMismatch}, ""},
		{"the health check", func(t *Tunnel) {
			missing(t, silent)
			t.Cause = diag.Cause{Code: diag.HealthFailed, Peer: netip.AddrPortFrom(innerPeer, 0), Count: 3}
		}, []diag.Code{diag.HealthFailed}, ""},
		{"BFD", func(t *Tunnel) {
			missing(t, silent)
			t.Cause = diag.Cause{Code: diag.BFDDown, Peer: netip.AddrPortFrom(innerPeer, 0), After: 3 * time.Second}
		}, []diag.Code{diag.BFDDown}, "nothing came from it for 3s"},
		{"nobody listens", func(t *Tunnel) {
			missing(t, silent)
			t.BGP.Neighbor.Plain, t.BGP.Neighbor.Alike = host.Refused, host.Refused
		}, []diag.Code{diag.BGPRefused}, "169.254.11.1 refuses"},
		{"no answer, and the peer takes connections", func(t *Tunnel) { missing(t, silent); open(t) }, []diag.Code{diag.BGPNoAnswer}, "TCP 179"},
		{"a password here", func(t *Tunnel) {
			missing(t, silent)
			open(t)
			t.BGP.Password = true
		}, []diag.Code{diag.BGPPassword}, "this end has one, and the peer takes a connection without; make `bgp.key` agree"},
		{"a password there", func(t *Tunnel) {
			missing(t, silent)
			t.BGP.Neighbor.Unsigned = 4
		}, []diag.Code{diag.BGPPassword}, "this end has none, and the peer answers pings and nothing on TCP 179, and 4 TCP segments came with another"},
		{"another password", func(t *Tunnel) {
			missing(t, silent)
			t.BGP.Password = true
		}, []diag.Code{diag.BGPPassword}, ": the peer answers pings and nothing on TCP 179; or a filter"},
		{"TTL security there", func(t *Tunnel) {
			missing(t, silent)
			t.BGP.Neighbor.Plain = host.Accepted
		}, []diag.Code{diag.BGPTTL}, "this end has not"},
		{"TTL security here", func(t *Tunnel) {
			missing(t, silent)
			t.BGP.Neighbor.Plain, t.BGP.TTLSecurity, t.BGP.Password = host.Accepted, true, true
		}, []diag.Code{diag.BGPTTL}, "`bgp.ttl_security`"},
		{"TTL security here, and the peer connects", func(t *Tunnel) {
			missing(t, none)
			t.BGP.TTLSecurity, t.BGP.Neighbor.LowTTL = true, 7
		}, []diag.Code{diag.BGPTTL}, "7 TCP segments"},
		{"both wait", func(t *Tunnel) { missing(t, none); open(t); t.BGP.Passive = true }, []diag.Code{diag.BGPBothWait}, "169.254.11.2"},
		{"another address there", func(t *Tunnel) {
			missing(t, silent)
			t.BGP.Neighbor.Ping = host.Silence
		}, []diag.Code{diag.BGPInside}, "this end has 169.254.11.2"},
		{"in the cloud's words", func(t *Tunnel) {
			missing(t, silent)
			t.BGP.Neighbor.Ping, t.Dialect = host.Silence, "alibaba"
		}, []diag.Code{diag.BGPInside}, "`BgpConfig.TunnelCidr`"},
		{"not yet", func(t *Tunnel) { missing(t, none); open(t) }, []diag.Code{diag.BGPWaits}, "no BGP session with 169.254.11.1"},
		{"not asked", func(t *Tunnel) { missing(t, none); t.BGP.Neighbor = host.Neighbor{} }, []diag.Code{diag.BGPWaits}, ""},
		{"an AS", func(t *Tunnel) {
			missing(t, waits.Since(diag.Cause{Code: diag.BGPAS, Ours: "65001", Theirs: "65002"}))
		}, []diag.Code{diag.BGPAS}, "AS 65002; this end expects AS 65001; make `local.asn`"},
		{"an AS, in the cloud's words", func(t *Tunnel) {
			missing(t, diag.Cause{Code: diag.BGPAS, Ours: "65001", Theirs: "65002"})
			t.Dialect = "huawei"
		}, []diag.Code{diag.BGPAS}, "`customer_gateways.asn`, `vpn_gateways.asn`"},
		{"a NOTIFICATION", func(t *Tunnel) {
			missing(t, diag.Cause{Code: diag.BGPDown, Peer: netip.AddrPortFrom(innerPeer, 0)}.Since(diag.Cause{Code: diag.BGPNotification, Notify: "Cease: Administrative Shutdown"}))
		}, []diag.Code{diag.BGPNotification}, "shut the session down"},
		{"too many prefixes", func(t *Tunnel) {
			missing(t, diag.Cause{Code: diag.BGPLimit, Count: 50, Ours: "the session ends"})
		}, []diag.Code{diag.BGPLimit}, "`bgp.max_prefixes`"},
		{"a child that pauses", func(t *Tunnel) {
			missing(t, diag.Cause{Code: diag.BGPChildPaused, Name: "hq", Count: 3, After: 5 * time.Minute})
		}, []diag.Code{diag.BGPChildPaused}, "3 times"},
		{"another program", func(t *Tunnel) {
			missing(t, diag.Cause{Code: diag.BGPPortTaken, Name: "hq", Err: "address already in use"})
			t.BGP.Neighbor.Owner = "bird (pid 7)"
		}, []diag.Code{diag.BGPPortTaken}, "bird (pid 7)"},
		{"another program that is not known", func(t *Tunnel) {
			missing(t, diag.Cause{Code: diag.BGPPortTaken, Name: "hq", Err: "address already in use"})
		}, []diag.Code{diag.BGPPortTaken}, "in use"},
		{"a filter here", func(t *Tunnel) {
			missing(t, silent)
			t.Host.Filtered = []host.Filtered{filtered(host.HookInput, 6, 179, true)}
		}, []diag.Code{diag.FilterIn}, "drops BGP (TCP 179) from 169.254.11.1"},
		{"a filter here that may let it pass", func(t *Tunnel) {
			missing(t, silent)
			t.Host.Filtered = []host.Filtered{filtered(host.HookInput, 6, 179, false)}
		}, []diag.Code{diag.BGPPassword, diag.FilterUnclear}, ""},
		{"a filter here, and a session", func(t *Tunnel) {
			t.Host.Filtered = []host.Filtered{filtered(host.HookInput, 6, 179, true)}
		}, nil, ""},
		{"the hold time", func(t *Tunnel) { missing(t, diag.Cause{Code: diag.BGPHold}) }, []diag.Code{diag.BGPHold}, "169.254.11.1 within the hold time of 1m30s"},
		{"the hold time before a session, with TTL security here", func(t *Tunnel) {
			missing(t, diag.Cause{Code: diag.BGPHold})
			t.BGP.Neighbor.Plain, t.BGP.Neighbor.Alike, t.BGP.Neighbor.LowTTL, t.BGP.TTLSecurity = host.Accepted, host.Accepted, 2, true
		}, []diag.Code{diag.BGPTTL}, "2 TCP segments"},
		{"the hold time, and large packets", func(t *Tunnel) {
			missing(t, diag.Cause{Code: diag.BGPHold})
			t.BGP.Neighbor.Large = host.Silence
		}, []diag.Code{diag.BGPSmallPath}, "none of 1400"},
		{"large packets before the end of the table", func(t *Tunnel) {
			t.BGP.Complete, t.BGP.Neighbor.Large = false, host.Silence
		}, []diag.Code{diag.BGPSmallPath}, "`mtu`"},
		{"large packets that no session misses", func(t *Tunnel) { t.BGP.Neighbor.Large = host.Silence }, nil, ""},
		{"flaps", func(t *Tunnel) {
			t.BGP.Flaps, t.BGP.Last = 5, diag.Cause{Code: diag.BGPDown, Peer: netip.AddrPortFrom(innerPeer, 0)}.Since(diag.Cause{Code: diag.BGPHold})
		}, []diag.Code{diag.BGPFlaps}, "5 times: nothing came"},
		{"nothing announced", func(t *Tunnel) { t.BGP.Out, t.BGP.Announces = 0, false }, []diag.Code{diag.BGPTellsNothing}, "`announce`"},
		{"nothing announced that could be", func(t *Tunnel) { t.BGP.Out = 0 }, []diag.Code{diag.BGPTellsNothing}, "`bgp.announce`"},
		{"refused prefixes", func(t *Tunnel) {
			t.BGP.Refused = []diag.Cause{
				{Code: diag.BGPPrefixRefused, Prefix: netip.MustParsePrefix("10.1.0.0/16"), Ours: "what `accept` lists"},
				{Code: diag.BGPPrefixRefused, Prefix: netip.MustParsePrefix("10.2.0.0/16"), Ours: "what `accept` lists"},
				{Code: diag.BGPLimit, Prefix: netip.MustParsePrefix("10.3.0.0/16"), Count: 2, Ours: "the rest is left out"},
			}
		}, []diag.Code{diag.BGPLimit, diag.BGPPrefixRefused}, "10.3.0.0/16"},
	} {
		tun := speaking()
		c.spoil(tun)
		d := Examine(tun)
		got := []diag.Code{}
		for _, f := range d.Findings {
			got = append(got, f.Code)
			if strings.Contains(f.Why, "(unknown)") && f.Code != diag.PSKMismatch {
				t.Errorf("%s: %s says %q", c.name, f.Code, f.Why)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: found %q, want %q", c.name, got, c.want)
			continue
		}
		if len(got) > 0 && !strings.Contains(d.Findings[0].Why+"; "+d.Findings[0].Do, c.says) {
			t.Errorf("%s: %q, %q does not say %q", c.name, d.Findings[0].Why, d.Findings[0].Do, c.says)
		}
	}
}

// A second connection can disturb a session, so the peer is asked for one only where there is none.
func TestAskingDisturbsNoSession(t *testing.T) {
	tun := speaking()
	a, ok := tun.Ask()
	if want := (host.Ask{Local: inner, Remote: innerPeer, Large: 1400}); !ok || a != want {
		t.Errorf("with a session: got %+v, %v", a, ok)
	}
	missing(tun, diag.Cause{})
	tun.BGP.TTLSecurity = true
	if a, ok := tun.Ask(); !ok || !a.Connect || !a.TTLSecurity {
		t.Errorf("without: got %+v, %v", a, ok)
	}
	connecting(tun, diag.NoAnswer)
	if _, ok := tun.Ask(); ok {
		t.Error("the peer of a tunnel that is down is asked")
	}
	if _, ok := healthy().Ask(); ok {
		t.Error("a peer without BGP is asked")
	}
}

func TestPassagesOfBGP(t *testing.T) {
	var got []host.Passage
	for _, p := range Passages(speaking().Want, "vpngw0", true)("eth0", us) {
		if p.Proto == 6 {
			got = append(got, p)
		}
	}
	if len(got) != 2 || got[0].Out != "vpngw0" || got[1].In != "vpngw0" || got[1].From != netip.AddrPortFrom(innerPeer, 179) || !got[1].Answer {
		t.Errorf("got %+v", got)
	}
}
