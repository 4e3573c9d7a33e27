package gateway

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/ipsec"
	"vpngw/tunnel"
)

// members adds each member of a JSON value with its type, as "status.connections[].name string", to out. The keys of
// the objects named in open are data, and are not told apart. Null is of any type.
func members(v any, path string, open []string, out map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		out[path+" object"] = true
		for k, m := range v {
			if slices.Contains(open, path) {
				k = "*"
			}
			members(m, path+"."+k, open, out)
		}
	case []any:
		out[path+" array"] = true
		for _, m := range v {
			members(m, path+"[]", open, out)
		}
	case string:
		out[path+" string"] = true
	case float64:
		out[path+" number"] = true
	case bool:
		out[path+" bool"] = true
	}
}

// Programs read the status. What they found in commit b860a22 stays, by name and type; more may come. A member that
// goes has to be in CHANGELOG, and its line in testdata goes with it.
func TestStatusKeepsItsMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet()
		wrong := lab()
		wrong.Tunnels[0].Remote.ID = ipsec.ParseIdentity("lab.example.org")
		r := startReal(t, newHost(n, "203.0.113.9", "192.168.3.1", "192.168.4.1"), configOf(hq(), wrong), Options{})
		defer r.stop()
		theirs := mirror(wrong)
		theirs.Tunnels[0].PSK = ipsec.Secret("battery staple")
		cloud := startReal(t, newHost(n, "198.51.100.1", "10.10.0.1", "10.20.0.1"), configOf(mirror(hq()), theirs), Options{})
		defer cloud.stop()
		time.Sleep(40 * time.Second)
		r.wantState("hq", tunnel.Up)
		r.wantState("lab", tunnel.Connecting)
		r.host.tun("vpngw0").put(udpPacket(addr("192.168.3.7"), addr("192.168.9.9"), 1)) // a drop
		synctest.Wait()

		s, err := r.Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		members(v, "status", []string{"status.connections[].tunnels[].children[].drops"}, got)
		want, err := os.ReadFile("testdata/status-b860a22.members")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(want)) {
			if line = strings.TrimSpace(line); !got[line] {
				t.Errorf("no %s any more", line)
			}
		}
	})
}
