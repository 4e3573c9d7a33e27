package doctor

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/host"
	"vpngw/tunnel"
)

var (
	us   = netip.MustParseAddr("203.0.113.9")
	them = netip.MustParseAddr("198.51.100.1")
)

// healthy is a tunnel that carries packets both ways on a good host.
func healthy() *Tunnel {
	lan, far := netip.MustParsePrefix("192.168.3.0/24"), netip.MustParsePrefix("10.10.0.0/16")
	return &Tunnel{
		Name: "hq", Conn: "hq", Dialect: "native", Device: "vpngw0", Initiates: true,
		Want: &config.Tunnel{
			Name: "hq", IKEVersion: 2, NATT: true, Start: config.StartActive, Routes: []netip.Prefix{far},
			Local:  config.End{Address: us, Subnets: []netip.Prefix{lan}},
			Remote: config.End{Address: them, Subnets: []netip.Prefix{far}},
		},
		State: tunnel.Up, Established: true, Encap: true, In: 10, Out: 10, Drops: map[string]uint64{"keepalive": 9, "no-policy": 1},
		Sent: Ports{2, 7}, Heard: Ports{2, 7},
		Host: host.Exam{Device: "eth0", Source: us, Addresses: []netip.Addr{us}, MTU: 1400},
	}
}

// connecting is the same tunnel while it is not up, for a reason.
func connecting(t *Tunnel, code diag.Code) {
	t.State, t.Cause = tunnel.Connecting, diag.Cause{Code: code, Peer: netip.AddrPortFrom(them, 500)}
	t.In, t.Out, t.Established = 0, 0, false
}

func filtered(hook host.Hook, proto uint8, port uint16, sure bool) host.Filtered {
	return host.Filtered{
		Passage: host.Passage{Hook: hook, From: netip.AddrPortFrom(them, port), To: netip.AddrPortFrom(us, port), Proto: proto, In: "vpngw0"},
		Rule:    "table inet fw, chain c", Sure: sure,
	}
}

func TestEachCheckFindsItsFault(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*Tunnel)
		want  []diag.Code
		says  string // in the first finding or what to do about it
	}{
		{"nothing", func(*Tunnel) {}, nil, ""},
		{"held", func(t *Tunnel) { connecting(t, diag.OperatorDown); t.State = tunnel.Down }, []diag.Code{diag.OperatorDown}, "vpngw down"},
		{"the peer is this host", func(t *Tunnel) {
			connecting(t, diag.Reflected)
			t.Host.Addresses = append(t.Host.Addresses, them)
		}, []diag.Code{diag.PeerIsOwn}, "`side`"},
		{"another local address", func(t *Tunnel) {
			connecting(t, diag.NoAnswer)
			t.Want.Local.Address = netip.MustParseAddr("203.0.113.77")
		}, []diag.Code{diag.NoAnswer, diag.AddressForeign}, ""},
		{"no route", func(t *Tunnel) {
			connecting(t, diag.SendFailed)
			t.Host.NoRoute, t.Host.Device, t.Host.Source = errors.New("none"), "", netip.Addr{}
		}, []diag.Code{diag.NoRoute}, "default route"},
		{"the peer is behind the tunnel", func(t *Tunnel) {
			connecting(t, diag.NoAnswer)
			t.Host.Device = "vpngw0"
		}, []diag.Code{diag.PeerInside}, "`routes`"},
		{"filter at input", func(t *Tunnel) {
			connecting(t, diag.NoAnswerYet)
			t.Host.Filtered = []host.Filtered{filtered(host.HookInput, 17, 500, true), filtered(host.HookInput, 50, 0, true)}
		}, []diag.Code{diag.FilterIn}, "drops UDP 500 from 198.51.100.1: table inet fw, chain c"},
		{"filter at output", func(t *Tunnel) {
			connecting(t, diag.NoAnswerYet)
			t.Host.Filtered = []host.Filtered{filtered(host.HookOutput, 17, 4500, true)}
		}, []diag.Code{diag.FilterOut}, "UDP 4500 to"},
		{"filter of protocol 50", func(t *Tunnel) {
			t.Encap, t.In = false, 0
			t.Host.Filtered = []host.Filtered{filtered(host.HookInput, 50, 0, true)}
		}, []diag.Code{diag.FilterIn}, "protocol 50"},
		{"filter at forward", func(t *Tunnel) {
			t.In = 0
			t.Host.Filtered = []host.Filtered{filtered(host.HookForward, 1, 0, true)}
		}, []diag.Code{diag.FilterForward}, "from the tunnel"},
		{"filter at forward, of one pair", func(t *Tunnel) {
			t.In = 0
			f := filtered(host.HookForward, 1, 0, true)
			f.Among = "from 10.20.0.0/16 to 192.168.4.0/24"
			t.Host.Filtered = []host.Filtered{f}
		}, []diag.Code{diag.FilterForward}, "from the tunnel, from 10.20.0.0/16 to 192.168.4.0/24: "},
		{"a filter that cannot be read", func(t *Tunnel) {
			connecting(t, diag.NoAnswerYet)
			t.Host.Filtered = []host.Filtered{filtered(host.HookInput, 17, 500, false)}
		}, []diag.Code{diag.FilterUnclear, diag.NoAnswerYet}, ""},
		{"a filter that cannot be read, and traffic", func(t *Tunnel) {
			t.Host.Filtered = []host.Filtered{filtered(host.HookInput, 17, 500, false)}
		}, nil, ""},
		{"NAT-T off behind a NAT", func(t *Tunnel) {
			connecting(t, diag.NoAnswerAuth)
			t.Want.NATT, t.Host.Source, t.Host.Addresses = false, netip.MustParseAddr("172.16.5.2"), nil
		}, []diag.Code{diag.NATTOff}, "`natt`"},
		{"port 4500", func(t *Tunnel) {
			connecting(t, diag.NoAnswerAuth)
			t.Sent, t.Heard = Ports{1, 4}, Ports{1, 0}
		}, []diag.Code{diag.NATTSilent}, "UDP 4500"},
		{"port 4500, of an attempt that goes on", func(t *Tunnel) {
			connecting(t, diag.NoAnswerYet)
			t.Sent, t.Heard = Ports{1, 3}, Ports{1, 0}
		}, []diag.Code{diag.NATTSilent}, "UDP 4500"},
		{"port 4500 at a peer that begins", func(t *Tunnel) {
			connecting(t, "")
			t.State, t.Cause, t.Initiates, t.Sent, t.Heard = tunnel.Waiting, diag.Cause{}, false, Ports{1, 0}, Ports{1, 0}
		}, []diag.Code{diag.NATTSilent}, "UDP 4500"},
		{"who begins", func(t *Tunnel) {
			connecting(t, "")
			t.State, t.Cause, t.Initiates, t.Heard = tunnel.Waiting, diag.Cause{}, false, Ports{}
		}, []diag.Code{diag.NobodyBegins}, "`initiate`"},
		{"SHA-256-96", func(t *Tunnel) { t.In = 0; t.Drops = map[string]uint64{"icv-length": 4, "bad-icv": 4} }, []diag.Code{diag.ICVLength}, "sha256_96: yes"},
		{"not SHA-256-96", func(t *Tunnel) { t.Want.Trunc96 = true; t.Drops = map[string]uint64{"icv-length": 4} }, []diag.Code{diag.ICVLength}, "sha256_96: no"},
		{"other keys", func(t *Tunnel) { t.In = 0; t.Drops = map[string]uint64{"bad-icv": 4} }, []diag.Code{diag.BadICV}, "4 packets"},
		{"forged packets", func(t *Tunnel) { t.Drops = map[string]uint64{"bad-icv": 4} }, nil, ""},
		{"the negotiation", func(t *Tunnel) { connecting(t, diag.PSKMismatch) }, []diag.Code{diag.PSKMismatch}, "make `psk` agree at both ends"},
		{"a rekey", func(t *Tunnel) { t.IKE = diag.Cause{Code: diag.ESPRefused} }, []diag.Code{diag.ESPRefused}, "`esp.proposals`"},
		{"the cloud's words", func(t *Tunnel) { connecting(t, diag.PeerIdentity); t.Dialect = "alibaba" }, []diag.Code{diag.PeerIdentity}, "`IkeConfig.LocalId`"},
		{"the cloud's words at the cloud", func(t *Tunnel) {
			connecting(t, diag.PeerIdentity)
			t.Dialect, t.Cloud = "alibaba", true
		}, []diag.Code{diag.PeerIdentity}, "`IkeConfig.RemoteId`"},
		{"ip_forward", func(t *Tunnel) {
			t.Out = 0
			t.Host.Findings = []host.Finding{{Cause: diag.Cause{Code: diag.IPForward}}, {Cause: diag.Cause{Code: diag.PortInUse, Count: 500, Name: "us"}}}
		}, []diag.Code{diag.IPForward}, "sysctl"},
		{"forwarding on one device", func(t *Tunnel) {
			t.Out = 0
			t.Host.Findings = []host.Finding{{Cause: diag.Cause{Code: diag.ForwardOff, Device: "lan", Name: "net/ipv4/conf/lan/forwarding"}}}
		}, []diag.Code{diag.ForwardOff}, "sysctl -w net/ipv4/conf/lan/forwarding=1"},
		{"a chain that drops what is forwarded", func(t *Tunnel) {
			t.Host.Findings = []host.Finding{{Cause: diag.Cause{Code: diag.ForwardDrop, Name: "filter FORWARD", Ours: "iptables"}}}
		}, []diag.Code{diag.ForwardDrop}, "iptables"},
		{"NAT", func(t *Tunnel) {
			t.In = 0
			t.Host.Findings = []host.Finding{{Cause: diag.Cause{Code: diag.SNAT, Device: "vpngw0", Name: "table ip nat, chain POSTROUTING", Ours: "iptables -t nat"}}}
		}, []diag.Code{diag.SNAT}, "iptables -t nat"},
		{"old flows", func(t *Tunnel) {
			t.Host.Findings = []host.Finding{{Cause: diag.Cause{Code: diag.OldFlows, Device: "vpngw0", Count: 3, Ours: "conntrack -D"}}}
		}, []diag.Code{diag.OldFlows}, "conntrack -D"},
		{"IPv6 is off", func(t *Tunnel) {
			t.Host.Findings = []host.Finding{{Cause: diag.Cause{Code: diag.IPv6Off, Device: "vpngw0"}}}
		}, []diag.Code{diag.IPv6Off}, "disable_ipv6=0"},
		{"another daemon's policies", func(t *Tunnel) {
			t.Host.Findings = []host.Finding{{Cause: diag.Cause{Code: diag.ForeignPolicy, Name: "src a dst b"}}}
		}, []diag.Code{diag.ForeignPolicy}, "ip xfrm policy flush"},
		{"cleartext", func(t *Tunnel) {
			t.Leak = diag.Cause{Code: diag.LeakRoute, Addr: us, Prefix: netip.MustParsePrefix("10.10.0.0/16"), Device: "wan", Err: "a rule"}
		}, []diag.Code{diag.LeakRoute}, "leave in clear by wan"},
		{"rp_filter", func(t *Tunnel) {
			t.Host.Findings = []host.Finding{{Cause: diag.Cause{Code: diag.RPFilter, Name: "eth0", Device: "eth0"}}}
		}, []diag.Code{diag.RPFilter}, "rp_filter=2"},
		{"no routes", func(t *Tunnel) {
			t.Want.Routes, t.Want.Remote.Subnets = nil, []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
		}, []diag.Code{diag.NoRoutes}, "`routes`"},
		{"no routes, as it was told", func(t *Tunnel) { t.Want.Routes = nil }, nil, ""},
		{"outside of our subnets", func(t *Tunnel) { t.In, t.Drops = 0, map[string]uint64{"no-policy": 5} }, []diag.Code{diag.OutsideOurs}, "[192.168.3.0/24] and [10.10.0.0/16]"},
		{"outside of the peer's", func(t *Tunnel) { t.Drops = map[string]uint64{"selector": 1} }, []diag.Code{diag.OutsideTheirs}, "at the peer"},
		{"nothing back", func(t *Tunnel) { t.In = 0 }, []diag.Code{diag.NothingBack}, "10 packets went into"},
		{"nothing back by protocol 50", func(t *Tunnel) { t.In, t.Encap = 0, false }, []diag.Code{diag.RawBlocked}, "encap: always"},
		{"nothing out", func(t *Tunnel) { t.Out = 0 }, []diag.Code{diag.NothingOut}, "[10.10.0.0/16]"},
		{"lifetimes", func(t *Tunnel) { t.Ended = 5 }, []diag.Code{diag.PeerEndsEarly}, "5 times"},
		{"another program", func(t *Tunnel) { t.Host.Others = []host.PortOwner{{Port: 500, Name: "charon (pid 7)"}} }, []diag.Code{diag.PortShared}, "charon (pid 7)"},
		{"tables that cannot be read", func(t *Tunnel) {
			t.Host.Findings = []host.Finding{{Cause: diag.Cause{Code: diag.FilterUnread, Name: "iptables: filter", Ours: "iptables-legacy-save"}}}
		}, []diag.Code{diag.FilterUnread}, "iptables-legacy-save"},
		{"a narrow path", func(t *Tunnel) { t.Host.MTU = 900 }, []diag.Code{diag.SmallMTU}, "900"},
		{"the clock", func(t *Tunnel) { t.Host.Unsynced = true }, []diag.Code{diag.ClockUnset}, "NTP"},
	} {
		tun := healthy()
		c.spoil(tun)
		d := Examine(tun)
		got := []diag.Code{}
		for _, f := range d.Findings {
			got = append(got, f.Code)
			if f.Code != tun.Cause.Code && f.Code != tun.IKE.Code && strings.Contains(f.Why, "(unknown)") || strings.Contains(f.Why, "\n") {
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
		if ill := len(got) > 0 && got[0] != diag.ClockUnset && got[0] != diag.FilterUnread && got[0] != diag.OperatorDown; d.Ill() != ill {
			t.Errorf("%s: ill is %v", c.name, d.Ill())
		}
	}
}

// Every check bears a tunnel of which little is known.
func TestLittleIsKnown(t *testing.T) {
	d := Examine(&Tunnel{Name: "hq", Want: &config.Tunnel{}, State: tunnel.Down, Since: time.Unix(0, 0)})
	if len(d.Checked) != len(checks) || d.Ill() {
		t.Errorf("%+v", d)
	}
}

// What explains a finding exists.
func TestWhatIsExplainedIsFound(t *testing.T) {
	for code, list := range explains {
		for _, c := range append(list, code) {
			if diag.Lookup(c) == nil {
				t.Errorf("%s is no code", c)
			}
		}
	}
}

func TestPassages(t *testing.T) {
	tun := healthy()
	got := Passages(tun.Want, "vpngw0", true)("eth0", us)
	var hooks []host.Hook
	for _, p := range got {
		hooks = append(hooks, p.Hook)
	}
	in, out, fwd := host.HookInput, host.HookOutput, host.HookForward
	if want := []host.Hook{out, in, out, in, out, in, fwd, fwd}; !reflect.DeepEqual(hooks, want) {
		t.Fatalf("hooks %v, want %v", hooks, want)
	}
	if p := got[1]; p.From != netip.AddrPortFrom(them, 500) || p.To != netip.AddrPortFrom(us, 500) || p.In != "eth0" || !p.Answer || p.Proto != 17 {
		t.Errorf("%+v", p)
	}
	if p := got[7]; p.From.Addr() != netip.MustParseAddr("10.10.0.1") || p.In != "vpngw0" || p.Out != "" {
		t.Errorf("%+v", p)
	}
	for i := range 20 { // 21 times 1 pairs, then 21 times 21
		tun.Want.Local.Subnets = append(tun.Want.Local.Subnets, netip.MustParsePrefix(fmt.Sprintf("192.168.%d.0/24", 100+i)))
	}
	got = Passages(tun.Want, "vpngw0", true)("eth0", us)
	if n := len(got) - 6; n != 2*21 || got[6+2*20].Sources != tun.Want.Local.Subnets[20] || got[7+2*20].Targets != tun.Want.Local.Subnets[20] {
		t.Errorf("of 21 pairs: %d passages, the last ones %+v", n, got[len(got)-2:])
	}
	for i := range 20 {
		tun.Want.Remote.Subnets = append(tun.Want.Remote.Subnets, netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", 100+i)))
	}
	if n := len(Passages(tun.Want, "vpngw0", true)("eth0", us)) - 6; n != 2*maxPairs {
		t.Errorf("of 441 pairs: %d passages, want %d", n, 2*maxPairs)
	}
	tun.Want.Remote.Port = 14500
	if p := Passages(tun.Want, "vpngw0", true)("eth0", us)[1]; p.From != netip.AddrPortFrom(them, 14500) || p.To != netip.AddrPortFrom(us, 4500) {
		t.Errorf("of a given port: %+v", p)
	}
	if got := Passages(tun.Want, "vpngw0", true)("", netip.Addr{}); got != nil {
		t.Errorf("without a route: %+v", got)
	}
}
