package explain

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"vpngw/config"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// params are the parameters of a tunnel, in the order in which they are shown. A name is
// what Goes of a row says; of is the values, with what follows upon the name where
// there can be several; none where it has no meaning.
var params = []struct {
	name string
	of   func(*config.Connection, *config.Tunnel) []Param
}{
	{"name", func(_ *config.Connection, t *config.Tunnel) []Param { return []Param{{Value: t.Name}} }},
	{"partial", func(c *config.Connection, _ *config.Tunnel) []Param {
		return when(c.Partial, "runs without "+strings.Join(c.Unserved(), ", "), "")
	}},
	{"role", func(_ *config.Connection, t *config.Tunnel) []Param {
		return when(t.Role != config.Single, string(t.Role), "")
	}},
	{"routing", func(c *config.Connection, _ *config.Tunnel) []Param {
		return when(c.Routing != "", string(c.Routing), "")
	}},
	{"local address", func(_ *config.Connection, t *config.Tunnel) []Param { return address(t.Local.Address) }},
	{"remote address", func(_ *config.Connection, t *config.Tunnel) []Param { return address(t.Remote.Address) }},
	{"local identity", func(_ *config.Connection, t *config.Tunnel) []Param { return identity(t.Local.ID) }},
	{"remote identity", func(_ *config.Connection, t *config.Tunnel) []Param { return identity(t.Remote.ID) }},
	{"local networks", func(_ *config.Connection, t *config.Tunnel) []Param { return networks(t, t.Local.Subnets) }},
	{"remote networks", func(_ *config.Connection, t *config.Tunnel) []Param { return networks(t, t.Remote.Subnets) }},
	{"pairs of networks", pairs},
	{"Child SAs", children},

	{"IKE version", version},
	{"IKEv1 mode", mode},
	{"authentication", authentication},
	{"pre-shared key", func(*config.Connection, *config.Tunnel) []Param { return []Param{{Value: "(not shown)"}} }},
	{"IKE encryption", func(_ *config.Connection, t *config.Tunnel) []Param { return algorithms(t, ike, ipsec.Encr) }},
	{"IKE integrity", func(_ *config.Connection, t *config.Tunnel) []Param { return algorithms(t, ike, ipsec.Integ) }},
	{"IKE PRF", func(_ *config.Connection, t *config.Tunnel) []Param { return algorithms(t, ike, ipsec.PRF) }},
	{"IKE key exchange", func(_ *config.Connection, t *config.Tunnel) []Param { return algorithms(t, ike, ipsec.KE) }},
	{"IKE lifetime", func(_ *config.Connection, t *config.Tunnel) []Param {
		return lifetime(t, t.IKELifetime, "life duration")
	}},

	{"ESP encryption", func(_ *config.Connection, t *config.Tunnel) []Param { return algorithms(t, esp, ipsec.Encr) }},
	{"ESP integrity", func(_ *config.Connection, t *config.Tunnel) []Param { return algorithms(t, esp, ipsec.Integ) }},
	{"PFS", func(_ *config.Connection, t *config.Tunnel) []Param { return algorithms(t, esp, ipsec.KE) }},
	{"sequence numbers", func(_ *config.Connection, t *config.Tunnel) []Param { return algorithms(t, esp, ipsec.ESN) }},
	{"SHA-256 of ESP", truncation},
	{"ESP lifetime", func(_ *config.Connection, t *config.Tunnel) []Param {
		return lifetime(t, t.ESPLifetime.Time, "SA life duration")
	}},
	{"ESP bytes", func(_ *config.Connection, t *config.Tunnel) []Param { return limit(t.ESPLifetime.Bytes) }},
	{"ESP packets", func(_ *config.Connection, t *config.Tunnel) []Param { return limit(t.ESPLifetime.Packets) }},

	{"NAT traversal", natTraversal},
	{"ESP encapsulation", encapsulation},
	{"DSCP", func(_ *config.Connection, t *config.Tunnel) []Param {
		return choice(t.CopyDSCP, "copied to the outer header", "not copied")
	}},
	{"dead peer detection", func(_ *config.Connection, t *config.Tunnel) []Param {
		return choice(t.DPD != dpd.Config{}, "on", "off")
	}},
	{"DPD interval", func(_ *config.Connection, t *config.Tunnel) []Param {
		return when(t.DPD.Interval > 0, Span(t.DPD.Interval), "")
	}},
	{"DPD timeout", dpdTimeout},
	{"DPD messages", dpdMessages},
	{"initiation", func(_ *config.Connection, t *config.Tunnel) []Param {
		return choice(t.Initiate, "this end initiates", "this end only answers")
	}},

	{"device", func(_ *config.Connection, t *config.Tunnel) []Param {
		if t.Device == "" {
			return []Param{{Value: "the first free vpngwN"}}
		}
		return []Param{{Value: t.Device}}
	}},
	{"routes", func(_ *config.Connection, t *config.Tunnel) []Param { return []Param{{Value: list(t.Routes)}} }},
	{"local inside address", func(_ *config.Connection, t *config.Tunnel) []Param {
		return when(t.Inside.IsValid(), t.Inside.String(), "")
	}},
	{"remote inside address", func(_ *config.Connection, t *config.Tunnel) []Param {
		return when(t.Peer.IsValid(), t.Peer.String(), "")
	}},
	{"local AS", func(_ *config.Connection, t *config.Tunnel) []Param {
		return when(t.Local.ASN > 0, fmt.Sprint(t.Local.ASN), "")
	}},
	{"remote AS", func(_ *config.Connection, t *config.Tunnel) []Param {
		return when(t.Remote.ASN > 0, fmt.Sprint(t.Remote.ASN), "")
	}},
	{"BGP", func(_ *config.Connection, t *config.Tunnel) []Param {
		return when(t.BGP != nil, "wanted; not served yet", "")
	}},
	{"BGP key", func(_ *config.Connection, t *config.Tunnel) []Param {
		return when(t.BGP != nil && len(t.BGP.AuthKey) > 0, "(not shown)", "")
	}},
	{"health check", health(func(h *config.Health) string {
		if h.Ours {
			return "this end pings; not served yet"
		}
		return "the other end pings; not served yet"
	})},
	{"health check source", health(func(h *config.Health) string { return h.Source.String() })},
	{"health check target", health(func(h *config.Health) string { return h.Target.String() })},
	{"health check interval", health(func(h *config.Health) string { return Span(h.Interval) })},
	{"health check timeout", health(func(h *config.Health) string { return Span(h.Timeout) })},
	{"health check retries", health(func(h *config.Health) string { return fmt.Sprint(h.Retries) })},
}

// when is a value if there is one.
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

func pairs(_ *config.Connection, t *config.Tunnel) []Param {
	var out []string
	for _, p := range t.Pairs {
		out = append(out, fmt.Sprintf("%v - %v", p.Local, p.Remote))
	}
	return when(len(out) > 0, strings.Join(out, ", "), "")
}

func children(_ *config.Connection, t *config.Tunnel) []Param {
	if t.IKEVersion == 1 || t.Children == config.Pairs {
		return []Param{{Value: "one for each pair of networks"}}
	}
	return []Param{{Value: "one for all networks"}}
}

func version(_ *config.Connection, t *config.Tunnel) []Param {
	return []Param{{
		Value: map[int]string{0: "2, and 1 if the peer begins so", 1: "1", 2: "2"}[t.IKEVersion],
		Wire:  versions(t, "version 0x20", "version 0x10"),
	}}
}

func mode(_ *config.Connection, t *config.Tunnel) []Param {
	switch {
	case t.IKEVersion == 2:
		return nil
	case t.Aggressive:
		return []Param{{Value: "aggressive", Wire: "exchange type 4", Weak: "whoever hears it can try keys at home"}}
	}
	return []Param{{Value: "main", Wire: "exchange type 2"}}
}

func authentication(_ *config.Connection, t *config.Tunnel) []Param {
	return []Param{{Value: "pre-shared key", Wire: versions(t, "Shared Key Message Integrity Code (2)", "authentication method 1")}}
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
func truncation(_ *config.Connection, t *config.Tunnel) []Param {
	return when(t.Trunc96, "cut to 96 bits", "ICV of 12 bytes in place of 16")
}

func natTraversal(_ *config.Connection, t *config.Tunnel) []Param {
	if !t.NATT {
		return []Param{{Value: "off"}}
	}
	return []Param{{Value: "on", Wire: versions(t, "NAT_DETECTION_SOURCE_IP (16388), NAT_DETECTION_DESTINATION_IP (16389)", "vendor ID of RFC 3947, NAT-D (20)")}}
}

func encapsulation(_ *config.Connection, t *config.Tunnel) []Param {
	switch t.Encap {
	case config.EncapAlways:
		return []Param{{Value: "always in UDP", Wire: "UDP 4500"}}
	case config.EncapNever:
		return []Param{{Value: "never in UDP", Wire: "protocol 50"}}
	}
	return []Param{{Value: "in UDP where there is a NAT", Wire: "protocol 50, or UDP 4500"}}
}

func dpdTimeout(_ *config.Connection, t *config.Tunnel) []Param {
	switch {
	case t.DPD.Interval == 0:
		return nil
	case t.DPD.Timeout == 0:
		return []Param{{Value: "when retransmission ends"}}
	}
	return []Param{{Value: Span(t.DPD.Timeout)}}
}

func dpdMessages(_ *config.Connection, t *config.Tunnel) []Param {
	if t.DPD.Interval == 0 {
		return nil
	}
	value := "as IKEv2 has them"
	if t.IKEVersion != 2 {
		value = t.DPD.Order.String()
	}
	return []Param{{Value: value, Wire: versions(t, "INFORMATIONAL without payloads", "R-U-THERE (36136), R-U-THERE-ACK (36137)")}}
}

func health(of func(*config.Health) string) func(*config.Connection, *config.Tunnel) []Param {
	return func(_ *config.Connection, t *config.Tunnel) []Param {
		if t.Health == nil {
			return nil
		}
		return []Param{{Value: of(t.Health)}}
	}
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
