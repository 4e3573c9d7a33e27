package main

import (
	"fmt"
	"math"
	"time"
)

// bar is a figure that a run must reach.
type bar struct {
	what   string
	figure string // measured; empty if it was not
	passed bool
	void   bool // the relay was not good enough to be compared to
}

const (
	relayAtLeast = 1.8 // times wireguard-go, or the relay's row is void
	megabyte     = 1e6
)

// void reports whether the relay was too slow to compare others with it.
func (b *bench) void() bool {
	return b.ratio(plainRelay, wireguardGo, tcpOne) < relayAtLeast // false if NaN
}

// row finds a row by name, nil if it is not in this run.
func (b *bench) row(name string) *row {
	for _, r := range b.rows {
		if r.contender.name == name {
			return r
		}
	}
	return nil
}

// ratio is a row's figure over another's, NaN if either is missing.
func (b *bench) ratio(name, to string, m metric) float64 {
	r, other := b.row(name), b.row(to)
	if r == nil || other == nil {
		return math.NaN()
	}
	return r.ratio(m, &other.figures)
}

// bars returns all bars with the measured figures.
func (b *bench) bars() []bar {
	atLeast := func(name, to string, m metric, bound float64, what string) bar {
		v := b.ratio(name, to, m)
		return bar{fmt.Sprintf("%s: at least %.4g × %s", what, bound, to), times(v), v >= bound, to == plainRelay && b.void()}
	}
	atMost := func(name, to string, m metric, bound float64, what string) bar {
		v := b.ratio(name, to, m)
		return bar{fmt.Sprintf("%s: at most %.4g × %s", what, bound, to), times(v), v <= bound, to == plainRelay && b.void()}
	}
	out := []bar{
		atLeast(plainRelay, wireguardGo, tcpOne, relayAtLeast, "0. The relay is a fair one: one TCP stream"),
		atLeast(gcmUDP, plainRelay, tcpOne, 1.1, "1. One TCP stream, AES-128-GCM, encapsulated"),
		atLeast(gcmUDP, wireguardGo, tcpOne, 2.1, "1. the same"),
		atLeast(gcmUDP, strongSwan, tcpOne, 6, "1. the same"),
		atMost(gcmUDP, plainRelay, cpuPerGB, 0.85, "1. its CPU seconds per GB"),
		b.fourStreams(),
		atLeast(gcmUDPOff, plainRelayOff, tcpOne, 1, "2. USO off: one TCP stream"),
		atLeast(gcmUDP, strongSwan, udpOne, 2, "3. Loss-free UDP, one flow of 64 bytes"),
		atLeast(gcmUDP, strongSwan, udpMany, 1.5, "3. Loss-free UDP, 16 flows of mixed sizes"),
		atMost(gcmUDP, plainRelay, pingP99, 1, "3. Ping p99"),
		atLeast(gcmESP, plainRelay, tcpOne, 0.6, "4. One TCP stream, raw protocol 50"),
	}
	if before := otherPrefix + gcmUDP; b.row(before) != nil {
		for _, x := range []struct {
			row   string
			bound float64
		}{{sha256UDP, 0.85}, {sha1UDP, 0.95}, {md5UDP, 0.8}} {
			out = append(out, atLeast(x.row, before, tcpOne, x.bound, "6. One TCP stream, "+x.row))
		}
	}
	return append(out, b.overloadBars()...)
}

// fourStreams compares a row with itself.
func (b *bench) fourStreams() bar {
	v := math.NaN()
	if r := b.row(gcmUDP); r != nil {
		one := r.figures
		one[tcpFour] = one[tcpOne]
		v = r.ratio(tcpFour, &one)
	}
	return bar{what: "2. Four TCP streams: at least 1 × one", figure: times(v), passed: v >= 1}
}

func (b *bench) overloadBars() []bar {
	memory := bar{what: fmt.Sprintf("5. RSS after %v of overload: under 64 MB", b.plan.overload)}
	pings := bar{what: "5. A second tunnel's pings meanwhile: under 1 % lost"}
	rekey := bar{what: "5. An IKE rekey in it meanwhile: succeeds"}
	if f := b.flooded; f != nil {
		memory.figure, memory.passed = fmt.Sprintf("%.1f MB, at its highest %.1f MB", f.rss/megabyte, f.peak/megabyte), f.rss < 64*megabyte
		pings.figure, pings.passed = fmt.Sprintf("%.2f %% of %d", 100*f.pings.Lost(), f.pings.Sent), f.pings.Lost() < 0.01
		rekey.figure, rekey.passed = "in "+f.rekey.Round(time.Millisecond).String(), f.rekeyErr == ""
		if !rekey.passed {
			rekey.figure = f.rekeyErr
		}
	}
	return []bar{memory, pings, rekey}
}

func (b bar) verdict() string {
	switch {
	case b.figure == "":
		return "not measured"
	case b.void:
		return "void"
	case b.passed:
		return "pass"
	default:
		return "**FAIL**"
	}
}

// times is a ratio as the table shows it.
func times(v float64) string {
	if math.IsNaN(v) {
		return ""
	}
	return fmt.Sprintf("%.2f", v)
}
