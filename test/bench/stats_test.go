package main

import (
	"math"
	"testing"
	"time"
)

func TestRatioIsTheMedianOfTheRounds(t *testing.T) {
	var a, b figures
	for round, v := range [][2]float64{{10, 5}, {300, 100}, {math.NaN(), 1}, {8, 8}} {
		a.set(tcpOne, round, v[0])
		b.set(tcpOne, round, v[1])
	}
	if got := a.ratio(tcpOne, &b); got != 2 {
		t.Errorf("got %v, want the median of 2, 3 and 1", got)
	}
	if got := a.ratio(tcpOne, nil); !math.IsNaN(got) {
		t.Errorf("got %v without the other row", got)
	}
	if got := a.ratio(udpOne, &b); !math.IsNaN(got) {
		t.Errorf("got %v of nothing measured", got)
	}
}

func TestPercentile(t *testing.T) {
	var v []time.Duration
	for i := range 1000 {
		v = append(v, time.Duration(999-i)*time.Second)
	}
	if got := percentile(v, 0.99); got != 990 {
		t.Errorf("got %v, want 990", got)
	}
	if got := percentile(v[:1], 0.99); got != 999 {
		t.Errorf("got %v of one", got)
	}
}
