package ike

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// esp sends a packet through each SA that carries traffic.
func (w *world) esp() {
	for _, n := range w.order {
		carries := map[string]*ipsec.ChildSA{}
		for _, c := range n.newest {
			carries[c.Tunnel] = c
		}
		for _, c := range slices.SortedFunc(maps.Values(carries), func(a, b *ipsec.ChildSA) int { return int(a.SPIIn) - int(b.SPIIn) }) {
			for _, m := range w.order {
				if m != n && !m.dead && !n.dead {
					m.receive(c.SPIOut, n.addr)
				}
			}
		}
	}
}

// receive takes a packet of ESP.
func (n *end) receive(spi uint32, from netip.Addr) {
	if n.in[spi] == nil {
		n.Do(n.w.now, sa.InvalidSPI{Remote: netip.AddrPortFrom(from, 0), SPI: spi})
		return
	}
	n.last[spi] = n.w.now
	n.Do(n.w.now, sa.SeenInbound{SPIIn: spi})
}

// runWithTraffic is run with a packet each way every 100 ms.
func (w *world) runWithTraffic(d time.Duration) {
	w.t.Helper()
	for end := w.now.Add(d); w.now.Before(end); {
		w.run(100 * time.Millisecond)
		w.esp()
	}
}

// during1 is during for IKEv1, with or without traffic.
func during1(t *testing.T, seed byte, lose int, traffic bool, change func(pa, pb *sa.Peer), commands ...command) bool {
	t.Helper()
	w, a, b := pairWith(t, seed, change)
	w.run(10 * time.Second)
	wantPairs(t, a, b, 1)
	sent, rekeyed := atOnce(w, lose, commands)
	go1 := w.run
	if traffic {
		go1 = w.runWithTraffic
	}
	go1(25 * time.Second)
	w.filter = nil
	go1(30 * time.Second) // 30 s after the last command
	wantPairs(t, a, b, 1)
	go1(50 * time.Second) // longer than an end waits for the other's Delete of an ISAKMP SA
	wantPairs(t, a, b, 1)
	wantIKE(t, a, b, 1)
	rekeyed(t)
	return lose < *sent
}

func TestV1RekeysLoseNothingWhicheverMessageIsLost(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		for name, commands := range map[string][]command{
			"child by the one who began":     {{0, rekeyChild}},
			"child by the other":             {{1, rekeyChild}},
			"child by both":                  {{0, rekeyChild}, {1, rekeyChild}},
			"ISAKMP SA by the one who began": {{0, rekeyIKE}},
			"ISAKMP SA by the other":         {{1, rekeyIKE}},
			"ISAKMP SA by both":              {{0, rekeyIKE}, {1, rekeyIKE}},
			"all by both":                    {{0, rekeyIKE}, {1, rekeyIKE}, {0, rekeyChild}, {1, rekeyChild}},
		} {
			t.Run(name, func(t *testing.T) {
				for _, traffic := range []bool{true, false} {
					for seed := range byte(4) {
						for lose := -1; ; lose++ {
							if more := during1(t, seed, lose, traffic, change, commands...); t.Failed() || lose >= 0 && !more {
								if t.Failed() {
									t.Fatalf("with seed %d, message %d lost, traffic %v", seed, lose, traffic)
								}
								break
							}
						}
					}
				}
			})
		}
	})
}

func TestV1LivesThroughItsLifetimes(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
			change(pa, pb)
			for _, p := range []*sa.Peer{pa, pb} {
				p.Lifetime = 20 * time.Minute
				p.Children[0].Lifetime.Time = 7 * time.Minute
			}
		})
		w.run(10 * time.Second)
		w.lossless = true
		w.run(3 * time.Hour)
		wantPairs(t, a, b, len(a.in))
		if n := len(a.in); n > 2 {
			t.Errorf("%d Child SAs at the end", n)
		}
		if n := len(a.table.bySPI); n > 2 || len(b.table.bySPI) > 2 {
			t.Errorf("%d and %d ISAKMP SAs at the end", n, len(b.table.bySPI))
		}
	})
}

func TestV1ChildSAsOutliveTheirPhase1(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
			change(pa, pb)
			pa.Lifetime, pb.Lifetime = 10*time.Minute, 10*time.Minute
			pa.DPD, pb.DPD = dpd.Config{}, dpd.Config{}
		})
		w.run(10 * time.Second)
		wantPairs(t, a, b, 1)
		spi := a.newest[0].SPIIn
		w.lossless = true
		w.filter = func(*ipsec.Datagram) bool { return false } // nobody can rekey for a while
		w.run(12 * time.Minute)
		if a.in[spi] == nil || b.in[a.out[spi].SPIOut] == nil {
			t.Fatal("a Child SA went with its ISAKMP SA")
		}
		st := a.view()[0]
		if !st.Children[0].Up || st.Why == "" || st.IKE != nil && st.IKE.State == "established" {
			t.Errorf("up %v, why %q", st.Children[0].Up, st.Why)
		}
		w.filter = nil
		w.run(2 * time.Minute)
		wantPairs(t, a, b, 1)
		wantIKE(t, a, b, 1)
		if a.newest[0].SPIIn != spi {
			t.Error("the Child SA was rekeyed")
		}
		a.Do(w.now, sa.Rekey{Tunnel: "a"})
		w.run(30 * time.Second)
		wantPairs(t, a, b, 1)
	})
}

func TestV1OperatorTakesDownAndUp(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, change)
		w.run(10 * time.Second)
		a.Do(w.now, sa.Lower{Tunnel: "a"})
		w.run(time.Second)
		wantPairs(t, a, b, 0)
		wantIKE(t, a, b, 0)
		a.Do(w.now, sa.Raise{Tunnel: "a"})
		w.run(time.Second)
		wantPairs(t, a, b, 1)
		b.Do(w.now, sa.Lower{Tunnel: "b"})
		w.run(40 * time.Second)
		wantPairs(t, a, b, 0)
		b.Do(w.now, sa.Raise{Tunnel: "b"})
		w.run(40 * time.Second)
		wantPairs(t, a, b, 1)
		a.Do(w.now, sa.Shutdown{})
		w.run(time.Second)
		if !a.Idle() || len(b.in) != 0 || len(b.table.bySPI) != 0 {
			t.Errorf("idle %v; the other end has %d Child SAs, %d ISAKMP SAs", a.Idle(), len(b.in), len(b.table.bySPI))
		}
	})
}

func TestV1InitialContactReplacesWhatThePeerForgot(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, change)
		w.run(10 * time.Second)
		wantPairs(t, a, b, 1)
		a = w.host("192.0.2.1", 0x9000) // it crashed, and starts again
		pa, pb := peersFor()
		change(pa, pb)
		a.SetPeers(w.now, []*sa.Peer{pa})
		w.run(10 * time.Second)
		wantPairs(t, a, b, 1)
		wantIKE(t, a, b, 1)
	})
}

// A peer may say INITIAL-CONTACT and still have its Child SAs, as strongSwan does when a quick mode crosses its rekey
// of phase 1. So they carry traffic until others do.
func TestV1InitialContactStopsNoTraffic(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, change)
		w.run(10 * time.Second)
		old := a.newest[0].SPIIn
		w.lossless = true
		known := b.between
		b.between = nil // so that b finds no other IKE SA of the peer
		b.Do(w.now, rekeyIKE("b"))
		w.run(500 * time.Millisecond)
		b.between = known
		wantIKE(t, a, b, 1) // INITIAL-CONTACT has ended the other at once
		if wantPairs(t, a, b, 1); a.sendsOn().SPIIn != old {
			t.Error("the Child SA was rekeyed at once")
		}
		w.run(20 * time.Second)
		wantIKE(t, a, b, 1)
		if wantPairs(t, a, b, 1); a.sendsOn().SPIIn == old {
			t.Error("the Child SA was not rekeyed")
		}
	})
}

// A peer that says INITIAL-CONTACT and takes no quick mode has lost its Child SAs: ours go too.
func TestV1AfterInitialContactNothingStaysForGood(t *testing.T) {
	w, a, b := pairOf(t, v1)
	w.run(10 * time.Second)
	b = w.host(b.addr.String(), 0x9000)
	pa, pb := peersFor()
	v1(pa, pb)
	pb.Children[0].Initiate, pb.Children[0].Proposals = true, proposals(ipsec.ProtoESP, "aes256-sha256-modp1024")
	b.SetPeers(w.now, []*sa.Peer{pb})
	w.run(20 * time.Second)
	if len(a.in) != 1 {
		t.Errorf("%d Child SAs while it is asked for another, want 1", len(a.in))
	}
	w.run(10 * time.Second)
	if len(a.in) != 0 {
		t.Errorf("%d Child SAs remain that the peer does not have", len(a.in))
	}
	wantWhy(t, "a", a.peer(0).children[0].why.String(), "NO-PROPOSAL-CHOSEN")
}

func TestV1DeadPeerIsNoticed(t *testing.T) {
	for _, timeout := range []time.Duration{0, 30 * time.Second} {
		both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
			w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
				change(pa, pb)
				pa.DPD = dpd.Config{Interval: 10 * time.Second, Timeout: timeout}
			})
			w.run(5 * time.Minute) // nothing but liveness checks
			wantPairs(t, a, b, 1)
			w.filter = func(*ipsec.Datagram) bool { return false }
			gone := w.now
			for len(a.in) > 0 && w.now.Sub(gone) < 5*time.Minute {
				w.run(time.Second)
			}
			most := 10*time.Second + 60*time.Second
			if timeout > 0 {
				most = 10*time.Second + timeout
			}
			if took := w.now.Sub(gone); took > most+2*time.Second {
				t.Errorf("noticed after %v, want %v", took, most)
			}
			w.filter = nil
			w.run(2 * time.Minute)
			wantPairs(t, a, b, 1)
		})
	}
}

func TestV1LivenessInBothOrders(t *testing.T) {
	orders := []dpd.Order{dpd.Mirror, dpd.HashNotify, dpd.NotifyHash}
	for _, x := range orders {
		for _, y := range orders {
			t.Run(fmt.Sprintf("%v and %v", x, y), func(t *testing.T) {
				w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
					v1(pa, pb)
					pa.DPD = dpd.Config{Interval: 10 * time.Second, Timeout: 20 * time.Second, Order: x}
					pb.DPD = dpd.Config{Interval: 15 * time.Second, Timeout: 20 * time.Second, Order: y}
				})
				w.run(5 * time.Second)
				var first []wire.PayloadType
				w.filter = func(d *ipsec.Datagram) bool {
					if h, _ := wire.ParseHeader(d.Data); h.Exchange == wire.ExchangeInfo1 {
						first = append(first, h.Next)
					}
					return true
				}
				w.run(10 * time.Minute)
				wantPairs(t, a, b, 1)
				wantIKE(t, a, b, 1)
				if n := a.Counters().Dropped; n != [sa.Drops]uint64{} {
					t.Errorf("dropped %v", n)
				}
				if len(first) < 50 {
					t.Errorf("%d messages in 10 minutes", len(first))
				}
				last := first[len(first)-2:]
				notifyLast := func(o dpd.Order, other dpd.Order) bool {
					return o == dpd.NotifyHash || o == dpd.Mirror && other == dpd.NotifyHash
				}
				want := map[wire.PayloadType]bool{}
				for _, n := range []bool{notifyLast(x, y), notifyLast(y, x)} {
					if n {
						want[wire.TypeNotify1] = true
					} else {
						want[wire.TypeHash1] = true
					}
				}
				for _, k := range last {
					if !want[k] {
						t.Errorf("messages begin with %v", last)
					}
				}
			})
		}
	}
}

func TestV1LifetimesAreAgreed(t *testing.T) {
	for _, c := range []struct {
		name         string
		a, b         ipsec.Lifetime
		soonA, soonB time.Duration // rekeyed by then
		bytesB       uint64
	}{
		{"the responder's is shorter", ipsec.Lifetime{Time: 10 * time.Hour}, ipsec.Lifetime{Time: time.Hour}, time.Hour, time.Hour, 0},
		{"the initiator's is shorter", ipsec.Lifetime{Time: time.Hour, Bytes: 1 << 30}, ipsec.Lifetime{Time: 10 * time.Hour, Bytes: 1 << 40}, time.Hour, time.Hour, 1 << 30},
		{"the initiator has none", ipsec.Lifetime{}, ipsec.Lifetime{Time: 20 * time.Hour}, 8 * time.Hour, 8 * time.Hour, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
				v1(pa, pb)
				pa.Children[0].Lifetime, pb.Children[0].Lifetime = c.a, c.b
			})
			w.run(time.Second)
			if got := b.newest[0].Lifetime.Bytes; got != c.bytesB {
				t.Errorf("the responder ends the SA after %d bytes, want %d", got, c.bytesB)
			}
			spi := a.newest[0].SPIIn
			w.lossless = true
			w.run(c.soonA * 97 / 100)
			if a.sendsOn().SPIIn == spi {
				t.Errorf("not rekeyed in %v", c.soonA)
			}
		})
	}
}

func TestV1WithoutLifetimeNothingIsRekeyed(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
		v1(pa, pb)
		for _, p := range []*sa.Peer{pa, pb} {
			p.Lifetime, p.Children[0].Lifetime = 0, ipsec.Lifetime{}
			p.DPD = dpd.Config{}
		}
	})
	w.run(time.Second)
	n := len(w.sent)
	w.run(100 * 24 * time.Hour)
	wantPairs(t, a, b, 1)
	if len(w.sent) != n {
		t.Errorf("%d messages in 100 days", len(w.sent)-n)
	}
	if bytes.Contains(w.got[0].Data, []byte{0x80, 11, 0, 1}) {
		t.Error("the offer has a lifetime")
	}
}

// Of two ISAKMP SAs that both ends began at once, one goes only after the peer had time to end one, and only after
// its Child SAs were rekeyed over the other: some peers end them with it without a word.
func TestV1OfTwoPhases1OneGoesWithoutItsChildSAs(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, change)
		w.run(10 * time.Second)
		old := a.newest[0].SPIIn
		w.lossless = true
		a.Do(w.now, sa.RekeyIKE{Tunnel: "a"})
		b.Do(w.now, sa.RekeyIKE{Tunnel: "b"})
		w.run(14 * time.Second)
		wantIKE(t, a, b, 2)
		wantPairs(t, a, b, 1)
		w.run(3 * time.Second)
		wantIKE(t, a, b, 2)
		for _, n := range []*end{a, b} {
			if len(n.newest) != 2 {
				t.Errorf("%v sends on %d Child SAs, want a new one", n.addr, len(n.newest))
			}
		}
		w.run(15 * time.Second)
		wantIKE(t, a, b, 1)
		wantPairs(t, a, b, 1)
		if a.newest[0].SPIIn == old {
			t.Error("the Child SA was not rekeyed")
		}
	})
}

// strongSwan that begins a phase 1 soon after ours means it as a rekey of ours, and does not delete ours: the later one stays.
func TestV1AnotherPeersLaterPhase1Stays(t *testing.T) {
	for _, swap := range []bool{false, true} { // so that either has the lower cookie
		w, a, b := pairOf(t, v1)
		w.filter = func(d *ipsec.Datagram) bool { unknownVendor(d); return true }
		w.run(10 * time.Second)
		w.lossless = true
		us, peer, mine, its := a, b, "a", "b"
		if swap {
			us, peer, mine, its = b, a, "b", "a"
		}
		us.Do(w.now, sa.RekeyIKE{Tunnel: mine})
		w.run(900 * time.Millisecond)
		first := us.ikeOf().SPIi
		w.filter = func(d *ipsec.Datagram) bool {
			unknownVendor(d)
			h, _ := wire.ParseHeader(d.Data)
			return h.SPIi != first || h.Exchange != wire.ExchangeInfo1 || d.Local.Addr() != us.addr
		}
		peer.Do(w.now, sa.RekeyIKE{Tunnel: its})
		w.run(30 * time.Second)
		if x, y := us.ikeOf(), peer.ikeOf(); x.SPIi != y.SPIi || x.SPIi == first {
			t.Errorf("the first is %x; we keep %x, the peer %x", first, x.SPIi, y.SPIi)
		}
		wantPairs(t, a, b, 1)
	}
}

// An operator's rekey while the peer's is under way starts no second one.
func TestV1RekeyIsNotAskedForTwice(t *testing.T) {
	w, a, b := pairOf(t, v1)
	w.run(10 * time.Second)
	before := b.spi
	quickOnly(w, 2) // message 3 comes later
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	w.run(50 * time.Millisecond)
	b.Do(w.now, sa.Rekey{Tunnel: "b"})
	w.run(time.Second)
	w.filter = nil
	w.run(time.Minute)
	wantPairs(t, a, b, 1)
	if n := b.spi - before; n != 1 {
		t.Errorf("%d Child SAs were made, want 1", n)
	}
}

// A quick mode whose ISAKMP SA is replaced or ends meanwhile is done over the next ISAKMP SA.
func TestV1RekeyOutlivesItsISAKMPSA(t *testing.T) {
	for name, end := range map[string]func(w *world, a, b *end, tap *tap1){
		"replaced": func(w *world, a, b *end, _ *tap1) { b.Do(w.now, rekeyIKE("b")) },
		"deleted": func(w *world, a, b *end, tap *tap1) {
			del := &wire.Delete1{DOI: 1, Protocol: ipsec.ProtoIKE, SPIs: [][]byte{cookiesOf(a.ikeOf())}}
			a.give(tap.forge(toOf(a, wire.ExchangeInfo1, 4711), []wire.Payload{del}, nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, a, b, tap := established1(t, v1)
			old, first := a.newest[0].SPIIn, a.ikeOf().SPIi
			w.lossless = true
			w.filter = func(d *ipsec.Datagram) bool { // its quick modes are lost
				h, _ := wire.ParseHeader(d.Data)
				return h.SPIi != first || h.Exchange != wire.ExchangeQuick
			}
			a.Do(w.now, rekeyChild("a"))
			w.run(10 * time.Millisecond)
			end(w, a, b, tap)
			w.run(6 * time.Second)
			if a.sendsOn().SPIIn == old {
				t.Error("the Child SA was not rekeyed")
			}
			w.run(30 * time.Second)
			wantPairs(t, a, b, 1)
		})
	}
}

// A replaced ISAKMP SA does not check any more whether the peer is alive.
func TestV1ReplacedPhase1AsksNoMore(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
		v1(pa, pb)
		pa.DPD = dpd.Config{Interval: 10 * time.Second, Timeout: 20 * time.Second}
	})
	w.filter = func(d *ipsec.Datagram) bool {
		h, _ := wire.ParseHeader(d.Data)
		return h.Exchange != wire.ExchangeInfo1
	}
	w.run(11 * time.Second)
	a.Do(w.now, sa.RekeyIKE{Tunnel: "a"})
	w.run(4 * time.Second) // a check would go on for longer
	w.filter = nil
	w.run(time.Minute)
	wantPairs(t, a, b, 1)
	wantIKE(t, a, b, 1)
}

// A replaced ISAKMP SA still answers quick modes. If its successor has died, the new Child SAs belong to the
// replaced SA, and go with it.
func TestV1WhatAReplacedISAKMPSAMakesIsNotForgotten(t *testing.T) {
	w, a, b := pairOf(t, v1)
	w.run(10 * time.Second)
	wantPairs(t, a, b, 1)
	var late *ipsec.Datagram // b's quick mode
	w.filter = func(d *ipsec.Datagram) bool {
		if h, _ := wire.ParseHeader(d.Data); h.Exchange == wire.ExchangeQuick {
			late = &ipsec.Datagram{Local: d.Local, Remote: d.Remote, Data: bytes.Clone(d.Data)}
			return false
		}
		return true
	}
	b.Do(w.now, rekeyChild("b"))
	a.Do(w.now, rekeyIKE("a"))
	w.run(100 * time.Millisecond)
	w.filter = nil
	if len(a.table.bySPI) != 2 || late == nil {
		t.Fatalf("%d ISAKMP SAs, a message is late: %v", len(a.table.bySPI), late != nil)
	}
	a.peer(0).main().Drop(w.now, diag.Cause{Code: diag.LivenessDead, After: time.Minute})
	w.arrive(*late)
	w.run(20 * time.Millisecond)
	if len(a.out) != 1 {
		t.Fatalf("%d Child SAs after the late quick mode, want 1", len(a.out))
	}
	for _, n := range w.order {
		n.SetPeers(w.now, nil)
	}
	w.run(time.Minute)
	if len(a.in) != 0 || len(a.table.bySPI) != 0 {
		t.Errorf("left are %d Child SAs and %d ISAKMP SAs", len(a.in), len(a.table.bySPI))
	}
	a.noLeaks()
}

// Both ends begin at once, and the peer says INITIAL-CONTACT although it has answered our attempt, as strongSwan does: that one is not from
// before a restart, and the peer has it by now.
func TestV1BothBeginAtOnceAndThePeerSaysInitialContact(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
		v1(pa, pb)
		pb.Children[0].Initiate = true
	})
	// When message 4 of b's own attempt comes, b finds no other IKE SA of the peer, so its message 5 says INITIAL-CONTACT.
	peers, from := b.between, b.answered.v1.from
	theirs, answers := map[string]bool{}, 0 // initiator's SPIs of a, and its messages on b's attempt
	w.filter = func(d *ipsec.Datagram) bool {
		b.between, b.answered.v1.from = peers, from
		if d.Local != netip.AddrPortFrom(b.addr, sa.PortIKE) {
			return true
		}
		spi := string(d.Data[:8])
		if bytes.Equal(d.Data[8:16], make([]byte, 8)) {
			theirs[spi] = true
		}
		if !theirs[spi] {
			if answers++; answers == 2 {
				b.between, b.answered.v1.from = nil, nil
			}
		}
		return true
	}
	w.run(time.Second)
	known := func(e *end) (out []uint64) {
		for _, m := range e.table.bySPI {
			out = append(out, m.Info().SPIi)
		}
		slices.Sort(out)
		return out
	}
	if ours, theirs := known(a), known(b); len(ours) != 2 || !slices.Equal(ours, theirs) {
		t.Errorf("one end has the ISAKMP SAs %x, the other %x; want the same two", ours, theirs)
	}
	w.run(time.Minute)
	wantIKE(t, a, b, 1)
	wantPairs(t, a, b, 1)
}
