package watch

import (
	"strings"
	"time"

	"vpngw/gateway"
)

// minute is how many seconds a history has.
const minute = 60

// history is the traffic of one tunnel in the last minute, from what it had carried at each look.
type history struct {
	at      time.Time // of the last look; zero: there was none
	last    gateway.TrafficStatus
	in, out float64         // bit/s between the last two looks
	slots   [minute]float64 // bit/s in both directions, by the second; -1: not known
	head    int64           // the second of the newest slot
}

func newHistory() *history {
	h := &history{}
	for i := range h.slots {
		h.slots[i] = -1
	}
	return h
}

// add notes what the tunnel had carried at a time.
func (h *history) add(at time.Time, t gateway.TrafficStatus) {
	was, before := h.last, h.at
	h.last, h.at = t, at
	second := at.Unix()
	took := at.Sub(before).Seconds()
	if before.IsZero() || took <= 0 {
		h.head = second
		return
	}
	if t.BytesIn < was.BytesIn || t.BytesOut < was.BytesOut { // another daemon, which counts from 0
		was = gateway.TrafficStatus{}
	}
	h.in, h.out = 8*float64(t.BytesIn-was.BytesIn)/took, 8*float64(t.BytesOut-was.BytesOut)/took
	for s := max(h.head+1, second-minute+1); s <= second; s++ {
		h.slots[s%minute] = h.in + h.out
	}
	h.head = second
}

// rest notes that nothing is known since the last look.
func (h *history) rest(at time.Time) {
	for s := max(h.head+1, at.Unix()-minute+1); s <= at.Unix(); s++ {
		h.slots[s%minute] = -1
	}
	h.head = max(h.head, at.Unix())
	h.in, h.out, h.at = 0, 0, time.Time{}
}

var bars = []rune("▁▂▃▄▅▆▇█")

// spark draws the minute into so many columns, the newest to the right, against its own highest second.
func (h *history) spark(columns int) string {
	top := 0.0
	for _, v := range h.slots {
		top = max(top, v)
	}
	var b strings.Builder
	for c := range int64(columns) {
		// The slots of this column, of which the highest counts: a short burst is seen.
		from, to := c*minute/int64(columns), (c+1)*minute/int64(columns)
		v := -1.0
		for i := from; i < max(to, from+1); i++ {
			v = max(v, h.slots[(h.head+1+i)%minute])
		}
		switch {
		case v < 0:
			b.WriteByte(' ')
		case v == 0:
			b.WriteRune(bars[0])
		default:
			b.WriteRune(bars[1+int(v/top*float64(len(bars)-2)+0.5)])
		}
	}
	return b.String()
}
