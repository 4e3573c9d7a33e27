package drift

import (
	"fmt"
	"strings"
	"testing"
)

// One tunnel of two is a difference by itself.
func TestAMissingTunnelIsADrift(t *testing.T) {
	p := pairOf(t, "alibaba with two tunnels")
	from, to := strings.Index(p.answer, `{"TunnelId": "tun-2"`), strings.Index(p.answer, `{"TunnelId": "tun-1"`)
	r := compared(t, view(t, p.here, "customer", false), p.answer[:from]+p.answer[to:])
	if got, want := fmt.Sprintf("%v %v", len(r.Drifts), r.Drifts[0]), "{ TunnelOptionsSpecification one tunnel 2 tunnels  "; !strings.HasPrefix(got, "1 "+want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A connection in vpngw's own words is compared in what both ends must have alike, whichever cloud answers.
func TestNativeIsComparedWithEachCloud(t *testing.T) {
	const here = `
  - native:
      local:  {address: 203.0.113.9, id: %s, subnets: [%s]}
      remote: {address: 198.51.100.%d, id: %s, subnets: [%s]}
      ike_version: %d
      ike: {proposals: [%s, aes192-sha512-modp3072]}
      esp: {proposals: [%s], lifetime: %s}
      children: %s
      psk: Not-a-real-Secret.1
    name: hq
`
	for name, text := range map[string]string{
		"alibaba": fmt.Sprintf(here, "203.0.113.9", "192.168.3.0/24", 1, "198.51.100.1", "10.10.0.0/16, 10.11.0.0/16", 2,
			"aes256-md5-modp2048", "aes256-sha256-modp1024", "24h", "lists"),
		"huawei by policy": fmt.Sprintf(here, "203.0.113.9", "192.168.3.0/24, 192.168.4.0/24", 4, "198.51.100.4", "10.10.0.0/16", 2,
			"aes128gcm16-prfsha256-modp2048", "aes256-sha256", "1h", "pairs"),
		"tencent": fmt.Sprintf(here, "hq.example", "192.168.3.0/24, 192.168.4.0/24", 1, "198.51.100.1", "10.10.0.0/16, 10.11.0.0/16", 2,
			"aes256-sha1-modp2048", "aes256-sha1", "1h", "[{local: 192.168.3.0/24, remote: 10.10.0.0/16}, {local: 192.168.4.0/24, remote: 10.10.0.0/16}, {local: 192.168.3.0/24, remote: 10.11.0.0/16}]"),
	} {
		p := pairOf(t, name)
		for _, daemon := range []bool{false, true} {
			for _, d := range compared(t, view(t, text, "customer", daemon), p.answer).Drifts {
				t.Errorf("%s: %+v", name, d)
			}
		}
		changed := strings.NewReplacer(`"10.10.0.0/16"`, `"10.12.0.0/16"`, `,10.10.0.0/16"`, `,10.12.0.0/16"`).Replace(p.answer)
		if r := compared(t, view(t, text, "customer", true), changed); len(r.Drifts) != 1 {
			t.Errorf("%s: %+v", name, r.Drifts)
		}
	}
}

// BGP that the file turns off beside the body is a drift from a cloud that has it.
func TestWhatStandsBesideTheBodyCounts(t *testing.T) {
	p := pairOf(t, "alibaba with BGP")
	here := strings.Replace(p.here, "bgp: {key: Not-a-real-Secret.2}", "bgp: no", 1)
	r := compared(t, view(t, here+"    routes: [10.99.0.0/16]\n", "customer", true), p.answer)
	if len(r.Drifts) != 1 || r.Drifts[0].Parameter != "BgpConfig.EnableBgp" || r.Drifts[0].There != "wanted" || r.Drifts[0].Here != "none" {
		t.Errorf("%+v", r.Drifts)
	}
}

// What an answer leaves out is not compared; what it leaves empty has the default. The list of Alibaba's connections
// does not say whether there is BGP but by the block in the tunnel.
func TestWhatAnAnswerLeavesOutIsNotCompared(t *testing.T) {
	for _, c := range []struct{ pair, old, new, drifts, not string }{
		{"tencent", `"DhGroupName": "GROUP14", `, ``, "", "IKEOptionsSpecification.DhGroupName: the answer leaves it out; here it is GROUP14"},
		{"tencent", `"DhGroupName": "GROUP14"`, `"DhGroupName": ""`, "IKEOptionsSpecification.DhGroupName", ""},
		{"huawei by policy", `"pfs": "disable", `, ``, "", "ipsecpolicy.pfs: the answer leaves it out; here it is disable"},
		{"alibaba", `"LocalSubnet": "10.11.0.0/16,10.10.0.0/16"`, `"LocalSubnet": "10.10.0.0/16,10.11.0.0/16"`, "", ""},
		{"alibaba with BGP", `"IpsecLifetime": 3600`, ``, "", "IpsecConfig.IpsecLifetime: the answer leaves it out; here it is 1h"},
		{"alibaba with BGP", `"EnableBgp": "true", `, ``, "", ""},
		{"alibaba with BGP", `"EnableBgp": "true", `, `"EnableBgp": "", `, "BgpConfig.EnableBgp", ""},
	} {
		p := pairOf(t, c.pair)
		answer := strings.Replace(p.answer, c.old, c.new, 1)
		if answer == p.answer && c.old != c.new && c.pair != "alibaba" {
			t.Fatalf("%s has no %s", c.pair, c.old)
		}
		r := compared(t, view(t, p.here, "customer", false), answer)
		got, not := "", ""
		for _, d := range r.Drifts {
			got += d.Parameter
		}
		for _, n := range r.NotCompared {
			if !strings.Contains(n, "key") {
				not += n
			}
		}
		if got != c.drifts || not != c.not {
			t.Errorf("%s, %s: drifts %q, not compared %q; want %q, %q", c.pair, c.new, got, not, c.drifts, c.not)
		}
	}
}

// An id in place of which the file has an address is not known here, and no difference.
func TestAnAddressInPlaceOfAnIDIsNoDrift(t *testing.T) {
	p := pairOf(t, "alibaba")
	here := strings.NewReplacer("vpn-1", "198.51.100.1", "cgw-1", "203.0.113.9").Replace(p.here)
	if r := compared(t, view(t, here, "customer", false), p.answer); len(r.Drifts) > 0 {
		t.Errorf("%+v", r.Drifts)
	}
}

// No answer makes Answer or Compare panic, and none makes them show a key.
func FuzzAnswer(f *testing.F) {
	for _, p := range pairs {
		f.Add(p.answer)
		f.Add(p.answer[:len(p.answer)/2])
		f.Add(strings.ReplaceAll(p.answer, `"`, ``))
		f.Add(strings.NewReplacer("{", "[", "}", "]", ":", ",").Replace(p.answer))
		f.Add(strings.NewReplacer(`"10.10.0.0/16"`, `{"a": ["\u001b[2J"]}`, `"hq"`, `[]`, "86400", "-1e99", "true", "null").Replace(p.answer))
	}
	f.Add(`{"VpnConnections": {"VpnConnection": [1, [], null, "x"]}}`)
	f.Add(`{"VpnConnections": 1}`)
	f.Fuzz(func(t *testing.T, answer string) {
		for _, p := range pairs {
			here := view(t, p.here, "customer", false)
			there, notes, err := Answer(here, "answer.json", []byte(answer))
			if err != nil {
				if strings.Contains(err.Error(), "Not-a-real") || strings.Contains(err.Error(), "\x1b") {
					t.Errorf("%v", err)
				}
				continue
			}
			if got := fmt.Sprintf("%+v", Compare(here, there, notes)); strings.Contains(got, secret) {
				t.Errorf("it shows a key: %s", got)
			}
		}
	})
}

// A long text of somebody else is cut between two letters.
func TestALongTextIsCutBetweenLetters(t *testing.T) {
	if got, want := printable(strings.Repeat("北", 100)), strings.Repeat("北", 80)+"…"; got != want {
		t.Errorf("got %q", got)
	}
}
