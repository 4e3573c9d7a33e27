package schedule

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestQueueIsInTheOrderOfTime(t *testing.T) {
	var q Queue[int]
	r := rand.New(rand.NewPCG(1, 2))
	now := time.Unix(1000, 0)
	at := map[int]time.Time{}
	for range 5000 {
		who := r.IntN(200)
		switch r.IntN(4) {
		case 0:
			q.Remove(who)
			delete(at, who)
		case 1:
			q.Set(who, time.Time{})
			delete(at, who)
		default:
			at[who] = now.Add(time.Duration(r.IntN(1000)) * time.Second)
			q.Set(who, at[who])
		}
		var first time.Time
		for _, a := range at {
			if first.IsZero() || a.Before(first) {
				first = a
			}
		}
		if q.Len() != len(at) || !q.Deadline().Equal(first) {
			t.Fatalf("got %d with the first at %v, want %d and %v", q.Len(), q.Deadline(), len(at), first)
		}
		if !q.At(who).Equal(at[who]) {
			t.Fatalf("%d is due at %v, want %v", who, q.At(who), at[who])
		}
		if who, ok := q.Due(first); len(at) > 0 && (!ok || !at[who].Equal(first)) {
			t.Fatalf("got %d, which is due at %v, want the first at %v", who, at[who], first)
		}
		if _, ok := q.Due(first.Add(-1)); ok {
			t.Fatal("one is due before its time")
		}
	}
}
