package export

import (
	"fmt"
	"slices"
	"strings"

	"vpngw/config"
)

// settleBGP writes bgp: beside a body that asks for it, with settings that fit together.
func (g *generator) settleBGP(connection map[string]any) {
	delete(connection, "bgp")
	body, _ := connection[g.dialect].(map[string]any)
	if !g.asksForBGP(body) || g.IntN(4) == 0 {
		return
	}
	_, dual := body["TunnelOptionsSpecification"]
	some := func() bool { return g.IntN(3) == 0 }
	hold := 3 + g.IntN(300)
	b := map[string]any{}
	rank := func() map[string]any {
		return map[string]any{"med": g.IntN(1 << 20), "prepend": g.IntN(17)}
	}
	for key, v := range map[string]any{
		"hold": hold, "ttl_security": g.IntN(2) == 0, "graceful_restart": g.IntN(2) == 0, "passive": g.IntN(2) == 0, "router_id": "192.0.2.7",
		"bfd":      []any{true, false, map[string]any{"interval": "300ms", "multiplier": 1 + g.IntN(50)}}[g.IntN(3)],
		"announce": []any{[]string{}, []string{g.prefix(172)}, []string{g.prefix(172), "connected"}, []string{"kernel"}}[g.IntN(4)],
		"accept":   []string{g.prefix(10), g.prefix(10)}, "never": []string{g.prefix(11)}, "never_announce": []string{g.prefix(11)}, "max_prefixes": 1 + g.IntN(2000), "max_announced": g.IntN(200),
		"over_limit": []string{"warn", "truncate", "end"}[g.IntN(3)], "transit": g.IntN(2) == 0, "prefer": []string{"static", "bgp"}[g.IntN(2)],
		"communities": []string{fmt.Sprintf("%d:%d", g.IntN(65536), g.IntN(65536)), "no-export"}, "med": rank()["med"], "prepend": rank()["prepend"],
	} {
		if some() {
			b[key] = v
		}
	}
	if list, _ := b["announce"].([]string); slices.Contains(list, "connected") || slices.Contains(list, "kernel") {
		b["export"] = []string{g.prefix(172)}
	} else if b["max_announced"] == 0 && len(list) > 0 {
		delete(b, "max_announced")
	}
	if b["hold"] != nil && some() {
		b["keepalive"] = 1 + g.IntN(hold/3)
	}
	if dual && some() {
		b["standby"] = rank()
	}
	if !hasKey(body) && some() {
		b["key"] = "a-key.of-BGP"
		if dual && some() {
			b["key"] = []string{"a-key.of-BGP", "another"}
		}
	}
	connection["bgp"] = b
}

func (g *generator) asksForBGP(body map[string]any) bool {
	switch g.dialect {
	case "native":
		return body["bgp"] != nil
	case "alibaba":
		single, _ := body["BgpConfig"].(map[string]any)
		if body["TunnelOptionsSpecification"] != nil {
			return body["EnableTunnelsBgp"] == true
		}
		return single["EnableBgp"] == true
	case "huawei":
		return body["style"] == "bgp"
	}
	return body["RouteType"] == "Bgp"
}

// hasKey reports whether a body has a key of BGP.
func hasKey(body map[string]any) bool {
	return strings.Contains(fmt.Sprint(body["bgp"], body["BgpConfig"], body["TunnelOptionsSpecification"]), "ey:")
}

// withOwn is the session b with what in own is that end's own: the two ends need not agree in it.
func withOwn(b, own *config.BGP) *config.BGP {
	if b == nil || own == nil {
		return b
	}
	out := *own
	out.AuthKey, out.Hold, out.Keepalive, out.TTLSecurity, out.Graceful, out.BFD = b.AuthKey, b.Hold, b.Keepalive, b.TTLSecurity, b.Graceful, b.BFD
	out.Never, out.NeverTell = b.Never, b.NeverTell
	if own.MaxTell != config.DefaultMaxPrefixes {
		out.MaxTell = b.MaxTell
	}
	out.MaxPrefixes = b.MaxPrefixes
	return &out
}
