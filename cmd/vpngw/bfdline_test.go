package main

import (
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/gateway"
)

func TestStatusSaysHowBFDIs(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for want, b := range map[string]gateway.BFDStatus{
		"hq BFD to 169.254.1.1: up for 2m0s; a packet every 300 ms, dead after 900 ms without one": {
			State: "up", Since: now.Add(-2 * time.Minute), Remote: "169.254.1.1", Interval: 300, Detect: 900,
		},
		"hq BFD to 169.254.1.1: down for 2m0s; a packet every 1000 ms; 7 from elsewhere dropped; the peer was never heard: has it BFD?": {
			State: "down", Since: now.Add(-2 * time.Minute), Remote: "169.254.1.1", Interval: 1000, Discarded: 7, Report: diag.Report{Why: "the peer was never heard: has it BFD?"},
		},
		"hq BFD to 169.254.1.1: rests": {State: "rests", Remote: "169.254.1.1"},
	} {
		if got := bfdLine(gateway.TunnelStatus{Name: "hq", BFD: &b}, now); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}
