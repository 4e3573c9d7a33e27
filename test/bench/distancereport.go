package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// farAtLeast is how much of the stream without a tunnel one in the tunnel has to reach.
const farAtLeast = 0.9

// report prints the tables, and writes them to a file if everything was measured.
func (d *distance) report() int {
	text := d.markdown()
	fmt.Print(text)
	if d.whole() {
		path := filepath.Join(results, time.Now().Format(time.DateOnly)+"-distance.md")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return 1
		}
		say("written to %s", path)
	}
	for _, run := range d.runs {
		if len(run.fail) > 0 {
			return 1
		}
	}
	return 0
}

// whole reports whether the run measures everything that the bars need.
func (d *distance) whole() bool {
	return d.rounds >= 10 && d.seconds >= 30*time.Second && d.at == nil && d.what == nil && d.only == distantContenders && d.link == usualLink && d.programs.other == ""
}

func (d *distance) markdown() string {
	var s strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&s, format+"\n", a...) }
	line("# TCP at a distance\n")
	for _, l := range (&bench{programs: d.programs, took: time.Since(d.start)}).machine() {
		line("* %s", l)
	}
	rate := "as fast as this machine can"
	if d.link.rate > 0 {
		rate = fmt.Sprintf("%.0f Mbit/s with a queue of %v", d.link.rate, d.link.queue)
	}
	line("* Links: %s in each direction, MTU 1500; TCP: %s, buffers up to %d MB", rate, d.link.tcp, d.link.buffer>>20)
	if d.foreign > quietBelow {
		line("\n**The machine was busy with something else (%.0f %% of a processor): the bars are not judged.**", 100*d.foreign)
	}
	for _, run := range d.runs {
		line("\n## %v\n", run.far)
		run.table(&s)
		line("\nThe link lost %.3f %% of %d packets by intention and %d to its full queue; it sent frames %.0f µs late on average in the worst series, %.0f µs at the 99th percentile, %.0f µs at most.",
			100*float64(run.link.Lost)/float64(max(run.sent, 1)), run.sent, run.link.Dropped, run.link.LateMean, run.link.LateP99, run.link.LateMax)
		if n := run.link.Overrun + run.link.Refused; n > 0 {
			line("\n**It could not carry %d frames: this table is void.**", n)
		}
		for _, f := range run.fail {
			first, _, _ := strings.Cut(f, "\n")
			line("* not measured: %s", first)
		}
	}
	if len(d.self.pings) > 0 {
		line("\n## The link itself\n\n| | ping, ms | p99, ms | lost of a UDP stream, %% |\n|---|---:|---:|---:|")
		for _, p := range d.self.pings {
			line("| %v | %.2f | %.2f | %.3f |", p.far, 1e3*p.mean, 1e3*p.p99, 100*p.lost)
		}
		line("\nWithout a rate and with 2 ms of round trip it carries %.0f Mbit/s of one TCP stream, and %.0f kpps of 64 bytes without loss.", d.self.tcp/1e6, d.self.packet/1e3)
	}
	if len(d.runs) > 0 {
		line("\n## Bars\n")
		writeBars(&s, d.bars())
	}
	line("\n## How\n\n%s", d.how())
	return s.String()
}

// table has for each measurement the median and the median of the rounds' ratios to no tunnel.
func (run *distant) table(s *strings.Builder) {
	var columns []column
	for _, m := range farMetrics {
		columns = append(columns,
			column{m.name + ", Mbit/s", figure(m.metric, 1e-6, "%.0f")},
			column{"× " + noTunnel, func(r *row) string {
				if r == run.rows[0] {
					return ""
				}
				return times(r.ratio(m.metric, run.figuresOf(noTunnel)))
			}})
	}
	columns = append(columns,
		column{"RTT of one, ms", figure(farRTT, 1e3, "%.2f")},
		column{"dropped by the tunnel's queue", func(r *row) string { return fmt.Sprint(r.happened.queue) }},
		column{"by UDP sockets", func(r *row) string { return fmt.Sprint(r.happened.socket) }},
		column{"reordered", func(r *row) string { return fmt.Sprint(r.happened.reordered) }})
	write(s, run.rows, columns)
}

func (run *distant) figuresOf(name string) *figures {
	for _, r := range run.rows {
		if r.contender.name == name {
			return &r.figures
		}
	}
	return nil
}

func (d *distance) bars() (out []bar) {
	for _, run := range d.runs {
		ours := run.figuresOf(gcmUDP)
		if ours == nil {
			continue
		}
		for _, m := range farMetrics {
			for _, to := range []struct {
				name    string
				atLeast float64
			}{{noTunnel, farAtLeast}, {wireguardGo, 1}} {
				v := (&row{figures: *ours}).ratio(m.metric, run.figuresOf(to.name))
				if math.IsNaN(v) {
					continue
				}
				out = append(out, bar{
					what:   fmt.Sprintf("%v, %s: at least %.4g × %s", run.far, m.name, to.atLeast, to.name),
					figure: times(v), passed: v >= to.atLeast,
					void: run.link.Overrun+run.link.Refused > 0, busy: d.foreign > quietBelow,
				})
			}
		}
	}
	return out
}

func (d *distance) how() string {
	return fmt.Sprintf(`* Two namespaces joined by command delay between two veth pairs, which holds each frame for half of the round trip, counted from the kernel's
  time stamp. It carries super-packets, but draws the loss, takes the time on the wire and fills the queue for each packet of up to
  1500 bytes by itself, in each direction, ACKs too. The n-th measurements of a round lose the packets of the same numbers for all contenders. It
  runs at real-time priority, as a cable waits for no processor.
* Medians of %d rounds; a ratio is the median of the rounds' ratios. In a round each contender is up, with new processes and a link of its own,
  and has its turn of %v in each measurement, in alternating order. "back" is from B to A.
* Placement: %s.
* Ends, load and link share this machine's processors. Both ends have the TCP settings above in their namespaces, and tcp_no_metrics_save.
`, d.rounds, d.seconds, d.place)
}
