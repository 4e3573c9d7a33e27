package test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vpngw/test/lab"
)

// keyToken is in every key of this test, and nowhere else.
const keyToken = "Zq7mkX9w"

// keyOf is a key with a name.
func keyOf(name string) string { return keyToken + name + "TheRestOfAKey" }

// leaks finds what no output may have.
type leaks struct {
	*testing.T
	forms    []string
	searched int
}

func (l *leaks) search(where, text string) {
	l.Helper()
	l.searched += len(text)
	for _, form := range l.forms {
		if i := strings.Index(text, form); i >= 0 {
			l.Errorf("%s has a key: …%s…", where, text[max(0, i-120):min(len(text), i+40)])
			return
		}
	}
}

// brokenFiles are configurations with an error next to a key, or in it. KEY is the key. Only where it stands as the name of a
// member is it said: "there is no such key" must say which.
var brokenFiles = map[string]string{
	"no end of the text":          body("      Psk: \"KEY\n      IkeVersion: ikev2\n"),
	"a colon":                     body("      Psk: KEY: x\n"),
	"a tab":                       body("      Psk:\tKEY\n\tx"),
	"an anchor":                   body("      Psk: *KEY\n"),
	"a tag":                       body("      Psk: !!int KEY\n"),
	"a block":                     body("      Psk: |\n        KEY\n        KEY\n"),
	"a line feed":                 body("      Psk: \"KEY\\nKEY\"\n"),
	"a control character":         body("      Psk: \"KEY\\x07\"\n"),
	"a list":                      body("      Psk: [KEY]\n"),
	"a mapping":                   body("      Psk: {a: KEY}\n"),
	"a key as a name's beginning": body("      Psk: {KEY: x}\n"),
	"twice":                       body("      Psk: KEY\n      Psk: KEY2\n"),
	"a typing error":              body("      Pks: KEY\n"),
	"a lower letter":              body("      psk: KEY\n"),
	"one floor too high":          body("    Psk: KEY\n"),
	"beside the body":             body("") + "    psk: KEY\n",
	"beside connections":          body("") + "psk: KEY\n",
	"a file that is not there":    body("") + "    psk_file: [KEY, KEY]\n    psk: KEY\n",
	"too long":                    body("      Psk: " + strings.Repeat("KEY", 100) + "\n"),
	"JSON that ends":              "{\"version\": 1, \"connections\": [{\"alibaba\": {\"IkeConfig\": {\"Psk\": \"KEY",
	"JSON with a word too many":   "{\"version\": 1, \"connections\": [{\"alibaba\": {\"IkeConfig\": {\"Psk\": \"KEY\" KEY}}}]}",
	"JSON in a text":              "version: 1\nconnections:\n  - alibaba: '{\"IkeConfig\": {\"Psk\": \"KEY\" KEY}}'\n",
	"a form":                      "version: 1\nconnections:\n  - alibaba: 'Action=CreateVpnConnection&IkeConfig={\"Psk\":\"KEY&x=%zz'\n",
	"Huawei's":                    "version: 1\nconnections:\n  - huawei: {vpn_connection: {psk: KEY, pks: KEY, ikepolicy: KEY}}\n",
	"Huawei's list":               "version: 1\nconnections:\n  - huawei: {vpn_connection: {psk: [KEY]}}\n",
	"Tencent's":                   "version: 1\nconnections:\n  - tencent: {PreShareKey: [KEY], PreSharedKey: KEY}\n",
	"BGP's list":                  body("") + "    bgp: {key: [KEY]}\n",
	"BGP's typing error":          body("") + "    bgp: {kye: KEY, key: KEY}\n",
	"BGP's, too long":             body("") + "    bgp: {key: " + strings.Repeat("KEY", 10) + "}\n",
	"BGP's beside":                body("") + "    bgp_key: KEY\n",
}

// body is a file with a body whose IkeConfig has these lines.
func body(lines string) string {
	return "version: 1\nconnections:\n  - name: hq\n    alibaba:\n      VpnGatewayId: " + lab.CloudAddr + "\n      CustomerGatewayId: " + lab.CustomerAddr +
		"\n      LocalSubnet: " + lab.CloudLAN + "\n      RemoteSubnet: " + lab.CustomerLAN + "\n      IkeConfig:\n        IkeVersion: ikev2\n" +
		strings.ReplaceAll(lines, "      Psk", "        Psk")
}

// No key is in anything that the daemon or a command says: keys are in bodies, in files and in BGP, of tunnels that are up,
// that fail because of the key, and of configurations that are broken at the key. Whoever adds an output adds a row; a
// GET request of the control socket is searched without one.
func TestKeysAreSaidNowhere(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t)
	l := &leaks{T: t, forms: []string{keyToken, hex.EncodeToString([]byte(keyToken)), strings.ToUpper(hex.EncodeToString([]byte(keyToken)))}}
	for i := range 3 { // as base64 has it, wherever it begins
		text := base64.StdEncoding.EncodeToString([]byte("xx"[:i] + keyToken))
		l.forms = append(l.forms, text[[]int{0, 2, 3}[i]:len(text)-4])
	}

	ours, theirs := routeBased(), mirror(routeBased())
	ours.PSK, theirs.PSK = keyOf("row"), keyOf("row")
	ours.Native.Local.ASN, ours.Native.Remote.ASN = bgpNearASN, bgpFarASN
	theirs.Native.Local.ASN, theirs.Native.Remote.ASN = bgpFarASN, bgpNearASN
	ours.BGP, theirs.BGP = quick(map[string]any{"key": keyOf("bgp")}), quick(map[string]any{"key": keyOf("other"), "announce": []string{lab.CloudLAN}})
	wrong := many(1, true, nil).Connections[0]
	wrong.PSK = keyOf("ours")
	wrongThere := mirror(wrong)
	wrongThere.PSK = keyOf("theirs")
	inBody := lab.Connection{Name: "hq", Alibaba: map[string]any{
		"RegionId": "cn-shanghai", "VpnGatewayId": "198.51.100.77", "CustomerGatewayId": lab.CustomerAddr,
		"LocalSubnet": "10.99.0.0/16", "RemoteSubnet": "192.168.99.0/24", "IkeConfig": map[string]any{"IkeVersion": "ikev2", "Psk": keyOf("body")},
	}}
	cloud := n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{theirs, wrongThere}}, "--log-format", "json")
	config := lab.Config{Connections: []lab.Connection{ours, wrong, inBody}, Metrics: map[string]any{"listen": metricsAddr, "page": true}}
	gw := n.Customer.Vpngw(config)
	gw.AwaitUp("row")
	gw.AwaitWhy("c0", "key")
	if text, err := os.ReadFile(gw.Config); err != nil || !strings.Contains(string(text), keyToken) { // or the test finds nothing anywhere
		t.Fatalf("the keys are not in the configuration: %v", err)
	}

	// What is right.
	for _, args := range [][]string{
		{"status"},
		{"status", "--json"},
		{"status", "row"},
		{"counters"},
		{"counters", "--json"},
		{"health"},
		{"diff", "hq", "--cloud", n.File("answer.json", answerWithKey), "-c", gw.Config},
		{"diff", "hq", "--cloud", n.File("answer.json", answerWithKey), "--json"},
		{"events"},
		{"events", "--json"},
		{"routes"},
		{"routes", "--json"},
		{"doctor", "row"},
		{"doctor", "c0", "--json"},
		{"doctor", "hq"},
		{"reload", "--plan"},
		{"reload", "--plan", "--json"},
		{"log-level"},
		{"version"},
		{"schema"},
		{"check", "-c", gw.Config},
		{"check", "--json", "-c", gw.Config},
		{"explain", "-c", gw.Config},
		{"explain", "hq", "-c", gw.Config},
		{"explain", "--json", "-c", gw.Config},
		{"down", "c0"},
		{"up", "c0"},
		{"failover", "row"},
		{"rekey", "row"},
		{"confirm"},
		{"reload", "--confirm", "5s"},
	} {
		out, _ := gw.Try(args...)
		l.search(strings.Join(args, " "), out)
	}
	for _, format := range []string{"alibaba", "huawei", "libreswan", "native", "swanctl", "tencent"} {
		for _, name := range []string{"row", "c0", "hq"} {
			for _, side := range []string{"customer", "cloud"} {
				out, _ := gw.Try("export", name, "-c", gw.Config, "--format", format, "--side", side)
				l.search("export "+format, out)
			}
		}
	}
	revealed, _ := gw.Try("export", "row", "-c", gw.Config, "--format", "swanctl", "--reveal")
	if !strings.Contains(revealed, keyToken) {
		t.Errorf("--reveal does not show the key:\n%s", revealed)
	}
	for path, text := range gets(t, gw) {
		l.search("GET "+path, text)
	}
	for _, path := range []string{"", "metrics"} {
		l.search("the page /"+path, n.Customer.Run("curl", "--silent", "--show-error", "--fail", "http://"+metricsAddr+"/"+path))
	}
	archive := filepath.Join(n.Dir, "case.tar.gz")
	out, err := gw.Try("bundle", "-c", gw.Config, "-o", archive)
	if err != nil {
		t.Errorf("bundle: %v\n%s", err, out)
	}
	l.search("bundle", out+n.Customer.Run("tar", "--extract", "--to-stdout", "--file", archive))

	// What is broken, in the commands and in the daemon.
	gw.Command("confirm")
	for name, text := range brokenFiles {
		text = strings.ReplaceAll(text, "KEY", keyOf("broken"))
		broken := n.File("broken.yaml", text)
		for _, args := range [][]string{
			{"check", "-c", broken}, {"check", "--json", "-c", broken}, {"explain", "-c", broken}, {"export", "hq", "-c", broken, "--format", "native"},
		} {
			out, _ := gw.Try(args...)
			l.search(name+": "+args[0], out)
		}
		if err := os.WriteFile(gw.Config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"reload"}, {"reload", "--plan", "--json"}} {
			out, err := gw.Try(args...)
			if err == nil {
				t.Errorf("%s: %v succeeds:\n%s", name, args, out)
			}
			l.search(name+": reload", out)
		}
		out, _ := n.Internet.Try("timeout", "5", n.Binary(), "run", "-c", broken, "--control", filepath.Join(n.Dir, "broken.sock"), "--state", filepath.Join(n.Dir, "broken-state"), "--log-level", "debug")
		l.search(name+": run", out)
	}
	gw.Signal(syscall.SIGHUP)
	n.Await(lab.Patience, "the daemon tells of the broken file", func() (bool, string) { return strings.Contains(gw.Log(), "reload failed"), "" })
	for name, key := range map[string]string{"two lines": keyOf("a") + "\n" + keyOf("b") + "\n", "a zero": keyOf("a") + "\x00", "too much": strings.Repeat(keyOf("a"), 1000)} {
		c := config
		c.Connections = []lab.Connection{ours}
		c.Connections[0].PSK = key
		gw.Write(c)
		out, _ := gw.Try("check", "-c", gw.Config)
		l.search("a key file with "+name+": check", out)
		out, _ = gw.Try("reload")
		l.search("a key file with "+name+": reload", out)
	}

	// What all that has left behind.
	out, _ = gw.Try("events", "--json")
	l.search("events", out)
	if !strings.Contains(out, "config-refused") {
		t.Errorf("no event tells of a broken file:\n%s", out)
	}
	gw.Stop()
	cloud.Stop()
	for _, gw := range []*lab.Vpngw{gw, cloud} {
		l.search("the log of "+gw.Name, gw.Log())
	}
	for _, end := range []string{"customer", "cloud"} {
		kept, err := os.ReadFile(filepath.Join(n.Dir, end+"-state", "events"))
		if err != nil {
			t.Error(err)
		}
		l.search("the events of "+end, string(kept))
	}
	t.Logf("%d KB are searched", l.searched>>10)
}

// answerWithKey is what the cloud says of hq.
var answerWithKey = fmt.Sprintf(`{"VpnConnectionId": "vco-1", "VpnGatewayId": "198.51.100.77", "CustomerGatewayId": "203.0.113.9", "LocalSubnet": "10.99.0.0/16",
	"RemoteSubnet": "192.168.98.0/24", "IkeConfig": {"IkeVersion": "ikev2", "Psk": "%s"}}`, keyOf("cloud"))

// gets sends every GET request that the daemon describes.
func gets(t *testing.T, gw *lab.Vpngw) map[string]string {
	t.Helper()
	c := gw.HTTP()
	get := func(path string) string {
		resp, err := c.Get("http://vpngw" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(resp.Header) + string(text)
	}
	text := get("/v1/openapi.json")
	var described struct{ Paths map[string]map[string]any }
	if err := json.Unmarshal([]byte(text[strings.Index(text, "{"):]), &described); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for path, methods := range described.Paths {
		if methods["get"] != nil {
			for _, name := range []string{"row", "c0", "hq"} {
				out[path+"?name="+name] = get(path + "?name=" + name)
			}
		}
	}
	return out
}
