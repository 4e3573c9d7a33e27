package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"time"
)

// plan lists the measurements and their durations.
type plan struct {
	quick  bool
	rounds int
	others int // rounds for contenders that no bar uses
	udp    int // rounds that have a search for the loss-free rate

	tcp      time.Duration // one TCP run
	streams  int           // turns of TCP in a round, of one stream and of four: a pause of the machine spoils one, not the median of many
	pings    int           // in one turn of them
	turns    int           // of pings in a round, likewise
	probe    time.Duration // of a rate, while searching
	confirm  time.Duration // of the rate found
	flood    time.Duration // of every contender, to measure its memory
	overload time.Duration // of one tunnel, beside another

	only   *regexp.Regexp // contenders; nil is all
	what   *regexp.Regexp // measurements; nil is all
	other  string         // a second vpngw, or empty
	place  placement
	steady float64 // packets a second, while profiling
	lan    string  // the datagrams come from a host behind A; empty: from A itself
}

// The measurements, by their names in BENCH_WHAT. A run of pings gives two
// figures, and so does one TCP stream.
const (
	tcp1     = "tcp1"
	tcp4     = "tcp4"
	ping     = "ping"
	udp64    = "udp64"
	udpMix   = "udpmix"
	flood    = "flood"
	overload = "overload"
)

const pingInterval = time.Millisecond

// planned reads the plan from the environment.
func planned() (plan, error) {
	p := plan{
		rounds: 3, others: 3, udp: 3,
		tcp: 2500 * time.Millisecond, streams: 3, pings: 300, turns: 5, probe: time.Second, confirm: 10 * time.Second,
		flood: 2 * time.Second, overload: 60 * time.Second,
		other: os.Getenv("BENCH_OTHER"),
	}
	switch v := os.Getenv("BENCH"); v {
	case "", "full":
	case "quick":
		p.quick, p.rounds, p.others, p.udp = true, 3, 1, 1
		p.tcp, p.streams, p.turns, p.probe, p.confirm = 2*time.Second, 1, 2, 500*time.Millisecond, 4*time.Second
		p.flood, p.overload = 500*time.Millisecond, 15*time.Second
	default:
		return p, fmt.Errorf("BENCH is %q: it is quick, or nothing", v)
	}
	if v := os.Getenv("BENCH_ROUNDS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return p, fmt.Errorf("BENCH_ROUNDS is %q: it is a count of rounds", v)
		}
		p.rounds, p.others, p.udp = n, n, n
	}
	for name, to := range map[string]**regexp.Regexp{"BENCH_ONLY": &p.only, "BENCH_WHAT": &p.what} {
		if v := os.Getenv(name); v != "" {
			re, err := regexp.Compile(v)
			if err != nil {
				return p, fmt.Errorf("%s: %w", name, err)
			}
			*to = re
		}
	}
	var err error
	if p.place, err = place(); err != nil {
		return p, err
	}
	if v := os.Getenv("BENCH_STEADY"); v != "" {
		if p.steady, err = strconv.ParseFloat(v, 64); err != nil || p.steady <= 0 {
			return p, fmt.Errorf("BENCH_STEADY is %q: it is packets a second", v)
		}
	}
	switch p.lan = os.Getenv("BENCH_LAN"); p.lan {
	case "", lanSingle, lanMerged:
	default:
		return p, fmt.Errorf("BENCH_LAN is %q: it is %s or %s", p.lan, lanSingle, lanMerged)
	}
	if p.other != "" {
		if _, err := os.Stat(p.other); err != nil {
			return p, fmt.Errorf("BENCH_OTHER: %w", err)
		}
	}
	return p, nil
}

// measures reports whether the plan includes a measurement.
func (p plan) measures(what string) bool { return p.what == nil || p.what.MatchString(what) }

// wholeQuick is whole for a quick run.
func (p plan) wholeQuick() bool {
	return p.quick && p.only == nil && p.what == nil && p.other == ""
}

// whole reports whether the run measures everything that the bars need.
func (p plan) whole() bool {
	return !p.quick && p.only == nil && p.what == nil && p.rounds >= 3
}
