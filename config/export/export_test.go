package export

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vpngw/config"
	"vpngw/config/load"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// connections is how many are generated in each dialect; SOAK=1 raises it.
var connections = 500

func TestMain(m *testing.M) {
	if os.Getenv("SOAK") != "" {
		connections = 10_000
	}
	os.Exit(m.Run())
}

// loaded is the Config of an export, which must have no errors.
func loaded(t *testing.T, text string) *config.Config {
	t.Helper()
	c, ps := load.Text("vpngw.yaml", []byte(text), keyFile, load.Options{})
	if c == nil {
		t.Fatalf("the export does not load: %v\n%s", ps, text)
	}
	return c.Config
}

// one is the only connection of a configuration. Of a pair it is both together.
func one(c *config.Config) *config.Connection {
	if len(c.Connections) == 1 {
		return c.Connections[0]
	}
	return together(pairOf(c))
}

// pairOf are the connections of a pair.
func pairOf(c *config.Config) (active, standby *config.Connection) {
	active, standby = c.Connections[0], c.Connections[1]
	if active.Tunnels[0].Role == config.Standby {
		active, standby = standby, active
	}
	return active, standby
}

// write exports the only connection of a configuration, or its pair.
func write(c *config.Config, o Options) Export {
	active := c.Connections[0]
	if len(c.Connections) == 2 {
		active, o.Standby = pairOf(c)
	}
	return Write(active, o)
}

// comparable reduces a connection to its meaning: without its dialect, and with algorithms
// in the order of their types.
func comparable(c *config.Connection) config.Connection {
	out := *c
	out.Dialect = ""
	out.Tunnels = slices.Clone(c.Tunnels)
	if len(out.Tunnels) == 1 && out.Tunnels[0].Routes == nil {
		out.Tunnels[0].Routes = []netip.Prefix{}
	}
	for i := range out.Tunnels {
		t := &out.Tunnels[i]
		if t.IKEVersion == 2 {
			t.DPD.Order = dpd.Mirror
		}
		for _, ps := range []*[]ipsec.Proposal{&t.IKEProposals, &t.ESPProposals} {
			*ps = slices.Clone(*ps)
			for j, p := range *ps {
				p.Transforms = slices.SortedStableFunc(slices.Values(p.Transforms), func(a, b ipsec.Transform) int { return int(a.Type) - int(b.Type) })
				(*ps)[j] = p
			}
		}
	}
	return out
}

// differences names the fields in which got is not want.
func differences(got, want config.Connection) string {
	if reflect.DeepEqual(got, want) {
		return ""
	}
	var out []string
	fields := func(a, b reflect.Value) {
		for i := range a.NumField() {
			if x, y := a.Field(i).Interface(), b.Field(i).Interface(); !reflect.DeepEqual(x, y) {
				out = append(out, fmt.Sprintf("%s: got %#v, want %#v", a.Type().Field(i).Name, x, y))
			}
		}
	}
	for i := range min(len(got.Tunnels), len(want.Tunnels)) {
		fields(reflect.ValueOf(got.Tunnels[i]), reflect.ValueOf(want.Tunnels[i]))
	}
	got.Tunnels, want.Tunnels = nil, nil
	fields(reflect.ValueOf(got), reflect.ValueOf(want))
	return strings.Join(out, "\n")
}

// A connection of any dialect, written in vpngw's own words and read again, is the same.
// Two tunnels, of one connection or of a pair, are a pair then.
func TestNativeIsTheIdentity(t *testing.T) {
	for _, d := range load.Dialects() {
		t.Run(d.Name, func(t *testing.T) {
			g := &generator{rand.New(rand.NewPCG(1, 2)), d.Name}
			pairs, duals := 0, 0
			for range connections {
				text, s := g.valid()
				before := one(s.Config)
				first := write(s.Config, Options{Format: "native", Side: before.Side, Reveal: true})
				if len(first.Lost) > 0 {
					t.Fatalf("of\n%s\nare lost %q", text, first.Lost)
				}
				read := loaded(t, first.Text)
				after := one(read)
				if d := differences(comparable(after), comparable(before)); d != "" {
					t.Fatalf("of\n%s\nthere came\n%s\nwhich is another connection: %s", text, first.Text, d)
				}
				if second := write(read, Options{Format: "native", Side: after.Side, Reveal: true}); second.Text != first.Text {
					t.Fatalf("got\n%s\nwant\n%s", second.Text, first.Text)
				}
				switch {
				case len(s.Connections) > 1:
					pairs++
				case len(before.Tunnels) > 1:
					duals++
				}
			}
			t.Logf("of %d files, %d have a pair and %d a connection with two tunnels", connections, pairs, duals)
			if pairs < connections/20 {
				t.Errorf("only %d of %d files have a pair", pairs, connections)
			}
		})
	}
}

// The other end's file of the other end's file is this end's again.
func TestTheOtherEndOfTheOtherEnd(t *testing.T) {
	g := &generator{rand.New(rand.NewPCG(3, 4)), "native"}
	for range connections / 10 {
		_, s := g.valid()
		c := one(s.Config)
		other := map[config.Side]config.Side{config.Customer: config.Cloud, config.Cloud: config.Customer}[c.Side]
		e := write(s.Config, Options{Format: "native", Side: other, Reveal: true})
		if len(e.Lost) > 0 {
			continue // this end's address is not known
		}
		there := one(loaded(t, e.Text))
		if there.Side != other || there.Tunnels[0].Start != otherStart(c, c.Tunnels[0].Start) {
			t.Fatalf("got side %v, start %s", there.Side, there.Tunnels[0].Start)
		}
		back := mirror(there)
		for i := range back.Tunnels {
			back.Tunnels[i].Remote.Port, back.Tunnels[i].Remote.Host = c.Tunnels[i].Remote.Port, c.Tunnels[i].Remote.Host
			back.Tunnels[i].Device, back.Tunnels[i].Routes, back.Tunnels[i].OwnHealth = c.Tunnels[i].Device, c.Tunnels[i].Routes, c.Tunnels[i].OwnHealth
			back.Tunnels[i].Pass, back.Tunnels[i].Metric = c.Tunnels[i].Pass, c.Tunnels[i].Metric
			back.Tunnels[i].BGP = withOwn(back.Tunnels[i].BGP, c.Tunnels[i].BGP)
			if there.Tunnels[i].DPD.Clear {
				t.Fatal("the other end does not try a dead peer again either")
			}
			back.Tunnels[i].DPD.Clear = c.Tunnels[i].DPD.Clear
		}
		if d := differences(comparable(back), comparable(c)); d != "" {
			t.Fatalf("of\n%s\nthere came another connection: %s", e.Text, d)
		}
	}
}

// What a cloud's body can say comes back from it; what it cannot say is in Lost.
func TestToACloudAndBack(t *testing.T) {
	for _, from := range load.Dialects() {
		for _, to := range []string{"alibaba", "huawei", "tencent"} {
			t.Run(from.Name+" to "+to, func(t *testing.T) {
				g := &generator{rand.New(rand.NewPCG(5, 6)), from.Name}
				whole := 0
				for range connections / 10 {
					text, s := g.valid()
					before := one(s.Config)
					e := write(s.Config, Options{Format: to, Side: before.Side, Reveal: true})
					if len(e.Lost) > 0 {
						continue
					}
					whole++
					after := one(loaded(t, e.Text))
					a := Write(after, Options{Format: "native", Side: after.Side, Reveal: true}).Text
					b := Write(before, Options{Format: "native", Side: before.Side, Reveal: true}).Text
					if a, b := same(a), same(b); a != b {
						t.Fatalf("of\n%s\nthere came\n%s\ngot\n%s\nwant\n%s", text, e.Text, a, b)
					}
				}
				t.Logf("%d of %d can be said in full", whole, connections/10)
				if want := map[bool]int{true: connections / 100, false: connections / 10_000}[from.Name == to]; whole < want {
					t.Errorf("only %d of them can be said in full", whole)
				}
			})
		}
	}
}

// same is a native file without differences that mean nothing: AS numbers without BGP,
// one network written as lists or pairs, networks of a family that the other end lacks, and
// the names of the tunnels, which a dual-tunnel connection gives itself.
func same(text string) string {
	text = regexp.MustCompile(`, "fd[0-9a-f]+::/16"`).ReplaceAllString(text, "")
	text = regexp.MustCompile(`, asn: [0-9]+`).ReplaceAllString(text, "")
	text = regexp.MustCompile(`(?m)^    name: .*-[12]\n`).ReplaceAllString(text, "")
	return regexp.MustCompile(`(?m)^ +children: .*\n`).ReplaceAllString(text, "")
}

// How an end starts, in the words of each format. In a cloud's body a word is about the cloud's end; what the body has no
// word for stands beside it.
func TestStartInEachFormat(t *testing.T) {
	file := func(side config.Side, start config.Start) *config.Connection {
		text := fmt.Sprintf(`{version: 1, connections: [{name: hq, side: %v, start: %s, native: {ike_version: 1, psk: not-a-real-secret,
			local: {address: 203.0.113.9, subnets: [192.168.3.0/24]}, remote: {address: 198.51.100.1, subnets: [10.10.0.0/16]},
			ike: {proposals: [aes128-sha1-modp1024]}, esp: {proposals: [aes128-sha1-noesn]}}}]}`, side, start)
		return one(loaded(t, text))
	}
	for _, tt := range []struct {
		format string
		side   config.Side
		start  config.Start
		want   []string
		not    string
	}{
		{"swanctl", config.Customer, config.StartActive, []string{"start_action = start ", "keyingtries = 0"}, "trap\n"},
		{"swanctl", config.Customer, config.StartPassive, []string{"start_action = none", "dpd_action = clear"}, "keyingtries"},
		{"swanctl", config.Customer, config.StartOnTraffic, []string{"start_action = trap", "close_action = trap", "dpd_action = trap"}, "keyingtries"},
		{"libreswan", config.Customer, config.StartActive, []string{"auto=start", "dpdaction=restart"}, "auto=route"},
		{"libreswan", config.Customer, config.StartPassive, []string{"auto=add", "dpdaction=clear"}, "auto=route"},
		{"libreswan", config.Customer, config.StartOnTraffic, []string{"auto=route", "dpdaction=hold"}, "auto=start"},
		{"native", config.Cloud, config.StartActive, []string{"initiate: true"}, "start:"},
		{"native", config.Cloud, config.StartPassive, []string{"initiate: false"}, "start:"},
		{"native", config.Cloud, config.StartOnTraffic, []string{"start: onTraffic"}, "initiate:"},
		{"alibaba", config.Cloud, config.StartActive, []string{"EffectImmediately: true"}, "start:"},
		{"alibaba", config.Cloud, config.StartPassive, []string{"EffectImmediately: false", "start: passive"}, "EffectImmediately: true"},
		{"alibaba", config.Cloud, config.StartOnTraffic, []string{"EffectImmediately: false"}, "start:"},
		{"alibaba", config.Customer, config.StartActive, []string{"EffectImmediately: false"}, "start:"},
		{"alibaba", config.Customer, config.StartOnTraffic, []string{"start: onTraffic"}, "EffectImmediately: true"},
		{"huawei", config.Cloud, config.StartPassive, []string{"side: cloud"}, "start:"},
		{"huawei", config.Cloud, config.StartOnTraffic, []string{"start: onTraffic"}, "initiate"},
		{"tencent", config.Cloud, config.StartActive, []string{"side: cloud"}, "NegotiationType"},
		{"tencent", config.Cloud, config.StartPassive, []string{"NegotiationType: passive"}, "start:"},
		{"tencent", config.Cloud, config.StartOnTraffic, []string{"NegotiationType: flowTrigger"}, "start:"},
		{"tencent", config.Customer, config.StartPassive, []string{"start: passive"}, "NegotiationType"},
	} {
		text := Write(file(tt.side, tt.start), Options{Format: tt.format, Side: tt.side, Reveal: true}).Text
		for _, want := range tt.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s, %v, %s: there is no %q in\n%s", tt.format, tt.side, tt.start, want, text)
			}
		}
		if strings.Contains(text, tt.not) {
			t.Errorf("%s, %v, %s: there is %q in\n%s", tt.format, tt.side, tt.start, tt.not, text)
		}
	}
}

// A metric is this end's own: the other end's file has the default.
func TestTheMetricIsWrittenForThisEnd(t *testing.T) {
	for metric, want := range map[string]map[string]string{
		"7300": {"native": "", "alibaba": "", "huawei": "", "tencent": "", "libreswan": "", "swanctl": ""},
		"100":  {"native": "metric: 100", "alibaba": "metric: 100", "huawei": "metric: 100", "tencent": "metric: 100", "libreswan": "metric=100", "swanctl": "have the metric 100"},
	} {
		c := one(loaded(t, `{version: 1, connections: [{name: hq, metric: `+metric+`, native: {ike_version: 2, psk: 7p5!rKQw-2vN8zXd4,
			local: {address: 203.0.113.9, subnets: [192.168.3.0/24]}, remote: {address: 198.51.100.1, subnets: [10.10.0.0/16]},
			ike: {proposals: [aes128-sha1-modp1024]}, esp: {proposals: [aes128-sha1-noesn]}}}]}`))
		for format, line := range want {
			text := Write(c, Options{Format: format, Side: config.Customer, Reveal: true}).Text
			if line == "" && strings.Contains(text, "metric") || !strings.Contains(text, line) {
				t.Errorf("%s, metric %s: want %q in\n%s", format, metric, line, text)
			}
			if text := Write(c, Options{Format: format, Side: config.Cloud, Reveal: true}).Text; strings.Contains(text, "metric") {
				t.Errorf("%s, metric %s: the other end has it in\n%s", format, metric, text)
			}
		}
	}
}
