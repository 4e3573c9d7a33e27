package ike

import (
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// quickOnly drops the n-th message of quick modes, counted from 0, and its retransmissions.
func quickOnly(w *world, n int) {
	var lost []byte
	seen := 0
	w.filter = func(d *ipsec.Datagram) bool {
		if h, _ := wire.ParseHeader(d.Data); h.Exchange != wire.ExchangeQuick {
			return true
		}
		if lost == nil && seen == n {
			lost = slices.Clone(d.Data)
		}
		seen++
		return string(d.Data) != string(lost)
	}
}

// A peer may delete its old inbound SA as soon as it has our message 2. So from just before message 2, until message
// 3 proves that the peer has the new SA, nothing goes out on our old one.
func TestV1ResponderHoldsItsPacketsBackUntilMessage3(t *testing.T) {
	for _, c := range []struct {
		name  string
		lose  int // of the quick mode's messages; -1: none
		after time.Duration
		want  string // what the responder did
	}{
		{"none lost", -1, 2 * time.Second, "in hold QM out resume"},
		{"message 1 lost", 0, 900 * time.Millisecond, ""},
		{"message 2 lost", 1, 400 * time.Millisecond, "in hold QM resume"},
		{"message 3 lost", 2, 100 * time.Millisecond, "in hold QM"},
		// The hold ends after a moment, and begins again when message 2 is repeated.
		{"message 3 lost", 2, 1700 * time.Millisecond, "in hold QM resume hold QM resume"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, a, b := pairOf(t, v1)
			w.run(10 * time.Second)
			wantPairs(t, a, b, 1)
			b.trace = nil
			quickOnly(w, c.lose)
			a.Do(w.now, sa.Rekey{Tunnel: "a"})
			w.run(c.after)
			got := strings.ReplaceAll(strings.Join(trimIDs(b.trace), " "), "send quick mode", "QM")
			if got != c.want {
				t.Errorf("the responder did %q, want %q", got, c.want)
			}
			w.filter = nil
			w.run(40 * time.Second)
			wantPairs(t, a, b, 1)
		})
	}
}

// The first packet on the new SA is as good a proof as message 3.
func TestV1HoldEndsWithTheFirstPacketOnTheNewSA(t *testing.T) {
	w, a, b := pairOf(t, v1)
	w.run(10 * time.Second)
	b.trace = nil
	quickOnly(w, 2)
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	w.run(50 * time.Millisecond)
	for spi := range b.in {
		if b.out[spi] == nil {
			b.Do(w.now, sa.SeenInbound{SPIIn: spi})
		}
	}
	w.run(10 * time.Millisecond)
	if got := strings.Join(trimIDs(b.trace), " "); got != "in hold send quick mode out resume" {
		t.Errorf("the responder did %q", got)
	}
	if len(b.held) != 0 {
		t.Error("something is still on hold")
	}
}

// Without an old SA nothing is held, and a hold ends when the old SA goes.
func TestV1HoldEndsWithTheChildSA(t *testing.T) {
	w, a, b := pairOf(t, v1)
	w.run(10 * time.Second)
	if slices.Contains(b.trace, "hold") {
		t.Errorf("the first Child SA: %q", b.trace)
	}
	quickOnly(w, 2)
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	w.run(50 * time.Millisecond)
	if len(b.held) != 1 {
		t.Fatalf("%d are on hold", len(b.held))
	}
	b.Do(w.now, sa.Lower{Tunnel: "b"})
	w.run(time.Second)
	if len(b.held) != 0 || len(b.in) != 0 {
		t.Errorf("%d are on hold, %d installed", len(b.held), len(b.in))
	}
}

// A repeated message 1 causes message 2 again and a new hold; it does not make a hold longer.
func TestV1RepeatedMessage1HoldsAnew(t *testing.T) {
	w, a, b := pairOf(t, v1)
	w.run(10 * time.Second)
	b.trace = nil
	var first []ipsec.Datagram
	w.filter = func(d *ipsec.Datagram) bool {
		h, _ := wire.ParseHeader(d.Data)
		if h.Exchange == wire.ExchangeQuick && d.Local.Addr() == b.addr && len(first) == 0 {
			first = append(first, ipsec.Datagram{Local: d.Local, Remote: d.Remote, Data: slices.Clone(d.Data)})
			return true
		}
		return h.Exchange != wire.ExchangeQuick
	}
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	for range 3 {
		w.run(150 * time.Millisecond)
		again := first[0]
		again.Data = slices.Clone(again.Data)
		b.Handle(w.now, again)
	}
	w.run(time.Second / 3)
	got := strings.ReplaceAll(strings.Join(trimIDs(b.trace), " "), "send quick mode", "QM")
	if want := "in hold QM QM resume hold QM QM resume"; got != want {
		t.Errorf("the responder did %q, want %q", got, want)
	}
	w.filter = nil
	w.run(40 * time.Second)
	wantPairs(t, a, b, 1)
}
