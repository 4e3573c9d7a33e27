package dpd

import (
	"testing"
	"time"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return start.Add(d) }

func TestAskOnceThenDead(t *testing.T) {
	m := Monitor{Config: Config{Interval: 30 * time.Second, Timeout: 10 * time.Second}}
	m.Heard(start)
	for _, step := range []struct {
		at   time.Duration
		want Verdict
		next time.Duration
	}{
		{0, Fine, 30 * time.Second},
		{30*time.Second - 1, Fine, 30 * time.Second},
		{30 * time.Second, Ask, 40 * time.Second},
		{35 * time.Second, Fine, 40 * time.Second},
		{40 * time.Second, Dead, 40 * time.Second},
	} {
		if got := m.Due(at(step.at)); got != step.want {
			t.Errorf("at %v: got %v, want %v", step.at, got, step.want)
		}
		if got := m.Deadline(); !got.Equal(at(step.next)) {
			t.Errorf("at %v: next at %v, want %v", step.at, got.Sub(start), step.next)
		}
	}
}

func TestAProofOfLifeStartsAnew(t *testing.T) {
	m := Monitor{Config: Config{Interval: 30 * time.Second, Timeout: 10 * time.Second}}
	m.Heard(start)
	m.Due(at(30 * time.Second))
	m.Heard(at(31 * time.Second))
	if got := m.Deadline(); !got.Equal(at(61 * time.Second)) {
		t.Errorf("next at %v", got.Sub(start))
	}
	m.Heard(at(5 * time.Second)) // late news of earlier life changes nothing
	if got := m.Deadline(); !got.Equal(at(61 * time.Second)) {
		t.Errorf("after old news, next at %v", got.Sub(start))
	}
	if got := m.Due(at(61 * time.Second)); got != Ask {
		t.Errorf("got %v, want to ask again", got)
	}
}

func TestWithoutTimeoutTheQuestionStaysOpen(t *testing.T) {
	m := Monitor{Config: Config{Interval: 30 * time.Second}}
	m.Heard(start)
	if m.Due(at(time.Minute)) != Ask || !m.Deadline().IsZero() || m.Due(at(time.Hour)) != Fine {
		t.Error("the retransmission ends it, not the monitor")
	}
}

func TestZeroNeverAsks(t *testing.T) {
	var m Monitor
	m.Heard(start)
	if !m.Deadline().IsZero() || m.Due(at(1000*time.Hour)) != Fine {
		t.Error("the zero value asks")
	}
	m = Monitor{Config: Config{Interval: time.Second}}
	if !m.Deadline().IsZero() || m.Due(at(time.Hour)) != Fine {
		t.Error("it asks before it ever heard")
	}
}
