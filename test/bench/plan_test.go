package main

import (
	"runtime"
	"testing"
)

func TestPlanOfTheEnvironment(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        func(plan) bool // nil: it is refused
	}{
		{"BENCH_PLACE", "", func(p plan) bool { return !p.place.fixed && p.place.iperf() == nil }},
		{"BENCH_PLACE", "here", nil},
		{"BENCH_STEADY", "200000", func(p plan) bool { return p.steady == 200_000 }},
		{"BENCH_STEADY", "fast", nil},
		{"BENCH_STEADY", "0", nil},
		{"BENCH_ROUNDS", "0", nil},
		{"BENCH_OTHER", "/nonexistent", nil},
	} {
		t.Run(c.name+"="+c.value, func(t *testing.T) {
			t.Setenv(c.name, c.value)
			p, err := planned()
			if (err == nil) != (c.want != nil) || err == nil && !c.want(p) {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
}

// Fixed: each daemon has the processor of the other end's load, or its own where there are enough.
func TestPlacement(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("one processor")
	}
	t.Setenv("BENCH_PLACE", "fixed")
	p, err := place()
	if err != nil || !p.fixed || p.a == p.b || p.loadA == p.loadB || p.a == p.loadA || p.b == p.loadB || len(p.iperf()) != 2 {
		t.Errorf("%v, %v", p, err)
	}
}

// With another vpngw each row of ours has a second one, and no other row has.
func TestOtherServesAllRows(t *testing.T) {
	chosen, err := plan{other: "other"}.chosen()
	if err != nil {
		t.Fatal(err)
	}
	others := map[string]bool{}
	for _, c := range chosen {
		if c.other {
			others[c.name] = true
		}
	}
	for _, c := range contenders() {
		ours := c.name[:3] == "aes" || c.name[:3] == "cha" || c.name[:3] == "3de"
		if others[otherPrefix+c.name] != ours {
			t.Errorf("%s has another: %v, want %v", c.name, !ours, ours)
		}
	}
}
