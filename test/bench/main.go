// Command bench measures vpngw against a plain relay, wireguard-go and
// strongSwan, on this machine, in network namespaces, and writes a table. It
// runs as root; `make bench` says how.
//
// In a round all contenders are up at once, each between two namespaces of its
// own joined by one veth pair, and each measurement is taken from one after the
// other, in turning order, so that what the machine does meanwhile meets all of
// them alike. The next round starts new processes, because chance (in the
// layout of memory, for instance) favours or hinders a process for all its
// life. The figures are the rounds' medians. The load runs on the same
// processors, in this process and iperf3.
//
//	BENCH=quick          about 5 minutes in place of 25
//	BENCH_ONLY=regexp    contenders, by the table's names
//	BENCH_WHAT=regexp    measurements: tcp1 tcp4 ping udp64 udpmix flood overload
//	BENCH_ROUNDS=n       rounds, of everything
//	BENCH_OTHER=path     another vpngw, measured beside this one
//	BENCH_PLACE=fixed    each daemon and each end of the load has one processor
//	BENCH_STEADY=n       n packets a second, for profiling, and what they cost each end: steady64 in one flow, steadymix in 16
//	BENCH_LAN=single     the datagrams come from a host behind A; merged: A's device towards it merges those of a flow
//	BENCH_VERBOSE=1      every try of the searches
//	VPNGW=path           a vpngw that is built already
//
// `bench distance` measures TCP between ends that are far from each other: see distance.go. `bench handshakes` measures
// what IKE costs the end that answers: see handshakes.go.
package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"vpngw/test/lab"
)

// commit is the commit of the sources, which the Makefile sets.
var commit = "unknown"

func main() {
	runtime.GOMAXPROCS(max(8, runtime.NumCPU())) // package load wants Ps to spare
	what := ""
	if len(os.Args) > 1 {
		what = os.Args[1]
	}
	switch what {
	case "distance":
		os.Exit(runDistance())
	case "handshakes":
		os.Exit(runHandshakes())
	}
	os.Exit(run())
}

// run returns the exit code: 0 unless a measurement failed.
func run() int {
	p, err := planned()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	chosen, err := p.chosen()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	start := time.Now()
	base := &trial{who: "bench"}
	defer base.clean()
	b := &bench{plan: p}
	if !base.try(func() {
		say("building vpngw, the relay and wireguard-go")
		b.programs = build(base, lab.New(base, lab.CharonTools...).Dir, p.other)
	}) {
		return 1
	}
	defer b.clean()
	for _, c := range chosen {
		b.rows = append(b.rows, &row{contender: c, trial: &trial{who: c.name}, place: p.place, hints: map[metric]float64{}})
	}
	for round := range p.rounds {
		b.set(round)
		b.round(round)
		b.clean()
	}
	if p.measures(overload) {
		b.runOverload()
	}
	b.took = time.Since(start)
	return b.report()
}

// bench is one run.
type bench struct {
	plan
	programs
	rows     []*row
	idle     float64 // processors that all daemons together use while idle, in the worst round
	foreign  float64 // processors that other programs use meanwhile
	flooded  *flooded
	failures []string // measurements that failed
	took     time.Duration
}

// clean ends all contenders.
func (b *bench) clean() {
	var wg sync.WaitGroup
	for _, r := range b.rows {
		wg.Go(r.clean)
	}
	wg.Wait()
}

func say(format string, a ...any) {
	fmt.Fprintf(os.Stderr, "%s  %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, a...))
}

// takesPart reports whether a contender takes part in a round.
func (b *bench) takesPart(r *row, round int) bool { return r.main || round < b.others }

// set starts the contenders of a round and measures how quiet they and the
// machine are.
func (b *bench) set(round int) {
	for _, r := range b.rows {
		if !b.takesPart(r, round) {
			continue
		}
		start := time.Now()
		b.each(r, func() string {
			r.set(round, b.programs)
			return fmt.Sprintf("up after %.1f s, RSS %.0f MB", time.Since(start).Seconds(), r.memory("VmRSS")/1e6)
		})
	}
	before := b.cpu()
	all := busy(time.Second)
	daemons := (b.cpu() - before).Seconds()
	others := max(0, all-daemons)
	b.idle, b.foreign = max(b.idle, daemons), max(b.foreign, others)
	say("idle, all daemons take %.1f %% of a processor, and others %.1f %%", 100*daemons, 100*others)
}

func (b *bench) cpu() (sum time.Duration) {
	for _, r := range b.rows {
		sum += r.cpu()
	}
	return sum
}

// each runs a measurement for a row, prints the result, and notes a failure.
func (b *bench) each(r *row, do func() string) {
	if r.Failed() {
		return
	}
	said := ""
	if r.try(func() { said = do() }) {
		say("%-28s %s", r.name, said)
	} else {
		b.failures = append(b.failures, r.name+": "+r.why)
		r.clean()
	}
}

// round takes each measurement from each contender once.
func (b *bench) round(round int) {
	order := slices.Clone(b.rows)
	if round%2 == 1 {
		slices.Reverse(order)
	}
	every := func(what string, wanted func(*row) bool, do func(*row) string) {
		if !b.measures(what) {
			return
		}
		say("round %d of %d: %s", round+1, b.rounds, what)
		for _, r := range order {
			if wanted(r) && b.takesPart(r, round) {
				b.each(r, func() string { return do(r) })
			}
		}
	}
	for turn := range b.turns {
		every(ping, func(r *row) bool { return r.main || turn == 0 },
			func(r *row) string { return r.measurePing(round*b.turns+turn, b.pings) })
	}
	for turn := range b.streams {
		wanted := func(r *row) bool { return !r.noTCP && (r.main || turn == 0) }
		every(tcp1, wanted, func(r *row) string { return r.measureTCP(round*b.streams+turn, 1, b.tcp) })
		every(tcp4, wanted, func(r *row) string { return r.measureTCP(round*b.streams+turn, 4, b.tcp) })
	}
	if round < b.udp {
		every(udp64, func(r *row) bool { return r.main }, func(r *row) string { return r.measureUDP(round, udpOne, r.smallStream(), b.plan) })
		every(udpMix, func(r *row) bool { return r.mixed }, func(r *row) string { return r.measureUDP(round, udpMany, r.mixedStream(), b.plan) })
	}
	if b.steady > 0 {
		every("steady64", func(r *row) bool { return r.main }, func(r *row) string { return r.measureSteady(r.smallStream(), b.steady, b.confirm) })
		every("steadymix", func(r *row) bool { return r.mixed }, func(r *row) string { return r.measureSteady(r.mixedStream(), b.steady, b.confirm) })
	}
	if round == 0 {
		every(flood, func(r *row) bool { return r.daemons != nil }, func(r *row) string { return r.measureFlood(b.flood) })
	}
}

// runOverload is a separate run with a separate vpngw.
func (b *bench) runOverload() {
	say("two tunnels, %v of overload in one", b.plan.overload)
	t := &trial{who: "overload"}
	defer t.clean()
	var f flooded
	if !t.try(func() { f = runFlooded(t, b.programs, b.plan.overload) }) {
		b.failures = append(b.failures, "overload: "+t.why)
		return
	}
	b.flooded = &f
	say("overload: %v; pings in the other: %.2f %% lost; rekey %v %s; RSS %.0f MB, at most %.0f MB",
		f.load, 100*f.pings.Lost(), f.rekey.Round(time.Millisecond), f.rekeyErr, f.rss/1e6, f.peak/1e6)
}
