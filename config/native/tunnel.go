package native

import (
	"fmt"
	"net/netip"
	"time"

	"vpngw/config"
	"vpngw/config/dialect"
)

// inTunnel are the rows about the inside of a tunnel: role, addresses, BGP, health check.
var inTunnel = []dialect.Row{
	{
		Name: "role", Type: dialect.Enum{Words: []string{string(config.Single), string(config.Active), string(config.Standby)}}, Default: string(config.Single),
		Goes: "role", Doc: "part among the tunnels between the same networks",
	},
	{Name: "inside", Doc: "addresses in the tunnel", Type: &dialect.Object{Rows: []dialect.Row{
		{Name: "local", Type: dialect.Text{Check: hostWithMask}, Required: true, Goes: "local inside address", Doc: "this end's, with its mask: 169.254.11.2/30"},
		{Name: "remote", Type: dialect.Addr{}, Required: true, Goes: "remote inside address", Doc: "the other end's"},
	}}},
	{Name: "bgp", Goes: "BGP", Doc: "BGP between the addresses in the tunnel", Type: &dialect.Object{Rows: []dialect.Row{
		{Name: "key", Type: BGPKey, Goes: "BGP key", Doc: "key of TCP MD5 (RFC 2385)"},
	}}},
	{Name: "health_check", Goes: "health check", Doc: "pings through the tunnel", Type: &dialect.Object{Rows: []dialect.Row{
		{Name: "from", Type: dialect.Enum{Words: []string{"local", "remote"}}, Default: "local", Goes: "health check", Doc: "the end that pings"},
		{Name: "source", Type: dialect.Addr{}, Goes: "health check source", Doc: "address that pings"},
		{Name: "target", Type: dialect.Addr{}, Goes: "health check target", Doc: "address that is pinged"},
		{Name: "interval", Type: pinged, Default: "5s", Goes: "health check interval", Doc: "between pings"},
		{Name: "timeout", Type: pinged, Default: "0", Goes: "health check timeout", Doc: "for the answer to one ping; 0: the interval"},
		{Name: "retries", Type: dialect.Int{Min: 1, Max: 86400}, Default: "3", Goes: "health check retries", Doc: "unanswered pings in a row after which the tunnel is ill"},
		{Name: "policy", Type: HealthPolicy, Default: "revoke", Goes: "health check policy", Doc: "revoke: the routes of an ill tunnel are taken away; reserve: they stay"},
	}}},
}

// BGPKey is a key of TCP MD5. Linux takes 80 bytes.
var BGPKey = dialect.Secret{Text: dialect.Text{Min: 1, Max: MaxBGPKey, Check: func(s string) string {
	if len(s) > MaxBGPKey {
		return fmt.Sprintf("have at most %d bytes", MaxBGPKey)
	}
	return ""
}}}

// MaxBGPKey is the length of the longest key of TCP MD5, in bytes.
const MaxBGPKey = 80

// HealthPolicy is what becomes of the routes of an ill tunnel.
var HealthPolicy = dialect.Enum{Words: []string{"revoke", "reserve"}}

// Reserve is the word of HealthPolicy for Health.Keep.
const Reserve = "reserve"

var pinged = dialect.Duration{Max: 24 * time.Hour}

func hostWithMask(s string) string {
	if p, err := netip.ParsePrefix(s); err != nil || p.Addr().Is4In6() {
		return "be an address with a mask, such as 169.254.11.2/30"
	}
	return ""
}

// withinTunnel sets role, inside addresses, BGP and health check of t.
func withinTunnel(c *dialect.Check, v *dialect.Value, t *config.Tunnel) {
	t.Role = config.Role(v.Field("role").Text())
	if in := v.Field("inside"); in.OK() && in.Field("local").OK() && in.Field("remote").OK() {
		t.Inside, _ = netip.ParsePrefix(in.Field("local").Text()) // its row has checked it
		t.Peer = in.Field("remote").Addr()
		if !t.Inside.Contains(t.Peer) || t.Peer == t.Inside.Addr() {
			c.Fail(in.Field("remote"), dialect.Conflict, "it must be another address in %v", t.Inside.Masked())
		}
	}
	if b := v.Field("bgp"); b.OK() {
		t.BGP = &config.BGP{AuthKey: b.Field("key").Secret()}
		if !v.Field("inside").Given {
			c.Fail(b, dialect.Missing, "BGP needs the addresses in the tunnel: inside")
		}
	}
	if h := v.Field("health_check"); h.OK() {
		t.Health = Pings(h)
		t.Health.Ours = h.Field("from").Text() == "local"
		if t.Health.Ours && !t.Health.Target.IsValid() && !t.Peer.IsValid() {
			c.Warn(h, dialect.NoEffect, "nothing is pinged: it needs a target, or inside for the addresses in the tunnel")
		}
	}
}

// Pings is a health check as its rows say; not who pings.
func Pings(v *dialect.Value) *config.Health {
	return &config.Health{
		Source: v.Field("source").Addr(), Target: v.Field("target").Addr(),
		Interval: v.Field("interval").Duration(), Timeout: v.Field("timeout").Duration(),
		Retries: int(v.Field("retries").Int()), Keep: v.Field("policy").Text() == Reserve,
	}
}

// part is the role that a body gives its tunnel, or empty.
func part(v *dialect.Value) config.Role {
	if v.Given {
		return config.Role(v.Text())
	}
	return ""
}
