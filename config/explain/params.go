package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vpngw/config"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// params are the parameters of a tunnel, in the order in which they are shown. The name is
// the word in a row's Goes. of returns the values: none where the parameter has no meaning,
// and where there can be several, each with what to append to the name.
var params = []struct {
	name string
	of   func(*subject) []Param
}{
	{"name", func(t *subject) []Param { return []Param{{Value: t.Name}} }},
	{"partial", func(t *subject) []Param {
		if t.unserved == nil {
			return when(t.conn.Partial, "runs without what is not served yet", "")
		}
		return when(t.conn.Partial, "runs without "+t.unserved.String(), "")
	}},
	{"pair", func(t *subject) []Param { return when(t.conn.Pair != "", t.conn.Pair, "") }},
	{"role", func(t *subject) []Param {
		return when(t.Role != config.Single, string(t.Role), "")
	}},
	{"routing", func(t *subject) []Param {
		return when(t.conn.Routing != "", string(t.conn.Routing), "")
	}},
	{"local address", func(t *subject) []Param { return address(t.Local.Address) }},
	{"remote address", func(t *subject) []Param {
		if h := t.Remote.Host; h != "" {
			return []Param{{Value: h + ", looked up", Wire: "UDP 500, 4500"}}
		}
		if t.Remote.Any {
			return []Param{{Value: "any: whoever proves the identity", Wire: "UDP 500, 4500"}}
		}
		return address(t.Remote.Address)
	}},
	{"remote port", func(t *subject) []Param {
		p := t.Remote.Port
		return when(p != 0, fmt.Sprintf("%d only", p), fmt.Sprintf("UDP %d", p))
	}},
	{"local identity", func(t *subject) []Param { return identity(t.Local.ID) }},
	{"remote identity", func(t *subject) []Param { return identity(t.Remote.ID) }},
	{"local networks", func(t *subject) []Param { return networks(t.Tunnel, t.Local.Subnets) }},
	{"remote networks", func(t *subject) []Param { return networks(t.Tunnel, t.Remote.Subnets) }},
	{"pairs of networks", pairs},
	{"Child SAs", children},

	{"IKE version", version},
	{"IKEv1 mode", mode},
	{"authentication", authentication},
	{"pre-shared key", func(t *subject) []Param { return []Param{{Value: notShown(t.PSK)}} }},
	{"IKE encryption", func(t *subject) []Param { return algorithms(t.Tunnel, ike, ipsec.Encr) }},
	{"IKE integrity", func(t *subject) []Param { return algorithms(t.Tunnel, ike, ipsec.Integ) }},
	{"IKE PRF", func(t *subject) []Param { return algorithms(t.Tunnel, ike, ipsec.PRF) }},
	{"IKE key exchange", func(t *subject) []Param { return algorithms(t.Tunnel, ike, ipsec.KE) }},
	{"IKE lifetime", func(t *subject) []Param {
		return lifetime(t.Tunnel, t.IKELifetime, "life duration")
	}},

	{"ESP encryption", func(t *subject) []Param { return algorithms(t.Tunnel, esp, ipsec.Encr) }},
	{"ESP integrity", func(t *subject) []Param { return algorithms(t.Tunnel, esp, ipsec.Integ) }},
	{"PFS", func(t *subject) []Param { return algorithms(t.Tunnel, esp, ipsec.KE) }},
	{"sequence numbers", func(t *subject) []Param { return algorithms(t.Tunnel, esp, ipsec.ESN) }},
	{"SHA-256 of ESP", truncation},
	{"ESP lifetime", func(t *subject) []Param {
		return lifetime(t.Tunnel, t.ESPLifetime.Time, "SA life duration")
	}},
	{"ESP bytes", func(t *subject) []Param { return limit(t.ESPLifetime.Bytes) }},
	{"ESP packets", func(t *subject) []Param { return limit(t.ESPLifetime.Packets) }},
	{"early rekey", func(t *subject) []Param {
		return when(t.EarlyRekey, "some seconds after the start", "")
	}},

	{"NAT traversal", natTraversal},
	{"ESP encapsulation", encapsulation},
	{"DSCP", func(t *subject) []Param {
		return choice(t.CopyDSCP, "copied to the outer header", "not copied")
	}},
	{"MTU", func(t *subject) []Param {
		switch {
		case t.MTU == 0:
			return []Param{{Value: "what fits on the path"}}
		case t.DF == config.DFClear:
			return []Param{{Value: fmt.Sprintf("%d bytes", t.MTU)}}
		}
		return []Param{{Value: fmt.Sprintf("%d bytes, or what fits on the path", t.MTU)}}
	}},
	{"fragmentation", fragmentation},
	{"dead peer detection", func(t *subject) []Param {
		return choice(t.DPD != dpd.Config{}, "on", "off")
	}},
	{"DPD interval", func(t *subject) []Param {
		return when(t.DPD.Interval > 0, Span(t.DPD.Interval), "")
	}},
	{"DPD timeout", dpdTimeout},
	{"DPD action", func(t *subject) []Param {
		if t.DPD.Interval == 0 {
			return nil
		}
		return choice(t.DPD.Clear, "clear: this end waits for the peer", "restart: this end tries again at once, if it initiates")
	}},
	{"DPD messages", dpdMessages},
	{"initiation", func(t *subject) []Param {
		return []Param{{Value: map[config.Start]string{
			config.StartActive: "this end initiates", config.StartPassive: "this end only answers", config.StartOnTraffic: "this end initiates when it has a packet",
		}[t.Start]}}
	}},

	{"device", func(t *subject) []Param {
		if t.Device == "" {
			return []Param{{Value: "the first free vpngwN"}}
		}
		return []Param{{Value: t.Device}}
	}},
	{"routes", func(t *subject) []Param { return []Param{{Value: list(t.Routes)}} }},
	{"before up", func(t *subject) []Param {
		return choice(t.Pass, "in clear by other routes (pass)", "dropped")
	}},
	{"metric", func(t *subject) []Param { return []Param{{Value: fmt.Sprint(t.Metric)}} }},
	{"local inside address", func(t *subject) []Param {
		return when(t.Inside.IsValid(), t.Inside.String(), "")
	}},
	{"remote inside address", func(t *subject) []Param {
		return when(t.Peer.IsValid(), t.Peer.String(), "")
	}},
	{"local AS", func(t *subject) []Param {
		return when(t.Local.ASN > 0, fmt.Sprint(t.Local.ASN), "")
	}},
	{"remote AS", func(t *subject) []Param {
		return when(t.Remote.ASN > 0, fmt.Sprint(t.Remote.ASN), "")
	}},
	{"BGP", func(t *subject) []Param {
		return when(t.BGP != nil, "wanted"+t.without(config.BGPSessions), "")
	}},
	{"BGP key", func(t *subject) []Param {
		if t.BGP == nil {
			return nil
		}
		return when(len(t.BGP.AuthKey) > 0, notShown(t.BGP.AuthKey), "TCP MD5 (19)")
	}},
	{"BGP initiation", session(initiation)},
	{"BGP hold", session(func(b *config.BGP) (string, string) {
		return Span(b.Hold), fmt.Sprintf("Hold Time %d", int(b.Hold.Seconds()))
	})},
	{"BGP keepalive", session(func(b *config.BGP) (string, string) { return Span(b.Keepalive), "" })},
	{"BGP TTL security", session(ttlSecurity)},
	{"BGP graceful restart", session(graceful)},
	{"BGP router ID", session(func(b *config.BGP) (string, string) {
		return either(b.RouterID, "this end's address in the tunnel"), ""
	})},
	{"BFD", session(bfd)},
	{"BFD interval", session(func(b *config.BGP) (string, string) {
		if b.BFD == nil {
			return "", ""
		}
		return Span(b.BFD.Interval), fmt.Sprintf("Desired Min TX, Required Min RX %d", b.BFD.Interval.Microseconds())
	})},
	{"BFD multiplier", session(func(b *config.BGP) (string, string) {
		if b.BFD == nil {
			return "", ""
		}
		return fmt.Sprint(b.BFD.Multiplier), fmt.Sprintf("Detect Mult %d", b.BFD.Multiplier)
	})},
	{"BGP announces", session(announces)},
	{"BGP export filter", session(func(b *config.BGP) (string, string) { return joined(b.Export), "" })},
	{"BGP never announces", session(func(b *config.BGP) (string, string) { return joined(b.NeverTell), "" })},
	{"BGP announced prefixes", session(func(b *config.BGP) (string, string) { return atMost(b.MaxTell), "" })},
	{"BGP accepts", session(accepts)},
	{"BGP never accepts", session(func(b *config.BGP) (string, string) { return joined(b.Never), "" })},
	{"BGP prefixes", session(func(b *config.BGP) (string, string) { return atMost(b.MaxPrefixes), "" })},
	{"BGP over the limit", session(overLimit)},
	{"BGP transit", session(transit)},
	{"BGP and routes", session(preferred)},
	{"BGP communities", session(communities)},
	{"BGP MED", session(discriminator)},
	{"BGP prepending", session(prepending)},
	{"health check", func(t *subject) []Param {
		if t.Health == nil {
			return nil
		}
		without := t.without(config.HealthChecks)
		return choice(t.Health.Ours, "this end pings"+without, "the other end pings"+without)
	}},
	{"health check source", health(func(h *config.Health) string { return h.Source.String() })},
	{"health check target", health(func(h *config.Health) string { return h.Target.String() })},
	{"health check interval", health(func(h *config.Health) string { return Span(h.Interval) })},
	{"health check timeout", health(func(h *config.Health) string { return Span(h.Timeout) })},
	{"health check retries", health(func(h *config.Health) string { return fmt.Sprint(h.Retries) })},
	{"health check policy", health(policy)},
	{"own health check", func(t *subject) []Param {
		return when(t.OwnHealth != nil, "this end pings"+t.without(config.HealthChecks), "")
	}},
	{"own health check source", ownHealth(func(h *config.Health) string {
		return either(h.Source, "this end's address in the tunnel, else this host's in the local networks")
	})},
	{"own health check target", ownHealth(func(h *config.Health) string {
		return either(h.Target, "the other end's address in the tunnel")
	})},
	{"own health check interval", ownHealth(func(h *config.Health) string { return Span(h.Interval) })},
	{"own health check timeout", ownHealth(func(h *config.Health) string { return Span(h.Timeout) })},
	{"own health check retries", ownHealth(func(h *config.Health) string { return fmt.Sprint(h.Retries) })},
	{"own health check policy", ownHealth(policy)},
	{"failover hold", func(t *subject) []Param {
		return when(t.conn.Switching != config.Switching{}, Span(t.conn.Switching.Hold), "")
	}},
	{"balance", func(t *subject) []Param {
		if (t.conn.Switching == config.Switching{}) {
			return nil
		}
		return choice(t.conn.Switching.Balance, "yes: both tunnels carry traffic, each flow through one of them", "no: the traffic is on one tunnel")
	}},
	{"switch back", func(t *subject) []Param {
		if (t.conn.Switching == config.Switching{}) {
			return nil
		}
		return choice(t.conn.Switching.Manual, "manual: by vpngw failback", "auto")
	}},
}

// subject is a tunnel, its connection, and what the daemon does not serve of that.
type subject struct {
	*config.Tunnel
	conn     *config.Connection
	unserved config.Features // nil also where the daemon was not asked
}

// notShown tells of a key no more than how long it is, which shows a byte too many in its file.
func notShown(key ipsec.Secret) string {
	if len(key) == 0 {
		return "(not shown)" // the cloud chooses it
	}
	return fmt.Sprintf("(%d bytes, not shown)", len(key))
}

// without returns the remark after a value that says that the daemon does not serve f.
func (t *subject) without(f config.Feature) string {
	if slices.Contains(t.unserved, f) {
		return "; not served yet"
	}
	return ""
}

// when is a value, or none.
func when(is bool, value, wire string) []Param {
	if !is {
		return nil
	}
	return []Param{{Value: value, Wire: wire}}
}

func choice(is bool, yes, no string) []Param {
	if is {
		return []Param{{Value: yes}}
	}
	return []Param{{Value: no}}
}

func address(a netip.Addr) []Param {
	if !a.IsValid() {
		return []Param{{Value: "the one that the route chooses", Wire: "UDP 500, 4500"}}
	}
	return []Param{{Value: a.String(), Wire: "UDP 500, 4500"}}
}

func identity(id ipsec.Identity) []Param {
	switch {
	case id.Type == 0:
		return []Param{{Value: "not known"}}
	case id == ipsec.AnyIdentity:
		return []Param{{Value: "any; whoever has the key"}}
	}
	return []Param{{Value: id.String(), Wire: fmt.Sprintf("%s (%d)", idTypes[id.Type], id.Type)}}
}

func networks(t *config.Tunnel, ps []netip.Prefix) []Param {
	return []Param{{Value: list(ps), Wire: versions(t, selectors(ps, selector2), selectors(ps, selector1))}}
}

func pairs(t *subject) []Param {
	var out []string
	for _, p := range t.Pairs {
		out = append(out, fmt.Sprintf("%v - %v", p.Local, p.Remote))
	}
	return when(len(out) > 0, strings.Join(out, ", "), "")
}

func children(t *subject) []Param {
	if t.IKEVersion == 1 || t.Children == config.Pairs {
		return []Param{{Value: "one for each pair of networks"}}
	}
	return []Param{{Value: "one for all networks"}}
}

func version(t *subject) []Param {
	return []Param{{
		Value: map[int]string{0: "2, and 1 if the peer begins so", 1: "1", 2: "2"}[t.IKEVersion],
		Wire:  versions(t.Tunnel, "version 0x20", "version 0x10"),
	}}
}

func mode(t *subject) []Param {
	switch {
	case t.IKEVersion == 2:
		return nil
	case t.Aggressive:
		return []Param{{Value: "aggressive", Wire: "exchange type 4", Weak: "whoever hears it can try keys at home"}}
	}
	return []Param{{Value: "main", Wire: "exchange type 2"}}
}

func authentication(t *subject) []Param {
	return []Param{{Value: "pre-shared key", Wire: versions(t.Tunnel, "Shared Key Message Integrity Code (2)", "authentication method 1")}}
}

func lifetime(t *config.Tunnel, d time.Duration, attribute string) []Param {
	wire := ""
	if d > 0 && t.IKEVersion != 2 {
		wire = versions(t, "not said", fmt.Sprintf("%s %d s", attribute, int64(d.Seconds())))
	}
	if d == 0 {
		return []Param{{Value: "without end", Weak: "never rekeyed because of its age"}}
	}
	return []Param{{Value: Span(d), Wire: wire}}
}

func limit(n uint64) []Param {
	if n == 0 {
		return []Param{{Value: "any number"}}
	}
	return []Param{{Value: fmt.Sprint(n)}}
}

// truncation shows when HMAC-SHA-256 of ESP is cut to 96 bits.
func truncation(t *subject) []Param {
	return when(t.Trunc96, "cut to 96 bits", "ICV of 12 bytes in place of 16")
}

func natTraversal(t *subject) []Param {
	if !t.NATT {
		return []Param{{Value: "off"}}
	}
	return []Param{{Value: "on", Wire: versions(t.Tunnel, "NAT_DETECTION_SOURCE_IP (16388), NAT_DETECTION_DESTINATION_IP (16389)", "vendor ID of RFC 3947, NAT-D (20)")}}
}

func encapsulation(t *subject) []Param {
	switch t.Encap {
	case config.EncapAlways:
		return []Param{{Value: "always in UDP", Wire: "UDP 4500"}}
	case config.EncapNever:
		return []Param{{Value: "never in UDP", Wire: "protocol 50"}}
	}
	return []Param{{Value: "in UDP where there is a NAT", Wire: "protocol 50, or UDP 4500"}}
}

func fragmentation(t *subject) []Param {
	switch t.DF {
	case config.DFClear:
		return []Param{{Value: "packets of ESP may be fragmented", Wire: "DF 0"}}
	case config.DFSet:
		return []Param{{Value: "none; routers tell the path's MTU", Wire: "DF 1"}}
	}
	return []Param{{Value: "none; probes and routers tell the path's MTU", Wire: "DF 1"}}
}

func dpdTimeout(t *subject) []Param {
	switch {
	case t.DPD.Interval == 0:
		return nil
	case t.DPD.Timeout == 0:
		return []Param{{Value: "when retransmission ends"}}
	}
	return []Param{{Value: Span(t.DPD.Timeout)}}
}

func dpdMessages(t *subject) []Param {
	if t.DPD.Interval == 0 {
		return nil
	}
	value := "as IKEv2 has them"
	if t.IKEVersion != 2 {
		value = t.DPD.Order.String()
	}
	return []Param{{Value: value, Wire: versions(t.Tunnel, "INFORMATIONAL without payloads", "R-U-THERE (36136), R-U-THERE-ACK (36137)")}}
}

// health and ownHealth are parameters of the body's check and of ours.
func health(of func(*config.Health) string) func(*subject) []Param {
	return pinging(func(t *subject) *config.Health { return t.Health }, of)
}

func ownHealth(of func(*config.Health) string) func(*subject) []Param {
	return pinging(func(t *subject) *config.Health { return t.OwnHealth }, of)
}

func pinging(which func(*subject) *config.Health, of func(*config.Health) string) func(*subject) []Param {
	return func(t *subject) []Param {
		h := which(t)
		if h == nil {
			return nil
		}
		return []Param{{Value: of(h)}}
	}
}

func either(a netip.Addr, without string) string {
	if a.IsValid() {
		return a.String()
	}
	return without
}

func policy(h *config.Health) string {
	if h.Keep {
		return "the routes of an ill tunnel stay"
	}
	return "the routes of an ill tunnel are taken away"
}

func list(ps []netip.Prefix) string {
	if len(ps) == 0 {
		return "none"
	}
	var out []string
	for _, p := range ps {
		out = append(out, p.String())
	}
	return strings.Join(out, ", ")
}

// Span is a time as people write it: 24h, 90s, 1h30m.
func Span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
