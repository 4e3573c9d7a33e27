package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// results is where the tables go, from the module's root.
const results = "test/bench/results"

// report prints the table, writes it to a file, and returns the exit code. A run
// that measures only a part is printed only.
func (b *bench) report() int {
	text := b.markdown()
	fmt.Print(text)
	if b.whole() || b.wholeQuick() {
		name := time.Now().Format(time.DateOnly)
		if b.quick {
			name += "-quick"
		}
		path := filepath.Join(results, name+".md")
		err := os.MkdirAll(results, 0o755)
		if err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return 1
		}
		say("written to %s", path)
	}
	if len(b.failures) > 0 {
		return 1
	}
	return 0
}

func (b *bench) markdown() string {
	var s strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&s, format+"\n", a...) }
	title := "vpngw beside others"
	if b.quick {
		title += ", a quick run"
	}
	line("# %s\n", title)
	for _, l := range b.machine() {
		line("* %s", l)
	}
	if b.void() {
		line("\n**The relay does not reach %.1f × wireguard-go: its row is void, and so is every ratio to it.**", relayAtLeast)
	}
	if b.busy() {
		line("\n**The machine was busy with something else: all of this may be wrong, and the bars are not judged.**")
	}
	line("\n## Figures\n")
	b.table(&s)
	line("")
	b.ratios(&s)
	if b.programs.other != "" {
		line("\n## This vpngw over the other\n")
		b.againstOther(&s)
	}
	line("\n## Bars\n")
	bars := b.bars()
	for i := range bars {
		bars[i].busy = b.busy()
	}
	writeBars(&s, bars)
	if len(b.failures) > 0 {
		line("\n## Not measured\n")
		for _, f := range b.failures {
			first, _, _ := strings.Cut(f, "\n")
			line("* %s", first)
		}
	}
	line("\n## How\n\n%s", b.how())
	line("## Every turn, one TCP stream, Mbit/s\n")
	for _, r := range b.rows {
		line("* %s:%s", r.contender.name, series(r.figures[tcpOne], 1e-6))
	}
	return s.String()
}

func writeBars(to io.Writer, bars []bar) {
	fmt.Fprintln(to, "| bar | measured | |\n|---|---|---|")
	for _, b := range bars {
		fmt.Fprintf(to, "| %s | %s | %s |\n", b.what, b.figure, b.verdict())
	}
}

// busy reports whether other programs spoilt the run.
func (b *bench) busy() bool { return b.foreign > quietBelow }

// quietBelow is how many processors other programs may use on a quiet machine.
const quietBelow = 0.1

// column is one of the table's.
type column struct {
	title string
	cell  func(*row) string
}

func figure(m metric, scale float64, format string) func(*row) string {
	return func(r *row) string {
		v := r.median(m)
		if math.IsNaN(v) || v == 0 {
			return ""
		}
		return fmt.Sprintf(format, v*scale)
	}
}

func (b *bench) table(s *strings.Builder) {
	write(s, b.rows, []column{
		{"one TCP stream, Mbit/s", figure(tcpOne, 1e-6, "%.0f")},
		{"four, Mbit/s", figure(tcpFour, 1e-6, "%.0f")},
		{"CPU s/GB", figure(cpuPerGB, 1, "%.2f")},
		{"UDP 64 B, kpps", figure(udpOne, 1e-3, "%.0f")},
		{"CPU µs a packet", figure(cpuOne, 1e6, "%.2f")},
		{"UDP mixed, kpps", figure(udpMany, 1e-3, "%.0f")},
		{"CPU µs a packet", figure(cpuMany, 1e6, "%.2f")},
		{"ping, µs", figure(pingMean, 1e6, "%.0f")},
		{"p99, µs", figure(pingP99, 1e6, "%.0f")},
		{"RSS idle, MB", figure(rssIdle, 1e-6, "%.0f")},
		{"flooded, MB", figure(rssAfter, 1e-6, "%.0f")},
		{"inner MTU", func(r *row) string { return fmt.Sprint(r.mtu) }},
	})
}

// ratios compares with the relay on the same kind of link, and with the others.
func (b *bench) ratios(s *strings.Builder) {
	to := func(other func(*row) string, m metric) func(*row) string {
		return func(r *row) string {
			if o := b.row(other(r)); o != nil && o != r {
				return times(r.ratio(m, &o.figures))
			}
			return ""
		}
	}
	relay := func(r *row) string { return r.relay }
	always := func(name string) func(*row) string { return func(*row) string { return name } }
	write(s, b.rows, []column{
		{"TCP × relay", to(relay, tcpOne)},
		{"× wireguard-go", to(always(wireguardGo), tcpOne)},
		{"× strongSwan", to(always(strongSwan), tcpOne)},
		{"four × relay", to(relay, tcpFour)},
		{"CPU × relay", to(relay, cpuPerGB)},
		{"UDP 64 B × relay", to(relay, udpOne)},
		{"× floor", to(always(floorUDP), udpOne)},
		{"× strongSwan", to(always(strongSwan), udpOne)},
		{"UDP mixed × relay", to(relay, udpMany)},
		{"× floor", to(always(floorUDP), udpMany)},
		{"× strongSwan", to(always(strongSwan), udpMany)},
		{"p99 × relay", to(relay, pingP99)},
	})
}

func (b *bench) againstOther(s *strings.Builder) {
	var ours []*row
	for _, r := range b.rows {
		if b.row(otherPrefix+r.contender.name) != nil {
			ours = append(ours, r)
		}
	}
	over := func(m metric) func(*row) string {
		return func(r *row) string { return times(r.ratio(m, &b.row(otherPrefix+r.contender.name).figures)) }
	}
	write(s, ours, []column{
		{"one TCP stream", over(tcpOne)},
		{"four", over(tcpFour)},
		{"CPU s/GB", over(cpuPerGB)},
		{"UDP 64 B", over(udpOne)},
		{"CPU", over(cpuOne)},
		{"UDP mixed", over(udpMany)},
		{"CPU", over(cpuMany)},
		{"ping", over(pingMean)},
		{"p99", over(pingP99)},
	})
}

func write(s *strings.Builder, rows []*row, columns []column) {
	fmt.Fprint(s, "| |")
	for _, c := range columns {
		fmt.Fprintf(s, " %s |", c.title)
	}
	fmt.Fprintf(s, "\n|---|%s\n", strings.Repeat("---:|", len(columns)))
	for _, r := range rows {
		fmt.Fprintf(s, "| %s |", r.contender.name)
		for _, c := range columns {
			fmt.Fprintf(s, " %s |", c.cell(r))
		}
		fmt.Fprintln(s)
	}
}

func series(v []float64, scale float64) string {
	out := ""
	for _, x := range v {
		if !math.IsNaN(x) {
			out += fmt.Sprintf(" %.0f", x*scale)
		}
	}
	return out
}

func (b *bench) how() string {
	udp := fmt.Sprintf("searched by probes of %v, then confirmed over %v in one of two tries", b.probe, b.confirm)
	return fmt.Sprintf(`* Two namespaces joined by veth, MTU 1500 outside; the tunnel's MTU is each contender's own. Both ends and the load share
  this machine. "udp" is ESP in UDP, "esp" raw protocol 50, "USO off" a link without UDP segmentation. All contenders are up
  for a round and alternate in each measurement; the next round starts new processes. Before a round all their daemons together used
  at most %.1f %% of a processor, and anything else %.1f %%.
* Placement: %s.
* Figures are medians of %d rounds (of %d for rows that no bar speaks of; of %d for UDP). A ratio is the median of the rounds' ratios, and the USO-off
  rows' are to the relay with USO off.
* TCP: iperf3, %v, the receiver's count, from A to B; of the main contenders (those that the bars use) %d turns in each round, one stream
  and then four, and a ratio is that of a turn. CPU: user and system time of both ends' daemons by /proc/PID/stat, over the run with one
  stream. It contains the softirqs that run within their system calls, and not those that run within the load's or in ksoftirqd.
* UDP: the highest rate at which at most 0.1 %% is lost, %s, in the main contenders
  only. Individual datagrams from a paced sender, up to 16 in one system call; 64 bytes of UDP payload in one flow, or
  16 flows (destination addresses) of 64, 576 and 1300 bytes (7:4:1) in random order. CPU as above, over the time of the confirmation.
* The floor: vpngw's sockets, TUN, poller and batches (test/bench/floor), with a copy in place of the cipher, and no SPD, SAD, replay window,
  counters or verification.
* Ping: %d at %v, 64 bytes of ICMP, nothing else going on; %d such turns in each round, mean and 99th percentile of each, medians of all.
* RSS: of the larger daemon, when the tunnel was up first, and after %v of 64-byte packets as fast as they can be sent.
* The relay: wireguard-go's packages conn and tun, one goroutine for each direction, one copy of each packet, nothing else. strongSwan has 16 MB
  receive buffers and a device queue of 10 000 packets, which it does not have of itself.
`, 100*b.idle, 100*b.foreign, b.place, b.rounds, b.others, b.plan.udp, b.tcp, b.streams, udp, b.pings, pingInterval, b.turns, b.flood)
}
