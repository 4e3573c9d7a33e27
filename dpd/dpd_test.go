package dpd

import (
	"testing"
	"time"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

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
		at       float64
		want     Verdict
		deadline float64 // from then on
	}{{9.4, Fine, 9.5}, {9.5, Ask, 39.5}, {9.5, Fine, 39.5}, {39.4, Fine, 39.5}, {39.5, Dead, 39.5}} {
		if got := m.Due(at(c.at)); got != c.want {
			t.Errorf("at %v s: verdict %d, want %d", c.at, got, c.want)
		}
		if got := m.Deadline(); !got.Equal(at(c.deadline)) {
			t.Errorf("at %v s: deadline %v, want %v s", c.at, got, c.deadline)
		}
	}
}

// TestSilenceAndRepetitionsFitIntoTheTimes that the configuration gives.
func TestSilenceAndRepetitionsFitIntoTheTimes(t *testing.T) {
	for _, c := range []struct{ interval, timeout, silence, first, longest time.Duration }{
		{time.Second, time.Second, 800 * time.Millisecond, 250 * time.Millisecond, 250 * time.Millisecond},
		{2 * time.Second, 6 * time.Second, 1600 * time.Millisecond, 1500 * time.Millisecond, 1500 * time.Millisecond},
		{30 * time.Second, 45 * time.Second, 29500 * time.Millisecond, 2 * time.Second, 8 * time.Second},
		{30 * time.Second, 0, 29500 * time.Millisecond, 2 * time.Second, 8 * time.Second},
	} {
		d := Config{Interval: c.interval, Timeout: c.timeout}
		if first, longest := d.Repeat(); d.Silence() != c.silence || first != c.first || longest != c.longest {
			t.Errorf("%v and %v: asks after %v, again after %v to %v", c.interval, c.timeout, d.Silence(), first, longest)
		}
	}
}

// The initiator's question reaches the responder before that asks by itself, and the responder asks within the interval.
func TestOneQuestionServesBothEnds(t *testing.T) {
	for _, interval := range []time.Duration{time.Second, 3 * time.Second, 10 * time.Second, 30 * time.Second, time.Hour} {
		c := Config{Interval: interval}
		first, second := c.Of(true).Silence(), c.Of(false).Silence()
		if lead := second - first; lead < min(interval/20, 400*time.Millisecond) || second > interval {
			t.Errorf("%v: the initiator asks after %v, the responder after %v", interval, first, second)
		}
	}
	if none := (Config{}).Of(false); none.Interval != 0 {
		t.Error("the responder asks without an interval")
	}
}

func TestAnyProofOfLifeAnswers(t *testing.T) {
	m := Monitor{Config: Config{Interval: 10 * time.Second, Timeout: 30 * time.Second}}
	m.Heard(start)
	m.Due(at(12))
	m.Heard(at(5)) // it is newer, so it counts, but the silence since then is as long
	if got := m.Due(at(12)); got != Fine || !m.Deadline().Equal(at(14.5)) {
		t.Errorf("verdict %d, deadline %v", got, m.Deadline())
	}
	m.Heard(at(3)) // older than what is known
	if !m.Deadline().Equal(at(14.5)) {
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
			if got, want := frozen.Due(at(float64(s))), stays.Due(at(float64(s))); got != want || !frozen.Last().Equal(stays.Last()) {
				t.Fatalf("frozen at %d s: verdict %d at %d s, want %d", frozenAt, got, s, want)
			}
		}
	}
}
