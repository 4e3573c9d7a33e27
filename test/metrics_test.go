package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vpngw/test/lab"
)

const metricsAddr = "127.0.0.1:9478"

// clientIn is an HTTP client whose connections are in a namespace.
func clientIn(n *lab.Namespace) *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: func(_ context.Context, network, address string) (c net.Conn, err error) {
			n.Do(func() { c, err = net.DialTimeout(network, address, 10*time.Second) })
			return c, err
		},
	}}
}

// prometheus is a real Prometheus that scrapes a gateway beside it every second. Its rules are those of deploy/prometheus with
// shorter times.
type prometheus struct {
	t     *testing.T
	n     *lab.Net
	http  *http.Client
	fired map[string]bool // alerts that have fired, by name
}

func startPrometheus(t *testing.T, n *lab.Net) *prometheus {
	t.Helper()
	rules, err := os.ReadFile("../deploy/prometheus/vpngw.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`for: \d+m`).ReplaceAllString(string(rules), "for: 1s")
	text = strings.NewReplacer("[5m]", "[8s]", "[1h]", "[40s]", "offset 5m", "offset 8s").Replace(text)
	n.File("vpngw.rules.yml", text)
	config := n.File("prometheus.yml", `global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [vpngw.rules.yml]
scrape_configs:
  - job_name: vpngw
    static_configs: [{targets: ['`+metricsAddr+`']}]
`)
	n.Customer.Start("prometheus", "prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(n.Dir, "tsdb"), "--web.listen-address=127.0.0.1:9090", "--log.level=warn")
	p := &prometheus{t: t, n: n, http: clientIn(n.Customer), fired: map[string]bool{}}
	n.Await(lab.Patience, "Prometheus scrapes vpngw", func() (bool, string) {
		r, err := p.query(`up{job="vpngw"} == 1`)
		return len(r) == 1, fmt.Sprint(r, err)
	})
	return p
}

// series is one element of an answer.
type series struct {
	Metric map[string]string
}

// query asks an instant query.
func (p *prometheus) query(expr string) ([]series, error) {
	r, err := p.http.Get("http://127.0.0.1:9090/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	var a struct {
		Status, Error string
		Data          struct{ Result []series }
	}
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
		return nil, err
	}
	if a.Status != "success" {
		return nil, fmt.Errorf("%s: %s", expr, a.Error)
	}
	return a.Data.Result, nil
}

// look notes which alerts fire, and returns them.
func (p *prometheus) look() []string {
	p.t.Helper()
	r, err := p.query(`ALERTS{alertstate="firing"}`)
	if err != nil {
		p.t.Fatal(err)
	}
	names := map[string]bool{}
	for _, s := range r {
		p.fired[s.Metric["alertname"]] = true
		names[s.Metric["alertname"]+" "+s.Metric["connection"]] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// awaitAlert waits until an alert fires, for a connection if one is named, and then until it fires no more when undo has
// ended what provoked it.
func (p *prometheus) awaitAlert(name, connection string, undo func()) {
	p.t.Helper()
	fires := func() (bool, string) {
		got := p.look()
		return slices.ContainsFunc(got, func(s string) bool {
			return strings.HasPrefix(s, name+" ") && (connection == "" || strings.HasSuffix(s, " "+connection))
		}), strings.Join(got, ", ")
	}
	p.n.Await(time.Minute, name+" fires", fires)
	if undo == nil {
		return
	}
	undo()
	p.n.Await(2*time.Minute, name+" fires no more", func() (bool, string) {
		is, got := fires()
		return !is, got
	})
}

// alertNames are the alerts of deploy/prometheus.
func alertNames(t *testing.T) []string {
	t.Helper()
	rules, err := os.ReadFile("../deploy/prometheus/vpngw.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile(`- alert: (\S+)`).FindAllStringSubmatch(string(rules), -1) {
		out = append(out, m[1])
	}
	return out
}

// dashboardQueries are the dashboard's queries for all instances and connections, by their panels' titles.
func dashboardQueries(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile("../deploy/grafana/vpngw.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	all := strings.NewReplacer("$__rate_interval", "8s", "$instance", ".*", "$connection", ".*")
	out := map[string][]string{}
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			out[p.Title] = append(out[p.Title], all.Replace(q.Expr))
		}
	}
	return out
}

// byRules are the alerts that cannot be provoked here in a minute, or only by chance on a busy machine. promtool's tests of the rules
// have them.
var byRules = []string{"VpngwRekeyFailing", "VpngwEngineSaturated", "VpngwControlLoopSaturated", "VpngwKernelDrops"}

// A real Prometheus scrapes a gateway with BGP, BFD, health checks and a pair of tunnels. While nothing is wrong no alert fires;
// each alert fires when it is provoked, and ends with its cause. Every query of the dashboard returns data.
func TestPrometheusScrapesAndAlerts(t *testing.T) {
	if os.Getenv("METRICS") == "" {
		t.Skip("make metrics-test runs it")
	}
	n := twoGateways(t, append(lab.RouterTools, "prometheus", "promtool", "nft", "python3")...)
	promtool(t)
	e := newBGPEnds(map[string]any{"bfd": map[string]any{"interval": "300ms", "multiplier": 3}, "announce": []string{"172.20.0.0/24"}})
	e.theirs.Peers[0].BFD, e.theirs.Announce = true, lab.Prefixes(3)
	e.ours.Health = map[string]any{"interval": "500ms", "retries": 3}
	e.ours.Native.Local.ID, e.ours.Native.Remote.ID = "row-c.example", "row-v.example" // an IKE SA of its own
	a, b := twoTunnels("1s", byHealth)
	elsewhere := strings.NewReplacer("169.254.2", "169.254.4").Replace // row has a's addresses in the tunnel
	for _, c := range []*lab.Connection{&a, &b} {
		for _, ends := range [][]string{c.Native.Local.Subnets, c.Native.Remote.Subnets} {
			for i := range ends {
				ends[i] = elsewhere(ends[i])
			}
		}
		for k, v := range c.Native.Inside {
			c.Native.Inside[k] = elsewhere(v)
		}
	}
	ours := []lab.Connection{e.ours, a, b}
	var theirs []lab.Connection
	for i := range ours {
		ours[i].Native.IKE.Proposals = []string{floodSuites.ike()}
		ours[i].DPD = map[string]any{"interval": "1s", "timeout": "3s"}
		theirs = append(theirs, mirror(ours[i]))
	}
	theirs[0].BGP, theirs[0].Health = nil, nil // BIRD has the session
	theirs[0].Native.Local.ASN, theirs[0].Native.Remote.ASN = nil, nil
	cloud := n.Cloud.Vpngw(lab.Config{Connections: theirs})
	peer := n.Cloud.BIRD(e.theirs)
	gw := n.Customer.Vpngw(lab.Config{Connections: ours, Metrics: map[string]any{"listen": metricsAddr}})
	settle := func() {
		for _, name := range []string{"row", "a", "b"} {
			gw.AwaitUp(name)
		}
		n.AwaitEstablished(peer, bgpNear, lab.Patience)
		n.Await(lab.Patience, "the health checks are well", func() (bool, string) {
			h := gw.Tunnel("a").Health
			return h != nil && h.State == "healthy", fmt.Sprint(h)
		})
	}
	settle()
	p := startPrometheus(t, n)

	missing := dashboardQueries(t)
	draw := func() {
		for title, queries := range missing {
			missing[title] = slices.DeleteFunc(queries, func(q string) bool {
				r, err := p.query(q)
				if err != nil {
					t.Error(err)
				}
				return len(r) > 0
			})
		}
	}

	calm := time.Now()
	for time.Since(calm) < 12*time.Second {
		n.Host.Reaches(lab.CloudHost)
		if got := p.look(); len(got) > 0 {
			t.Errorf("nothing is wrong, and these fire: %q", got)
			break
		}
	}
	draw()

	gw.Command("reload", "--confirm", "300s")
	p.awaitAlert("VpngwReloadPending", "", func() { gw.Command("confirm") })

	gw.Command("rekey", "a")
	gw.Command("rekey", "row", "--ike")

	gw.Command("down", "b")
	p.awaitAlert("VpngwNoRedundancy", "", func() { gw.Command("up", "b"); gw.AwaitUp("b") })
	if got := p.look(); slices.Contains(got, "VpngwTunnelDown b") {
		t.Errorf("an operator took b down, and that fires: %q", got)
	}

	n.Host.Address("lo", "192.168.99.9/32")
	n.Customer.Route("192.168.99.9/32", lab.CustomerHost)
	stray := n.Host.Start("stray", "ping", "-q", "-i", "0.05", "-I", "192.168.99.9", lab.CloudHost)
	p.awaitAlert("VpngwDropsRising", "", stray.Kill)

	spi := gw.Tunnel("a").Children[0].SPIIn
	n.Cloud.Run("python3", "-c", `
import os, socket
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 50)
for i in range(50): s.sendto(bytes.fromhex("`+strings.TrimPrefix(spi, "0x")+`") + (2000 + i).to_bytes(4, "big") + os.urandom(96), ("`+lab.CustomerAddr+`", 0))`)
	p.awaitAlert("VpngwForgedPackets", "a", func() {})
	draw()

	lossy := n.Internet.Filter("forward", "ip saddr "+lab.CloudAddr+" meta l4proto esp numgen random mod 100 < 30", "drop")
	p.awaitAlert("VpngwHealthLoss", "", lossy.Remove)

	hole := n.Internet.Filter("forward", "ip saddr { "+lab.CloudAddr+", "+cloudAddr2+" } meta l4proto esp", "drop")
	sink := n.Host.Start("sink", "ping", "-q", "-i", "0.1", lab.CloudHost)
	p.awaitAlert("VpngwTunnelDegraded", "", nil)
	p.awaitAlert("VpngwBlackHole", "", func() { hole.Remove(); sink.Kill(); settle() })
	draw()

	peer.Kill()
	p.awaitAlert("VpngwBGPSessionMissing", "row", func() { peer.Restart(); settle() })

	flood := n.Internet.StartFlood(400, func() lab.Forged {
		return lab.Forged{
			From: netip.AddrPortFrom(netip.MustParseAddr(lab.CloudAddr), uint16(1024+rand.IntN(60000))), To: netip.MustParseAddrPort(lab.CustomerAddr + ":500"),
			Data: firstMessage(rand.Uint64(), false, false, nil),
		}
	})
	p.awaitAlert("VpngwHalfOpen", "", func() { flood.Stop() })

	cloud.Kill()
	p.awaitAlert("VpngwTunnelDown", "b", func() { draw(); cloud.Restart(); settle() })

	for range 3 {
		gw.Restart()
		settle()
		time.Sleep(2 * time.Second) // a scrape of each run
	}
	p.awaitAlert("VpngwRestarts", "", nil)
	draw()
	gw.Kill()
	p.awaitAlert("VpngwGone", "", nil)

	for _, name := range alertNames(t) {
		if p.fired[name] == slices.Contains(byRules, name) {
			t.Errorf("%s has fired: %v", name, p.fired[name])
		}
	}
	for title, queries := range missing {
		for _, q := range queries {
			t.Errorf("%s: no data of %s", title, q)
		}
	}
}

// promtool checks the rules, and runs their tests.
func promtool(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{{"check", "rules", "../deploy/prometheus/vpngw.rules.yml"}, {"test", "rules", "../deploy/prometheus/vpngw.rules_test.yml"}} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestManyClientsOfMetricsDisturbNothing: a hundred clients that ask without pause, and slow ones, take no packet from a tunnel, keep
// no other client waiting and none from commanding the daemon. No key is told. A reload moves the address.
func TestManyClientsOfMetricsDisturbNothing(t *testing.T) {
	const secret = "marker-of-the-metrics-test"
	count := counted(20, 500)
	l := lab.Direct(t)
	flowing := func(initiate bool) func(int, *lab.Connection) {
		return func(i int, c *lab.Connection) {
			c.PSK = secret
			if i == 0 {
				c.Native.Local.Subnets, c.Native.Remote.Subnets = []string{lab.CustomerLAN}, []string{lab.CloudLAN}
				if !initiate {
					c.Native.Local.Subnets, c.Native.Remote.Subnets = c.Native.Remote.Subnets, c.Native.Local.Subnets
				}
			}
		}
	}
	l.Cloud.Vpngw(many(count, false, flowing(false)))
	ours := many(count, true, flowing(true))
	gw := l.Customer.Vpngw(ours)
	c := clientIn(l.Customer)
	if _, err := scrape(c, false); err == nil {
		t.Error("metrics are served though nobody asked for that")
	}
	ours.Metrics = map[string]any{"listen": metricsAddr}
	gw.Reload(ours)
	text := ""
	l.Await(5*time.Minute, "the metrics say that all tunnels are up", func() (bool, string) {
		var err error
		text, err = scrape(c, false)
		n := len(regexp.MustCompile(`(?m)^vpngw_tunnel_state\{.*state="up".*\} 1$`).FindAllString(text, -1))
		return err == nil && n == count, fmt.Sprint(n, err)
	})
	if strings.Contains(text, secret) {
		t.Error("the key is in the metrics")
	}
	var took []time.Duration
	for range counted(1, 10) {
		time.Sleep(1100 * time.Millisecond) // a text is handed out for a second
		begin := time.Now()
		if _, err := scrape(c, true); err != nil {
			t.Error(err)
		}
		took = append(took, time.Since(begin).Round(100*time.Microsecond))
	}
	slices.Sort(took)

	stop := make(chan struct{})
	var clients sync.WaitGroup
	end := sync.OnceFunc(func() {
		close(stop)
		clients.Wait()
	})
	defer end()
	var answers atomic.Int64
	for i := range 100 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if i%10 > 0 {
					if _, err := scrape(c, i%2 == 0); err == nil {
						answers.Add(1)
					}
					continue
				}
				var s net.Conn // asks, and takes nothing
				var err error
				l.Customer.Do(func() { s, err = net.DialTimeout("tcp", metricsAddr, time.Second) })
				if err == nil {
					fmt.Fprintf(s, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
					time.Sleep(200 * time.Millisecond)
					s.Close()
				}
			}
		})
	}
	f := l.StartFlow(l.Host, lab.CustomerHost, l.CloudHost, lab.CloudHost, 500)
	begin := time.Now()
	gw.Command("rekey", "c0")
	gw.Command("down", "c1")
	gw.Command("up", "c1")
	gw.AwaitUp("c1")
	up := time.Since(begin)
	l.Await(lab.Patience, "the flow has flown, and clients were answered", func() (bool, string) {
		a, b := f.Received()
		return a > 1500 && b > 1500 && answers.Load() > 30, fmt.Sprint(a, b, answers.Load())
	})
	there, back := f.Stop()
	span := time.Since(begin)
	end()
	lossless(t, there, back)
	t.Logf("%d tunnels: %d bytes, %d series; a scrape took %v to %v; under 100 clients, %d answers in %v, a tunnel went down and up in %v",
		count, len(text), strings.Count(text, "\n")-strings.Count(text, "\n#"), took[0], took[len(took)-1], answers.Load(), span.Round(10*time.Millisecond), up.Round(time.Millisecond))

	ours.Metrics = nil
	gw.Reload(ours)
	l.Await(lab.Patience, "metrics are served no more", func() (bool, string) {
		_, err := scrape(clientIn(l.Customer), false)
		return err != nil, ""
	})
}

// scrape reads a gateway's metrics on its TCP address.
func scrape(c *http.Client, packed bool) (text string, err error) {
	q, err := http.NewRequest("GET", "http://"+metricsAddr+"/metrics", nil)
	if err != nil {
		return "", err
	}
	q.Header.Set("Accept-Encoding", map[bool]string{true: "gzip", false: "identity"}[packed])
	r, err := c.Do(q)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != 200 {
		err = fmt.Errorf("%s: %s", r.Status, b)
	}
	return string(b), err
}
