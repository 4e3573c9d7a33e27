package main

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"vpngw/ipsec"
	"vpngw/test/bench/dial"
	"vpngw/test/lab"
)

// `bench handshakes` (`make bench-handshakes`) measures what a handshake costs the daemon that answers: all its processor time
// while one tunnel is built and deleted again and again, by IKE_SA_INIT, IKE_AUTH and INFORMATIONAL, with X25519 and a
// pre-shared key, on port 4500, for this strongSwan has no other ESP than in UDP. The initiator is the same for all, and runs in this process.
//
//	BENCH_ROUNDS=n        rounds: 5
//	BENCH_HANDSHAKES=n    in a round, of each: 1000
//	BENCH_OTHER, VPNGW    as for `make bench`

// responder is a contender that answers.
type responder struct {
	name string
	*trial
	daemon *lab.Process
	dial   *dial.Dialer
	each   []float64 // seconds of processor time for a handshake, by round
}

func runHandshakes() int {
	p, err := planned()
	if err == nil && os.Getenv("BENCH_ROUNDS") == "" {
		p.rounds = 5
	}
	count := 1000
	if v := os.Getenv("BENCH_HANDSHAKES"); v != "" && err == nil {
		if count, err = strconv.Atoi(v); err != nil || count < 1 {
			err = fmt.Errorf("BENCH_HANDSHAKES is %q: it is a count", v)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	base := &trial{who: "bench"}
	defer base.clean()
	var built programs
	if !base.try(func() { built = build(base, lab.New(base, lab.CharonTools...).Dir, p.other) }) {
		return 1
	}
	all := []*responder{{name: "vpngw"}, {name: strongSwan}}
	if p.other != "" {
		all = append(all, &responder{name: otherPrefix + "vpngw"})
	}
	for _, r := range all {
		r.trial = &trial{who: r.name}
		defer r.clean()
		if !r.try(func() { r.start(newSite(r.trial, built, contender{other: r.name != "vpngw" && r.name != strongSwan})) }) {
			return 1
		}
	}
	foreign := 0.0
	for round := range p.rounds {
		for i := range all {
			r := all[(i+round)%len(all)]
			if !r.try(func() { foreign = max(foreign, r.measure(count)) }) {
				return 1
			}
		}
	}
	b := &bench{plan: p, programs: built}
	fmt.Printf("\n%d handshakes in each of %d rounds; other programs took at most %.0f %% of a processor.\n\n", count, p.rounds, 100*foreign)
	for _, line := range b.machine() {
		fmt.Println("- " + line)
	}
	fmt.Println("\n| responder | CPU of a handshake | worst round | handshakes in a CPU second |\n|---|---|---|---|")
	for _, r := range all {
		fmt.Printf("| %s | %.3f ms | %.3f ms | %.0f |\n", r.name, 1e3*median(r.each), 1e3*slices.Max(r.each), 1/median(r.each))
	}
	ours, theirs := median(all[0].each), median(all[1].each)
	bars := []bar{
		{what: "7. A handshake of the responder: at most 0.35 ms", figure: fmt.Sprintf("%.3f ms", 1e3*ours), passed: ours <= 0.35e-3},
		{what: "7. Handshakes in a CPU second: at least 2 × " + strongSwan, figure: times(theirs / ours), passed: theirs/ours >= 2},
	}
	fmt.Println("\n| bar | measured | |\n|---|---|---|")
	for _, bar := range bars {
		bar.busy = foreign > quietBelow
		fmt.Printf("| %s | %s | %s |\n", bar.what, bar.figure, bar.verdict())
	}
	return 0
}

// start starts the daemon, and opens the initiator's socket at the other end.
func (r *responder) start(s *site) {
	here, there := netip.MustParseAddr(outerA), netip.MustParseAddr(outerB)
	c := dial.Call{
		Local: here, Remote: there, PSK: psk, IKE: ikeProposal, ESP: "aes128gcm16",
		Here: netip.MustParsePrefix(netA), There: netip.MustParsePrefix(netB),
	}
	if r.name == strongSwan {
		charon := s.b.Charon("filelog { stderr { ike = 1\n cfg = 1\n } }") // its default levels
		charon.PSK(psk)
		charon.Load(strongswanConn(outerB, outerA, netB, netA))
		r.daemon = charon.Process
		c.LocalID, c.RemoteID = ipsec.IdentityOf(here), ipsec.IdentityOf(there)
	} else {
		v := s.vpngwEnd(s.b, connection("bench", "aes128gcm16", "always", false, netB, netA))
		r.daemon = v.Process
		c.LocalID, c.RemoteID = ipsec.ParseIdentity("bench.a.example.net"), ipsec.ParseIdentity("bench.b.example.net")
	}
	var err error
	if r.dial, err = dial.Open(s.a.Do, c); err != nil {
		s.Fatalf("the initiator: %v", err)
	}
	s.Cleanup(r.dial.Close)
	if err := r.dial.Handshakes(20); err != nil { // so that what comes once has come
		s.Fatalf("%v\n%s", err, r.daemon.Log())
	}
}

// ownCPU is the processor time of this process, the initiator.
func ownCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measure returns how many processors other programs took meanwhile.
func (r *responder) measure(count int) float64 {
	own, idle, before, start := ownCPU(), idleTicks(), r.daemon.CPU(), time.Now()
	if err := r.dial.Handshakes(count); err != nil {
		r.Fatalf("%v\n%s", err, r.daemon.Log())
	}
	used, took := (r.daemon.CPU() - before).Seconds(), time.Since(start).Seconds()
	r.each = append(r.each, used/float64(count))
	say("%-20s %.3f ms of CPU, %.3f ms in all", r.name, 1e3*used/float64(count), 1e3*took/float64(count))
	all := max(0, float64(runtime.NumCPU())-float64(idleTicks()-idle)/userHZ/took)
	return max(0, all-(used+(ownCPU()-own).Seconds())/took)
}
