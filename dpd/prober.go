package dpd

import "time"

// Probes says how a Prober asks. The zero value never asks.
type Probes struct {
	Interval time.Duration // between two questions, at least LeastInterval; 0: never ask
	Timeout  time.Duration // of one question; 0: the interval
	Retries  int           // questions in a row that are lost until the target is ill; 0 counts as 1
}

// LeastInterval bounds how often a Prober asks, whatever its Probes say.
const LeastInterval = 100 * time.Millisecond

// An ill target is healthy again after answers in a row, for a time: the longer of the two.
const (
	HealthyAnswers = 5
	HealthyTime    = 15 * time.Second
)

// maxOpen bounds the questions that wait for an answer. While there are so many, none is asked.
const maxOpen = 64

// Health is what a Prober thinks of its target.
type Health uint8

const (
	Unknown Health = iota // neither an answer nor enough losses yet
	Healthy
	Ill
)

func (h Health) String() string { return [...]string{"unknown", "healthy", "ill"}[h] }

// Prober asks a target through a path, again and again, and judges the path by the answers. The
// zero value with Probes is ready, and rests until Start.
type Prober struct {
	Probes
	Count  Count
	next   time.Time // when the next question is due; zero: it rests
	seq    uint16    // of the last question
	open   []question
	lost   int       // in a row, in the order in which they were asked
	run    int       // answers in a row
	since  time.Time // the first answer of the run
	health Health
}

// Count counts what a Prober asked, and says how long the answers took.
type Count struct {
	Sent, Answered, Lost uint64
	Last, Min, Avg       time.Duration // round trips; Avg is smoothed as in RFC 6298 section 2; 0: no answer yet
}

type question struct {
	seq    uint16
	asked  time.Time
	passed bool // a later one was answered
}

// Start begins to ask, if p rests: the path carries packets now.
func (p *Prober) Start(now time.Time) {
	if p.next.IsZero() && p.Interval > 0 {
		p.next = now
	}
}

// Stop rests until Start. What p thought of the path is forgotten; its counts stay.
func (p *Prober) Stop() {
	*p = Prober{Probes: p.Probes, Count: p.Count, seq: p.seq}
}

// Change asks in another way from now on. It keeps what p thinks if the way is the same.
func (p *Prober) Change(to Probes) {
	if to != p.Probes {
		*p = Prober{Probes: to, seq: p.seq}
	}
}

// Health is what p thinks of the path.
func (p *Prober) Health() Health { return p.health }

// Proven reports whether the last HealthyAnswers questions at least, and those of the last HealthyTime,
// were all answered.
func (p *Prober) Proven(now time.Time) bool {
	return p.run >= HealthyAnswers && now.Sub(p.since) >= HealthyTime
}

// Deadline is when to call Due next; zero: never.
func (p *Prober) Deadline() time.Time {
	if p.next.IsZero() {
		return time.Time{}
	}
	if len(p.open) == 0 {
		return p.next
	}
	end := p.open[0].asked.Add(p.timeout())
	if len(p.open) == maxOpen || end.Before(p.next) {
		return end
	}
	return p.next
}

// Due counts what is lost at now. It returns true and a sequence number if a question with it is to be sent now.
func (p *Prober) Due(now time.Time) (seq uint16, ask bool) {
	for len(p.open) > 0 && !now.Before(p.open[0].asked.Add(p.timeout())) {
		passed := p.open[0].passed
		p.open = p.open[1:]
		p.Count.Lost++
		p.run = 0
		if passed {
			continue
		}
		if p.lost++; p.lost >= p.Retries {
			p.health = Ill
		}
	}
	if p.next.IsZero() || now.Before(p.next) || len(p.open) == maxOpen {
		return 0, false
	}
	every := p.interval()
	if p.next = p.next.Add(every); !p.next.After(now) { // late: no burst makes up for it
		p.next = now.Add(every)
	}
	p.seq++
	p.Count.Sent++
	p.open = append(p.open, question{seq: p.seq, asked: now})
	return p.seq, true
}

// Answer notes the answer to a question at now. One that was lost or answered already says nothing.
func (p *Prober) Answer(now time.Time, seq uint16) {
	for i, q := range p.open {
		if q.seq != seq {
			continue
		}
		took := now.Sub(q.asked)
		if took >= p.timeout() {
			return // late: Due counts it as lost
		}
		for j := range i {
			p.open[j].passed = true
		}
		p.open = append(p.open[:i:i], p.open[i+1:]...)
		p.Count.answered(took)
		if !q.passed {
			p.lost = 0
		}
		if p.run++; p.run == 1 {
			p.since = now
		}
		if p.health == Unknown || p.Proven(now) {
			p.health = Healthy
		}
		return
	}
}

func (p *Prober) interval() time.Duration { return max(p.Interval, LeastInterval) }

func (p *Prober) timeout() time.Duration {
	if p.Timeout <= 0 {
		return p.interval()
	}
	return p.Timeout
}

func (c *Count) answered(took time.Duration) {
	c.Answered++
	c.Last = took
	if c.Answered == 1 {
		c.Min, c.Avg = took, took
		return
	}
	c.Min = min(c.Min, took)
	c.Avg += (took - c.Avg) / 8
}
