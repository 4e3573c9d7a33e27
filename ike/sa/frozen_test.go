package sa

import (
	"bytes"
	"reflect"
	"testing"
	"time"
)

// A thawed Retransmitter repeats the same bytes at the same times as the frozen one would have.
func TestRetransmitterThaws(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	random := func() *bytes.Reader { return bytes.NewReader(bytes.Repeat([]byte{7, 200, 31}, 40)) }
	for frozenAfter := range 9 {
		stays, frozen := Retransmitter{Total: 20 * time.Second, Rand: random()}, Retransmitter{Total: 20 * time.Second, Rand: random()}
		stays.Start(start, []byte("one"), []byte("two"))
		frozen.Start(start, []byte("one"), []byte("two"))
		for n := range 9 {
			if n == frozenAfter {
				f := frozen.Freeze()
				frozen = Retransmitter{Rand: frozen.Rand}
				frozen.Thaw(f)
				if again := frozen.Freeze(); !reflect.DeepEqual(again, f) {
					t.Fatalf("frozen again it is %+v, was %+v", again, f)
				}
			}
			if !frozen.Deadline().Equal(stays.Deadline()) || frozen.Active() != stays.Active() {
				t.Fatalf("frozen after %d sendings: due at %v, want %v", frozenAfter, frozen.Deadline(), stays.Deadline())
			}
			now := stays.Deadline()
			got, gotEnd := frozen.Due(now)
			want, wantEnd := stays.Due(now)
			if !reflect.DeepEqual(got, want) || gotEnd != wantEnd {
				t.Fatalf("frozen after %d sendings: sends %q (end %v), want %q (%v)", frozenAfter, got, gotEnd, want, wantEnd)
			}
		}
		if stays.Active() {
			t.Fatal("the test ends before the Retransmitter does")
		}
	}
}
