// Package schedule is a queue of deadlines. It reads no clock: its user passes
// the time and asks which are due.
package schedule

import (
	"container/heap"
	"time"
)

// Queue holds one time for each T. Setting, removing and finding the next one
// take time logarithmic in their number. Not safe for concurrent use.
type Queue[T comparable] struct {
	heap  entries[T]
	index map[T]*entry[T]
}

type entry[T comparable] struct {
	who T
	at  time.Time
	pos int // in the heap
}

// Set makes at the time of who; the zero time removes it.
func (q *Queue[T]) Set(who T, at time.Time) {
	e, ok := q.index[who]
	switch {
	case at.IsZero():
		q.Remove(who)
	case ok:
		e.at = at
		heap.Fix(&q.heap, e.pos)
	default:
		if q.index == nil {
			q.index = map[T]*entry[T]{}
		}
		e = &entry[T]{who: who, at: at}
		q.index[who] = e
		heap.Push(&q.heap, e)
	}
}

// Remove forgets who.
func (q *Queue[T]) Remove(who T) {
	if e, ok := q.index[who]; ok {
		heap.Remove(&q.heap, e.pos)
		delete(q.index, who)
	}
}

// Len returns the number of entries.
func (q *Queue[T]) Len() int { return len(q.heap) }

// At returns the time of who; zero: none is set.
func (q *Queue[T]) At(who T) time.Time {
	if e, ok := q.index[who]; ok {
		return e.at
	}
	return time.Time{}
}

// Deadline returns the earliest time; zero: there is none.
func (q *Queue[T]) Deadline() time.Time {
	if len(q.heap) == 0 {
		return time.Time{}
	}
	return q.heap[0].at
}

// Due returns the earliest entry whose time has come; false: there is none.
func (q *Queue[T]) Due(now time.Time) (T, bool) {
	if len(q.heap) == 0 || now.Before(q.heap[0].at) {
		var none T
		return none, false
	}
	return q.heap[0].who, true
}

type entries[T comparable] []*entry[T]

func (h entries[T]) Len() int           { return len(h) }
func (h entries[T]) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h entries[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

func (h *entries[T]) Push(x any) {
	e := x.(*entry[T])
	e.pos = len(*h)
	*h = append(*h, e)
}

func (h *entries[T]) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
