package load

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/config/native"
)

// The words of announce that are no networks.
const (
	connected = "connected"
	kernel    = "kernel"
)

// most bounds the prefixes of one list, and of what a session may bring.
const (
	mostListed   = 1000
	mostPrefixes = 100_000
)

var bgpObject = &dialect.Object{Rows: []dialect.Row{
	{Name: "hold", Type: dialect.Duration{Min: 3 * time.Second, Max: 65535 * time.Second}, Default: "90s", Goes: "BGP hold", Doc: "silence of the peer after which the session ends; the lower one of both ends holds"},
	{Name: "keepalive", Type: dialect.Duration{Min: time.Second, Max: 21845 * time.Second}, Goes: "BGP keepalive", Doc: "between this end's signs of life; a third of hold by default, and at most"},
	{Name: "key", Type: oneOrMore(native.BGPKey), Goes: "BGP key", Doc: "key of TCP MD5 (RFC 2385), the same at both ends; or a list, one for each tunnel"},
	{Name: "key_file", Type: oneOrMore(dialect.Text{Min: 1, Max: 4096}), Goes: "BGP key", Doc: "the key, in a file that others can neither read nor change, or as credential:NAME, which systemd hands over; or a list, one for each tunnel"},
	{Name: "ttl_security", Type: dialect.Bool{}, Default: "no", Goes: "BGP TTL security", Doc: "take only what comes with a TTL of 255 (RFC 5082); both ends must have it"},
	{Name: "graceful_restart", Type: dialect.Bool{}, Default: "yes", Goes: "BGP graceful restart", Doc: "keep the peer's routes while it starts again, or this end's BGP does (RFC 4724)"},
	{Name: "bfd", Type: dialect.Or{Scalar: dialect.Bool{}, Other: bfdObject}, Default: "no", Goes: "BFD", Doc: "find a dead peer within a moment (RFC 5880): no, yes, or interval and multiplier; both ends must have it"},
	{Name: "passive", Type: dialect.Bool{}, Goes: "BGP initiation", Doc: "wait for the peer's connection; the cloud's end does by default, the customer's connects and listens"},
	{Name: "router_id", Type: dialect.Addr{}, Goes: "BGP router ID", Doc: "an IPv4 address; this end's in the tunnel by default"},
	{Name: "announce", Type: dialect.List{Of: announced{}, Name: "announce", Max: mostListed}, Goes: "BGP announces", Doc: "networks that the peer is told; also connected and kernel: this host's own and those of its other programs' routes, as export says; the local networks by default"},
	{Name: "export", Type: dialect.Prefixes{Max: mostListed}, Goes: "BGP export filter", Doc: "what connected and kernel may announce: these and what is within"},
	{Name: "accept", Type: dialect.Prefixes{Max: mostListed}, Goes: "BGP accepts", Doc: "what the peer may tell: these and what is within; by default anything but a default route and what is never right"},
	{Name: "never", Type: dialect.Prefixes{Max: 64, Empty: true}, Goes: "BGP never accepts", Doc: "what is not accepted: these, what is within, and what contains one, but of a default route only itself; by default, at the cloud's end, what the cloud refuses"},
	{Name: "never_announce", Type: dialect.Prefixes{Max: 64, Empty: true}, Goes: "BGP never announces", Doc: "the same of what is announced; by default, at the customer's end, what the cloud refuses"},
	{Name: "max_prefixes", Type: dialect.Int{Min: 1, Max: mostPrefixes}, Goes: "BGP prefixes", Doc: "that are accepted; 1000 by default, at the cloud's end what the cloud accepts"},
	{Name: "over_limit", Type: dialect.Enum{Words: []string{string(config.OverWarn), string(config.OverTruncate), string(config.OverEnd)}}, Default: string(config.DefaultOverLimit), Goes: "BGP over the limit", Doc: "what becomes of more prefixes; warn: they are accepted; truncate: they are left out; end: the session ends"},
	{Name: "max_announced", Type: dialect.Int{Max: mostPrefixes}, Goes: "BGP announced prefixes", Doc: "that are announced at most, 0 without end; by default what the cloud accepts"},
	{Name: "transit", Type: dialect.Bool{}, Default: "no", Goes: "BGP transit", Doc: "tell the peer what the peer of the other tunnel told"},
	{Name: "prefer", Type: dialect.Enum{Words: []string{string(config.PreferStatic), string(config.PreferBGP)}}, Default: string(config.PreferStatic), Goes: "BGP and routes", Doc: "which of two routes to one prefix is used: that of routes, or what BGP learned"},
	{Name: "communities", Type: dialect.List{Of: dialect.Text{Check: checkCommunity}, Name: "communities", Max: 32}, Goes: "BGP communities", Doc: `of what is announced: "65000:100", no-export, no-advertise`},
	{Name: "med", Type: med, Goes: "BGP MED", Doc: "of what is announced; 0 by default, in a standby tunnel 100"},
	{Name: "prepend", Type: prepend, Goes: "BGP prepending", Doc: "how many times more this end's AS stands in what is announced; 0 by default, in a standby tunnel 1"},
	{Name: "standby", Doc: "what the standby of two tunnels has in place of the same keys", Type: &dialect.Object{Rows: []dialect.Row{
		{Name: "med", Type: med, Goes: "BGP MED", Doc: "of what is announced in the standby tunnel"},
		{Name: "prepend", Type: prepend, Goes: "BGP prepending", Doc: "how many times more this end's AS stands in what is announced in the standby tunnel"},
	}}},
}}

var (
	med     = dialect.Int{Max: 1<<32 - 1}
	prepend = dialect.Int{Max: 16}
)

var bfdObject = &dialect.Object{Rows: []dialect.Row{
	{Name: "interval", Type: dialect.Duration{Min: 50 * time.Millisecond, Max: time.Minute}, Default: "1s", Goes: "BFD interval", Doc: "between packets, no faster than the peer can"},
	{Name: "multiplier", Type: dialect.Int{Min: 1, Max: 50}, Default: "3", Goes: "BFD multiplier", Doc: "missed packets after which the peer is dead"},
}}

// announced is an entry of announce: a network, or one of two words.
type announced struct{ dialect.Block }

var announceWords = dialect.Enum{Words: []string{connected, kernel}}

func (announced) Read(c *dialect.Check, v *dialect.Value) {
	if text := v.Node.Text; strings.Contains(text, "/") || strings.ContainsAny(text, ".:") {
		dialect.Block{}.Read(c, v)
		return
	}
	announceWords.Read(c, v)
}

// Forms are what an entry can be.
func (announced) Forms() []dialect.Type { return []dialect.Type{dialect.Block{}, announceWords} }

// wellKnown are the communities with names (RFC 1997).
var wellKnown = map[string]uint32{"no-export": 0xffffff01, "no-advertise": 0xffffff02}

func checkCommunity(s string) string {
	if _, ok := community(s); !ok {
		return "be two numbers of 0 to 65535 with a colon between them, such as 65000:100, or no-export or no-advertise"
	}
	return ""
}

func community(s string) (uint32, bool) {
	if n, ok := wellKnown[s]; ok {
		return n, true
	}
	high, low, ok := strings.Cut(s, ":")
	h, err := strconv.ParseUint(high, 10, 16)
	l, err2 := strconv.ParseUint(low, 10, 16)
	return uint32(h<<16 | l), ok && err == nil && err2 == nil
}

// Announced is what a session announces as a file has it.
func Announced(b *config.BGP) []string {
	var out []string
	for _, p := range b.Announce {
		out = append(out, p.String())
	}
	if b.Connected {
		out = append(out, connected)
	}
	if b.Kernel {
		out = append(out, kernel)
	}
	return out
}

// Community is a community as a file has it.
func Community(n uint32) string {
	for name, known := range wellKnown {
		if n == known {
			return name
		}
	}
	return fmt.Sprintf("%d:%d", n>>16, n&0xffff)
}
