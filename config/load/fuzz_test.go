package load

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"syscall"
	"testing"
	"time"
)

// FuzzLoad: no panic; a Config if and only if no problem is an error; every problem has its
// place; the same text gives an equal Config; and the daemon can use every proposal, name
// and subnet of a Config.
func FuzzLoad(f *testing.F) {
	paths, _ := filepath.Glob("testdata/*.yaml")
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(secretFile))
	f.Add([]byte(lab(key, "dpd: {interval: 5}")))
	for _, beside := range bgpSeeds {
		f.Add([]byte(bgpLab(inside4, "bgp: "+beside)))
	}
	f.Add([]byte("version: 1\nconnections: [{alibaba: " + bodyText + "}]"))
	body, err := os.ReadFile("testdata/bodies/branch.json")
	if err != nil {
		f.Fatal(err)
	}
	read := files{"bodies/branch.json": string(body), "lab.psk": "not-a-real-secret"}.read
	f.Fuzz(func(t *testing.T, in []byte) {
		c, ps := parseText(read, "f", in)
		if (c == nil) != ps.Failed() {
			t.Fatalf("Config is nil: %v, problems:\n%s", c == nil, lines(ps))
		}
		for _, p := range ps {
			if p.File == "" || p.Code == "" || p.Message == "" || p.Line < 1 && p.File != "f" {
				t.Fatalf("incomplete: %+v", p)
			}
		}
		if c == nil {
			return
		}
		again, _ := parseText(read, "f", in)
		if !same(c, again) {
			t.Fatal("read twice, the Configs differ")
		}
		names, tunnels := map[string]bool{}, map[string]bool{}
		for _, conn := range c.Drafts {
			if names[conn.Connection.Name] || conn.Connection.Name == "" || len(conn.Tunnels) < 1 || len(conn.Tunnels) > 2 {
				t.Fatalf("name %q", conn.Connection.Name)
			}
			names[conn.Connection.Name] = true
			for i, tun := range conn.Tunnels {
				if len(conn.Tunnels) == 1 && tun.Name != conn.Connection.Name || len(conn.Tunnels) == 2 && tun.Name != fmt.Sprint(conn.Connection.Name, "-", i+1) || tunnels[tun.Name] {
					t.Fatalf("name %q", tun.Name)
				}
				tunnels[tun.Name] = true
				if len(tun.PSK) == 0 && !ps.Refused() && len(conn.Choices) == 0 || len(tun.IKEProposals) == 0 || len(tun.ESPProposals) == 0 ||
					len(tun.Local.Subnets) == 0 || len(tun.Remote.Subnets) == 0 || !tun.Remote.Address.IsValid() ||
					tun.Local.ID.Type == 0 || tun.Remote.ID.Type == 0 {
					t.Fatalf("incomplete: %+v", tun)
				}
				if !sound(&tun) {
					t.Fatalf("no such session can be: %+v", *tun.BGP)
				}
			}
		}
	})
}

// many is a file with n connections to a gateway each.
func many(n int) []byte {
	var gateways, connections strings.Builder
	for i := range n {
		fmt.Fprintf(&gateways, "  vpn-%d: {address: 198.%d.%d.1}\n", i, 51+i/250, i%250)
		fmt.Fprintf(&connections, `  - alibaba: {RegionId: cn-shanghai, VpnGatewayId: vpn-%d, CustomerGatewayId: 203.0.113.9, Name: branch-%d,
              LocalSubnet: "10.%d.0.0/16", RemoteSubnet: "192.168.3.0/24,192.168.4.0/24",
              IkeConfig: '{"Psk":"not-a-real-secret","IkeVersion":"ikev2","IkeAuthAlg":"sha256","IkePfs":"group14"}',
              IpsecConfig: '{"IpsecAuthAlg":"sha256","IpsecPfs":"group14"}', Tags: [{Key: a, Value: b}]}
`, i, i, i%250)
	}
	return []byte("version: 1\nvpn_gateways:\n" + gateways.String() + "connections:\n" + connections.String())
}

func BenchmarkLoad500(b *testing.B) {
	data := many(500)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if c, ps := parseText(nil, "f", data); c == nil || len(c.Connections) != 500 {
			b.Fatal(lines(ps))
		}
	}
}

func TestHostileMegabyteIsRefusedCheaply(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(25)) // so that what is in use is counted often
	fill := func(s string) string { return strings.Repeat(s, (1<<20)/len(s)) }
	count := func(format string) string {
		var b strings.Builder
		for i := 0; b.Len() < 1<<20; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	spd := func() string {
		var b strings.Builder
		for i := range 250 {
			fmt.Fprintf(&b, "      10.%d.0.0/16: [", i)
			for j := range 200 {
				fmt.Fprintf(&b, "11.%d.%d.0/24,", i, j)
			}
			b.WriteString("]\n")
		}
		return b.String()
	}
	for name, in := range map[string]string{
		"deep":             fill("["),
		"unknown keys":     "version: 1\n" + count("k%d: v\n"),
		"gateways":         "version: 1\nvpn_gateways:\n" + count(" k%d: v\n"),
		"connections":      "version: 1\nconnections:\n" + fill(" - a\n"),
		"empty bodies":     "version: 1\nconnections:\n" + fill(" - native: {}\n"),
		"same gateways":    "version: 1\nconnections:\n" + fill(" - native: {local: {address: 1.1.1.1, subnets: [10.0.0.0/8]}, remote: {address: 2.2.2.2, subnets: [0.0.0.0/0]}, psk: a}\n"+strings.Repeat("#", 300)+"\n"),
		"huge number":      "version: " + fill("9"),
		"huge time":        "version: 1\nconnections:\n - {lifetime: {ike: " + fill("9") + "h}}",
		"huge key":         fill("k") + ": 1",
		"huge proposal":    "version: 1\nconnections:\n - native: {ike: {proposals: [" + fill("aes-") + "]}}",
		"huge subnets":     "version: 1\nconnections:\n - alibaba: {LocalSubnet: '" + fill("1.1.1.1/8,") + "'}",
		"huge list":        "version: 1\nconnections:\n - native: {local: {subnets: [" + fill("a,") + "]}}",
		"aliases of lists": "version: 1\nx: &x [" + fill("a,") + "]\nconnections:\n" + strings.Repeat(" - native: {local: {subnets: *x}}\n", 900),
		"aliases of JSON":  "version: 1\nx: &x '{" + fill(`"a":1,`) + "\"b\":2}'\nconnections:\n" + strings.Repeat(" - alibaba: *x\n", 900),
		"form":             "version: 1\nconnections:\n - alibaba: 'Action=C" + count("&k%d=v") + "'",
		"form lists":       "version: 1\nconnections:\n - alibaba: 'Action=C" + count("&Tags.%d.Key=v") + "'",
		"form depth":       "version: 1\nconnections:\n - alibaba: 'Action=C&" + fill("a.") + "=v'",
		"form encoding":    "version: 1\nconnections:\n - alibaba: 'Action=" + fill("%20") + "'",
		"form again":       "version: 1\nconnections:\n - alibaba: 'Action=C" + fill("&a=b") + "'",
		"open JSON":        "version: 1\nconnections:\n - alibaba: 'Action=C" + fill("&a={") + "'",
		"headers":          "version: 1\nconnections:\n - alibaba: |\n    POST / HTTP/1.1\n" + count("    H%d: v\n"),
		"empty lines":      "version: 1\nconnections:\n - alibaba: |\n    POST / HTTP/1.1\n" + fill("    \n") + "    x",
		"wrappers":         "version: 1\nconnections:\n - alibaba: " + fill(`{"VpnConnection": `),
		"answers":          "version: 1\nconnections:\n - alibaba: {VpnConnections: {VpnConnection: [" + fill("{},") + "]}}",
		"aliases of forms": "version: 1\nx: &x 'Action=C" + fill("&a=b") + "'\nconnections:\n" + strings.Repeat(" - alibaba: *x\n", 900),
		"late invalid":     fill("# \n") + "\xff",
		"SPD entries":      "version: 1\nconnections:\n - tencent: {SecurityPolicyDatabases: [" + fill("{LocalCidrBlock: 10.0.0.0/8, RemoteCidrBlock: [10.0.0.0/8]},") + "]}",
		"SPD keys":         "version: 1\nconnections:\n - tencent:\n    SecurityPolicyDatabases:\n" + count("      \"10.0.0.%d/8\": [11.0.0.0/8]\n"),
		"SPD blocks":       "version: 1\nconnections:\n - tencent:\n    SecurityPolicyDatabases:\n" + spd(),
		"policy rules":     "version: 1\nconnections:\n - huawei: {style: policy, id: x, policy_rules: [" + fill("{source: 10.0.0.0/8, destination: [11.0.0.0/8]},") + "]}",
	} {
		t.Run(name, func(t *testing.T) {
			data := []byte(in)
			peak := watchLive()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := cpuTime(t)
			c, ps := parseText(nil, "f", data)
			took := cpuTime(t) - start
			runtime.ReadMemStats(&after)
			all, most := (after.TotalAlloc-before.TotalAlloc)>>20, peak()>>20
			if c != nil || len(ps) > 1001 {
				t.Errorf("read, or %d problems", len(ps))
			}
			t.Logf("%v, %d MB at most of %d MB, %d problems: %.150s", took.Round(time.Millisecond), most, all, len(ps), ps[0].Message)
			if took > 5*time.Second { // the bar is 1 s; slack for the race detector
				t.Errorf("took %v", took)
			}
			if most > 64 || all > 128 {
				t.Errorf("took %d MB, and %d MB with all garbage", most, all)
			}
		})
	}
}

// cpuTime is the processor time of this process. Unlike the clock it does not count what
// other processes use meanwhile.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// watchLive returns a function that says how many bytes more than now were in use at most since, as the collector counted them each time:
// how much garbage there is beside them depends on how busy the machine is.
func watchLive() func() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	now := func() uint64 { metrics.Read(sample); return sample[0].Value.Uint64() }
	runtime.GC()
	before, most := now(), uint64(0)
	stop, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for {
			most = max(most, now())
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() uint64 {
		close(stop)
		<-done
		return max(most, now(), before) - before
	}
}
