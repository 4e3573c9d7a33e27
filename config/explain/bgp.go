package explain

import (
	"fmt"
	"net/netip"
	"strings"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/config/load"
)

// session is a parameter of a tunnel's BGP session, with its form on the wire; an empty value is none.
func session(of func(*config.BGP) (value, wire string)) func(*subject) []Param {
	return func(t *subject) []Param {
		if t.BGP == nil {
			return nil
		}
		value, wire := of(t.BGP)
		return when(value != "", value, wire)
	}
}

// otherRank reports whether v, beside the body, is about the rank of another tunnel than tunnel i: of two tunnels the standby
// has what stands under standby, and the active one the rest.
func otherRank(d *dialect.Draft, i int, v *dialect.Value) bool {
	beside := d.Entry.Field("bgp")
	if !v.In(beside) {
		return false
	}
	under, standby := v.In(beside.Field("standby")), d.Tunnels[i].Role == config.Standby
	ranks := v.Row.Name == "med" || v.Row.Name == "prepend"
	return under && !standby || ranks && !under && standby && len(d.Tunnels) > 1
}

func initiation(b *config.BGP) (string, string) {
	if b.Passive {
		return "this end waits for the peer's connection", "TCP 179"
	}
	return "this end connects, and listens", "TCP 179"
}

func ttlSecurity(b *config.BGP) (string, string) {
	if b.TTLSecurity {
		return "on: what comes must have a TTL of 255", "TTL 255"
	}
	return "off", ""
}

func graceful(b *config.BGP) (string, string) {
	if b.Graceful {
		return "on: the peer's routes stay while it starts again", "Graceful Restart Capability (64)"
	}
	return "off", ""
}

func bfd(b *config.BGP) (string, string) {
	if b.BFD == nil {
		return "off", ""
	}
	return "on", "UDP 3784"
}

func announces(b *config.BGP) (string, string) {
	var out []string
	for _, p := range b.Announce {
		out = append(out, p.String())
	}
	if b.Connected {
		out = append(out, "this host's networks (connected)")
	}
	if b.Kernel {
		out = append(out, "the routes of its other programs (kernel)")
	}
	if len(out) == 0 {
		return "nothing", ""
	}
	return strings.Join(out, ", "), ""
}

// joined is a list, empty where it has nothing.
func joined(ps []netip.Prefix) string {
	if len(ps) == 0 {
		return ""
	}
	return list(ps)
}

func atMost(n int) string {
	if n == 0 {
		return "any number"
	}
	return fmt.Sprintf("at most %d", n)
}

func accepts(b *config.BGP) (string, string) {
	if len(b.Accept) == 0 {
		return "anything but a default route and what is never right", ""
	}
	return list(b.Accept) + ", and what is within", ""
}

func overLimit(b *config.BGP) (string, string) {
	return map[config.OverLimit]string{
		config.OverWarn:     "warn: they are accepted",
		config.OverTruncate: "truncate: they are left out",
		config.OverEnd:      "end: the session ends",
	}[b.OverLimit], ""
}

func transit(b *config.BGP) (string, string) {
	if b.Transit {
		return "the peer is told what the peer of the other tunnel told", ""
	}
	return "off", ""
}

func preferred(b *config.BGP) (string, string) {
	if b.Prefer == config.PreferBGP {
		return "what BGP learned goes before routes", ""
	}
	return "routes go before what BGP learned", ""
}

func communities(b *config.BGP) (string, string) {
	var out []string
	for _, n := range b.Communities {
		out = append(out, load.Community(n))
	}
	return strings.Join(out, ", "), "COMMUNITIES (8)"
}

func discriminator(b *config.BGP) (string, string) {
	if b.MED == 0 {
		return "0", ""
	}
	return fmt.Sprint(b.MED), fmt.Sprintf("MULTI_EXIT_DISC %d", b.MED)
}

func prepending(b *config.BGP) (string, string) {
	if b.Prepend == 0 {
		return "none", ""
	}
	return fmt.Sprintf("%d more of this end's AS", b.Prepend), "AS_PATH (2)"
}
