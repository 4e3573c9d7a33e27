package main

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"vpngw/ipsec"
	"vpngw/test/bench/dial"
	"vpngw/test/lab"
)

// `bench handshakes` (`make bench-handshakes`) measures what a handshake costs the daemon that answers: all its processor time
// while several peers build and delete a tunnel again and again, by IKE_SA_INIT, IKE_AUTH and INFORMATIONAL, with X25519 and a
// pre-shared key, on port 4500, for this strongSwan has no other ESP than in UDP. The initiators are the same for all, and run
// in this process.
//
//	BENCH_ROUNDS=n        rounds: 5
//	BENCH_HANDSHAKES=n    in a round, of each responder: 3200
//	BENCH_OTHER, VPNGW    as for `make bench`

// callers is how many peers build their tunnels at the same time.
const callers = 16

// responder is a contender that answers.
type responder struct {
	name  string
	other bool // of BENCH_OTHER
	*trial
	daemon *lab.Process
	dials  []*dial.Dialer
	each   []float64 // seconds of processor time for a handshake, by round
}

func runHandshakes() int {
	p, err := planned()
	if err == nil && os.Getenv("BENCH_ROUNDS") == "" {
		p.rounds = 5
	}
	count := 3200
	if v := os.Getenv("BENCH_HANDSHAKES"); v != "" && err == nil {
		if count, err = strconv.Atoi(v); err != nil || count < 1 {
			err = fmt.Errorf("BENCH_HANDSHAKES is %q: it is a count", v)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	start := time.Now()
	base := &trial{who: "bench"}
	defer base.clean()
	var built programs
	if !base.try(func() { built = build(base, lab.New(base, lab.CharonTools...).Dir, p.other) }) {
		return 1
	}
	all := []*responder{{name: "vpngw"}, {name: strongSwan}}
	if p.other != "" {
		all = append(all, &responder{name: otherPrefix + "vpngw", other: true})
	}
	for _, r := range all {
		r.trial = &trial{who: r.name}
		defer r.clean()
		if !r.try(func() { r.start(newSite(r.trial, built, contender{other: r.other})) }) {
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
	b := &bench{plan: p, programs: built, foreign: foreign, took: time.Since(start)}
	fmt.Printf("\n%d handshakes in each of %d rounds, of %d peers at a time; other programs took at most %.0f %% of a processor.\n\n", count, p.rounds, callers, 100*foreign)
	for _, line := range b.machine() {
		fmt.Println("- " + line)
	}
	fmt.Println("\n| responder | CPU of a handshake | worst round | handshakes in a CPU second |\n|---|---|---|---|")
	for _, r := range all {
		fmt.Printf("| %s | %.3f ms | %.3f ms | %.0f |\n", r.name, 1e3*median(r.each), 1e3*slices.Max(r.each), 1/median(r.each))
	}
	ours, theirs := median(all[0].each), median(all[1].each)
	fmt.Println()
	writeBars(os.Stdout, []bar{
		{what: "7. A handshake of the responder: at most 0.35 ms", figure: fmt.Sprintf("%.3f ms", 1e3*ours), passed: ours <= 0.35e-3, busy: b.busy()},
		{what: "7. Handshakes in a CPU second: at least 2 × " + strongSwan, figure: times(theirs / ours), passed: theirs/ours >= 2, busy: b.busy()},
	})
	return 0
}

// start starts the daemon, and opens the initiators' sockets at the other end.
func (r *responder) start(s *site) {
	var calls []dial.Call
	var conns []lab.Connection
	for i := range callers {
		here, net := netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}), fmt.Sprintf("10.1.%d.0/24", i)
		s.a.Address("wan", here.String()+"/24")
		c := dial.Call{
			Local: here, Remote: netip.MustParseAddr(outerB), PSK: psk, IKE: ikeProposal, ESP: "aes128gcm16",
			Here: netip.MustParsePrefix(net), There: netip.MustParsePrefix(netB),
		}
		c.LocalID, c.RemoteID = ipsec.IdentityOf(c.Local), ipsec.IdentityOf(c.Remote)
		conn := connection(fmt.Sprintf("bench%d", i), "aes128gcm16", "always", false, netB, net)
		conn.Native.Local.ID, conn.Native.Remote.ID = c.Remote.String(), c.Local.String()
		conn.Native.Remote.Address = c.Local.String()
		calls, conns = append(calls, c), append(conns, conn)
	}
	if r.name == strongSwan {
		charon := s.b.Charon("filelog { stderr { ike = 1\n cfg = 1\n } }") // its default levels
		charon.PSK(psk)
		for _, c := range calls {
			conn := strongswanConn(outerB, c.Local.String(), netB, c.Here.String())
			conn.Name = c.Local.String()
			charon.Load(conn)
		}
		r.daemon = charon.Process
	} else {
		r.daemon = s.vpngwEnd(s.b, conns...).Process
	}
	for _, c := range calls {
		d, err := dial.Open(s.a.Do, c)
		if err != nil {
			s.Fatalf("the initiator: %v", err)
		}
		s.Cleanup(d.Close)
		r.dials = append(r.dials, d)
	}
	r.handshakes(10 * callers) // so that what comes once has come
}

// handshakes has all initiators build and delete their tunnels at the same time.
func (r *responder) handshakes(count int) {
	var g errgroup.Group
	for _, d := range r.dials {
		g.Go(func() error { return d.Handshakes(count / callers) })
	}
	if err := g.Wait(); err != nil {
		r.Fatalf("%v\n%s", err, r.daemon.Log())
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
	own, before, start := ownCPU(), r.daemon.CPU(), time.Now()
	all := busyDuring(func() { r.handshakes(count) })
	used, took := (r.daemon.CPU() - before).Seconds(), time.Since(start).Seconds()
	r.each = append(r.each, used/float64(count))
	say("%-20s %.3f ms of CPU, %.3f ms in all", r.name, 1e3*used/float64(count), 1e3*took/float64(count))
	return max(0, all-(used+(ownCPU()-own).Seconds())/took)
}
