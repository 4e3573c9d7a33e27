package dpd

import (
	"testing"
	"time"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func TestZeroValueNeverAsks(t *testing.T) {
	var m Monitor
	m.Heard(start)
	if !m.Deadline().IsZero() || m.Due(at(1e6)) != Fine {
		t.Error("it asks")
	}
}

func TestNothingIsDueBeforeThePeerWasHeardAtAll(t *testing.T) {
	m := Monitor{Config: Config{Interval: time.Second, Timeout: time.Second}}
	if !m.Deadline().IsZero() || m.Due(at(100)) != Fine {
		t.Error("it asks")
	}
}

func TestAsksOnceAndGivesUp(t *testing.T) {
	m := Monitor{Config: Config{Interval: 10 * time.Second, Timeout: 30 * time.Second}}
	m.Heard(start)
	for _, c := range []struct {
		at       int
		want     Verdict
		deadline int // from then on
	}{{9, Fine, 10}, {10, Ask, 40}, {10, Fine, 40}, {39, Fine, 40}, {40, Dead, 40}} {
		if got := m.Due(at(c.at)); got != c.want {
			t.Errorf("at %d s: verdict %d, want %d", c.at, got, c.want)
		}
		if got := m.Deadline(); !got.Equal(at(c.deadline)) {
			t.Errorf("at %d s: deadline %v, want %d s", c.at, got, c.deadline)
		}
	}
}

func TestAnyProofOfLifeAnswers(t *testing.T) {
	m := Monitor{Config: Config{Interval: 10 * time.Second, Timeout: 30 * time.Second}}
	m.Heard(start)
	m.Due(at(12))
	m.Heard(at(5)) // it is newer, so it counts, but the silence since then is as long
	if got := m.Due(at(12)); got != Fine || !m.Deadline().Equal(at(15)) {
		t.Errorf("verdict %d, deadline %v", got, m.Deadline())
	}
	m.Heard(at(3)) // older than what is known
	if !m.Deadline().Equal(at(15)) {
		t.Error("an old packet counted")
	}
	if m.Due(at(15)) != Ask || m.Due(at(45)) != Dead {
		t.Error("the next question is not asked")
	}
}

func TestWithoutTimeoutTheRetransmissionsDecide(t *testing.T) {
	m := Monitor{Config: Config{Interval: 10 * time.Second}}
	m.Heard(start)
	if m.Due(at(10)) != Ask || !m.Deadline().IsZero() || m.Due(at(1000)) != Fine {
		t.Error("it decides by itself")
	}
}

// A thawed Monitor decides at the same times as the frozen one would have, before a question and while one is open.
func TestMonitorThaws(t *testing.T) {
	for frozenAt := range 50 {
		stays := Monitor{Config: Config{Interval: 10 * time.Second, Timeout: 30 * time.Second}}
		stays.Heard(start)
		frozen := stays
		for s := range 50 {
			if s == frozenAt {
				f := frozen.Freeze()
				frozen = Monitor{}
				frozen.Thaw(f)
			}
			if got, want := frozen.Due(at(s)), stays.Due(at(s)); got != want || !frozen.Last().Equal(stays.Last()) {
				t.Fatalf("frozen at %d s: verdict %d at %d s, want %d", frozenAt, got, s, want)
			}
		}
	}
}
