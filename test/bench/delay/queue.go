package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// queue holds frames that are under way, in order, in one piece of memory. Each has
// the same delay, so the first is due first.
type queue struct {
	memory  []byte
	entries []entry // a ring
	first   int     // index of the first
	count   int
	end     int // where the next frame goes, in memory
}

type entry struct {
	at, size int
	due      int64
}

const (
	memory     = 256 << 20 // 50 ms at 40 Gbit/s
	maxEntries = 1 << 18
)

func newQueue() (queue, error) {
	m, err := unix.Mmap(-1, 0, memory, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return queue{}, fmt.Errorf("mmap: %w", err)
	}
	return queue{memory: m, entries: make([]entry, maxEntries)}, nil
}

// room is where a frame of up to n bytes can lie; nil: there is no room.
func (q *queue) room(n int) []byte {
	if q.count > maxEntries-maxSegments {
		return nil
	}
	if q.count == 0 {
		q.end = 0
		return q.memory[:n]
	}
	start := q.entries[q.first].at
	if q.end > start {
		if q.end+n <= len(q.memory) {
			return q.memory[q.end : q.end+n]
		}
		q.end = 0
	}
	if q.end+n < start {
		return q.memory[q.end : q.end+n]
	}
	return nil
}

// add adds the frame of n bytes that lies at the last room.
func (q *queue) add(n int, due int64) {
	q.entries[(q.first+q.count)%maxEntries] = entry{q.end, n, due}
	q.count++
	q.end += (n + 63) &^ 63
}

// at is the frame number i of those in the queue; nil: there are fewer.
func (q *queue) at(i int) ([]byte, int64) {
	if i >= q.count {
		return nil, 0
	}
	e := q.entries[(q.first+i)%maxEntries]
	return q.memory[e.at : e.at+e.size], e.due
}

func (q *queue) remove(n int) {
	q.first = (q.first + n) % maxEntries
	q.count -= n
}
