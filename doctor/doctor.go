// Package doctor finds out why a tunnel does not do what it should: `vpngw doctor`. The daemon gathers a Tunnel, which
// is what it knows and what its host says; each check looks at that alone, so a test hands in a Tunnel. A finding is a
// diag.Cause with who has to change what. The package changes nothing and does no I/O.
package doctor

import (
	"net/netip"
	"slices"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/host"
	"vpngw/tunnel"
)

// Tunnel is one tunnel as a check sees it.
type Tunnel struct {
	Name, Conn, Dialect string
	Cloud               bool // this host is the cloud's end
	Want                *config.Tunnel
	Initiates           bool
	Device              string

	State tunnel.State
	Since time.Time
	Cause diag.Cause // of State
	IKE   diag.Cause // what IKE last failed at, perhaps a rekey of a tunnel that is up

	Established bool // there is an IKE SA
	Encap       bool // ESP travels in UDP
	Sent, Heard Ports

	In, Out uint64            // packets of the present Child SAs
	Drops   map[string]uint64 // packets of the tunnel, by name
	Ended   int               // how often the peer has deleted its SAs in the last hour

	Host host.Exam
	Leak diag.Cause // that packets leave in clear; OK: they do not
	BGP  *BGP       // nil: there is none
}

// Ports count IKE messages by the peer's port.
type Ports struct{ IKE, NATT uint64 }

// Finding is one thing that is wrong, and who has to change what.
type Finding struct {
	Severity diag.Severity `json:"severity"`
	diag.Report
	diag.Advice
	Do string `json:"do"` // Advice in words
}

// Diagnosis is what was found of one tunnel, the likely cause first.
type Diagnosis struct {
	Tunnel     string       `json:"tunnel"`
	Connection string       `json:"connection"`
	State      tunnel.State `json:"state"`
	Since      time.Time    `json:"since"`
	Checked    []string     `json:"checked"`
	Findings   []Finding    `json:"findings"`
}

// Ill reports whether something was found that should be changed.
func (d Diagnosis) Ill() bool {
	return slices.ContainsFunc(d.Findings, func(f Finding) bool { return f.Severity != diag.Info })
}

// Examine runs every check.
func Examine(t *Tunnel) Diagnosis {
	d := Diagnosis{Tunnel: t.Name, Connection: t.Conn, State: t.State, Since: t.Since.UTC(), Findings: []Finding{}}
	var found []diag.Cause
	for _, c := range checks {
		d.Checked = append(d.Checked, c.name)
		found = append(found, c.look(t)...)
	}
	for _, c := range ranked(found) {
		a := c.Advice(t.Dialect, t.Cloud)
		d.Findings = append(d.Findings, Finding{c.Severity(), c.Report(), a, a.String()})
	}
	return d
}

// check is one of the checks: its name for people, and what it finds.
type check struct {
	name string
	look func(*Tunnel) []diag.Cause
}

// checks are all checks, those first whose findings explain what later ones find.
var checks = []check{
	{"operator", held},
	{"addresses", addresses},
	{"route", route},
	{"packet filter", filter},
	{"NAT", nat},
	{"ESP", authentic},
	{"negotiation", negotiation},
	{"UDP 500 and 4500", ports},
	{"ip_forward", found(diag.IPForward)},
	{"forwarding by device", found(diag.ForwardOff, diag.ForwardDrop)},
	{"source NAT", found(diag.SNAT, diag.OldFlows)},
	{"IPv6", found(diag.IPv6Off)},
	{"other IPsec policies", found(diag.ForeignPolicy)},
	{"cleartext", leaking},
	{"routes", routes},
	{"BGP session", session},
	{"BGP routes", exchange},
	{"selectors", selectors},
	{"one-way traffic", oneWay},
	{"lifetimes", lifetimes},
	{"rp_filter", reversePath},
	{"other daemons", others},
	{"older packet filter", found(diag.FilterUnread)},
	{"MTU", mtu},
	{"clock", clock},
}

// ofHost are the checks that look at the host more than at the peer, and what they find that concerns all tunnels.
var (
	ofHost = []string{"packet filter", "ip_forward", "forwarding by device", "source NAT", "IPv6", "other IPsec policies", "cleartext", "rp_filter", "other daemons"}
	ofAll  = []diag.Code{diag.IPForward, diag.ForwardOff, diag.ForwardDrop, diag.RPFilter, diag.IPv6Off, diag.ForeignPolicy, diag.PortShared}
)

// Obstacles finds what on the host is for sure in the way of a tunnel that is wanted.
func Obstacles(t *Tunnel) []diag.Cause {
	if len(held(t)) > 0 {
		return nil
	}
	var found []diag.Cause
	for _, c := range checks {
		if slices.Contains(ofHost, c.name) {
			found = append(found, c.look(t)...)
		}
	}
	return slices.DeleteFunc(ranked(found), func(c diag.Cause) bool { return c.Severity() == diag.Info || c.Is(diag.FilterUnclear) })
}

// OfAll reports whether what was found of one tunnel concerns all of the host.
func OfAll(c diag.Cause) bool { return slices.Contains(ofAll, c.Code) }

// silence are causes that say only that the peer was not heard.
var silence = []diag.Code{
	diag.NoAnswer, diag.NoAnswerYet, diag.NoAnswerAuth, diag.NoAnswerKeys, diag.NoAnswerSize, diag.NoAnswerQuick,
	diag.PeerStopped, diag.PeerDead, diag.LivenessDead, diag.SendFailed, diag.NoRoute, diag.Reflected, diag.NobodyBegins,
}

// unspoken are causes that say only that there is no BGP session.
var unspoken = []diag.Code{diag.BGPWaits, diag.BGPNoAnswer, diag.BGPInside, diag.BGPPassword, diag.BGPBothWait}

// halves are causes that say only that packets go one way.
var halves = []diag.Code{diag.NothingBack, diag.NothingOut, diag.RawBlocked}

// explains lists by a cause what it explains, so that this need not be said.
var explains = map[diag.Code][]diag.Code{
	diag.OperatorDown:   silence,
	diag.PeerIsOwn:      append([]diag.Code{diag.AddressForeign}, silence...),
	diag.PeerInside:     silence,
	diag.FilterIn:       slices.Concat(halves, silence, unspoken),
	diag.FilterOut:      slices.Concat(halves, silence, unspoken),
	diag.NATTOff:        append([]diag.Code{diag.AddressForeign, diag.NothingBack, diag.RawBlocked}, silence...),
	diag.NATTSilent:     silence,
	diag.NameUnresolved: {diag.NoRoute, diag.SendFailed, diag.NobodyBegins},
	diag.NoRoute:        {diag.SendFailed, diag.NoAnswer, diag.NoAnswerYet},
	diag.FilterForward:  append([]diag.Code{diag.ForwardDrop}, halves...),
	diag.IPForward:      halves,
	diag.ForwardOff:     halves,
	diag.SNAT:           halves,
	diag.IPv6Off:        halves,
	diag.ForeignPolicy:  halves,
	diag.ICVLength:      append([]diag.Code{diag.BadICV}, halves...),
	diag.BadICV:         halves,
	diag.OutsideOurs:    halves,
	diag.OutsideTheirs:  halves,
	diag.NoRoutes:       halves,
}

// ranked leaves out what another finding explains, and puts errors before warnings.
func ranked(found []diag.Cause) []diag.Cause {
	explained := map[diag.Code]bool{}
	for _, c := range found {
		for _, code := range explains[c.Code] {
			explained[code] = true
		}
	}
	var out []diag.Cause
	for _, s := range []diag.Severity{diag.Error, diag.Warning, diag.Info} {
		for _, c := range found {
			if c.Severity() == s && !explained[c.Code] && !slices.ContainsFunc(out, c.Equal) {
				out = append(out, c)
			}
		}
	}
	return out
}

// maxPairs is how many pairs of a tunnel's networks the host is asked about.
const maxPairs = 64

// Passages are the packets that the packet filter is asked about: IKE and ESP with the peer both ways, BGP in the tunnel, and
// what is forwarded both ways.
func Passages(t *config.Tunnel, device string, initiates bool) func(wan string, source netip.Addr) []host.Passage {
	return func(wan string, source netip.Addr) []host.Passage {
		peer := t.Remote.Address
		if !source.IsValid() || source.Is4() != peer.Is4() {
			return nil
		}
		var out []host.Passage
		type passage struct {
			proto        uint8
			port, theirs uint16
		}
		ps := []passage{{udp, host.PortIKE, host.PortIKE}, {udp, host.PortNATT, host.PortNATT}, {espProto, 0, 0}}
		if port := t.Remote.Port; port != 0 && port != host.PortIKE {
			ps = []passage{{udp, host.PortNATT, port}, {espProto, 0, 0}}
		}
		for _, p := range ps {
			us, them := netip.AddrPortFrom(source, p.port), netip.AddrPortFrom(peer, p.theirs)
			out = append(out,
				host.Passage{Hook: host.HookOutput, From: us, To: them, Proto: p.proto, Out: wan},
				host.Passage{Hook: host.HookInput, From: them, To: us, Proto: p.proto, In: wan, Answer: initiates})
		}
		if t.BGP != nil && t.Inside.IsValid() && t.Peer.IsValid() {
			us, them := netip.AddrPortFrom(t.Inside.Addr(), host.BGPPort), netip.AddrPortFrom(t.Peer, host.BGPPort)
			out = append(out,
				host.Passage{Hook: host.HookOutput, From: us, To: them, Proto: tcp, Out: device},
				host.Passage{Hook: host.HookInput, From: them, To: us, Proto: tcp, In: device, Answer: !t.BGP.Passive})
		}
		pairs := 0
		for _, p := range t.EachPair() {
			if pairs == maxPairs {
				break
			}
			if p.Local.Bits() == 0 || p.Remote.Bits() == 0 {
				continue
			}
			pairs++
			here, there := netip.AddrPortFrom(host.FirstHost(p.Local), 0), netip.AddrPortFrom(host.FirstHost(p.Remote), 0)
			echo := uint8(icmp)
			if p.Local.Addr().Is6() {
				echo = icmpv6
			}
			out = append(out,
				host.Passage{Hook: host.HookForward, From: here, To: there, Proto: echo, Out: device, Sources: p.Local, Targets: p.Remote},
				host.Passage{Hook: host.HookForward, From: there, To: here, Proto: echo, In: device, Sources: p.Remote, Targets: p.Local})
		}
		return out
	}
}

const (
	icmp     = 1
	icmpv6   = 58
	tcp      = 6
	udp      = 17
	espProto = 50
)
