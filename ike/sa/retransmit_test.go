package sa

import (
	"bytes"
	"crypto/rand"
	"reflect"
	"testing"
	"time"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// run calls Due at each deadline of r, and returns when after start it sent. The last
// time is when it gave up.
func run(t *testing.T, r *Retransmitter, want [][]byte) []time.Duration {
	t.Helper()
	var at []time.Duration
	for range 1000 {
		now := r.Deadline()
		if msgs, gaveUp := r.Due(now.Add(-1)); msgs != nil || gaveUp {
			t.Fatal("due before its deadline")
		}
		msgs, gaveUp := r.Due(now)
		at = append(at, now.Sub(start))
		if gaveUp {
			return at
		}
		if !reflect.DeepEqual(msgs, want) {
			t.Fatalf("sent %q, want %q", msgs, want)
		}
	}
	t.Fatal("it never gives up")
	return nil
}

func TestRetransmissionSchedule(t *testing.T) {
	var r Retransmitter
	msgs := [][]byte{[]byte("fragment 1"), []byte("fragment 2")}
	r.Start(start, msgs...)
	ms := time.Millisecond
	want := []time.Duration{
		500 * ms, 1500 * ms, 3500 * ms, 7500 * ms, 15500 * ms, 23500 * ms,
		31500 * ms, 39500 * ms, 47500 * ms, 55500 * ms, 60000 * ms,
	}
	if got := run(t, &r, msgs); !reflect.DeepEqual(got, want) {
		t.Errorf("sent at %v, want %v", got, want)
	}
	if r.Active() || !r.Deadline().IsZero() {
		t.Error("it is still active after giving up")
	}
	if msgs, gaveUp := r.Due(start.Add(time.Hour)); msgs != nil || gaveUp {
		t.Error("it gives up twice")
	}
}

func TestRetransmissionScheduleCanBeSet(t *testing.T) {
	r := Retransmitter{First: time.Second, Max: 2 * time.Second, Total: 6 * time.Second}
	r.Start(start, []byte("a"))
	want := []time.Duration{time.Second, 3 * time.Second, 5 * time.Second, 6 * time.Second}
	if got := run(t, &r, [][]byte{[]byte("a")}); !reflect.DeepEqual(got, want) {
		t.Errorf("sent at %v, want %v", got, want)
	}
}

func TestJitterAddsUpToAQuarter(t *testing.T) {
	r := Retransmitter{Rand: bytes.NewReader([]byte{255, 0})} // and an error after that
	r.Start(start, []byte("a"))
	got := run(t, &r, [][]byte{[]byte("a")})
	if got[0] != 625*time.Millisecond || got[1] != 1625*time.Millisecond || got[2] != 3625*time.Millisecond {
		t.Errorf("sent at %v", got)
	}

	seen := map[time.Duration]bool{}
	r.Rand = rand.Reader
	for range 100 {
		r.Start(start, []byte("a"))
		d := r.Deadline().Sub(start)
		if d < 500*time.Millisecond || d > 625*time.Millisecond {
			t.Errorf("the first wait is %v", d)
		}
		seen[d] = true
	}
	if len(seen) < 10 {
		t.Errorf("only %d different waits", len(seen))
	}
}

func TestNothingIsDueAfterStop(t *testing.T) {
	var r Retransmitter
	if r.Active() || !r.Deadline().IsZero() {
		t.Error("the zero value is active")
	}
	r.Start(start, []byte("a"))
	if !r.Active() {
		t.Error("not active after Start")
	}
	r.Stop()
	if msgs, gaveUp := r.Due(start.Add(time.Hour)); msgs != nil || gaveUp || r.Active() || !r.Deadline().IsZero() {
		t.Error("still active after Stop")
	}
}

// A daemon that was suspended sends a request once, not once for each missed time.
func TestALateCallSendsOnce(t *testing.T) {
	var r Retransmitter
	r.Start(start, []byte("a"))
	late := start.Add(10 * time.Second)
	if msgs, _ := r.Due(late); len(msgs) != 1 {
		t.Errorf("sent %d", len(msgs))
	}
	if msgs, _ := r.Due(late); msgs != nil {
		t.Error("and again at once")
	}
	if got := r.Deadline().Sub(late); got != time.Second {
		t.Errorf("the next is %v later", got)
	}
	if _, gaveUp := r.Due(start.Add(time.Minute)); !gaveUp {
		t.Error("it does not give up in the end")
	}
}
