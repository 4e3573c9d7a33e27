package ike

import (
	"encoding/binary"
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

// A peer that sends on the new SA has its keys, but may not be ready to receive on it: Libreswan installs its outbound SA,
// then the inbound one, and then sends message 3. So the first packet on the new SA lets nothing go that message 3 does not.
func TestV1PacketBeforeMessage3LetsNothingGo(t *testing.T) {
	for _, c := range []struct {
		name            string
		seen            time.Duration // after message 2
		message3, after time.Duration // after the packet; message3 0: lost
		want            string
	}{
		{"message 3 is on its way", 50 * time.Millisecond, 60 * time.Millisecond, 59 * time.Millisecond, "in hold QM"},
		{"message 3 comes", 50 * time.Millisecond, 60 * time.Millisecond, 70 * time.Millisecond, "in hold QM out resume"},
		{"message 3 is lost", 50 * time.Millisecond, 0, 95 * time.Millisecond, "in hold QM"},
		{"message 3 is lost for good", 50 * time.Millisecond, 0, 120 * time.Millisecond, "in hold QM out resume"},
		{"the packet comes at the end of the hold", 190 * time.Millisecond, 0, 95 * time.Millisecond, "in hold QM"},
		{"the packet comes after the hold", 300 * time.Millisecond, 0, 95 * time.Millisecond, "in hold QM resume hold"},
		{"and message 3 after it", 300 * time.Millisecond, 20 * time.Millisecond, 30 * time.Millisecond, "in hold QM resume hold out resume"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, a, b := pairOf(t, v1)
			w.run(10 * time.Second)
			b.trace = nil
			var last ipsec.Datagram
			seen := 0
			w.filter = func(d *ipsec.Datagram) bool {
				if h, _ := wire.ParseHeader(d.Data); h.Exchange != wire.ExchangeQuick {
					return true
				}
				if seen++; seen == 3 {
					last = ipsec.Datagram{Local: d.Local, Remote: d.Remote, Data: slices.Clone(d.Data)}
				}
				return seen < 3
			}
			a.Do(w.now, sa.Rekey{Tunnel: "a"})
			w.run(c.seen)
			for spi := range b.in {
				if b.out[spi] == nil {
					b.Do(w.now, sa.SeenInbound{SPIIn: spi})
					b.Do(w.now, sa.SeenInbound{SPIIn: spi})
				}
			}
			if c.message3 > 0 && c.message3 < c.after {
				w.run(c.message3)
				b.Handle(w.now, last)
				c.after -= c.message3
			}
			w.run(c.after)
			if got := strings.ReplaceAll(strings.Join(trimIDs(b.trace), " "), "send quick mode", "QM"); got != c.want {
				t.Errorf("the responder did %q, want %q", got, c.want)
			}
			w.filter = nil
			w.run(40 * time.Second)
			wantPairs(t, a, b, 1)
		})
	}
}

// A peer that deletes the old SA has the new one, whether or not its message 3 was lost.
func TestV1HoldEndsWithThePeersDelete(t *testing.T) {
	w, a, b, tap := established1(t, v1)
	b.trace = nil
	quickOnly(w, 2)
	old := binary.BigEndian.AppendUint32(nil, b.newest[0].SPIOut)
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	w.run(20 * time.Millisecond)
	del := &wire.Delete1{DOI: 1, Protocol: ipsec.ProtoESP, SPIs: [][]byte{old}}
	b.give(tap.forge(toOf(b, wire.ExchangeInfo1, 4711), []wire.Payload{del}, nil))
	if got := strings.Join(trimIDs(b.trace), " "); got != "in hold send quick mode out resume" {
		t.Errorf("the responder did %q", got)
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
