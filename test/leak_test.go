package test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

// leaking is a customer's gateway under streams of packets for the networks behind its tunnel, and counts what it
// sends into the internet in clear.
type leaking struct {
	*testing.T
	*lab.Net
	gw      *lab.Vpngw
	conn    lab.Connection
	clear   *lab.Rule
	last    int // packets in clear, as last counted
	streams []*lab.Stream
	intact  string // what the daemon has in the kernel
}

const streamRate = 100 // packets a second

// protected matches packets of the networks that the tunnel joins, in tcpdump's words.
const protected = "inbound and udp and (net 10.10.0.0/16 or net 198.51.200.0/24 or net 192.168.3.0/24 or net fd00:10::/64 or net fd00:3::/64)"

// inClearFrom counts the packets, IPv4 and IPv6, of a stream behind the customer's gateway that leave it unencrypted.
func inClearFrom(n *lab.Net) *lab.Rule {
	return n.Internet.Filter("prerouting", `iifname "customer" udp dport != { 500, 4500 }`, "")
}

// startLeaking starts the gateway without its peer, and a stream to each address from the host behind it, and to the first
// from itself.
func startLeaking(t *testing.T, n *lab.Net, c lab.Connection, to ...string) *leaking {
	l := &leaking{T: t, Net: n, conn: c}
	l.clear = inClearFrom(n)
	l.gw = n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{c}})
	for _, a := range to {
		l.streams = append(l.streams, n.Host.StartStream(n.CloudHost, a, streamRate))
	}
	l.streams = append(l.streams, n.Customer.StartStream(n.CloudHost, to[0], streamRate))
	return l
}

// leaked counts the packets in clear since it was last called.
func (l *leaking) leaked() (packets int) {
	l.T.Helper()
	all := l.clear.Packets()
	packets, l.last = all-l.last, all
	return packets
}

// tries waits until each stream has sent so many packets.
func (l *leaking) tries(packets int) {
	l.T.Helper()
	var until []int
	for _, s := range l.streams {
		until = append(until, s.Tries()+packets)
	}
	for i, s := range l.streams {
		s.AwaitTries(until[i])
	}
}

// flows waits until all streams arrive, and returns the longest time without an arrival.
func (l *leaking) flows(since time.Time) (gap time.Duration) {
	l.T.Helper()
	for _, s := range l.streams {
		gap = max(gap, s.AwaitFlow(since, streamRate/5))
	}
	return gap
}

// ours lists what the daemon has in the kernel for the streams.
func (l *leaking) ours() string {
	var out []string
	for _, args := range []string{"-4 route show table all proto 73", "-6 route show table all proto 73", "-4 rule", "-6 rule", "-br addr show dev vpngw0"} {
		text, err := l.Customer.Try("ip", strings.Fields(args)...)
		if err != nil {
			text = args + ": " + text
		}
		for line := range strings.Lines(text) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// none is a case in which no packet may leave in clear. flowing says that the streams arrive again after it.
func (l *leaking) none(name string, flowing bool, do func()) {
	l.T.Helper()
	l.leaks(name, 0, flowing, do)
}

// leaks is a case in which at most so many packets may leave in clear.
func (l *leaking) leaks(name string, most int, flowing bool, do func()) {
	l.T.Helper()
	since := time.Now()
	do()
	what := ""
	if flowing {
		gap := l.flows(since)
		what = ", traffic at most " + gap.Round(10*time.Millisecond).String() + " away"
	}
	l.tries(streamRate / 5)
	n := l.leaked() // since the end of the case before
	l.Logf("%-55s %d in clear%s [%v]", name, n, what, time.Since(since).Round(10*time.Millisecond))
	if n > most {
		l.Errorf("%s: %d packets left in clear, want at most %d; now\n%s\n%s", name, n, most, l.ours(), l.Customer.Run("ip", "route"))
	}
}

// deleted is a case in which another program deletes an object of the daemon's. Within a second it is back.
func (l *leaking) deleted(most int, args ...string) {
	l.T.Helper()
	l.leaks("ip "+strings.Join(args, " "), most, true, func() {
		l.T.Helper()
		start := time.Now()
		l.Customer.Run("ip", args...)
		l.Await(within(time.Second), "what another program deleted is back", func() (bool, string) {
			is := l.ours()
			return is == l.intact, is
		})
		l.Logf("back after %v, the time to look included", time.Since(start).Round(10*time.Millisecond))
	})
}

// restarts are every end of the daemon and its next start.
func (l *leaking) restarts() {
	l.T.Helper()
	for _, end := range []struct {
		name string
		do   func()
	}{{"SIGTERM", func() { l.gw.Stop() }}, {"kill -9", func() { l.gw.Kill() }}} {
		l.none(end.name+", and two seconds without a daemon", false, func() { end.do(); l.tries(2 * streamRate) })
		var up time.Duration
		l.none("its start", true, func() {
			start := time.Now()
			l.gw.Restart()
			l.gw.AwaitUp(l.conn.Name)
			up = time.Since(start)
		})
		l.Logf("up %v after the start", up.Round(10*time.Millisecond))
	}
}

// reloads are a change of everything that a reload can change.
func (l *leaking) reloads() {
	l.T.Helper()
	reload := func(cs ...lab.Connection) func() {
		return func() { l.gw.Reload(lab.Config{Connections: cs}) }
	}
	device, renamed, lifetime, dpd := l.conn, l.conn, l.conn, l.conn
	device.Device, renamed.Name, lifetime.Lifetime, dpd.DPD = "office", "renamed", map[string]string{"esp": "50m"}, false
	narrow, other := l.conn, native("other", natSuites)
	routes := *narrow.Native
	narrow.Native, narrow.Routes = &routes, append(slices.Clone(routes.Remote.Subnets), "10.10.0.0/24")
	o := *other.Native
	o.Remote.Subnets, o.Remote.Address, o.Remote.ID = []string{"10.77.0.0/16"}, "198.51.100.77", "other.example"
	other.Native = &o
	for _, c := range []struct {
		name string
		to   []lab.Connection
	}{
		{"nothing changed", []lab.Connection{l.conn}},
		{"another device", []lab.Connection{device}},
		{"the first device", []lab.Connection{l.conn}},
		{"another name", []lab.Connection{renamed}},
		{"the first name", []lab.Connection{l.conn}},
		{"another lifetime", []lab.Connection{lifetime}},
		{"no dead peer detection", []lab.Connection{dpd}},
		{"one route more", []lab.Connection{narrow}},
		{"a connection more, the first", []lab.Connection{other, l.conn}},
		{"and less", []lab.Connection{l.conn}},
	} {
		l.none("reload: "+c.name, true, reload(c.to...))
	}
	l.none("reload: a file with errors", true, func() {
		l.File("customer.yaml", "version: 1\nconnections: 7\n")
		if out, err := l.gw.Try("reload"); err == nil {
			l.Errorf("the reload was taken: %s", out)
		}
		reload(l.conn)()
	})
}

// links are devices that go down and come back.
func (l *leaking) links() {
	l.T.Helper()
	l.deleted(0, "link", "set", "vpngw0", "down")
	l.none("ip link del vpngw0", true, func() { l.Customer.Run("ip", "link", "del", "vpngw0") })
	l.none("the LAN goes down and comes back", true, func() {
		l.Customer.Run("ip", "link", "set", "lan", "down")
		l.tries(streamRate / 2)
		l.Customer.Run("ip", "link", "set", "lan", "up")
		l.Customer.Run("ip", "-6", "addr", "add", "fd00:3::1/64", "dev", "lan", "nodad")
	})
	l.none("the WAN goes down and comes back", true, func() {
		l.Customer.Run("ip", "link", "set", "wan", "down")
		l.tries(streamRate / 2)
		l.Customer.Run("ip", "link", "set", "wan", "up")
		l.Customer.Run("ip", "-6", "addr", "add", lab.CustomerAddr6+"/64", "dev", "wan", "nodad")
		l.Customer.Route("default", "203.0.113.254")
		l.Customer.Route("default", "2001:db8:c::fe")
	})
}

// others are the routes and rules of other programs that concern all packets, or others than ours.
func (l *leaking) others() {
	l.T.Helper()
	for _, c := range [][]string{
		{"route", "add", "10.0.0.0/8", "via", "203.0.113.254"},
		{"route", "add", "10.10.0.0/16", "via", "203.0.113.254", "metric", "20000"},
		{"route", "add", "default", "via", "203.0.113.254", "metric", "1", "table", "100"},
		{"rule", "add", "lookup", "100", "priority", "33000"},
		{"rule", "add", "from", "192.168.77.0/24", "lookup", "100", "priority", "50"},
		{"route", "add", "198.0.0.0/8", "via", "203.0.113.254"},
	} {
		l.none("another program's ip "+strings.Join(c, " "), true, func() { l.Customer.Run("ip", c...) })
	}
	if row := l.gw.Tunnel("row"); row.Leak != "none" {
		l.Errorf("leak %s: %s", row.Leak, row.LeakWhy)
	}
	l.none("they go", true, func() {
		l.Customer.Run("ip", "route", "del", "10.0.0.0/8")
		l.Customer.Run("ip", "route", "del", "10.10.0.0/16", "metric", "20000")
		l.Customer.Run("ip", "route", "del", "198.0.0.0/8")
		l.Customer.Run("ip", "route", "flush", "table", "100")
		l.Customer.Run("ip", "rule", "del", "priority", "33000")
		l.Customer.Run("ip", "rule", "del", "priority", "50")
	})

	// What wins against us is not replaced, and named.
	for _, c := range []struct{ add, del, why string }{
		{"route add 10.10.0.0/16 via 203.0.113.254", "route del 10.10.0.0/16 via 203.0.113.254", "the route 10.10.0.0/16 via 203.0.113.254 on wan"},
		{"rule add from 192.168.3.0/24 lookup 100 priority 50", "rule del priority 50", "the route 0.0.0.0/0 via 203.0.113.254 on wan, metric 1 in table 100"},
	} {
		l.Customer.Run("ip", "route", "add", "default", "via", "203.0.113.254", "metric", "1", "table", "100")
		l.Customer.Run("ip", strings.Fields(c.add)...)
		l.Await(lab.Patience, "status names it", func() (bool, string) {
			row := l.gw.Tunnel("row")
			return row.Leak == "possible" && strings.Contains(row.LeakWhy, c.why), row.Leak + ": " + row.LeakWhy
		})
		if text := l.gw.Command("status"); !strings.Contains(text, "row can leak: packets to 10.10.0.1") {
			l.Errorf("status does not tell:\n%s", text)
		}
		l.Customer.Run("ip", strings.Fields(c.del)...)
		l.Customer.Run("ip", "route", "flush", "table", "100")
		l.Await(lab.Patience, "no leak any more", func() (bool, string) {
			row := l.gw.Tunnel("row")
			return row.Leak == "none", row.LeakWhy
		})
	}
	l.flows(time.Now())
	l.leaked() // as meant
}

// end takes the tunnel down, and cleans: then packets leave in clear, which also shows that the counters see them.
func (l *leaking) end(pcap *lab.Capture) {
	l.T.Helper()
	if out, err := l.gw.Try("status"); err != nil || strings.Contains(out, "can leak") {
		l.Errorf("status: %v\n%s", err, out)
	}
	if out, err := l.Customer.Try(l.Binary(), "clean"); err == nil || !strings.Contains(out, "runs here, and nothing was removed") {
		l.Errorf("clean beside a daemon: %v: %s", err, out)
	}
	clear := func(what string) {
		l.T.Helper()
		l.tries(streamRate / 2)
		if l.leaked() == 0 {
			l.Errorf("%s: no packet leaves in clear; this test sees none", what)
		}
	}
	l.gw.Command("down", "row")
	clear("vpngw down")
	if row := l.gw.Tunnel("row"); row.Leak != "possible" || !strings.Contains(row.LeakWhy, "while `vpngw down` holds the tunnel") {
		l.Errorf("down: leak %s: %s", row.Leak, row.LeakWhy)
	}
	l.gw.Command("up", "row")
	l.leaked()
	l.none("after vpngw up", true, func() {})
	l.gw.Stop()
	if out := l.ours(); !strings.Contains(out, "unreachable 10.10.0.0/16") {
		l.Errorf("after the end there is\n%s", out)
	}
	l.Customer.Run(l.Binary(), "clean")
	clear("vpngw clean")
	if out := l.ours(); strings.Contains(out, "7310") || strings.Contains(out, "7373") {
		l.Errorf("vpngw clean leaves\n%s", out)
	}
	for _, s := range l.streams {
		s.Stop()
	}
	seen := len(strings.Split(strings.TrimSpace(l.Tshark(pcap.Stop())), "\n"))
	if all := l.clear.Packets(); seen > all || seen < all*9/10 { // tcpdump may miss one at its end
		l.Errorf("the capture has %d packets in clear, the counters %d", seen, all)
	}
}

// Nothing leaves in clear, whatever happens to the daemon, its peer, its configuration, its objects in the kernel and the
// host's links. The peer is strongSwan.
func TestNothingInClearAgainstStrongswan(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, append(lab.CharonTools, "tcpdump", "tshark", "nft")...)
	pcap := n.Internet.Capture("customer", protected)
	ours, theirs := versionPair(2)
	l := startLeaking(t, n, ours, lab.CloudHost)
	l.none("two seconds without a peer", false, func() { l.tries(2 * streamRate) })
	if row := l.gw.Tunnel("row"); row.Leak != "none" {
		t.Errorf("before the peer: leak %s: %s", row.Leak, row.LeakWhy)
	}
	cloud := n.Cloud.Charon()
	cloud.PSK(psk)
	cloud.Load(theirs)
	l.none("the peer comes", true, func() { l.gw.AwaitUp("row") })
	l.restarts()
	if soak {
		l.reloads()
	}
	l.gw.AwaitUp("row")
	l.intact = l.ours()
	l.links()
	l.none("the peer is killed", false, func() { cloud.Kill(); l.gw.AwaitState("row", "connecting", lab.Patience); l.tries(streamRate) })
	l.none("and returns", true, func() { cloud.Restart(); l.gw.AwaitUp("row") })
	l.end(pcap)
}

// The same between two vpngw, with IPv6, an address in the tunnel, and a prefix that contains the peer and so has rules.
func TestNothingInClearBetweenTwo(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, "tcpdump", "tshark", "nft")
	n.Cloud.Address("lan", "198.51.200.1/24")
	n.CloudHost.Address("eth0", "198.51.200.10/24")
	pcap := n.Internet.Capture("customer", protected)
	row := native("row", natSuites)
	row.DPD = map[string]any{"interval": "2s", "timeout": "6s"}
	row.Native.Local.Subnets = append(row.Native.Local.Subnets, lab.CustomerLAN6)
	row.Native.Remote.Subnets = append(row.Native.Remote.Subnets, "198.51.0.0/16", lab.CloudLAN6)
	row.Native.Inside = map[string]string{"local": "169.254.20.2/30", "remote": "169.254.20.1"}
	l := startLeaking(t, n, row, lab.CloudHost, "198.51.200.10", lab.CloudHost6)
	l.none("two seconds without a peer", false, func() { l.tries(2 * streamRate) })
	cloud := n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(row)}})
	l.none("the peer comes", true, func() { l.gw.AwaitUp("row") })
	if soak {
		l.restarts()
	}
	l.reloads()
	l.gw.AwaitUp("row")

	l.intact = l.ours()
	for _, family := range []string{"-4", "-6"} {
		for line := range strings.Lines(n.Customer.Run("ip", family, "route", "show", "table", "all", "proto", "73")) {
			l.deleted(0, append([]string{family, "route", "del"}, strings.Fields(line)...)...)
		}
		for line := range strings.Lines(n.Customer.Run("ip", family, "rule")) {
			if priority, _, _ := strings.Cut(line, ":"); strings.HasPrefix(priority, "7") {
				l.deleted(streamRate, family, "rule", "del", "priority", priority)
			}
		}
	}
	l.deleted(0, "addr", "del", "169.254.20.2/30", "dev", "vpngw0")
	l.others()
	if soak {
		l.links()
		l.none("the peer is killed", false, func() { cloud.Kill(); l.gw.AwaitState("row", "connecting", lab.Patience); l.tries(streamRate) })
		l.none("and returns", true, func() { cloud.Restart(); l.gw.AwaitUp("row") })
	}
	l.end(pcap)
}

// With `before_up: pass` packets leave in clear until the tunnel is first up, and after the end of the daemon.
func TestBeforeUpPass(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, "nft")
	row := native("row", natSuites)
	row.BeforeUp = "pass"
	l := startLeaking(t, n, row, lab.CloudHost)
	clear := func(when string, want bool) {
		t.Helper()
		l.leaked()
		l.tries(streamRate / 2)
		if n := l.leaked(); (n > 0) != want {
			t.Errorf("%s: %d packets in clear", when, n)
		}
	}
	clear("before the peer", true)
	if row := l.gw.Tunnel("row"); row.Leak != "possible" || !strings.Contains(row.LeakWhy, "`before_up: pass`") {
		t.Errorf("leak %s: %s", row.Leak, row.LeakWhy)
	}
	cloud := n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(row)}})
	l.gw.AwaitUp("row")
	l.flows(time.Now())
	clear("up", false)
	cloud.Kill()
	clear("the peer is gone", false)
	l.gw.Stop()
	clear("the daemon has ended", true)
}

// The notice of the new behaviour is given once.
func TestGuardsAreAnnouncedOnce(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t)
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{native("row", natSuites)}})
	const notice = "nothing that a tunnel's routes cover leaves in clear"
	if n := strings.Count(gw.Log(), notice); n != 1 {
		t.Errorf("the first start gives the notice %d times", n)
	}
	gw.Stop()
	gw.Restart()
	if n := strings.Count(gw.Log(), notice); n != 1 { // the log goes on
		t.Errorf("two starts give the notice %d times", n)
	}
}
