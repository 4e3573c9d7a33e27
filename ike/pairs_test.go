package ike

import (
	"bytes"
	"fmt"
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

var vidDPD = []byte{0xaf, 0xca, 0xd7, 0x13, 0x68, 0xa1, 0xf1, 0xc9, 0x6b, 0x86, 0x96, 0xfc, 0x77, 0x57, 0x01, 0x00}

// Of twelve pairs the peer has two, and says nothing about the others. The two are up at once and rekeyed in time,
// wherever they stand in the list; a peer without DPD is no reason to give up what works.
func TestV1SilentPairsDelayNoOther(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		good []int
		dpd  bool
	}{
		{"the first and the last", []int{0, 11}, true},
		{"the last two", []int{10, 11}, true},
		{"the last two, without DPD", []int{10, 11}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
				w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
					change(pa, pb)
					manyPairs(pa, pb)
					kept := pb.Children
					pb.Children = nil
					for _, n := range c.good {
						pb.Children = append(pb.Children, kept[n%4*3+n/4]) // the pair that a has at n
					}
					for _, p := range []*sa.Peer{pa, pb} {
						for _, c := range p.Children {
							c.Lifetime.Time = 90 * time.Second
						}
						if !c.dpd {
							p.DPD = dpd.Config{}
						}
					}
				})
				tap := newTap1(w)
				w.filter = func(d *ipsec.Datagram) bool {
					if !c.dpd { // the peer does not say that it can do it
						d.Data = bytes.ReplaceAll(d.Data, vidDPD, make([]byte, len(vidDPD)))
					}
					tap.see(d.Data)
					if h, m, ok := tap.open(d.Data); ok && h.Exchange == wire.ExchangeInfo1 && d.Local.Addr() == a.addr {
						if n, ok := wire.Find[*wire.Notify1](m.Payloads); ok && n.Kind.IsError() {
							return false // as if it gave none
						}
					}
					tap.passed(d.Data)
					return true
				}
				w.run(2 * time.Second)
				if len(a.out) != 2 || len(b.out) != 2 {
					t.Fatalf("%d and %d of the two good pairs are up after 2 s", len(a.out), len(b.out))
				}
				first := a.newest[0].SPIIn
				w.lossless = true
				asked, from := w.count(wire.ExchangeQuick, false), w.now
				for range 600 {
					w.run(time.Second)
					for _, n := range c.good {
						up := func(in sa.ChildInfo) bool { return in.Out && b.in[in.SA.SPIOut] != nil }
						if !slices.ContainsFunc(a.peer(0).children[n].sas(), up) {
							t.Fatalf("pair %d is not up after %v", n, w.now.Sub(from))
						}
					}
				}
				if a.in[first] != nil {
					t.Error("the first Child SA was not rekeyed")
				}
				if n := w.count(wire.ExchangeQuick, false) - asked; n > 10*60*10 {
					t.Errorf("%d messages of quick modes in ten minutes", n)
				}
				sas := map[uint64]bool{}
				for _, h := range w.sent {
					sas[h.SPIi] = true
				}
				if len(sas) > 3 {
					t.Errorf("%d ISAKMP SAs", len(sas))
				}
			})
		})
	}
}

// So many pairs are refused in silence that not all can be asked for at a time.
func TestV1VerySilentPeer(t *testing.T) {
	t.Parallel()
	for _, answers := range []bool{true, false} { // to liveness checks
		w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
			v1(pa, pb)
			fastGroup(pa, pb)
			var x []string
			for n := range 80 {
				x = append(x, fmt.Sprintf("10.1.%d.0/24", n))
			}
			y := selectors("10.2.0.0/24")
			pa.Children[0].Local, pa.Children[0].Remote = selectors(x...), y
			pb.Children[0].Local, pb.Children[0].Remote = y, selectors(x[78:]...)
			pairwise(pa)
			pairwise(pb)
		})
		most := 0
		w.filter = func(d *ipsec.Datagram) bool {
			if !answers {
				d.Data = bytes.ReplaceAll(d.Data, vidDPD, make([]byte, len(vidDPD)))
			}
			h, _ := wire.ParseHeader(d.Data)
			return h.Exchange != wire.ExchangeInfo1 || d.Local.Addr() != a.addr || len(d.Data) >= 92 // an error is shorter than the answer to a liveness check
		}
		w.run(time.Millisecond)
		was := a.ikeOf()
		for at := time.Duration(0); len(a.out) < 2; at += 100 * time.Millisecond {
			w.run(100 * time.Millisecond)
			taken := 0
			for _, freed := range a.free {
				if !freed {
					taken++
				}
			}
			most = max(most, taken)
			if at > 12*time.Second {
				t.Fatalf("liveness %v: %d of the two last of 80 pairs are up after %v", answers, len(a.out), at)
			}
		}
		if most > 40 {
			t.Errorf("%d quick modes at a time", most)
		}
		w.lossless = true
		for range 90 {
			w.run(time.Second)
			w.esp()
		}
		if len(a.out) != 2 || len(b.out) != 2 || a.ikeOf().SPIi != was.SPIi {
			t.Errorf("liveness %v: %d and %d pairs are up after 90 s; the ISAKMP SA is another: %v", answers, len(a.out), len(b.out), a.ikeOf().SPIi != was.SPIi)
		}
	}
}

// The peer refuses ten of twelve pairs, and says so. A child for each pair backs off alone, and so does each pair of one child.
func TestRefusedPairsDelayNoOther(t *testing.T) {
	for _, list := range []bool{false, true} {
		for _, good := range [][]int{{0, 11}, {10, 11}, {0, 6}} {
			w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
				whole := pa.Children[0]
				manyPairs(pa, pb)
				if list {
					pa.Children = []*sa.Child{whole}
				}
				kept := pb.Children
				pb.Children = nil
				for _, n := range good {
					pb.Children = append(pb.Children, kept[n%4*3+n/4])
				}
				for _, p := range []*sa.Peer{pa, pb} {
					for _, c := range p.Children {
						c.Lifetime.Time = 90 * time.Second
					}
				}
			})
			w.run(2 * time.Second)
			wantPairs(t, a, b, 2)
			w.lossless = true
			asked := w.count(wire.ExchangeCreateChild, false)
			for range 600 {
				w.run(time.Second)
				if len(a.out) < 2 || len(b.out) < 2 {
					t.Fatalf("list %v, good %v: %d and %d are up", list, good, len(a.out), len(b.out))
				}
			}
			if n := w.count(wire.ExchangeCreateChild, false) - asked; n < 10 || n > 600 {
				t.Errorf("list %v: %d requests in ten minutes", list, n)
			}
		}
	}
}

// All Child SAs end with the last ISAKMP SA, while a quick mode is open on the one before. Were it to make a Child SA, that one's traffic
// would tell the peer, who has not heard of the end, that all is well, and nobody would ask for the other pair again.
func TestV1NothingOutlivesTheEndOfAll(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, func(pa, pb *sa.Peer) { shared(pa, pb); change(pa, pb); pa.DPD.Interval = 10 * time.Second })
		w.run(2 * time.Second)
		wantPairs(t, a, b, 2)
		toB := true
		w.filter = func(d *ipsec.Datagram) bool {
			h, _ := wire.ParseHeader(d.Data)
			return h.Exchange != wire.ExchangeQuick && h.Exchange != wire.ExchangeInfo1 || d.Local.Addr() == a.addr && toB
		}
		b.Do(w.now, rekeyChild("b"))
		w.run(10 * time.Millisecond)
		a.Do(w.now, rekeyIKE("a"))
		w.run(10 * time.Millisecond)
		m := b.peer(0).main()
		if len(b.peer(0).machines) != 2 {
			t.Fatalf("%d ISAKMP SAs", len(b.peer(0).machines))
		}
		toB = false
		m.Close(w.now, operatorAsked)
		b.touch(m)
		w.run(time.Millisecond)
		w.filter = nil
		for range 180 {
			w.run(time.Second)
			w.esp()
		}
		wantPairs(t, a, b, 2)
		wantIKE(t, a, b, 1)
	})
}

// The ISAKMP SA ends on which the peer is asked for pairs; another one is there, and asks for them at once.
func TestV1AnotherSAGoesOnAsking(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
			change(pa, pb)
			pb.Children[0].Initiate = true // both begin at once: there are two for a while
		})
		w.filter = func(d *ipsec.Datagram) bool {
			h, _ := wire.ParseHeader(d.Data)
			return h.Exchange != wire.ExchangeQuick
		}
		w.run(4 * time.Second)
		ms := a.peer(0).usable()
		if len(ms) != 2 {
			t.Fatalf("%d ISAKMP SAs", len(ms))
		}
		last := ms[1].Info()
		m := b.table.bySPI[last.SPIi]
		if m == nil {
			m = b.table.bySPI[last.SPIr]
		}
		m.Close(w.now, operatorAsked)
		b.touch(m)
		w.filter = nil
		w.run(time.Second)
		if len(a.out) == 0 || len(b.out) == 0 {
			t.Errorf("%d and %d Child SAs after a second", len(a.out), len(b.out))
		}
		w.run(30 * time.Second) // both ends have asked
		wantPairs(t, a, b, 1)
	})
}

// A process that takes over asks the peer for what it refuses no sooner than the one before.
func TestRefusedPairsStayRefusedAcrossProcesses(t *testing.T) {
	for _, v := range []func(pa, pb *sa.Peer){func(_, _ *sa.Peer) {}, v1} {
		w, a, _ := pairOf(t, func(pa, pb *sa.Peer) {
			v(pa, pb)
			manyPairs(pa, pb)
			pb.Children = pb.Children[:2]
		})
		w.run(40 * time.Second)
		was := a.peer(0).Deadline()
		if a.thaw(nil); was.Before(w.now.Add(100*time.Millisecond)) || !a.peer(0).Deadline().Equal(was) {
			t.Errorf("%v: the next pair is asked for in %v, and in %v after the restart", a.ikeOf().Version, was.Sub(w.now), a.peer(0).Deadline().Sub(w.now))
		}
	}
}

// The peer's first packet overtakes its message 2. The SA that it came on is not deleted for it.
func TestV1NoDeleteForAnSAOnOffer(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, change)
		var late []ipsec.Datagram
		w.filter = func(d *ipsec.Datagram) bool {
			h, _ := wire.ParseHeader(d.Data)
			if h.Exchange == wire.ExchangeQuick && d.Local.Addr() == a.addr {
				late = append(late, ipsec.Datagram{Local: d.Local, Remote: d.Remote, Data: bytes.Clone(d.Data)})
				return false
			}
			return true
		}
		w.run(10 * time.Millisecond)
		a.Do(w.now, sa.InvalidSPI{SPI: a.spi, Remote: netip.AddrPortFrom(b.addr, 500)})
		w.run(10 * time.Millisecond)
		w.filter = nil
		w.wire = append(w.wire, late...)
		w.run(time.Second)
		wantPairs(t, a, b, 1)
	})
}

// This end, which only answers, has lost its ISAKMP SA and one of two Child SAs. The peer still believes in all, because packets come on
// the other one; so this end begins.
func TestV1AnEndThatOnlyAnswersReunites(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, func(pa, pb *sa.Peer) { shared(pa, pb); change(pa, pb) })
		tap := newTap1(w)
		w.filter = func(d *ipsec.Datagram) bool { tap.see(d.Data); tap.passed(d.Data); return true }
		w.run(2 * time.Second)
		wantPairs(t, a, b, 2)
		end := &wire.Delete1{DOI: 1, Protocol: ipsec.ProtoIKE, SPIs: [][]byte{cookiesOf(b.ikeOf())}}
		b.give(tap.forge(toOf(b, wire.ExchangeInfo1, 4711), []wire.Payload{end}, nil))
		if st := b.peer(0).machines[0].Info().State; st != sa.Outlived {
			t.Fatalf("the ISAKMP SA is %v", st)
		}
		b.Do(w.now, sa.Lower{Tunnel: "b2"})
		b.Do(w.now, sa.Raise{Tunnel: "b2"})
		for range 60 {
			w.run(time.Second)
			w.esp()
		}
		wantPairs(t, a, b, 2)
	})
}

// A peer that asks again and again for what this end refuses is a cause, and does not put off what this end asks for.
func TestRefusingThePeerPutsOffNothing(t *testing.T) {
	w, a, _ := pairOf(t, v1)
	c, due := a.peer(0).children[0], 0
	for range 120 {
		if !w.now.Before(c.nextTry) {
			due++
		}
		c.note(w.now, diag.Cause{Code: diag.Selectors, Theirs: "10.9.0.0/16", Ours: "10.1.0.0/16"})
		w.now = w.now.Add(500 * time.Millisecond)
	}
	if due < 4 {
		t.Errorf("it may be asked for %d times in a minute", due)
	}
}
