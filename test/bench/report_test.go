package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"vpngw/test/bench/load"
)

// measured is a run with the same figures in each round, times a drift of the
// machine that the ratios must cancel.
func measured(tcp map[string]float64) *bench {
	b := &bench{plan: plan{rounds: 3}}
	for _, c := range contenders() {
		r := &row{contender: c, trial: &trial{who: c.name}}
		for round := range 3 {
			if v, ok := tcp[c.name]; ok {
				r.figures.set(tcpOne, round, v*math.Pow(1.5, float64(round)))
			}
		}
		b.rows = append(b.rows, r)
	}
	return b
}

func (b *bench) verdictOf(t *testing.T, what string) string {
	t.Helper()
	for _, bar := range b.bars() {
		if strings.Contains(bar.what, what) {
			return bar.verdict()
		}
	}
	t.Fatalf("no bar speaks of %q", what)
	return ""
}

func TestBars(t *testing.T) {
	b := measured(map[string]float64{plainRelay: 10e9, wireguardGo: 5e9, strongSwan: 1e9, gcmUDP: 13.9e9, gcmESP: 6.9e9})
	for what, want := range map[string]string{
		"encapsulated: at least 1.4 × relay":    "**FAIL**",
		"2. the same: at least 2.6 × wireguard": "pass",
		"1. the same with MD5":                  "not measured",
		"raw protocol 50":                       "pass",
		"USO off":                               "not measured",
		"IKE rekey":                             "not measured",
	} {
		if got := b.verdictOf(t, what); got != want {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
	b.flooded = &flooded{pings: load.Pings{Sent: 100, Times: make([]time.Duration, 98)}, rekey: time.Second, rss: 65e6}
	for what, want := range map[string]string{"RSS": "**FAIL**", "pings": "**FAIL**", "IKE rekey": "pass"} {
		if got := b.verdictOf(t, what); got != want {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
}

// On a busy machine the figures are shown, but no bar is judged by them.
func TestBusyMachineIsNotJudged(t *testing.T) {
	b := measured(map[string]float64{plainRelay: 10e9, wireguardGo: 5e9, gcmUDP: 13.9e9})
	b.foreign = 0.5
	text := b.markdown()
	for _, want := range []string{"The machine was busy", "at least 1.4 × relay | 1.39 | not judged |"} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %q:\n%s", want, text)
		}
	}
	for _, never := range []string{"FAIL", "| pass |"} {
		if strings.Contains(text, never) {
			t.Errorf("the table has %q:\n%s", never, text)
		}
	}
}

func TestSlowRelayIsVoid(t *testing.T) {
	b := measured(map[string]float64{plainRelay: 8e9, wireguardGo: 5e9, gcmUDP: 20e9})
	if got := b.verdictOf(t, "encapsulated: at least 1.4 × relay"); got != "void" {
		t.Errorf("got %s, want void: the relay reaches 1.6 only", got)
	}
	if got := b.verdictOf(t, "at least 2.6 × wireguard-go"); got != "pass" {
		t.Errorf("got %s, want pass: the relay has no part in it", got)
	}
	if text := b.markdown(); !strings.Contains(text, "its row is void") {
		t.Errorf("the report does not say that the relay is void:\n%s", text)
	}
}

// A missing figure is an empty cell in the table and NaN in the stats.
func TestReportOfNothing(t *testing.T) {
	if text := measured(nil).markdown(); strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
		t.Error(text)
	}
}
