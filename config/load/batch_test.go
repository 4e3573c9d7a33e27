package load

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"vpngw/config"
)

// batch is n of Huawei's bodies in one request.
func batch(t *testing.T, n int, names bool) string {
	t.Helper()
	var list []any
	for i := range n {
		b := huaweiBody()
		delete(b, "psk")
		b["vgw_id"], b["vgw_ip"], b["cgw_id"] = fmt.Sprintf("198.51.100.%d", 1+i/2), fmt.Sprintf("198.51.100.%d", 10+i), "203.0.113.9"
		b["ha_role"] = []string{"master", "slave"}[i%2]
		if names {
			b["name"] = fmt.Sprintf("北京%d", i)
		}
		list = append(list, b)
	}
	text, err := json.Marshal(map[string]any{"vpn_connections": list})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What stands beside a batch is for each of its connections; names and files are one for each.
func TestBesideABatch(t *testing.T) {
	keys := files{"a": "Not-a-real-secret-a", "b": "Not-a-real-secret-b", "c": "Not-a-real-secret-c", "d": "Not-a-real-secret-d"}
	for _, tt := range []struct {
		n            int
		names        bool
		beside, want string // want: names, keys' last letters and devices
	}{
		{2, true, "psk_file: [a, b]", "北京0:a: 北京1:b:"},
		{2, false, "psk_file: a", "huawei-1-1:a: huawei-1-2:a:"},
		{2, true, "{name: hq, psk_file: [b, a], device: [tun0, tun1]}", "hq-1:b:tun0 hq-2:a:tun1"},
		{4, true, "psk_file: [a, b, c, d]", "北京0:a: 北京1:b: 北京2:c: 北京3:d:"},
		{2, true, "{psk_file: [a, b], metric: 100}", "北京0:a: 北京1:b:"},
		{2, true, "psk_file: [a]", ""},
		{2, true, "psk_file: [a, b, c]", ""},
		{2, true, "{psk_file: a, device: tun0}", ""},
		{2, true, "", ""},
	} {
		keys["body"] = batch(t, tt.n, tt.names)
		entry := strings.NewReplacer("{", "", "}", "", ", psk", "\n    psk", ", device", "\n    device", ", metric", "\n    metric").Replace(tt.beside)
		r, ps := parseText(keys.read, "f", []byte("version: 1\nconnections:\n  - huawei: body\n    routes: [10.0.0.0/8]\n    "+entry+"\n"))
		if r == nil {
			if tt.want != "" {
				t.Errorf("%d, %s: refused:\n%s", tt.n, tt.beside, lines(ps))
			}
			continue
		}
		var got []string
		for i, c := range r.Connections {
			tun := c.Tunnels[0]
			got = append(got, c.Name+":"+string(tun.PSK[len(tun.PSK)-1:])+":"+tun.Device)
			if role := []config.Role{config.Active, config.Standby}[i%2]; tun.Role != role || c.Pair == "" || c.Pair != r.Connections[i^1].Pair {
				t.Errorf("%d, %s: %s is %s of the pair %q", tt.n, tt.beside, c.Name, tun.Role, c.Pair)
			}
			if strings.Contains(tt.beside, "metric") != (tun.Metric == 100) {
				t.Errorf("%s: metric %d", tt.beside, tun.Metric)
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%d, %s: got %s, want %q", tt.n, tt.beside, s, tt.want)
		}
	}
	// pair: beside a batch of two is for these two.
	keys["body"] = strings.ReplaceAll(strings.ReplaceAll(batch(t, 2, true), `"ha_role":"slave"`, `"ha_role":""`), `"ha_role":"master"`, `"ha_role":""`)
	r, ps := parseText(keys.read, "f", []byte("version: 1\nconnections: [{huawei: body, psk_file: a, routes: [10.0.0.0/8], pair: two}]\n"))
	if r == nil || r.Connections[0].Pair != "two" || r.Connections[1].Pair != "two" || r.Connections[1].Tunnels[0].Role != config.Standby {
		t.Errorf("pair: got\n%s", lines(ps))
	}
}
