package export

// reconcile makes a generated body agree with itself, where hardly any would by chance.
func (g *generator) reconcile(connection map[string]any) {
	body, _ := connection[g.dialect].(map[string]any)
	switch g.dialect {
	case "native":
		g.settleNative(body)
	case "alibaba":
		settleAlibaba(g, body)
	case "huawei":
		g.settleHuawei(body)
	case "tencent":
		g.settleTencent(body)
	}
	g.settleBGP(connection)
	if g.dialect == "native" && body["children"] == "lists" && body["initiate"] == nil {
		connection["dpd"] = map[string]any{"interval": 30, "timeout": 45, "message": "seq-hash-notify"}
	}
	if _, dual := body["TunnelOptionsSpecification"]; !dual {
		if names, ok := connection["device"].([]any); ok {
			connection["device"] = names[0]
		}
	}
}

// settlePair makes two connections a pair, whose roles their bodies give or do not. They run
// without the same features, on the same side.
func (g *generator) settlePair(a, b map[string]any) {
	for _, key := range []string{"side", "partial"} {
		if delete(b, key); a[key] != nil {
			b[key] = a[key]
		}
	}
	role := map[string][]string{"native": {"active", "standby"}, "huawei": {"master", "slave"}}[g.dialect]
	first := g.IntN(2)
	for i, c := range []map[string]any{a, b} {
		c["pair"] = "both"
		body, _ := c[g.dialect].(map[string]any)
		for _, key := range []string{"role", "ha_role"} {
			delete(body, key)
		}
		if key := map[string]string{"native": "role", "huawei": "ha_role"}[g.dialect]; key != "" && g.IntN(2) == 0 {
			body[key] = role[(first+i)%2]
		}
	}
}

// settleNative writes a half of the bodies as a cloud could have them.
func (g *generator) settleNative(body map[string]any) {
	if inside, ok := body["inside"].(map[string]any); ok {
		inside["local"], inside["remote"] = "169.254.11.2/30", "169.254.11.1"
	} else {
		delete(body, "bgp")
	}
	if g.IntN(2) == 0 {
		return
	}
	pick := func(words ...string) string { return words[g.IntN(len(words))] }
	for _, key := range []string{"role", "inside", "bgp", "health_check", "mode"} {
		delete(body, key)
	}
	body["ike_version"] = pick("1", "2")
	cipher, hash, group := pick("aes128", "aes256", "3des"), pick("md5", "sha1", "sha256"), pick("modp1024", "modp1536", "modp2048")
	body["ike"] = map[string]any{"proposals": []string{cipher + "-" + hash + "-" + group}, "lifetime": 3600 * (1 + g.IntN(20))}
	body["esp"] = map[string]any{"proposals": []string{cipher + "-" + hash + "-" + group + "-noesn"}, "lifetime": 3600 * (1 + g.IntN(20))}
	delete(body, "initiate")
	body["children"] = "lists"
}

func settleAlibaba(g *generator, body map[string]any) {
	if ike, ok := body["IkeConfig"].(map[string]any); ok {
		delete(ike, "LocalIdIPsec")
	}
	delete(body, "VpnConnectionId")
	if g.IntN(3) > 0 {
		delete(body, "TunnelOptionsSpecification")
	}
	tunnels, dual := body["TunnelOptionsSpecification"].([]any)
	body["VpnGatewayId"] = []string{"vpn-1", "vpn-2", "198.51.100.7"}[g.IntN(3)]
	if !dual {
		delete(body, "EnableTunnelsBgp")
		return
	}
	body["VpnGatewayId"] = "vpn-3"
	for i, t := range tunnels {
		tunnel := t.(map[string]any)
		tunnel["Role"] = []string{"master", "slave"}[i]
		if bgp, ok := tunnel["TunnelBgpConfig"].(map[string]any); ok {
			bgp["TunnelCidr"] = []string{"169.254.11.0/30", "169.254.12.0/30"}[i]
			bgp["LocalBgpIp"] = []string{"169.254.11.1", "169.254.12.2"}[i]
		}
	}
}

func (g *generator) settleHuawei(body map[string]any) {
	style, _ := body["style"].(string)
	if style != "policy" {
		delete(body, "policy_rules")
		body["peer_subnets"] = []string{g.prefix(192), g.prefix(172)}
	} else {
		delete(body, "enable_nqa")
		var rules []any
		for range 1 + g.IntN(4) {
			rules = append(rules, map[string]any{"source": g.prefix(10), "destination": []string{g.prefix(192), g.prefix(192)}})
		}
		body["policy_rules"] = rules
	}
	if style == "bgp" {
		delete(body, "enable_nqa")
	}
	ike, _ := body["ikepolicy"].(map[string]any)
	for _, end := range []string{"local_id", "peer_id"} {
		if kind, _ := ike[end+"_type"].(string); kind != "fqdn" {
			delete(ike, end)
		} else if ike[end] == nil {
			ike[end] = "hq.example.org"
		}
	}
}

func (g *generator) settleTencent(body map[string]any) {
	kind, _ := body["RouteType"].(string)
	body["VpnGatewayId"] = []string{"vpn-1", "vpn-2", "198.51.100.7"}[g.IntN(3)]
	switch kind {
	case "Policy":
		body["SecurityPolicyDatabases"] = []any{
			map[string]any{"LocalCidrBlock": g.prefix(10), "RemoteCidrBlock": []string{g.prefix(192), g.prefix(192)}},
			map[string]any{"LocalCidrBlock": g.prefix(10), "RemoteCidrBlock": []string{g.prefix(192)}},
		}
	case "Bgp":
		body["BgpConfig"] = map[string]any{"TunnelCidr": "169.254.11.0/30", "LocalBgpIp": "169.254.11.1", "RemoteBgpIp": "169.254.11.2"}
		delete(body, "SecurityPolicyDatabases")
	case "StaticRoute":
		delete(body, "SecurityPolicyDatabases")
	}
	if kind != "Bgp" {
		delete(body, "BgpConfig")
	}
	if esp, ok := body["IPSECOptionsSpecification"].(map[string]any); ok {
		delete(esp, "IntegrityAlgorith")
	}
	ike, _ := body["IKEOptionsSpecification"].(map[string]any)
	for _, end := range []string{"Local", "Remote"} {
		if ike[end+"Identity"] == "FQDN" && ike[end+"FqdnName"] == nil {
			ike[end+"FqdnName"] = "hq.example.org"
		}
	}
}
