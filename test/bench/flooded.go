package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"vpngw/test/bench/load"
	"vpngw/test/lab"
)

// flooded is the result for a vpngw with two tunnels: UDP flooded one, while
// the other carried pings and rekeyed its IKE SA.
type flooded struct {
	load     load.Outcome
	pings    load.Pings
	rekey    time.Duration // how long it took; 0 if it did not succeed
	rekeyErr string
	rss      float64 // bytes, at the end, the larger daemon
	peak     float64 // bytes, at its highest
}

const (
	floodedPings = 10 * time.Millisecond // between two
	rekeyWithin  = 20 * time.Second
	second       = "second"
)

// runFlooded floods for a time; the rekey starts halfway.
func runFlooded(t *trial, p programs, d time.Duration) flooded {
	s := newSite(t, p, contender{})
	encap, proposal := "always", "aes128gcm16"
	b := s.vpngwEnd(s.b, connection("bench", proposal, encap, false, netB, netA), connection(second, proposal, encap, false, secondNetB, secondNetA))
	a := s.vpngwEnd(s.a, connection("bench", proposal, encap, true, netA, netB), connection(second, proposal, encap, true, secondNetA, secondNetB))
	for _, name := range []string{"bench", second} {
		a.AwaitUp(name)
		b.AwaitUp(name)
	}
	s.a.Run("ping", "-n", "-c", "1", "-I", innerA, "-W", "5", innerB)
	s.a.Run("ping", "-n", "-c", "1", "-I", secondA, "-W", "5", secondB)
	path := s.path()

	var out flooded
	floodDone, pingDone := make(chan error, 1), make(chan error, 1)
	go func() {
		var err error
		out.load, err = path.Run(load.Stream{To: destinations(1), Sizes: []int{64}, For: d})
		floodDone <- err
	}()
	go func() {
		var err error
		out.pings, err = load.Ping(s.a.Do, netip.MustParseAddr(secondA), netip.MustParseAddr(secondB), int(d/floodedPings), floodedPings)
		pingDone <- err
	}()
	time.Sleep(d / 2)
	out.rekey, out.rekeyErr = rekeyed(a)
	for _, done := range []chan error{floodDone, pingDone} {
		if err := <-done; err != nil {
			t.Fatalf("%v", err)
		}
	}
	for _, end := range []*lab.Vpngw{a, b} {
		if !end.Running() {
			t.Fatalf("%s has ended:\n%s", end.Name, end.Log())
		}
		out.rss = max(out.rss, end.Memory("VmRSS"))
		out.peak = max(out.peak, end.Memory("VmHWM"))
	}
	return out
}

// rekeyed has the daemon rekey the second tunnel's IKE SA and returns how long
// it took, or why it did not succeed.
func rekeyed(v *lab.Vpngw) (time.Duration, string) {
	before, err := ikeSPI(v)
	if err != nil {
		return 0, err.Error()
	}
	start := time.Now()
	if err := v.Rekey(second, true); err != nil {
		return 0, err.Error()
	}
	for time.Since(start) < rekeyWithin {
		after, err := ikeSPI(v)
		if err == nil && after != before {
			return time.Since(start), ""
		}
		time.Sleep(50 * time.Millisecond)
	}
	return 0, fmt.Sprintf("no new IKE SA within %v", rekeyWithin)
}

// ikeSPI is the initiator's SPI of the second tunnel's IKE SA.
func ikeSPI(v *lab.Vpngw) (string, error) {
	out, err := v.Try("status", "--json")
	if err != nil {
		return "", fmt.Errorf("status: %w: %s", err, out)
	}
	var s lab.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return "", fmt.Errorf("status: %w", err)
	}
	for _, c := range s.Connections {
		for _, t := range c.Tunnels {
			if t.Name == second && t.IKE != nil && t.IKE.State == "established" {
				return t.IKE.SPIi, nil
			}
		}
	}
	return "", fmt.Errorf("the second tunnel has no established IKE SA")
}
