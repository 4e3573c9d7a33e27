package ike

import (
	"container/heap"
	"time"
)

// timed is something with a deadline: a peer, an IKE SA, the pending main modes.
type timed interface {
	Deadline() time.Time
	Advance(now time.Time)
}

// timers is a heap of what is due next. When a deadline may have changed, touch must be called.
type timers struct {
	heap  timerHeap
	index map[timed]*timer
}

type timer struct {
	who timed
	at  time.Time
	pos int
}

func newTimers() timers { return timers{index: map[timed]*timer{}} }

func (t *timers) len() int { return len(t.heap) }

// touch asks who for its deadline.
func (t *timers) touch(who timed) {
	at := who.Deadline()
	e, ok := t.index[who]
	switch {
	case at.IsZero() && ok:
		t.remove(who)
	case at.IsZero():
	case ok:
		e.at = at
		heap.Fix(&t.heap, e.pos)
	default:
		e = &timer{who: who, at: at}
		t.index[who] = e
		heap.Push(&t.heap, e)
	}
}

func (t *timers) remove(who timed) {
	if e, ok := t.index[who]; ok {
		heap.Remove(&t.heap, e.pos)
		delete(t.index, who)
	}
}

func (t *timers) deadline() time.Time {
	if len(t.heap) == 0 {
		return time.Time{}
	}
	return t.heap[0].at
}

// due is the first to be due at now, or nil.
func (t *timers) due(now time.Time) timed {
	if len(t.heap) == 0 || now.Before(t.heap[0].at) {
		return nil
	}
	return t.heap[0].who
}

type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

func (h *timerHeap) Push(x any) {
	e := x.(*timer)
	e.pos = len(*h)
	*h = append(*h, e)
}

func (h *timerHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
