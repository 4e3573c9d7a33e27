package ike

import (
	"bytes"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// A peer may install the new SA only with message 3, so the end that has sent message 3 goes on with the old SA until
// it sees a packet on the new one, or for a second.
func TestV1InitiatorKeepsToTheOldSA(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		for _, seen := range []bool{false, true} {
			w, a, b := pairOf(t, change)
			w.run(10 * time.Second)
			wantPairs(t, a, b, 1)
			old := a.newest[0].SPIIn
			a.Do(w.now, sa.Rekey{Tunnel: "a"})
			w.run(990 * time.Millisecond)
			if len(b.newest) != 2 || len(a.newest) != 1 || len(a.in) != 2 {
				t.Fatalf("before a second is over: the responder sends on %d SAs, the initiator on %d of %d", len(b.newest), len(a.newest), len(a.in))
			}
			if seen {
				for spi := range a.in {
					if spi != old {
						a.Do(w.now, sa.SeenInbound{SPIIn: spi})
					}
				}
				w.run(time.Millisecond)
			} else {
				w.run(20 * time.Millisecond)
			}
			if len(a.newest) != 2 {
				t.Errorf("the peer was seen on the new SA: %v; the initiator keeps to the old one", seen)
			}
			w.run(time.Minute)
			wantPairs(t, a, b, 1)
		}
	})
}

// Original addresses (RFC 3947 section 5.2) are of use in transport mode only. In tunnel mode they are ignored.
func TestV1OriginalAddressesAreIgnored(t *testing.T) {
	for _, kind := range []wire.PayloadType{wire.TypeNATOA1, wire.TypeNATOADraft} {
		w, a, b, _ := behindNAT(t, v1)
		tap := newTap1(w)
		added := 0
		w.filter = func(d *ipsec.Datagram) bool {
			tap.see(d.Data)
			if h, c, ok := tap.open(d.Data); ok && h.Exchange == wire.ExchangeQuick && c.Index(wire.TypeSA1) >= 0 {
				oa := &wire.Raw{Kind: kind, Data: []byte{1, 0, 0, 0, 10, 0, 0, 1}}
				d.Data = tap.forge(h, append(c.Payloads[1:], oa, oa), bytes.Clone(d.Data[len(d.Data)-16:]))
				added++
			}
			tap.passed(d.Data)
			return true
		}
		w.run(5 * time.Second)
		wantPairs(t, a, b, 1)
		if added != 2 {
			t.Errorf("%d messages had an original address of type %v", added, kind)
		}
	}
}

// One configured proposal goes out as one proposal with one transform.
func TestV1OffersWhatIsConfigured(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, change)
		tap := newTap1(w)
		offers := 0
		w.filter = func(d *ipsec.Datagram) bool {
			tap.see(d.Data)
			h, c, err := wire.Parse1(d.Data)
			if err != nil || h.Flags&wire.FlagEncrypted != 0 {
				h, c, _ = tap.open(d.Data)
			}
			if c != nil && d.Local.Addr() == b.addr {
				if offer, ok := wire.Find[*wire.SA1](c.Payloads); ok {
					offers++
					if len(offer.Proposals) != 1 || len(offer.Proposals[0].Transforms) != 1 {
						t.Errorf("%v offers %+v", h.Exchange, offer.Proposals)
					}
				}
			}
			tap.passed(d.Data)
			return true
		}
		w.run(5 * time.Second)
		wantPairs(t, a, b, 1)
		if offers != 2 {
			t.Errorf("%d offers seen, want one of each phase", offers)
		}
	})
}

// A peer with several threads can take a message 1 before the message 3 in front of it, so the next quick
// mode begins a moment after the last, also when that was refused.
func TestV1QuickModesKeepApart(t *testing.T) {
	w, a, _ := pairOf(t, func(pa, pb *sa.Peer) {
		v1(pa, pb)
		manyPairs(pa, pb)
		pb.Children = append(pb.Children[:5:5], pb.Children[6:]...)
	})
	var last time.Time // when the last message of a quick mode before this one passed
	var current uint32
	begun := 0
	w.filter = func(d *ipsec.Datagram) bool {
		h, err := wire.ParseHeader(d.Data)
		if err != nil || h.Exchange != wire.ExchangeQuick && h.Exchange != wire.ExchangeInfo1 {
			return true
		}
		if h.Exchange == wire.ExchangeQuick && d.Remote.Addr() == a.addr && h.ID != current {
			if begun++; begun > 1 && w.now.Sub(last) < 30*time.Millisecond {
				t.Errorf("quick mode %d begins %v after the one before", begun, w.now.Sub(last))
			}
			current = h.ID
		}
		last = w.now
		return true
	}
	w.run(2 * time.Second)
	if begun < 12 {
		t.Errorf("%d quick modes, want 12", begun)
	}
}
