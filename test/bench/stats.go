package main

import (
	"math"
	"slices"
	"time"
)

// metric is one figure of a row.
type metric int

const (
	tcpOne   metric = iota // bit/s, one stream
	tcpFour                // bit/s, four streams
	cpuPerGB               // seconds of both daemons for 1e9 bytes, one stream
	pingMean               // s
	pingP99                // s
	udpOne                 // packets a second, one flow of 64 bytes
	udpMany                // packets a second, 16 flows of mixed sizes
	cpuOne                 // seconds of both daemons for a packet, at that rate
	cpuMany                // likewise
	rssIdle                // bytes, of the larger daemon
	rssAfter               // bytes, after being flooded

	// bit/s between ends that are far from each other: one stream and four, from A to B and from B to A
	farOne
	farOneBack
	farFour
	farFourBack
	farRTT // s, of one stream from A to B

	numMetric
)

// figures are the figures of a row by round; NaN where a round has none.
type figures [numMetric][]float64

func (f *figures) set(m metric, round int, v float64) {
	for len(f[m]) <= round {
		f[m] = append(f[m], math.NaN())
	}
	f[m][round] = v
}

// median of all rounds, NaN if there is none.
func (f *figures) median(m metric) float64 { return median(f[m]) }

// ratio is the median of the rounds' ratios to another row. The two
// measurements of a round are about a minute apart; between rounds the speed of
// the machine may change.
func (f *figures) ratio(m metric, to *figures) float64 {
	if to == nil {
		return math.NaN()
	}
	var out []float64
	for i := range min(len(f[m]), len(to[m])) {
		out = append(out, f[m][i]/to[m][i])
	}
	return median(out)
}

func median(v []float64) float64 {
	v = slices.DeleteFunc(slices.Clone(v), math.IsNaN)
	if len(v) == 0 {
		return math.NaN()
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// mean and percentile of times, in seconds.
func mean(v []time.Duration) float64 {
	var sum time.Duration
	for _, d := range v {
		sum += d
	}
	return sum.Seconds() / float64(len(v))
}

func percentile(v []time.Duration, part float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[min(len(v)-1, int(part*float64(len(v))))].Seconds()
}
