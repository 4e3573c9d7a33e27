package ikev1

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// again gives an end a message that must not be answered, and says why it was dropped.
func (n *host) again(d ipsec.Datagram) string {
	before, acts := n.dropped, len(n.w.wire)
	n.receive(ipsec.Datagram{Local: d.Local, Remote: d.Remote, Data: bytes.Clone(d.Data)})
	if len(n.w.wire) != acts {
		n.w.t.Errorf("%v answers", n.addr)
	}
	for why, count := range n.dropped {
		if count != before[why] {
			return sa.Drop(why).String()
		}
	}
	return "it was taken"
}

// quick1 is message 1 of a quick mode, as the peer of s would send it, with ID payloads.
func quick1(s *SA, id uint32, ids ...wire.Payload) ipsec.Datagram {
	x := &exchange{kind: wire.ExchangeQuick, id: id, iv: s.keys.nextIV(s.lastIV, id)}
	offer := &wire.SA1{Proposals: []wire.Proposal1{{Number: 1, Protocol: ipsec.ProtoESP, SPI: u32(4711), Transforms: []wire.Transform1{{Number: 1, ID: 12}}}}}
	ps := append([]wire.Payload{offer, &wire.Nonce1{Data: make([]byte, 16)}}, ids...)
	ps = hashed(ps, func(rest []byte) []byte { return s.keys.hash1(id, rest) })
	return ipsec.Datagram{Local: s.path.Local, Remote: s.path.Remote, Data: s.seal(x, ps)}
}

// No message id is forgotten: a recorded message is never taken again, also after many others and after a restart.
func TestRecordedMessageIsNeverTakenAgain(t *testing.T) {
	w := newWorld(t, nil)
	w.begin()
	var first ipsec.Datagram
	w.lose = func(d *ipsec.Datagram) bool {
		if first.Data == nil {
			first = *d
		}
		return false
	}
	note := &wire.Notify1{DOI: 1, Protocol: ipsec.ProtoESP, Kind: wire.PayloadMalformed1}
	for range 3000 {
		w.b.main().inform(note)
		w.run(0)
	}
	if why := w.a.again(first); why != sa.DropRepeated.String() {
		t.Errorf("after 3000 others what becomes of it: %v", why)
	}
	w.a.rest()
	if why := w.a.again(first); why != sa.DropRepeated.String() {
		t.Errorf("after a restart what becomes of it: %v", why)
	}
	if n := len(w.a.main().ids); n < 3000 || n > 3010 {
		t.Errorf("%d message ids are kept", n)
	}
}

// An ISAKMP SA that has used many message ids is replaced, and its Child SAs stay.
func TestISAKMPSAIsReplacedBeforeItsMessageIDsAreUsedUp(t *testing.T) {
	for _, aggr := range []bool{false, true} {
		for _, began := range []bool{false, true} {
			w := newWorld(t, func(a, b *sa.Peer) { a.Aggressive, b.Aggressive = aggr, aggr; a.Lifetime, b.Lifetime = 0, 0 })
			w.begin()
			w.wantPairs(1)
			old, many := w.b.main(), laterIDs
			if began {
				old, many = w.a.main(), softIDs
			}
			for id := uint32(1); len(old.ids) < many-1; id += 256 {
				old.use(id)
			}
			w.run(10 * time.Second)
			if w.a.main().spiI != old.spiI {
				t.Fatal("replaced too early")
			}
			old.use(2)
			w.run(10 * time.Second)
			w.wantPairs(1)
			for _, n := range []*host{w.a, w.b} {
				if m := n.main(); m == nil || m.spiI == old.spiI || len(n.machines) != 1 || len(m.ids) > 10 {
					t.Errorf("%v still has it: %v", n.addr, n.machines)
				}
			}
		}
	}
}

// At the hard bound nothing is taken any more: the ISAKMP SA ends, and its Child SAs work on.
func TestISAKMPSAEndsWithItsMessageIDs(t *testing.T) {
	w := newWorld(t, nil)
	w.begin()
	w.lose = func(*ipsec.Datagram) bool { return true }
	b := w.b.main()
	for id := uint32(1); len(b.ids) < maxIDs; id += 256 {
		b.use(id)
	}
	w.a.main().inform(&wire.Notify1{DOI: 1, Protocol: ipsec.ProtoESP, Kind: wire.PayloadMalformed1})
	if why := w.b.again(w.wire[0]); why != sa.DropRepeated.String() {
		t.Errorf("what becomes of one message more: %v", why)
	}
	w.run(time.Second)
	if b.state != sa.Outlived || len(w.b.in) != 1 || b.why.Code != diag.IDsUsed {
		t.Errorf("%v (%v) with %d Child SAs", b.state, b.why, len(w.b.in))
	}
}

// The exchange type is in the clear, and HASH(1) does not cover it.
func TestMessageOfOneExchangeIsNotTakenForAnother(t *testing.T) {
	w := newWorld(t, nil)
	w.begin()
	as := func(d ipsec.Datagram, kind wire.Exchange) ipsec.Datagram {
		d.Data = bytes.Clone(d.Data)
		d.Data[18] = byte(kind)
		return d
	}
	// HDR*, HASH(1), SA, Ni, KE, IDci, IDcr as an informational message, which comes before it
	w.lose = func(d *ipsec.Datagram) bool {
		if h, _ := wire.ParseHeader(d.Data); h.Exchange == wire.ExchangeQuick {
			if n := map[bool]*host{true: w.a, false: w.b}[d.Local.Addr() == w.a.addr]; n.again(as(*d, wire.ExchangeInfo1)) == "it was taken" {
				t.Errorf("%v takes a message of quick mode for an informational one", n.addr)
			}
		}
		return false
	}
	w.a.ask("two")
	w.run(time.Second)
	w.wantPairs(2)
	// HDR*, HASH(1), N as message 1 of a quick mode
	w.a.main().inform(&wire.Notify1{DOI: 1, Protocol: ipsec.ProtoESP, Kind: wire.PayloadMalformed1})
	if why := w.b.again(as(w.wire[0], wire.ExchangeQuick)); why != sa.DropMalformed.String() {
		t.Errorf("what becomes of an informational message as a quick mode: %v", why)
	}
	if n := len(w.b.main().exchanges); n != 2 {
		t.Errorf("%d quick modes", n)
	}
}

// Message 1 of a quick mode for which there is no room is taken when the peer repeats it, but not later.
func TestQuickModeWaitsForRoom(t *testing.T) {
	w := newWorld(t, nil)
	w.begin()
	var first ipsec.Datagram
	w.lose = func(d *ipsec.Datagram) bool {
		if h, _ := wire.ParseHeader(d.Data); first.Data == nil && h.Exchange == wire.ExchangeQuick {
			first = *d
		}
		return false
	}
	fam := w.b.main().fam
	children := fam.children
	for len(fam.children) < maxChildren {
		fam.children = append(fam.children, children[0])
	}
	w.a.ask("two")
	w.run(100 * time.Millisecond)
	if w.b.dropped[sa.DropTooMany] != 1 || len(w.b.in) != 1 || len(fam.children) != maxChildren {
		t.Fatalf("%d dropped, %d Child SAs: want at most %d", w.b.dropped[sa.DropTooMany], len(fam.children), maxChildren)
	}
	w.b.rest()
	fam = w.b.main().fam
	fam.children = fam.children[:1]
	w.run(time.Second)
	w.wantPairs(2)

	w = newWorld(t, nil)
	w.begin()
	b := w.b.main()
	b.fam.children, children = make([]*child, maxChildren), b.fam.children
	for i := range b.fam.children {
		b.fam.children[i] = children[0]
	}
	for id := range uint32(1000) { // of a peer that overdoes it
		first = quick1(b, id+1)
		w.b.receive(first)
	}
	if n := w.b.dropped[sa.DropTooMany]; n != 1000 || len(b.exchanges) > 256 {
		t.Errorf("%d of 1000 dropped, %d are remembered", n, len(b.exchanges))
	}
	b.fam.children = children
	w.run(time.Minute)
	if why := w.b.again(first); why != sa.DropRepeated.String() || len(b.exchanges) != 0 {
		t.Errorf("a minute later what becomes of it: %v; %d quick modes", why, len(b.exchanges))
	}
}

// Whatever the ID payloads of a quick mode say, the ISAKMP SA lives on, and the sender is told.
func TestSelectorsThatCannotBeReadEndNothing(t *testing.T) {
	w := newWorld(t, nil)
	w.begin()
	b := w.b.main()
	id := uint32(0x10000)
	ask := func(ids ...wire.Payload) {
		id++
		w.b.receive(quick1(b, id, ids...))
	}
	ok := &wire.Raw{Kind: wire.TypeID1, Data: []byte{1, 0, 0, 0, 10, 3, 0, 1}}
	n := 0
	for kind := range 24 {
		for _, size := range []int{0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64} {
			for _, fill := range []byte{0, 0x5a, 0xff} {
				bad := &wire.Raw{Kind: wire.TypeID1, Data: append([]byte{byte(kind), 17, 0, fill}, bytes.Repeat([]byte{fill}, size)...)}
				binary.BigEndian.PutUint16(bad.Data[2:], uint16(size))
				ask(bad, ok)
				ask(ok, bad)
				n += 2
			}
		}
	}
	for _, ids := range [][]wire.Payload{{}, {ok}, {ok, ok, ok}, {&wire.Raw{Kind: wire.TypeID1, Data: []byte{1}}, ok}, {&wire.Raw{Kind: wire.TypeID1}, ok}} {
		ask(ids...)
	}
	if b.state != sa.Established || len(w.wire) < 100 { // refused
		t.Fatalf("%v after %d messages and %d refusals", b.state, n, len(w.wire))
	}
	w.run(10 * time.Second)
	w.wantPairs(1)
	if w.b.main() == nil || w.a.main() == nil {
		t.Error("the ISAKMP SA has ended")
	}
}
