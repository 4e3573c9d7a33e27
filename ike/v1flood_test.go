package ike

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// threeHosts is a pair with one more peer of b's, c, which has not begun.
func threeHosts(t *testing.T, change func(pa, pb *sa.Peer)) (w *world, a, b, c *end, pc *sa.Peer) {
	w = newWorld(t, 0)
	a, b, c = w.host("192.0.2.1", 0x1000), w.host("192.0.2.2", 0x2000), w.host("192.0.2.3", 0x3000)
	pa, pb := peersFor()
	pc, pbc := peerFor("c", "192.0.2.3", "192.0.2.2"), peerFor("bc", "192.0.2.2", "192.0.2.3")
	pbc.Children[0].Initiate = false
	change(pa, pb)
	change(pc, pbc)
	pc.Children[0].Local, pc.Children[0].Remote = selectors("10.3.0.0/16"), selectors("10.2.0.0/16")
	pbc.Children[0].Local, pbc.Children[0].Remote = selectors("10.2.0.0/16"), selectors("10.3.0.0/16")
	b.SetPeers(w.now, []*sa.Peer{pb, pbc})
	a.SetPeers(w.now, []*sa.Peer{pa})
	return w, a, b, c, pc
}

// firstOf is the first message of an end, which does not go out.
func firstOf(w *world, n *end) []byte {
	n.Advance(w.now)
	n.drain()
	data := w.wire[0].Data
	w.wire = nil
	return data
}

// halfOpenMain has b begin a main mode for message 1 with another cookie, and take a message 3: without key, but reachable.
func halfOpenMain(w *world, a, b *end, first []byte, cookie uint64) {
	d := bytes.Clone(first)
	binary.BigEndian.PutUint64(d, cookie)
	at := ipsec.Datagram{Local: netip.AddrPortFrom(b.addr, 500), Remote: netip.AddrPortFrom(a.addr, 500), Data: d}
	b.Handle(w.now, at)
	b.drain()
	h, _ := wire.ParseHeader(w.wire[len(w.wire)-1].Data)
	h.Flags = 0
	at.Data = (&wire.Message{Header: h, Payloads: []wire.Payload{
		&wire.Raw{Kind: wire.TypeKE1, Data: append(make([]byte, 127), 2)}, &wire.Nonce1{Data: make([]byte, 16)},
	}}).Marshal()
	b.Handle(w.now, at)
	b.drain()
	w.wire = nil
}

// 1024 main modes of one address that get as far as message 3 leave room for the peer at another.
func TestV1OneAddressCannotUseUpAllHalfOpenISAKMPSAs(t *testing.T) {
	w, a, b, c, pc := threeHosts(t, v1)
	first := firstOf(w, a)
	for i := range uint64(1024) {
		halfOpenMain(w, a, b, first, i+1)
	}
	if n, want := len(b.answered.v1.all), 32+shareAlways; n != want || b.Counters().HalfOpenShare != uint64(1024-want) {
		t.Errorf("%d half-open ISAKMP SAs, want %d; %d refused", n, want, b.Counters().HalfOpenShare)
	}
	c.SetPeers(w.now, []*sa.Peer{pc})
	w.run(2 * time.Second)
	if len(c.out) != 1 {
		t.Error("the peer at the other address does not get through")
	}
	w.run(2 * time.Minute)
	if len(a.out) != 1 || len(b.out) != 2 || len(b.answered.v1.from) != 0 {
		t.Errorf("later: %d and %d Child SAs, %d addresses", len(a.out), len(b.out), len(b.answered.v1.from))
	}
}

// When there are as many half-open ISAKMP SAs as there may be, one of the address that has most gives way.
func TestV1AHalfOpenISAKMPSAGivesWayToAnAddressWithFew(t *testing.T) {
	w, a, b, c, pc := threeHosts(t, v1)
	b.cfg.MaxHalfOpen = 8
	first := firstOf(w, a)
	for i := range uint64(4) {
		halfOpenMain(w, a, b, first, i+1)
	}
	b.cfg.MaxHalfOpen = len(b.answered.v1.all)
	c.SetPeers(w.now, []*sa.Peer{pc})
	w.run(2 * time.Second)
	if len(c.out) != 1 {
		t.Error("the peer at the other address does not get through")
	}
	if n := b.Counters().HalfOpenDisplaced; n != 1 {
		t.Errorf("%d gave way, want 1", n)
	}
}

// A first message of aggressive mode proves nothing about its sender, so the half-open SAs of it leave half of the
// address's share to those that have proven that they have the address.
func TestV1AggressiveModeLeavesHalfTheShare(t *testing.T) {
	w, a, b := pairOf(t, aggressive)
	first := firstOf(w, a)
	for i := range 1000 { // in 20 s
		d := bytes.Clone(first)
		binary.BigEndian.PutUint64(d, uint64(i)+1)
		b.Handle(w.now.Add(time.Duration(i)*20*time.Millisecond), ipsec.Datagram{Local: netip.AddrPortFrom(b.addr, 500), Remote: netip.AddrPortFrom(a.addr, 500), Data: d})
	}
	if n, want := len(b.answered.v1.all), (32+shareAlways)/2; n != want {
		t.Errorf("%d half-open ISAKMP SAs, want %d", n, want)
	}
}

// When a flood of aggressive mode in a peer's name is over, the peer does not wait for the end of what it has left. While
// it lasts, what the peer has begun stays for some seconds.
func TestV1AggressiveModeIsUsableAfterAFlood(t *testing.T) {
	w, a, b := pairOf(t, aggressive)
	first := firstOf(w, a)
	at := ipsec.Datagram{Local: netip.AddrPortFrom(b.addr, 500), Remote: netip.AddrPortFrom(a.addr, 500)}
	n := uint64(0)
	flood := func(d time.Duration) {
		for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(time.Millisecond) {
			n++
			at.Data = bytes.Clone(first)
			binary.BigEndian.PutUint64(at.Data, n)
			b.Handle(w.now, at)
		}
		b.drain()
		w.wire = nil
	}
	flood(10 * time.Second)
	if left := b.Counters().HalfOpenDisplaced; left < 50 || len(b.table.bySPI) != (32+shareAlways)/2 {
		t.Errorf("%d gave way, %d are left", left, len(b.table.bySPI))
	}
	began := w.now
	w.run(100 * time.Millisecond) // for one more answer
	at.Data = first
	b.Handle(w.now, at)
	b.drain()
	answer := w.wire
	w.wire = nil
	flood(1500 * time.Millisecond)
	w.wire = answer
	w.run(10 * time.Millisecond)
	if len(a.out) != 1 || len(b.out) != 1 {
		t.Errorf("%d and %d Child SAs %v after the flood", len(a.out), len(b.out), w.now.Sub(began))
	}
}

// A flood of first messages in the name of one peer, of whatever length, displaces those of that peer.
func TestV1FloodDisplacesItsOwnMainModes(t *testing.T) {
	for name, x := range map[string]struct{ count, padding int }{"short": {maxPending + 1000, 0}, "long": {1500, 16000}} {
		t.Run(name, func(t *testing.T) {
			w, a, b, c, pc := threeHosts(t, v1)
			c.SetPeers(w.now, []*sa.Peer{pc})
			data := firstOf(w, c)
			b.Handle(w.now, ipsec.Datagram{Local: netip.AddrPortFrom(b.addr, 500), Remote: netip.AddrPortFrom(c.addr, 500), Data: data})
			b.drain()
			w.wire = nil
			beginMains(w, a, b, x.count, x.padding)
			if b.pending.count(c.addr) != 1 || b.Counters().Displaced < 900 {
				t.Errorf("%d of the other peer are left; %d displaced", b.pending.count(c.addr), b.Counters().Displaced)
			}
		})
	}
	// An address that comes when there is no room takes it from the one that has most.
	ps := newPendingMains()
	for i := range maxPending + 100 {
		at := netip.AddrFrom4([4]byte{192, 0, 2, 1})
		if i >= maxPending {
			at = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
		}
		ps.add(&pendingMain{key: firstKey{remote: netip.AddrPortFrom(at, 500), spiI: uint64(i)}, cookie: uint64(i) + 1})
	}
	if n := ps.count(netip.AddrFrom4([4]byte{192, 0, 2, 1})); n != maxPending-100 || len(ps.from) != 101 {
		t.Errorf("%d of the flood are left, and %d addresses", n, len(ps.from))
	}
}

// A peer with the key that replaces its ISAKMP SA without end, and never deletes one, has a bounded number of them.
func TestV1ChainOfPhase1sIsBounded(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, light(change))
		w.run(time.Second)
		wantPairs(t, a, b, 1)
		w.filter = func(d *ipsec.Datagram) bool { // no Delete arrives
			h, _ := wire.ParseHeader(d.Data)
			return h.Exchange != wire.ExchangeInfo1
		}
		most := 0
		for range 200 {
			a.Do(w.now, sa.RekeyIKE{Tunnel: "a"})
			w.run(200 * time.Millisecond)
			most = max(most, len(b.table.bySPI), len(a.table.bySPI))
		}
		t.Logf("at most %d", most)
		if want := maxIKESAs + 1 + 2; most > want { // with one for its child, the newest and one that is under way
			t.Errorf("%d ISAKMP SAs, want at most %d", most, want)
		}
		w.filter = nil
		w.run(2 * time.Minute)
		wantPairs(t, a, b, 1)
		wantIKE(t, a, b, 1)
	})
}
