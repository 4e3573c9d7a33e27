package dpd

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// target answers a Prober's questions: '+' at once, '-' never, 's' after twice the timeout, as its letters
// say, the last one for ever.
type target struct {
	Prober
	script string
	asked  int
	late   map[time.Time]uint16
}

// until lets the time pass to so many seconds after start, and returns each change of the health with its second.
func (d *target) until(seconds int) string {
	var out []string
	was := d.Health()
	for now := start; !now.After(at(float64(seconds))); now = now.Add(50 * time.Millisecond) {
		if seq, ok := d.late[now]; ok {
			d.Answer(now, seq)
		}
		for {
			seq, ask := d.Due(now)
			if !ask {
				break
			}
			switch d.script[min(d.asked, len(d.script)-1)] {
			case '+':
				d.Answer(now.Add(20*time.Millisecond), seq)
			case 's':
				d.late[now.Add(2*d.timeout())] = seq
			}
			d.asked++
		}
		if h := d.Health(); h != was {
			out = append(out, fmt.Sprintf("%v at %v", h, now.Sub(start)))
			was = h
		}
	}
	return strings.Join(out, ", ")
}

func TestProberFindsATargetIllAndWell(t *testing.T) {
	alibaba := Probes{Interval: 3 * time.Second, Retries: 3}
	tencent := Probes{Interval: time.Second, Timeout: 150 * time.Millisecond, Retries: 3}
	for _, c := range []struct {
		name    string
		probes  Probes
		answers string
		want    string
	}{
		{"always there", alibaba, "+", "healthy at 0s"},
		{"dead from the start", alibaba, "-", "ill at 9s"},
		{"dead from the third on", tencent, "++-", "healthy at 0s, ill at 4.15s"},
		{"slow: twice the timeout", tencent, "s", "ill at 2.15s"},
		{"slow by the interval", alibaba, "s", "ill at 9s"},
		{"two lost now and then", alibaba, "+--+--+--+--+--+--+", "healthy at 0s"},
		{"back: 15 s by many answers", tencent, "---+", "ill at 2.15s, healthy at 18s"},
		{"back: 5 answers, 5 s apart", Probes{Interval: 5 * time.Second, Retries: 1}, "-+", "ill at 5s, healthy at 25s"},
		{"one lost begins the run again", tencent, "---++++++++++-+", "ill at 2.15s, healthy at 29s"},
		{"a retry of none is one", Probes{Interval: time.Second}, "-", "ill at 1s"},
		{"it never asks", Probes{Retries: 3}, "-", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := target{Prober: Prober{Probes: c.probes}, script: c.answers, late: map[time.Time]uint16{}}
			d.Start(start)
			if got := d.until(60); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if n := d.Count; n.Sent != uint64(d.asked) || n.Answered+n.Lost+uint64(len(d.open)) != n.Sent {
				t.Errorf("asked %d, got %+v with %d open", d.asked, n, len(d.open))
			}
		})
	}
}

func TestProberMeasuresRoundTrips(t *testing.T) {
	p := Prober{Probes: Probes{Interval: time.Second}}
	p.Start(start)
	for i, ms := range []int{40, 20, 100} {
		now := at(float64(i))
		seq, _ := p.Due(now)
		p.Answer(now.Add(time.Duration(ms)*time.Millisecond), seq+1) // nobody asked this
		p.Answer(now.Add(time.Duration(ms)*time.Millisecond), seq)
		p.Answer(now.Add(time.Duration(ms)*time.Millisecond), seq) // a second answer
	}
	want := Count{Sent: 3, Answered: 3, Last: 100 * time.Millisecond, Min: 20 * time.Millisecond, Avg: 45312500 * time.Nanosecond}
	if p.Count != want {
		t.Errorf("got %+v, want %+v", p.Count, want)
	}
}

func TestProberThatRestsForgetsAndAsksNothing(t *testing.T) {
	p := Prober{Probes: Probes{Interval: time.Second, Retries: 1}}
	if _, ask := p.Due(start); ask || !p.Deadline().IsZero() {
		t.Error("it asks before Start")
	}
	p.Start(start)
	p.Due(start)
	p.Due(at(1))
	if p.Health() != Ill {
		t.Fatal("one lost question of one does not count")
	}
	p.Stop()
	if _, ask := p.Due(at(5)); ask || p.Health() != Unknown || !p.Deadline().IsZero() || p.Count.Lost != 1 {
		t.Errorf("got %v, %+v", p.Health(), p.Count)
	}
	p.Start(at(6))
	if seq, ask := p.Due(at(6)); !ask || seq != 3 {
		t.Errorf("got question %d, %v: an answer to an old one could be taken for its answer", seq, ask)
	}
}

// A clock that stood still, and a timeout of many intervals, cause neither a burst nor memory without bound.
func TestProberIsBounded(t *testing.T) {
	p := Prober{Probes: Probes{Interval: 1, Timeout: time.Hour, Retries: 3}}
	p.Start(start)
	asked := 0
	for now := start; now.Before(at(60)); now = now.Add(LeastInterval / 2) {
		if _, ask := p.Due(now); ask {
			asked++
		}
	}
	if asked != maxOpen || !p.Deadline().Equal(start.Add(time.Hour)) {
		t.Errorf("asked %d times, next at %v", asked, p.Deadline())
	}
	p = Prober{Probes: Probes{Interval: time.Second}}
	p.Start(start)
	p.Due(start)
	if _, ask := p.Due(at(1000)); !ask {
		t.Error("it does not ask")
	}
	if _, ask := p.Due(at(1000)); ask || !p.Deadline().Equal(at(1001)) {
		t.Errorf("a burst, or the next question is due at %v", p.Deadline())
	}
}

// An answer after the timeout comes too late, though nobody has counted its question as lost yet.
func TestProberTakesNoLateAnswer(t *testing.T) {
	p := Prober{Probes: Probes{Interval: time.Second, Timeout: 200 * time.Millisecond, Retries: 1}}
	p.Start(start)
	seq, _ := p.Due(start)
	p.Answer(start.Add(200*time.Millisecond), seq)
	if p.Health() != Unknown || p.Count.Answered != 0 {
		t.Errorf("got %v, %+v", p.Health(), p.Count)
	}
	if p.Due(at(1)); p.Health() != Ill || p.Count.Lost != 1 {
		t.Errorf("got %v, %+v", p.Health(), p.Count)
	}
}

// Two lost, one answered, two lost, never three in a row. Each question comes on time but the second, which comes late, so that
// its time is over after the third is answered.
func TestALateQuestionIsLostInItsPlace(t *testing.T) {
	p := Prober{Probes: Probes{Interval: time.Second, Retries: 3}}
	p.Start(start)
	for i, when := range []float64{0, 1.3, 2, 2.4, 3, 4, 5, 6} {
		now := at(when)
		if seq, ask := p.Due(now); ask && (i == 2 || i == 6) {
			p.Answer(at(when+0.01), seq)
		}
		if p.Health() == Ill {
			t.Fatalf("ill after %v s and %d losses", when, p.Count.Lost)
		}
	}
	if p.Count.Lost < 3 {
		t.Fatalf("%d losses", p.Count.Lost)
	}
}
