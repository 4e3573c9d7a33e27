package ike

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// An observer without keys sends an end its own messages back. HASH(1) covers the message id and the payloads, but not who sent them.

var observer = netip.MustParseAddrPort("203.0.113.66:4500")

// mirrored returns each message of n to it, from an address (unset: from the one that it was sent to). It returns all of them.
func mirrored(w *world, n *end, from netip.AddrPort) *[]ipsec.Datagram {
	var all []ipsec.Datagram
	w.filter = func(d *ipsec.Datagram) bool {
		if d.Local.Addr() == n.addr {
			return true
		}
		back := ipsec.Datagram{Local: d.Remote, Remote: d.Local, Data: d.Data}
		if from.IsValid() {
			back.Remote = from
		}
		all = append(all, back)
		w.wire = append(w.wire, back)
		return true
	}
	return &all
}

// watchful makes both ends ask each ten seconds whether the other is alive.
func watchful(change func(pa, pb *sa.Peer)) func(pa, pb *sa.Peer) {
	return func(pa, pb *sa.Peer) {
		change(pa, pb)
		pa.DPD, pb.DPD = dpd.Config{Interval: 10 * time.Second}, dpd.Config{Interval: 10 * time.Second}
	}
}

func TestV1ADeadPeerIsDeadAlthoughOurMessagesComeBack(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, watchful(change))
		w.run(time.Second)
		wantPairs(t, a, b, 1)
		b.dead = true
		mirrored(w, a, netip.AddrPort{})
		w.run(10*time.Second + 61*time.Second)
		if len(a.in) != 0 || a.ikeUp() {
			t.Errorf("%d Child SAs are left, and an ISAKMP SA: %v", len(a.in), a.ikeUp())
		}
	})
}

// The mirror returns everything at once, and later once more. With these selectors our own quick modes would be welcome.
func TestV1OurMessagesComingBackChangeNothing(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, watchful(func(pa, pb *sa.Peer) {
			change(pa, pb)
			for _, p := range []*sa.Peer{pa, pb} {
				p.Children[0].Local, p.Children[0].Remote = selectors("0.0.0.0/0"), selectors("0.0.0.0/0")
			}
		}))
		all := mirrored(w, a, netip.AddrPort{})
		w.run(time.Minute)
		wantPairs(t, a, b, 1)
		a.Do(w.now, sa.Rekey{Tunnel: "a"})
		w.run(2 * time.Minute) // the quick modes are over and forgotten
		wantPairs(t, a, b, 1)
		w.filter = nil
		spi, sent := a.newest[0].SPIIn, len(w.sent)
		mark := len(a.trace)
		for _, d := range *all {
			w.arrive(d)
		}
		a.drain()
		if len(a.trace) != mark || len(w.sent) != sent || a.newest[0].SPIIn != spi || len(a.pending.byKey) != 0 {
			t.Errorf("%d messages of our own lead to %q and %d answers, and %d main modes are pending", len(*all), a.trace[mark:], len(w.sent)-sent, len(a.pending.byKey))
		}
		w.run(5 * time.Minute) // the peer's liveness checks have lower or higher numbers than ours
		for _, n := range w.order {
			if d := n.Counters().Dropped[sa.DropSequence]; d != 0 {
				t.Errorf("%v dropped %d liveness checks", n.addr, d)
			}
		}
		wantPairs(t, a, b, 1)
		wantIKE(t, a, b, 1)
	})
}

// A peer behind a NAT may move, but not by a message of ours.
func TestV1OurMessagesComingBackMoveNothing(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b, _ := atNAT["responder"](t, watchful(change))
		w.run(time.Second)
		wantPairs(t, a, b, 1)
		mirrored(w, a, observer)
		was := a.ikeOf().Path
		w.run(2 * time.Minute)
		if now := a.ikeOf().Path; now != was || len(a.moved) != 0 {
			t.Errorf("IKE goes to %v, was %v; ESP moved %d times", now.Remote, was.Remote, len(a.moved))
		}
		wantPairs(t, a, b, 1)
	})
}

// Neither a gateway that accepts any identity nor one that is its own peer connects with itself by a mirror.
func TestV1NoTunnelWithAMirror(t *testing.T) {
	for name, remote := range map[string]ipsec.Identity{"any": ipsec.AnyIdentity, "ours": ipsec.IdentityOf(netip.MustParseAddr("192.0.2.1"))} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
				w := newWorld(t, 0)
				a := w.host("192.0.2.1", 0x1000)
				pa, pb := peersFor()
				change(pa, pb)
				pa.RemoteID = remote
				a.SetPeers(w.now, []*sa.Peer{pa})
				w.filter = func(d *ipsec.Datagram) bool {
					if d.Local.Addr() == a.addr {
						return true
					}
					h, _ := wire.ParseHeader(d.Data)
					for _, spiR := range []uint64{h.SPIr, h.SPIi, 4711} { // as it is, with our own cookie, with another
						m := append([]byte(nil), d.Data...)
						binary.BigEndian.PutUint64(m[8:], spiR)
						w.wire = append(w.wire, ipsec.Datagram{Local: d.Remote, Remote: d.Local, Data: m})
					}
					return true
				}
				w.run(3 * time.Minute)
				if a.ikeUp() || len(a.in) != 0 || len(a.pending.byKey) != 0 {
					t.Errorf("connected with itself: %v, %d Child SAs, %d main modes pending", a.ikeUp(), len(a.in), len(a.pending.byKey))
				}
				for _, h := range w.sent {
					if h.Exchange == wire.ExchangeMain && h.Flags&wire.FlagEncrypted != 0 {
						t.Fatal("our own key exchange value makes keys: a message 5 was sent")
					}
				}
			})
		})
	}
}
