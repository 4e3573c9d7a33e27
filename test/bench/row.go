package main

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"vpngw/test/bench/load"
	"vpngw/test/lab"
)

// row is a contender in a run: the tunnel of the round, and the figures so far.
// An idle tunnel costs nothing.
type row struct {
	contender
	*trial
	site *site
	tunnel
	path  *load.Path
	mtu   int
	place placement
	figures
	happened ends               // in `bench distance`, in all rounds
	hints    map[metric]float64 // the rate that the last search found
}

// set starts the contender and waits until a ping passes.
func (r *row) set(round int, p programs) {
	r.site = newSite(r.trial, p, r.contender)
	r.tunnel = r.start(r.site)
	r.path = r.site.path()
	if r.place.settle(r); r.place.fixed {
		r.path.Place(r.place.loadA, r.place.loadB)
	}
	out := r.site.a.Run("cat", "/sys/class/net/"+r.device+"/mtu")
	r.mtu, _ = strconv.Atoi(strings.TrimSpace(out))
	r.figures.set(rssIdle, round, r.memory("VmRSS"))
}

// alive fails the trial when a daemon has ended.
func (r *row) alive() {
	for _, d := range r.daemons {
		if !d.Running() {
			r.Fatalf("%s has ended:\n%s", d.Name, d.Log())
		}
	}
}

// cpu returns the processor time of the daemons of both ends so far; a daemon
// that has ended counts 0.
func (r *row) cpu() time.Duration {
	var sum time.Duration
	for _, d := range r.daemons {
		sum += d.CPU()
	}
	return sum
}

// memory returns the Memory of the larger daemon. Without daemons it is 0.
func (r *row) memory(line string) float64 {
	var most float64
	for _, d := range r.daemons {
		most = max(most, d.Memory(line))
	}
	return most
}

// measureTCP runs one stream, or more, with iperf3.
func (r *row) measureTCP(round, streams int, d time.Duration) string {
	before := r.cpu()
	t := r.site.a.IPerf(r.site.b, innerB, d, append(r.place.iperf(), "-B", innerA, "-P", strconv.Itoa(streams))...)
	used := r.cpu() - before
	r.alive()
	said := fmt.Sprintf("%5.0f Mbit/s", t.BitsPerSecond/1e6)
	if streams > 1 {
		r.figures.set(tcpFour, round, t.BitsPerSecond)
		return said
	}
	r.figures.set(tcpOne, round, t.BitsPerSecond)
	if r.daemons != nil {
		perGB := used.Seconds() / (float64(t.Bytes) / 1e9)
		r.figures.set(cpuPerGB, round, perGB)
		said += fmt.Sprintf(", %.2f s/GB", perGB)
	}
	return said
}

// measurePing pings an idle tunnel.
func (r *row) measurePing(round, count int) string {
	p, err := load.Ping(r.site.a.Do, netip.MustParseAddr(innerA), netip.MustParseAddr(innerB), count, pingInterval)
	if err != nil {
		r.Fatalf("%v", err)
	}
	r.alive()
	if len(p.Times) == 0 {
		r.Fatalf("no ping was answered")
	}
	r.figures.set(pingMean, round, mean(p.Times))
	r.figures.set(pingP99, round, percentile(p.Times, 0.99))
	said := fmt.Sprintf("%.0f µs, p99 %.0f µs", 1e6*mean(p.Times), 1e6*percentile(p.Times, 0.99))
	if p.Lost() > 0 {
		said += fmt.Sprintf(", %d lost", p.Sent-len(p.Times))
	}
	return said
}

// smallStream is one flow of 64 bytes of UDP payload; mixedStream is 16 flows, each of all
// three sizes, 7 small ones and 4 middling ones to one large (the simple IMIX).
func (r *row) smallStream() load.Stream {
	return load.Stream{To: destinations(1), Sizes: []int{64}}
}

func (r *row) mixedStream() load.Stream {
	return load.Stream{To: destinations(flows), Sizes: []int{64, 64, 64, 64, 64, 64, 64, 576, 576, 576, 576, 1300}}
}

func destinations(n int) []netip.AddrPort {
	var out []netip.AddrPort
	for a := netip.MustParseAddr(innerB); len(out) < n; a = a.Next() {
		out = append(out, netip.AddrPortFrom(a, loadPort))
	}
	return out
}

const firstHint = 60_000 // packets a second, where the first search begins

// measureUDP searches for the loss-free rate of a stream.
func (r *row) measureUDP(round int, m metric, s load.Stream, p plan) string {
	var tries []string
	perPacket := 0.0 // of the last try
	search := search{probe: p.probe, confirm: p.confirm, try: func(rate float64, d time.Duration, mayLose float64) (load.Outcome, error) {
		r.drain()
		s.Rate, s.For, s.MaxLost = rate, d, mayLose
		before := r.cpu()
		o, err := r.path.Run(s)
		perPacket = (r.cpu() - before).Seconds() / float64(max(o.Received, 1))
		r.alive()
		tries = append(tries, o.String())
		return o, err
	}}
	hint, ok := r.hints[m]
	if !ok {
		hint = firstHint
	}
	rate, err := search.find(hint)
	if verbose {
		r.Logf("tries: %s", strings.Join(tries, "; "))
	}
	if err != nil {
		r.Fatalf("%v (%s)", err, strings.Join(tries, "; "))
	}
	r.hints[m] = rate
	r.figures.set(m, round, rate)
	r.figures.set(map[metric]metric{udpOne: cpuOne, udpMany: cpuMany}[m], round, perPacket)
	return fmt.Sprintf("%.0f kpps, %.2f µs of CPU a packet", rate/1e3, 1e6*perPacket)
}

// measureSteady sends small packets at a rate, and tells what a packet cost the daemons of A, which send, and of B,
// which receive. It says where a profiler finds them.
func (r *row) measureSteady(s load.Stream, rate float64, d time.Duration) string {
	s.Rate, s.For = rate, d
	before := make(map[*lab.Process]time.Duration)
	for _, d := range r.daemons {
		before[d] = d.CPU()
		say("%s is process %d", d.Name, d.PID())
	}
	o, err := r.path.Run(s)
	if err != nil {
		r.Fatalf("%v", err)
	}
	r.alive()
	said := o.String()
	for _, d := range r.daemons {
		said += fmt.Sprintf(", %s %.2f µs", d.Name, 1e6*(d.CPU()-before[d]).Seconds()/float64(max(o.Received, 1)))
	}
	return said
}

// drain waits until no packet of an overload is under way: a ping comes
// back at once. Some contenders have queues of seconds.
func (r *row) drain() {
	r.site.Await(lab.Patience, r.contender.name+" has worked off its queues", func() (bool, string) {
		p, err := load.Ping(r.site.a.Do, netip.MustParseAddr(innerA), netip.MustParseAddr(innerB), 1, pingInterval)
		if err != nil {
			return false, err.Error()
		}
		return len(p.Times) == 1 && p.Times[0] < drained, fmt.Sprint(p)
	})
}

const drained = 20 * time.Millisecond

// measureFlood floods the tunnel with small packets and reads the memory of its
// daemons.
func (r *row) measureFlood(d time.Duration) string {
	s := r.smallStream()
	s.For = d
	o, err := r.path.Run(s)
	if err != nil {
		r.Fatalf("%v", err)
	}
	r.alive()
	r.figures.set(rssAfter, 0, r.memory("VmRSS"))
	return fmt.Sprintf("%v; RSS %.0f MB", o, r.memory("VmRSS")/1e6)
}

var verbose = os.Getenv("BENCH_VERBOSE") != ""
