package ike

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// An on-path attacker without keys sends a copy of a message of phase 1 first, from its own address.

// last reports whether d is the last message of phase 1 from the initiator: message 5 of main mode, or 3 of aggressive mode.
func last(d *ipsec.Datagram) bool {
	h, _ := wire.ParseHeader(d.Data)
	return (h.Exchange == wire.ExchangeMain || h.Exchange == wire.ExchangeAggressive) && h.Flags&wire.FlagEncrypted != 0
}

// copyFirst has a copy of each message of phase 1 to n for which which is true come before it, from an address to a port of n.
func copyFirst(w *world, n *end, from netip.AddrPort, port uint16, which func(*ipsec.Datagram) bool) (answers *int) {
	answers = new(int)
	w.filter = func(d *ipsec.Datagram) bool {
		if d.Local == from {
			*answers++
			return false
		}
		if h, _ := wire.ParseHeader(d.Data); h.ID == 0 && d.Local.Addr() == n.addr && d.Remote != from && which(d) {
			n.Handle(w.now, ipsec.Datagram{Local: netip.AddrPortFrom(n.addr, port), Remote: from, Data: bytes.Clone(d.Data)})
			n.drain()
		}
		return true
	}
	return answers
}

func TestV1CopyOfTheLastMessageMovesNothing(t *testing.T) {
	for _, x := range []struct {
		from string
		port uint16
	}{{"203.0.113.66:4500", 4500}, {"203.0.113.66:500", 500}, {"203.0.113.66:7777", 4500}, {"192.0.2.1:7777", 4500}, {"192.0.2.1:7777", 500}} {
		t.Run(fmt.Sprintf("from %s to port %d", x.from, x.port), func(t *testing.T) {
			both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
				w, a, b := pairOf(t, change)
				answers := copyFirst(w, b, netip.MustParseAddrPort(x.from), x.port, last)
				atHome := func(when string) {
					t.Helper()
					wantPairs(t, a, b, 1)
					for _, in := range []sa.Info{b.ikeOf(), {Path: b.newest[0].Path, NAT: b.ikeOf().NAT}} {
						if in.Path.Remote.Addr() != a.addr || in.Path.Remote.Port() > 500 || in.NAT.Any() {
							t.Fatalf("%s: goes to %v, NAT %v", when, in.Path.Remote, in.NAT)
						}
					}
				}
				w.run(time.Second)
				atHome("at first")
				for range 3 {
					a.Do(w.now, sa.Rekey{Tunnel: "a"})
					b.Do(w.now, sa.RekeyIKE{Tunnel: "b"})
					w.run(time.Minute)
				}
				atHome("after rekeys")
				if *answers > 1 {
					t.Errorf("%d answers went to the attacker", *answers)
				}
				if len(b.moved) != 0 {
					t.Errorf("ESP moved: %v", b.moved)
				}
			})
		})
	}
}

// Behind a NAT the copy wins for a moment. The genuine message still has its answer, and the next one takes everything back.
func TestV1CopyBehindANATIsTakenBack(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b, n := behindNAT(t, watchful(change))
		copyFirst(w, b, observer, 4500, last)
		w.run(10 * time.Millisecond)
		if !a.ikeUp() || !b.ikeUp() {
			t.Fatal("the copy has ended the SA")
		}
		w.run(time.Minute)
		wantPairs(t, a, b, 1)
		if got := b.ikeOf().Path.Remote.Addr(); got != n.outside {
			t.Errorf("IKE goes to %v", got)
		}
		path := b.newest[0].Path
		if to, ok := b.moved[b.newest[0].SPIIn]; ok {
			path = to
		}
		if path.Remote.Addr() != n.outside {
			t.Errorf("ESP goes to %v", path.Remote)
		}
	})
}

// The genuine message 5 that is repeated because message 6 was lost has its answer where it comes from.
func TestV1CopyDoesNotKeepTheAnswerFromTheGenuine(t *testing.T) {
	w, a, b := pairOf(t, v1)
	copies := copyFirst(w, b, observer, 4500, last)
	inner, lost := w.filter, 0
	w.filter = func(d *ipsec.Datagram) bool {
		if d.Local.Addr() == a.addr && last(d) && lost < 2 { // to the copy and to message 5
			lost++
			return false
		}
		return inner(d)
	}
	w.run(5 * time.Second)
	wantPairs(t, a, b, 1)
	if lost != 2 || *copies > 2 {
		t.Errorf("%d answers were lost, %d went to the attacker", lost, *copies)
	}
}

// An initiator takes answers only from where its messages go.
func TestV1AnswersComeFromWhereWeAsked(t *testing.T) {
	for _, from := range []string{"203.0.113.66:500", "203.0.113.66:4500", "192.0.2.2:7777"} {
		both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
			w, a, b := pairOf(t, change)
			answers := copyFirst(w, a, netip.MustParseAddrPort(from), 500, func(*ipsec.Datagram) bool { return true })
			was := netip.AddrPortFrom(b.addr, 500)
			for range 100 {
				w.run(10 * time.Millisecond)
				for m := range a.table.place {
					if got := m.Info().Path.Remote; got != was {
						t.Fatalf("we send to %v", got)
					}
				}
			}
			wantPairs(t, a, b, 1)
			if *answers != 0 || a.Counters().Dropped[sa.DropElsewhere] == 0 {
				t.Errorf("%d messages went to %s, %d of its own were dropped", *answers, from, a.Counters().Dropped[sa.DropElsewhere])
			}
		})
	}
}
