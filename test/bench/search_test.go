package main

import (
	"math"
	"testing"
	"time"

	"vpngw/test/bench/load"
)

// path is a fake that carries so many packets a second, and fewer for long.
type path struct {
	probe, long float64
	sender      float64 // its limit; 0 is none
	tries       int
}

func (p *path) try(rate float64, d time.Duration, _ float64) (load.Outcome, error) {
	p.tries++
	limit := p.probe
	if d > time.Second {
		limit = p.long
	}
	if p.sender > 0 {
		rate = math.Min(rate, p.sender)
	}
	sent := rate * d.Seconds()
	return load.Outcome{Sent: int(sent), Received: int(math.Min(sent, limit*d.Seconds())), Elapsed: d}, nil
}

func TestSearchFindsTheRateThatIsCarriedForLong(t *testing.T) {
	for _, hint := range []float64{3e3, 5e4, 2e5, 2e6} {
		p := &path{probe: 200_000, long: 180_000}
		got, err := search{time.Second, 10 * time.Second, p.try}.find(hint)
		if err != nil {
			t.Fatal(err)
		}
		if got > 181_000 || got < 160_000 {
			t.Errorf("from %.0f: got %.0f packets a second, want a little less than 180000", hint, got)
		}
		if p.tries > 30 {
			t.Errorf("from %.0f: %d tries", hint, p.tries)
		}
	}
}

func TestSearchEndsAtTheSendersLimit(t *testing.T) {
	p := &path{probe: 500_000, long: 500_000, sender: 300_000}
	got, err := search{time.Second, 10 * time.Second, p.try}.find(50_000)
	if err != nil || got < 290_000 || got > 300_000 {
		t.Errorf("got %.0f packets a second (%v), want the 300000 that can be sent", got, err)
	}
}

func TestSearchEndsWhereNothingIsCarried(t *testing.T) {
	p := &path{}
	if got, err := (search{time.Second, 10 * time.Second, p.try}).find(50_000); err == nil {
		t.Errorf("got %.0f packets a second", got)
	}
}
