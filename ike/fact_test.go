package ike

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// mirror holds the knowledge of a reader of the Facts about an end. Every transcript of
// this package compares it with the end itself, so no Fact may be lost, late or wrong.
type mirror struct {
	ike       map[[2]uint64]*sa.Peer // established, by SPIs
	peers     map[sa.PeerKey]diag.Cause
	children  map[[2]string]diag.Cause // by tunnel and name
	in, out   map[uint32]*ipsec.ChildSA
	last      sa.Action
	thawed    bool     // until an Action asks for something, Facts say what is there already
	seen      []string // type and code of every Fact but Exchanged
	exchanged []sa.Exchanged
}

func newMirror() *mirror {
	return &mirror{
		ike: map[[2]uint64]*sa.Peer{}, peers: map[sa.PeerKey]diag.Cause{}, children: map[[2]string]diag.Cause{},
		in: map[uint32]*ipsec.ChildSA{}, out: map[uint32]*ipsec.ChildSA{},
	}
}

// note takes one Action after the other.
func (r *mirror) note(t testing.TB, a sa.Action) {
	t.Helper()
	f, ok := a.(sa.Fact)
	if r.thawed = r.thawed && ok; !r.thawed {
		r.follows(t, a)
	}
	r.last = a
	if !ok {
		return
	}
	var why diag.Cause
	spis := func(s sa.IKESA) [2]uint64 { return [2]uint64{s.SPIi, s.SPIr} }
	switch f := f.(type) {
	case sa.Exchanged:
		r.exchanged = append(r.exchanged, f)
		return
	case sa.IKEEstablished:
		r.add(t, f.SA)
		delete(r.peers, f.SA.Peer.PeerKey)
	case sa.IKERekeyed:
		if r.ike[spis(f.Old)] == nil {
			t.Errorf("rekeyed, and was not established: %016x", f.Old.SPIi)
		}
		delete(r.ike, spis(f.Old))
		r.ike[spis(f.SA)] = f.SA.Peer
	case sa.IKEEnded:
		if why = f.Why; r.ike[spis(f.SA)] == nil {
			t.Errorf("ended, and was not established: %016x", f.SA.SPIi)
		}
		delete(r.ike, spis(f.SA))
	case sa.IKEFailed:
		why = f.Cause
		r.peers[f.Peer.PeerKey] = f.Cause
	case sa.ChildIn:
		r.in[f.SA.SPIIn] = f.SA
	case sa.ChildOut:
		if r.out[f.SA.SPIIn] = f.SA; !sameSA(r.in[f.SA.SPIIn], f.SA) {
			t.Errorf("ChildOut of an SA without ChildIn")
		}
	case sa.ChildGone:
		if why = f.Why; !sameSA(r.in[f.SA.SPIIn], f.SA) {
			t.Errorf("ChildGone of an SA without ChildIn")
		}
		delete(r.in, f.SA.SPIIn)
		delete(r.out, f.SA.SPIIn)
	case sa.ChildFailed:
		why = f.Cause
		r.children[[2]string{f.Child.Tunnel, f.Child.Name}] = f.Cause
	}
	name := strings.TrimPrefix(reflect.TypeOf(f).String(), "sa.")
	if !why.OK() {
		if diag.Lookup(why.Code) == nil || strings.Contains(why.String(), "(unknown)") {
			t.Errorf("%s: %q is not a whole sentence of the table: %+v", name, why.String(), why)
		}
		name += " " + string(why.Code)
	}
	r.seen = append(r.seen, name)
}

// sameSA compares by SPIs: of an SA that is being replaced, what is thawed has two descriptions.
func sameSA(a, b *ipsec.ChildSA) bool { return a != nil && a.SPIIn == b.SPIIn && a.SPIOut == b.SPIOut }

func (r *mirror) add(t testing.TB, s sa.IKESA) {
	k := [2]uint64{s.SPIi, s.SPIr}
	if r.ike[k] != nil || s.Peer == nil || s.SPIi == 0 || s.SPIr == 0 || !s.Path.Remote.IsValid() {
		t.Errorf("established twice, or without saying what: %+v", s)
	}
	r.ike[k] = s.Peer
}

// follows checks the order: the Fact about a Child SA comes right after the Action.
func (r *mirror) follows(t testing.TB, a sa.Action) {
	t.Helper()
	var want, got any
	switch last := r.last.(type) {
	case sa.InstallIn:
		want = sa.ChildIn(last)
	case sa.InstallOut:
		want = sa.ChildOut(last)
	case sa.Remove:
		want = last.SPIIn
	}
	switch a := a.(type) {
	case sa.ChildIn, sa.ChildOut:
		got = a
	case sa.ChildGone:
		got = a.SA.SPIIn
	}
	if got != want {
		t.Errorf("after %T comes %T", r.last, a)
	}
}

// agrees compares the mirror with the end when all Facts are read.
func (r *mirror) agrees(n *end) {
	t := n.w.t
	t.Helper()
	ike := map[[2]uint64]*sa.Peer{}
	for m := range n.table.place {
		if p := n.peerOf[m.Info().Peer]; p != nil && usable(m) {
			ike[[2]uint64{m.Info().SPIi, m.Info().SPIr}] = p.given
		}
	}
	for _, p := range n.Endpoint.peers {
		if why := r.peers[p.given.PeerKey]; !why.Equal(p.why.Cause()) {
			t.Errorf("%v: by the Facts, %s fails because of %q, and by its status because of %q", n.addr, p.given.Name, why, p.why)
		}
		for _, c := range p.children {
			if why := r.children[[2]string{c.given.Tunnel, c.given.Name}]; !why.Equal(c.why.Cause()) {
				t.Errorf("%v: by the Facts, %s fails because of %q, and by its status because of %q", n.addr, c.given.Name, why, c.why)
			}
		}
	}
	for spis := range r.ike { // a reload gives the peer another pointer
		if ike[spis] != nil {
			r.ike[spis] = ike[spis]
		}
	}
	if !maps.Equal(ike, r.ike) {
		t.Errorf("%v: by the Facts, %d IKE SAs are established, and by the status %d", n.addr, len(r.ike), len(ike))
	}
	if len(r.in) != len(n.in) || len(r.out) != len(n.out) {
		t.Errorf("%v: by the Facts %d and %d Child SAs are in, of %d and %d", n.addr, len(r.in), len(r.out), len(n.in), len(n.out))
	}
}

// facts are the Facts of an end since the last call, except those in without.
func (n *end) facts(without ...string) []string {
	seen := n.mirror.seen
	n.mirror.seen = nil
	return slices.DeleteFunc(seen, func(s string) bool { return slices.Contains(without, s) })
}

func wantFacts(t *testing.T, who string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", who, got, want)
	}
}

func TestFactsOfAConnection(t *testing.T) {
	for name, change := range map[string]func(a, b *sa.Peer){"IKEv2": nil, "main mode": v1, "aggressive mode": aggressive} {
		t.Run(name, func(t *testing.T) {
			w, a, b := pairOf(t, change)
			w.run(2 * time.Second)
			wantFacts(t, "initiator", a.facts(), "IKEConnecting", "IKEEstablished", "ChildIn", "ChildOut")
			wantFacts(t, "responder", b.facts(), "IKEEstablished", "ChildIn", "ChildOut")
			a.Do(w.now, sa.RekeyIKE{Tunnel: "a"})
			w.run(10 * time.Second)
			wantFacts(t, "initiator", a.facts(), "IKERekeyed")
			wantFacts(t, "responder", b.facts(), "IKERekeyed")
			a.Do(w.now, sa.Rekey{Tunnel: "a"})
			w.run(10 * time.Second)
			wantFacts(t, "initiator", a.facts(), "ChildIn", "ChildOut", "ChildGone replaced")
			wantFacts(t, "responder", b.facts(), "ChildIn", "ChildOut", "ChildGone replaced")
			a.Do(w.now, sa.Lower{Tunnel: "a"})
			w.run(time.Second)
			wantFacts(t, "initiator", a.facts(), "ChildFailed operator-down", "ChildGone operator-down", "IKEEnded operator-down", "IKEFailed operator-down")
			got := b.facts()
			if last := got[len(got)-2:]; !slices.Equal(last, []string{"IKEEnded peer-deleted-ike", "IKEFailed peer-deleted-ike"}) {
				t.Errorf("responder: %q", got)
			}
			a.Do(w.now, sa.Raise{Tunnel: "a"})
			w.run(time.Second)
			wantFacts(t, "initiator", a.facts(), "ChildFailed", "IKEFailed", "IKEConnecting", "IKEEstablished", "ChildIn", "ChildOut")
		})
	}
}

// TestUpDownUpBetweenTwoLooks: a reader that comes late still gets each Fact.
func TestUpDownUpBetweenTwoLooks(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	b.facts()
	var late []sa.Action
	look := func() {
		for act := b.Next(); act != nil; act = b.Next() {
			late = append(late, act)
			if s, ok := act.(sa.Send); ok { // messages go out even so
				w.send(ipsec.Datagram{Local: s.Path.Remote, Remote: s.Path.Local, Data: s.Data})
			}
		}
	}
	end := w.now.Add(10 * time.Second)
	pass := func() { // b's Actions are not performed, but for Sends
		for range 200 {
			a.drain()
			look()
			for len(w.wire) > 0 {
				d := w.wire[0]
				w.wire = w.wire[1:]
				w.arrive(d)
				a.drain()
				look()
			}
			next := sa.Earliest(a.Deadline(), b.Deadline())
			if next.IsZero() || next.After(end) {
				return
			}
			if next.After(w.now) {
				w.now = next
			}
			a.Advance(w.now)
			b.Advance(w.now)
		}
	}
	a.Do(w.now, sa.Lower{Tunnel: "a"})
	pass()
	a.Do(w.now, sa.Raise{Tunnel: "a"})
	pass()
	var got []string
	for _, act := range late {
		switch act.(type) {
		case sa.IKEEstablished, sa.IKEEnded, sa.ChildOut, sa.ChildGone:
			got = append(got, strings.TrimPrefix(fmt.Sprintf("%T", act), "sa."))
		}
	}
	if want := []string{"ChildGone", "IKEEnded", "IKEEstablished", "ChildOut"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFailureSaysWhyAndWhenItIsTriedAgain(t *testing.T) {
	w, a, b := pairOf(t, nil)
	b.dead = true
	var last sa.IKEFailed
	a.see = func(act sa.Action) {
		if f, ok := act.(sa.IKEFailed); ok {
			last = f
		}
	}
	w.run(60*time.Second + time.Millisecond)
	if !last.Cause.Is(diag.NoAnswer) || last.Peer != a.peer(0).given || last.Connecting || !last.Retry.After(w.now) || last.Retry.After(w.now.Add(2*time.Second)) {
		t.Errorf("%+v", last)
	}
	wantFacts(t, "initiator", a.facts(), "IKEConnecting", "IKEFailed no-answer")
	b.dead = false
	w.run(2 * time.Second)
	wantFacts(t, "initiator", a.facts(), "IKEConnecting", "IKEEstablished", "ChildIn", "ChildOut")
	b.Do(w.now, sa.Lower{Tunnel: "b"})
	w.run(time.Millisecond)
	if last.Cause.Code != diag.PeerDeletedIKE || last.Retry.IsZero() {
		t.Errorf("%+v", last)
	}
}

// TestWhoOnlyAnswersNamesNoTimeOfRetry: the peer has to try.
func TestWhoOnlyAnswersNamesNoTimeOfRetry(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	var last sa.IKEFailed
	b.see = func(act sa.Action) {
		if f, ok := act.(sa.IKEFailed); ok {
			last = f
		}
	}
	a.Do(w.now, sa.Lower{Tunnel: "a"})
	w.run(time.Second)
	if !last.Cause.Is(diag.PeerDeletedIKE) || !last.Retry.IsZero() {
		t.Errorf("%+v", last)
	}
}

func TestRefusedChildIsAFactAndSoIsItsEnd(t *testing.T) {
	w, a, _ := pairOf(t, func(_, pb *sa.Peer) { pb.Children[0].Remote = selectors("10.9.0.0/16") })
	w.run(500 * time.Millisecond)
	wantFacts(t, "initiator", a.facts(), "IKEConnecting", "IKEEstablished", "ChildFailed selectors-refused")
	b := w.order[1]
	_, pb := peersFor()
	b.SetPeers(w.now, []*sa.Peer{pb})
	w.run(5 * time.Second)
	wantFacts(t, "initiator", a.facts("ChildFailed selectors-refused"), "ChildIn", "ChildOut", "ChildFailed")
}

// A reader of the Facts knows which port of the peer the first attempt is at. What replaces an established IKE SA is none.
func TestAttemptThatGoesOnOnPort4500IsAFact(t *testing.T) {
	for name, change := range map[string]func(pa, pb *sa.Peer){"IKEv2": nil, "main": v1, "aggressive": aggressive} {
		t.Run(name, func(t *testing.T) {
			w, a, _, _ := behindNAT(t, change)
			var ports []uint16
			a.see = func(act sa.Action) {
				if f, ok := act.(sa.IKEConnecting); ok {
					ports = append(ports, f.SA.Path.Local.Port(), f.SA.Path.Remote.Port())
				}
			}
			w.filter = func(d *ipsec.Datagram) bool { return d.Local.Port() != 4500 && d.Remote.Port() != 4500 }
			w.run(2 * time.Second)
			if want := []uint16{500, 500, 4500, 4500}; !slices.Equal(ports, want) {
				t.Errorf("the attempt is at ports %v, want %v", ports, want)
			}
			w.filter = nil
			w.run(10 * time.Second)
			a.Do(w.now, sa.RekeyIKE{Tunnel: "a"})
			w.run(time.Second)
			if len(a.out) != 1 || len(ports) != 4 {
				t.Errorf("later: %d Child SAs, ports %v", len(a.out), ports)
			}
		})
	}
}

func TestPeerThatMovesIsAFact(t *testing.T) {
	w, a, b, n := behindNAT(t, nil)
	w.run(time.Second)
	b.facts()
	var moved sa.PeerMoved
	b.see = func(act sa.Action) {
		if f, ok := act.(sa.PeerMoved); ok {
			moved = f
		}
	}
	was := b.ikeOf().Path.Remote
	n.rebind()
	a.peer(0).main().Probe(w.now)
	a.touch(a.peer(0).main())
	w.run(time.Second)
	if moved.Was != was || moved.SA.Path.Remote == was || moved.SA.Peer != b.peer(0).given {
		t.Errorf("was %v, is %v", moved.Was, moved.SA.Path.Remote)
	}
}

// TestInvalidSPIFindsAPeerThatHasMoved to another address.
func TestInvalidSPIFindsAPeerThatHasMoved(t *testing.T) {
	w, a, b, n := behindNAT(t, nil)
	w.run(time.Second)
	n.outside = netip.MustParseAddr("192.0.2.98")
	n.rebind()
	a.peer(0).main().Probe(w.now)
	a.touch(a.peer(0).main())
	w.run(20 * time.Second)
	sent := w.count(wire.ExchangeInformational, false)
	b.Do(w.now, sa.InvalidSPI{Remote: netip.MustParseAddrPort("192.0.2.99:4500")}) // where it was
	w.run(time.Millisecond)
	if w.count(wire.ExchangeInformational, false) != sent {
		t.Error("checked by the address of before")
	}
	b.Do(w.now, sa.InvalidSPI{Remote: netip.MustParseAddrPort("192.0.2.98:4500")})
	w.run(time.Millisecond)
	if w.count(wire.ExchangeInformational, false) == sent {
		t.Error("not checked by the address of now")
	}
}

// TestRemovedPeerEndsWithoutFailure: nobody wants it any more, so nothing is wrong.
func TestRemovedPeerEndsWithoutFailure(t *testing.T) {
	w, a, _ := pairOf(t, nil)
	w.run(time.Second)
	a.facts()
	a.SetPeer(w.now, a.peer(0).given, nil)
	w.run(time.Second)
	wantFacts(t, "initiator", a.facts(), "ChildGone config-changed", "IKEEnded config-changed")
}
