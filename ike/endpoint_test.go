package ike

import (
	"fmt"
	mrand "math/rand/v2"
	"slices"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ipsec"
)

func TestEstablish(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	wantPairs(t, a, b, 1)
	if st := a.view()[0]; !st.Children[0].Up || st.IKE.NAT != "none" {
		t.Errorf("status %+v", st)
	}
	want := []string{"send IKE_SA_INIT 0", "send IKE_AUTH 1", "in", "out"}
	if !slices.Equal(a.trace, want) {
		t.Errorf("initiator did %q, want %q", a.trace, want)
	}
	want = []string{"send IKE_SA_INIT 0", "in", "send IKE_AUTH 1", "out"}
	if !slices.Equal(b.trace, want) {
		t.Errorf("responder did %q, want %q", b.trace, want)
	}
}

func TestRekeys(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	for i := range 20 {
		n, tun := a, "a"
		if i%2 == 1 {
			n, tun = b, "b"
		}
		n.Do(w.now, sa.Rekey{Tunnel: tun})
		w.run(10 * time.Second)
		wantPairs(t, a, b, 1)
		n.Do(w.now, sa.RekeyIKE{Tunnel: tun})
		w.run(20 * time.Second)
		wantPairs(t, a, b, 1)
		wantIKE(t, a, b, 1)
	}
}

func TestSimultaneousRekeys(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	for range 20 {
		a.Do(w.now, sa.Rekey{Tunnel: "a"})
		b.Do(w.now, sa.Rekey{Tunnel: "b"})
		w.run(20 * time.Second)
		wantPairs(t, a, b, 1)
		a.Do(w.now, sa.RekeyIKE{Tunnel: "a"})
		b.Do(w.now, sa.RekeyIKE{Tunnel: "b"})
		w.run(30 * time.Second)
		wantPairs(t, a, b, 1)
		wantIKE(t, a, b, 1)
	}
}

func TestBothBeginAtOnce(t *testing.T) {
	for seed := range byte(10) {
		w, a, b := pairWith(t, seed, func(_, pb *sa.Peer) { pb.Children[0].Initiate = true })
		w.run(30 * time.Second)
		wantPairs(t, a, b, 1)
		wantIKE(t, a, b, 1)
	}
}

// With a Child SA for each pair of subnets, each of the two IKE SAs may have a part of them. The one that goes ends after the
// other one has all: from when every pair is carried on, every pair is.
func TestBothBeginAtOnceAndNoPairIsLost(t *testing.T) {
	pairs := func(p *sa.Peer, local, remote string) {
		p.Children = nil
		for i := range 6 {
			c := *childFor(fmt.Sprintf("%s/%d", p.Name, i))
			c.Tunnel = p.Name
			c.Local, c.Remote = selectors(fmt.Sprintf(local, i)), selectors(fmt.Sprintf(remote, i))
			c.Initiate = true
			p.Children = append(p.Children, &c)
		}
	}
	carried := func(e *end) int {
		has := map[string]bool{}
		for _, c := range e.newest {
			has[c.Child] = true
		}
		return len(has)
	}
	parts := 0
	for seed := range byte(40) {
		w, a, b := pairWith(t, seed, func(pa, pb *sa.Peer) {
			pairs(pa, "10.1.%d.0/24", "10.2.%d.0/24")
			pairs(pb, "10.2.%d.0/24", "10.1.%d.0/24")
		})
		r := mrand.New(mrand.NewPCG(uint64(seed), 0))
		w.filter = func(d *ipsec.Datagram) bool { // in another order
			late := r.IntN(2) == 0
			if late {
				w.wire = append(w.wire, *d)
			}
			return !late
		}
		w.run(dedupeAfter / 2)
		w.filter = nil
		if len(a.table.bySPI) != 2 || len(b.table.bySPI) != 2 || carried(a) != 6 || carried(b) != 6 {
			continue // not begun at once, or a message waits for its repetition
		}
		for _, m := range a.peer(0).usable() {
			if n := len(m.Children()); n > 0 && n < 6 {
				parts++
			}
		}
		for range 200 {
			w.run(50 * time.Millisecond)
			if n := carried(a); n != 6 || carried(b) != 6 {
				t.Fatalf("seed %d: %d and %d of 6 pairs are carried", seed, n, carried(b))
			}
		}
		w.run(10 * time.Second) // the inbound halves of the other one go
		wantPairs(t, a, b, 6)
		wantIKE(t, a, b, 1)
	}
	if parts < 10 {
		t.Errorf("%d IKE SAs had a part of the pairs", parts)
	}
	t.Logf("%d IKE SAs had a part of the pairs", parts)
}

// A peer that leaves both IKE SAs, as strongSwan does, gets one of them deleted, whoever began it, but never one that has
// Child SAs of its own.
func TestBothBeginAtOnceAndThePeerLeavesBoth(t *testing.T) {
	ours, theirs := 0, 0
	for seed := range byte(20) {
		w, a, b := pairWith(t, seed, func(_, pb *sa.Peer) { pb.Children[0].Initiate = true })
		w.run(dedupeAfter / 2)
		wantIKE(t, a, b, 2)
		b.peer(0).dedupeAt = time.Time{}
		w.run(dedupeAfter)
		if len(a.table.bySPI) == 1 {
			ours++
		} else {
			theirs++
		}
		w.run(dedupeOther)
		if len(a.peer(0).usable()) != 1 || len(b.peer(0).usable()) != 1 {
			t.Errorf("seed %d: %d and %d IKE SAs are in use", seed, len(a.peer(0).usable()), len(b.peer(0).usable()))
		}
		w.run(time.Minute)
		wantPairs(t, a, b, 1)
		wantIKE(t, a, b, 1)
	}
	if ours == 0 || theirs == 0 {
		t.Errorf("%d times ours went, %d times the peer's", ours, theirs)
	}
}

func TestPeerDeletesAndWeComeBack(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	b.Do(w.now, sa.Shutdown{})
	w.run(time.Second)
	if len(a.in) != 0 || len(b.in) != 0 {
		t.Fatal("Child SAs outlive their IKE SA")
	}
	b.stopping = false
	w.run(30 * time.Second)
	wantPairs(t, a, b, 1)
}

func TestLongLife(t *testing.T) {
	t.Parallel()
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
		pa.Children[0].Lifetime.Time, pb.Children[0].Lifetime.Time = 5*time.Minute, 7*time.Minute
		pa.Lifetime, pb.Lifetime = 20*time.Minute, 15*time.Minute
	})
	w.run(time.Second)
	w.lossless = true
	w.run(48 * time.Hour)
	w.run(20 * time.Second)
	if len(a.in) > 2 || len(b.in) > 2 || len(a.table.bySPI) > 2 || len(b.table.bySPI) > 2 {
		t.Fatalf("%d and %d Child SAs, %d and %d IKE SAs", len(a.in), len(b.in), len(a.table.bySPI), len(b.table.bySPI))
	}
	for n, freed := range a.free {
		if !freed && a.in[n] == nil {
			t.Errorf("SPI %08x leaked", n)
		}
	}
}

// TestLossDuplicationAndReordering rekeys over a network that loses a third,
// repeats a third and delivers out of order.
func TestLossDuplicationAndReordering(t *testing.T) {
	t.Parallel()
	for seed := range byte(60) {
		w, a, b := pairWith(t, seed, func(_, pb *sa.Peer) { pb.Children[0].Initiate = seed%2 == 0 })
		rnd := mrand.New(mrand.NewPCG(uint64(seed), 1))
		w.filter = func(d *ipsec.Datagram) bool {
			switch rnd.IntN(6) {
			case 0, 1:
				return false
			case 2, 3: // again, later
				w.wire = append(w.wire, *d)
			}
			return true
		}
		w.run(60 * time.Second)
		for range 10 {
			a.Do(w.now, sa.Rekey{Tunnel: "a"})
			b.Do(w.now, sa.RekeyIKE{Tunnel: "b"})
			b.Do(w.now, sa.Rekey{Tunnel: "b"})
			a.Do(w.now, sa.RekeyIKE{Tunnel: "a"})
			w.run(60 * time.Second)
		}
		w.filter = nil
		w.run(2 * time.Minute)
		wantPairs(t, a, b, 1)
		wantIKE(t, a, b, 1)
	}
}
