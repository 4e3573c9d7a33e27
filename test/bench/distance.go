package main

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"

	"vpngw/test/bench/load"
	"vpngw/test/lab"
)

// `bench distance` (`make bench-distance`) measures TCP streams over a link with a delay and a loss, which command delay
// carries, by themselves and in each tunnel. In a round each contender has its turn in each measurement, in an order that
// alternates, over a link of its own that loses the same packets, other ones in each round; a ratio is that of a round.
//
//	BENCH_ROUNDS=n       rounds: 10
//	BENCH_SECONDS=n      of each stream: 30
//	BENCH_AT=regexp      links: "20ms, 0 % lost", "20ms, 0.1 % lost", "100ms, 0 % lost", "100ms, 0.1 % lost"
//	BENCH_ONLY=regexp    contenders: no tunnel, aes128gcm16 udp, wireguard-go, strongswan, others by the names of `make bench`
//	BENCH_WHAT=regexp    measurements: one, one back, four, four back, link
//	BENCH_LINK=n         Mbit/s of the link in each direction: 1000; 0: as fast as this machine can
//	BENCH_QUEUE=time     the longest time in the queue in front of it: 50ms
//	BENCH_TCP=name       congestion control: cubic
//	BENCH_BUFFER=n       the most bytes of a TCP socket's buffer, each way: 268435456
//	BENCH_OTHER, VPNGW   as for `make bench`
//
// All takes 4 links × 4 measurements × 10 rounds × 3 contenders × 30 s, four hours.
type distance struct {
	plan
	programs
	rounds  int
	seconds time.Duration
	at      *regexp.Regexp
	link    far // without its round trip and loss
	runs    []*distant
	self    linkItself
	foreign float64
	start   time.Time
}

// distant is what was measured over one kind of link.
type distant struct {
	far
	rows []*row
	link carried // the worst of all series, and the sum of what was lost
	sent uint64  // packets, in all series
	fail []string
}

// noTunnel is the row that the others are compared with.
const noTunnel = "no tunnel"

// farMetrics are the measurements of `bench distance`.
var farMetrics = []struct {
	metric
	name    string
	options []string // iperf3's
}{
	{farOne, "one", nil},
	{farOneBack, "one back", []string{"-R"}},
	{farFour, "four", []string{"-P", "4"}},
	{farFourBack, "four back", []string{"-P", "4", "-R"}},
}

// usualLink is a gigabit line, which every contender can fill on two processors that everything shares. Without a rate, a
// stream without a tunnel takes all that the processors have.
var usualLink = far{rate: 1000, queue: 50 * time.Millisecond, tcp: "cubic", buffer: 256 << 20}

func links() []far {
	var out []far
	for _, d := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond} {
		for _, loss := range []float64{0, 0.001} {
			out = append(out, far{roundTrip: d, loss: loss})
		}
	}
	return out
}

// distant contenders, unless BENCH_ONLY chooses others.
var distantContenders = regexp.MustCompile("^(" + gcmUDP + "|" + wireguardGo + "|" + noTunnel + ")$")

func planDistance() (*distance, error) {
	p, err := planned()
	if err != nil {
		return nil, err
	}
	d := &distance{plan: p, rounds: 10, seconds: 30 * time.Second, link: usualLink}
	if os.Getenv("BENCH_ROUNDS") != "" {
		d.rounds = p.rounds
	}
	number := func(name string, to *float64) {
		if v := os.Getenv(name); v != "" && err == nil {
			if *to, err = strconv.ParseFloat(v, 64); err != nil || *to < 0 {
				err = fmt.Errorf("%s is %q: it is a number", name, v)
			}
		}
	}
	seconds, buffer := d.seconds.Seconds(), float64(d.link.buffer)
	number("BENCH_SECONDS", &seconds)
	number("BENCH_LINK", &d.link.rate)
	number("BENCH_BUFFER", &buffer)
	d.seconds, d.link.buffer = time.Duration(seconds*float64(time.Second)), int(buffer)
	if v := os.Getenv("BENCH_QUEUE"); v != "" && err == nil {
		d.link.queue, err = time.ParseDuration(v)
	}
	if v := os.Getenv("BENCH_TCP"); v != "" {
		d.link.tcp = v
	}
	if v := os.Getenv("BENCH_AT"); v != "" && err == nil {
		d.at, err = regexp.Compile(v)
	}
	if d.only == nil {
		d.only = distantContenders
	}
	return d, err
}

// contenders are those of `make bench` that a link may lie between; round has the link.
func (d *distance) contenders() []*row {
	all := append([]contender{{name: noTunnel, start: startNothing}}, contenders()...)
	var out []*row
	for _, c := range all {
		if !d.only.MatchString(c.name) || c.noUSO {
			continue
		}
		out = append(out, &row{contender: c, place: d.place})
		if d.programs.other != "" && c.isVpngw() {
			c.name, c.other = otherPrefix+c.name, true
			out = append(out, &row{contender: c, place: d.place})
		}
	}
	return out
}

func runDistance() int {
	d, err := planDistance()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	d.start = time.Now()
	base := &trial{who: "bench"}
	defer base.clean()
	if !base.try(func() {
		say("building vpngw, the relay and wireguard-go")
		d.programs = build(base, lab.New(base).Dir, d.plan.other)
	}) {
		return 1
	}
	if d.measures("link") {
		d.measureLink()
	}
	for _, f := range links() {
		if d.at != nil && !d.at.MatchString(f.String()) {
			continue
		}
		whole := d.link
		whole.roundTrip, whole.loss = f.roundTrip, f.loss
		run := &distant{far: whole, rows: d.contenders()}
		d.runs = append(d.runs, run)
		for round := range d.rounds {
			d.round(run, round)
		}
	}
	return d.report()
}

// round takes each measurement from each contender.
func (d *distance) round(run *distant, round int) {
	say("%v: round %d of %d", run.far, round+1, d.rounds)
	order := slices.Clone(run.rows)
	if round%2 == 1 {
		slices.Reverse(order)
	}
	try := func(r *row, do func()) {
		if r.Failed() || r.try(do) {
			return
		}
		run.fail = append(run.fail, fmt.Sprintf("%v, %s: %s", run.far, r.contender.name, r.why))
	}
	over := run.far
	over.seed = round
	for _, r := range order {
		r.contender.far = &over
		r.trial = &trial{who: r.contender.name}
		defer r.clean()
		try(r, func() { r.set(round, d.programs) })
	}
	d.foreign = max(d.foreign, busyBeside(order))
	for _, m := range farMetrics {
		if !d.measures(m.name) {
			continue
		}
		for _, r := range order {
			try(r, func() {
				r.site.turn()
				before := r.ends()
				t := r.site.a.IPerf(r.site.b, innerB, d.seconds, slices.Concat(d.place.iperf(), []string{"-B", innerA, "-C", d.link.tcp}, m.options)...)
				run.note(r.site.turn())
				at := r.ends().minus(before)
				r.happened = r.happened.plus(at)
				r.alive()
				r.figures.set(m.metric, round, t.BitsPerSecond)
				if m.metric == farOne {
					r.figures.set(farRTT, round, t.RTT.Seconds())
				}
				say("%-28s %-10s %v; dropped by queues %d, by sockets %d; reordered %d", r.contender.name, m.name, t, at.queue, at.socket, at.reordered)
			})
		}
	}
}

// busyBeside returns how many processors are busy with anything else than idle contenders.
func busyBeside(rows []*row) float64 {
	cpu := func() (sum time.Duration) {
		for _, r := range rows {
			sum += r.cpu()
		}
		return sum
	}
	before := cpu()
	all := busy(time.Second)
	return max(0, all-(cpu()-before).Seconds())
}

// note adds what the link carried in a series.
func (run *distant) note(both [2]carried) {
	for _, c := range both {
		run.sent += c.Packets
		run.link.Lost += c.Lost
		run.link.Dropped += c.Dropped
		run.link.Overrun += c.Overrun
		run.link.Refused += c.Refused
		run.link.LateMean = max(run.link.LateMean, c.LateMean)
		run.link.LateP99 = max(run.link.LateP99, c.LateP99)
		run.link.LateMax = max(run.link.LateMax, c.LateMax)
	}
}

// linkItself is what was measured of the link without a tunnel.
type linkItself struct {
	pings  []pinged
	tcp    float64 // bit/s, one stream, without a rate and with next to no delay
	packet float64 // packets of 64 bytes a second, likewise
	fail   string
}

type pinged struct {
	far
	mean, p99 float64 // s
	lost      float64 // part of the packets of a stream
}

// measureLink measures the link: its delay, its loss, and how much it carries at most.
func (d *distance) measureLink() {
	over := func(f far, do func(r *row)) {
		r := &row{contender: contender{name: noTunnel, start: startNothing, far: &f}, trial: &trial{who: "link"}, hints: map[metric]float64{}}
		defer r.clean()
		if !r.try(func() { r.set(0, d.programs); do(r) }) {
			d.self.fail = r.why
		}
	}
	for _, f := range links() {
		whole := d.link
		whole.roundTrip, whole.loss = f.roundTrip, f.loss
		over(whole, func(r *row) {
			r.site.turn()
			p, err := load.Ping(r.site.a.Do, netip.MustParseAddr(innerA), netip.MustParseAddr(innerB), 300, 5*time.Millisecond)
			if err != nil || len(p.Times) == 0 {
				r.Fatalf("ping: %v", err)
			}
			s := r.smallStream()
			s.Rate, s.For = 20_000, 5*time.Second
			o, err := r.path.Run(s)
			if err != nil {
				r.Fatalf("%v", err)
			}
			d.self.pings = append(d.self.pings, pinged{whole, mean(p.Times), percentile(p.Times, 0.99), o.Lost()})
			say("the link itself: %v: ping %.2f ms, p99 %.2f ms; %v", whole, 1e3*mean(p.Times), 1e3*percentile(p.Times, 0.99), o)
		})
	}
	most := d.link
	most.roundTrip, most.rate = 2*time.Millisecond, 0
	over(most, func(r *row) {
		d.self.tcp = r.site.a.IPerf(r.site.b, innerB, 5*time.Second, "-B", innerA, "-C", most.tcp).BitsPerSecond
		r.measureUDP(0, udpOne, r.smallStream(), d.plan)
		d.self.packet = r.median(udpOne)
		say("the link itself: at most %.0f Mbit/s, %.0f kpps", d.self.tcp/1e6, d.self.packet/1e3)
	})
}
