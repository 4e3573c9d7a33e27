package ike

import (
	mrand "math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// big makes IKE_AUTH and CREATE_CHILD_SA messages of several thousand bytes.
func big(pa, pb *sa.Peer) { manyNetworks(pa, pb, 200) }

// manyNetworks gives the Child SA n networks at each end, 255 at most.
func manyNetworks(pa, pb *sa.Peer, n int) {
	var x, y []ipsec.Selector
	for i := range byte(n) {
		x = append(x, ipsec.SelectorOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, i, 0}), 24)))
		y = append(y, ipsec.SelectorOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 2, i, 0}), 24)))
	}
	pa.Children[0].Local, pa.Children[0].Remote = x, y
	pb.Children[0].Local, pb.Children[0].Remote = y, x
}

func TestBigMessagesAreFragmented(t *testing.T) {
	w, a, b := pairOf(t, big)
	longest, pieces := 0, 0
	w.filter = func(d *ipsec.Datagram) bool {
		longest = max(longest, len(d.Data))
		if h, _ := wire.ParseHeader(d.Data); h.Next == wire.TypeFragment {
			pieces++
		}
		return true
	}
	w.run(time.Second)
	wantPairs(t, a, b, 1)
	if longest > 1280-40-8-4 || pieces < 10 {
		t.Errorf("the longest message has %d bytes, %d fragments", longest, pieces)
	}
	if len(a.newest[0].Local) != 200 {
		t.Errorf("%d selectors", len(a.newest[0].Local))
	}
}

func TestFragmentsSurviveLossRepetitionAndReordering(t *testing.T) {
	t.Parallel()
	for seed := range byte(10) {
		w, a, b := pairWith(t, seed, big)
		rnd := mrand.New(mrand.NewPCG(uint64(seed), 2))
		w.filter = func(d *ipsec.Datagram) bool {
			switch rnd.IntN(10) {
			case 0:
				return false
			case 1, 2: // again, later
				w.wire = append(w.wire, *d)
			case 3: // later instead
				w.wire = append(w.wire, *d)
				return false
			}
			return true
		}
		w.run(time.Minute)
		a.Do(w.now, sa.Rekey{Tunnel: "a"})
		b.Do(w.now, sa.Rekey{Tunnel: "b"}) // a fragmented request and response of one message id at once
		w.run(2 * time.Minute)
		w.filter = nil
		w.run(2 * time.Minute)
		wantPairs(t, a, b, 1)
		wantIKE(t, a, b, 1)
	}
}

// TestFragmentsOfARequestAndAResponseAreKeptApart: both ends send fragments with the same message id, and they
// arrive mixed.
func TestFragmentsOfARequestAndAResponseAreKeptApart(t *testing.T) {
	w, a, b := pairOf(t, big)
	w.run(time.Second)
	for range 2 { // b's message ids catch up with a's
		b.peer(0).main().Probe(w.now)
		w.run(11 * time.Second)
	}
	w.lossless = true
	late := map[string]bool{}
	w.filter = func(d *ipsec.Datagram) bool {
		h, _ := wire.ParseHeader(d.Data)
		if h.Exchange == wire.ExchangeCreateChild && h.ID != 2 {
			t.Errorf("message id %d", h.ID)
		}
		if h.Flags&wire.FlagResponse == 0 && d.Local.Addr() == a.addr && len(late) < 4 && !late[string(d.Data)] {
			if len(late) > 0 { // the first fragment is in time
				w.wire = append(w.wire, *d)
			}
			late[string(d.Data)] = true
			return len(late) == 1
		}
		return true
	}
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	b.Do(w.now, sa.Rekey{Tunnel: "b"})
	w.run(100 * time.Microsecond)
	w.filter = nil
	w.run(20 * time.Second)
	wantPairs(t, a, b, 1)
	wantIKE(t, a, b, 1)
	if n := w.count(wire.ExchangeSAInit, false); n != 1 {
		t.Errorf("%d IKE SAs were begun", n)
	}
}

// TestPeerThatDoesNotFragmentGetsWholeMessages: an end fragments only if both have said that they can.
func TestPeerThatDoesNotFragmentGetsWholeMessages(t *testing.T) {
	w, _, b := pairOf(t, big)
	longest := 0
	w.filter = func(d *ipsec.Datagram) bool {
		m, err := wire.Parse(d.Data)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range m.Payloads {
			if n, ok := p.(*wire.Notify); ok && n.Kind == wire.FragmentationSupported && m.Flags&wire.FlagResponse == 0 {
				m.Payloads[i] = &wire.Notify{Kind: 40000} // unknown, and so ignored
				d.Data = m.Marshal()
			}
		}
		if m.Next == wire.TypeFragment {
			t.Error("a fragment")
		}
		longest = max(longest, len(d.Data))
		return true
	}
	w.run(500 * time.Millisecond)
	if longest < 6000 {
		t.Errorf("the longest message has %d bytes", longest)
	}
	// The message was read; AUTH fails only because the test has changed the first message.
	wantWhy(t, "responder", b.view()[0].Why, "the pre-shared keys do not match")
}

// TestRetransmissionOfAFragmentedRequestIsAnsweredOnce: it "MUST only trigger a
// retransmission of the response message (fragmented or not) if the Fragment Number
// field in the received fragment is set to 1" (RFC 7383 section 2.6.1).
func TestRetransmissionOfAFragmentedRequestIsAnsweredOnce(t *testing.T) {
	w, _, b := pairOf(t, big)
	var request []ipsec.Datagram
	w.filter = func(d *ipsec.Datagram) bool {
		if h, _ := wire.ParseHeader(d.Data); h.Exchange == wire.ExchangeAuth && d.Local.Addr() == b.addr {
			request = append(request, *d)
		}
		return true
	}
	w.run(time.Second)
	one := w.count(wire.ExchangeAuth, true)
	state := b.ikeOf()
	for _, d := range request {
		b.Handle(w.now, d)
		b.drain()
	}
	if two := w.count(wire.ExchangeAuth, true); two != 2*one || b.ikeOf() != state {
		t.Errorf("%d messages in the answer, then %d", one, two-one)
	}
}

// TestHostileFragments: a peer that has the keys sends bad fragments.
func TestHostileFragments(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	tap := newTap(w)
	st := a.ikeOf()
	h := wire.Header{SPIi: st.SPIi, SPIr: st.SPIr, Major: 2, Exchange: wire.ExchangeInformational, Flags: wire.FlagInitiator, ID: 2}
	send := func(number, total uint16, plain []byte) {
		var first wire.PayloadType
		if number == 1 {
			first = wire.TypeVendor
		}
		w.send(ipsec.Datagram{Local: st.Path.Remote, Remote: st.Path.Local, Data: tap.SealFragment(h, first, number, total, plain)})
		w.run(0)
	}
	vendor := wire.AppendChain(nil, []wire.Payload{&wire.Vendor{Data: make([]byte, 100)}})
	before := len(w.sent)
	send(1, 65535, vendor)      // more fragments than any message needs
	send(1, 64, vendor)         // 64
	for i := range uint16(63) { // each of a thousand bytes and more
		send(i+1, 64, make([]byte, 1200))
	}
	send(2, 3, vendor[50:80]) // fewer fragments than before: an old set
	if len(w.sent) != before {
		t.Fatalf("%d answers to parts", len(w.sent)-before)
	}
	// A set of smaller fragments replaces the first set (RFC 7383 section 2.6.1).
	for i := range uint16(64) {
		send(i+1, 64, nil)
	}
	if len(b.table.bySPI) != 1 {
		t.Fatal("the IKE SA is gone")
	}
}

func TestFragmentsOfMixedTotalsBeginAnewWithTheLarger(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	tap := newTap(w)
	st := a.ikeOf()
	h := wire.Header{SPIi: st.SPIi, SPIr: st.SPIr, Major: 2, Exchange: wire.ExchangeInformational, Flags: wire.FlagInitiator, ID: 2}
	inner := wire.AppendChain(nil, []wire.Payload{&wire.Vendor{Data: make([]byte, 92)}}) // 96 bytes
	send := func(number, total uint16) {
		size := 96 / int(total)
		part := inner[(int(number)-1)*size : int(number)*size]
		var first wire.PayloadType
		if number == 1 {
			first = wire.TypeVendor
		}
		w.send(ipsec.Datagram{Local: st.Path.Remote, Remote: st.Path.Local, Data: tap.SealFragment(h, first, number, total, part)})
		w.run(0)
	}
	before := w.count(wire.ExchangeInformational, true)
	send(1, 2) // the second half is lost
	send(3, 3)
	send(2, 2) // too late
	send(2, 3)
	if got := w.count(wire.ExchangeInformational, true); got != before {
		t.Fatal("answered a mixture")
	}
	send(1, 3)
	if got := w.count(wire.ExchangeInformational, true); got != before+1 || len(b.table.bySPI) != 1 {
		t.Fatal("the smaller fragments do not make a message")
	}
}
