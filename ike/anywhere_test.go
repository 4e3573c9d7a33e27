package ike

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

func named(s string) ipsec.Identity { return ipsec.Identity{Type: ipsec.IDFQDN, Data: s} }

// fromAnywhere is a pair of peers whose second is told apart from others by its name: at the hub, and at that peer.
func fromAnywhere(hub *end, name string, change func(pa, pb *sa.Peer)) (theirs, ours *sa.Peer) {
	theirs, ours = peerFor(name, "192.0.2.1", hub.addr.String()), peerFor(name, hub.addr.String(), "192.0.2.1")
	change(theirs, ours)
	theirs.LocalID, ours.RemoteID, ours.Remote = named(name), named(name), netip.Addr{}
	theirs.Children[0].Local, theirs.Children[0].Remote = selectors("10.1.0.0/16"), selectors("10.2.0.0/16")
	ours.Children[0].Local, ours.Children[0].Remote = selectors("10.2.0.0/16"), selectors("10.1.0.0/16")
	ours.Children[0].Initiate = false
	return theirs, ours
}

// wantAt checks that the hub's newest Child SA of a tunnel goes to an address, and that the end there has it too.
func wantAt(t testing.TB, hub, far *end, tunnel string, at netip.Addr) {
	t.Helper()
	var found *ipsec.ChildSA
	for _, c := range hub.newest {
		if c.Tunnel == tunnel {
			found = c
		}
	}
	if found == nil {
		t.Fatalf("%s is not up", tunnel)
	}
	path := found.Path
	if moved, ok := hub.moved[found.SPIIn]; ok {
		path = moved
	}
	if path.Remote.Addr() != at || far.in[found.SPIOut] == nil {
		t.Errorf("%s: ESP goes to %v, want %v", tunnel, path.Remote, at)
	}
}

// Several peers that may come from anywhere at once, one direct and two behind one NAT: each is its own, by its identity.
func TestPeersFromAnywhereAreToldApartByTheirIdentities(t *testing.T) {
	every(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w := newWorld(t, 0)
		hub := w.host("192.0.2.2", 0x1000)
		east, west, north := w.host("198.51.100.1", 0x2000), w.host("10.0.0.1", 0x3000), w.host("10.0.0.2", 0x4000)
		nat := w.nat("203.0.113.9", west, north)
		var ps []*sa.Peer
		for i, far := range []*end{east, west, north} {
			theirs, ours := fromAnywhere(hub, []string{"east", "west", "north"}[i], change)
			ps = append(ps, ours)
			far.SetPeers(w.now, []*sa.Peer{theirs})
		}
		hub.SetPeers(w.now, ps)
		w.run(5 * time.Second)
		wantAt(t, hub, east, "east", east.addr)
		wantAt(t, hub, west, "west", nat.outside)
		wantAt(t, hub, north, "north", nat.outside)
		for _, st := range hub.Status() {
			if st.IKE == nil || !st.Why.OK() || st.Remote.IsValid() {
				t.Errorf("%s: %+v", st.Name, st)
			}
		}

		// The hub rekeys both kinds to where the peer was last seen.
		sent := len(w.sent)
		for _, name := range []string{"east", "west"} {
			hub.Do(w.now, sa.RekeyIKE{Tunnel: name})
			hub.Do(w.now, sa.Rekey{Tunnel: name})
		}
		w.run(2 * time.Minute)
		if len(w.sent) == sent {
			t.Error("nothing was rekeyed")
		}
		wantAt(t, hub, east, "east", east.addr)
		wantAt(t, hub, west, "west", nat.outside)
	})
}

// A peer without an address is never begun with: not at first, not on the operator's wish, and not after a loss.
func TestAPeerFromAnywhereIsWaitedFor(t *testing.T) {
	every(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w := newWorld(t, 0)
		hub, far := w.host("192.0.2.2", 0x1000), w.host("198.51.100.1", 0x2000)
		theirs, ours := fromAnywhere(hub, "far", change)
		ours.Children[0].Initiate = true // as after `vpngw up`
		hub.SetPeers(w.now, []*sa.Peer{ours})
		hub.Do(w.now, sa.Raise{Tunnel: "far"})
		hub.Do(w.now, sa.PathChanged{})
		w.run(time.Minute)
		if len(w.sent) > 0 {
			t.Fatalf("%d messages went out to nobody", len(w.sent))
		}
		far.SetPeers(w.now, []*sa.Peer{theirs})
		w.run(5 * time.Second)
		wantPairs(t, hub, far, 1)
		far.dead = true
		w.run(10 * time.Minute)
		if len(hub.in) > 0 {
			t.Fatal("the dead peer was not noticed")
		}
		sent := len(w.sent)
		w.run(time.Hour)
		if len(w.sent) > sent {
			t.Errorf("%d messages went out after the loss", len(w.sent)-sent)
		}
		back := w.host("198.51.100.7", 0x3000)
		back.SetPeers(w.now, []*sa.Peer{theirs})
		w.run(5 * time.Second)
		wantPairs(t, hub, back, 1)
	})
}

// The same identity from a new address takes the old one's place at once, also without INITIAL_CONTACT.
func TestAPeerFromAnywhereMovesToANewAddress(t *testing.T) {
	every(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		for _, silent := range []bool{false, true} {
			w := newWorld(t, 0)
			hub, was := w.host("192.0.2.2", 0x1000), w.host("198.51.100.1", 0x2000)
			theirs, ours := fromAnywhere(hub, "far", change)
			hub.SetPeers(w.now, []*sa.Peer{ours})
			was.SetPeers(w.now, []*sa.Peer{theirs})
			w.run(5 * time.Second)
			wantPairs(t, hub, was, 1)
			was.dead = true
			is := w.host("203.0.113.5", 0x3000)
			if silent {
				is.answered.v2.from[hub.addr], is.answered.v1.from[hub.addr] = 1, 1 // so it does not say that it has no other
			}
			is.SetPeers(w.now, []*sa.Peer{theirs})
			w.run(5 * time.Second)
			wantAt(t, hub, is, "far", is.addr)
			w.run(time.Minute)
			wantPairs(t, hub, is, 1)
		}
	})
}

// Whoever has another identity, or another key, is refused, and the cause says what came and what was expected.
func TestAStrangerIsRefusedWithACause(t *testing.T) {
	every(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w := newWorld(t, 0)
		hub, far, third := w.host("192.0.2.2", 0x1000), w.host("198.51.100.1", 0x2000), w.host("198.51.100.3", 0x3000)
		theirs, ours := fromAnywhere(hub, "east", change)
		_, other := fromAnywhere(hub, "west", change)
		theirs.LocalID = named("nobody")
		hub.SetPeers(w.now, []*sa.Peer{ours, other})
		far.SetPeers(w.now, []*sa.Peer{theirs})
		w.run(5 * time.Second)
		for i := range 2 {
			if why := hub.peer(i).why; !why.Is(diag.PeerIdentity) || why.Cause().Theirs != sa.IDText(named("nobody")) {
				t.Errorf("peer %d: %v", i, why)
			}
		}
		if len(hub.in) > 0 {
			t.Error("it is up")
		}
		far.dead = true
		wrong, _ := fromAnywhere(hub, "west", change)
		wrong.PSK = ipsec.Secret("another key")
		third.SetPeers(w.now, []*sa.Peer{wrong})
		w.run(45 * time.Second)
		if len(hub.in) > 0 {
			t.Error("it is up with another key")
		}
		if why := hub.peer(1).why; !why.Is(diag.PSKMismatch) && !why.Is(diag.NotDecrypted) && !why.Is(diag.HashWrong) && !why.Is(diag.PeerStopped) {
			t.Errorf("another key: %v", why)
		}
	})
}

// A peer at a known address comes before those that may come from anywhere, and has its own key also in main mode.
func TestAKnownAddressComesBeforeAnywhere(t *testing.T) {
	every(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w := newWorld(t, 0)
		a, hub := w.host("192.0.2.1", 0x1000), w.host("192.0.2.2", 0x2000)
		pa, pb := peersFor()
		change(pa, pb)
		pa.PSK, pb.PSK = ipsec.Secret("the known peer's own key"), ipsec.Secret("the known peer's own key")
		_, ours := fromAnywhere(hub, "far", change)
		hub.SetPeers(w.now, []*sa.Peer{ours, pb})
		a.SetPeers(w.now, []*sa.Peer{pa})
		w.run(5 * time.Second)
		wantAt(t, hub, a, "b", a.addr)
	})
}

// A flood of strangers, each from an address where it receives, has half of the half-open IKE SAs. A known peer gets through, and one that
// may come from anywhere too.
func TestAFloodOfStrangersLeavesRoom(t *testing.T) {
	w := newWorld(t, 0)
	a, hub, far := w.host("192.0.2.1", 0x1000), w.host("192.0.2.2", 0x2000), w.host("198.51.100.1", 0x3000)
	pa, pb := peersFor()
	theirs, ours := fromAnywhere(hub, "far", func(_, _ *sa.Peer) {})
	hub.SetPeers(w.now, []*sa.Peer{pb, ours})
	crowd := func(n int) {
		for i := range n {
			flood(hub, w.now, fmt.Sprintf("203.%d.%d.%d", i>>16&255, i>>8&255, i&255), 1)
		}
	}
	crowd(1500)
	if n := len(hub.answered.v2.all); n != 512 {
		t.Errorf("%d half-open IKE SAs of strangers, want 512", n)
	}
	a.SetPeers(w.now, []*sa.Peer{pa})
	w.run(3 * time.Second)
	wantAt(t, hub, a, "b", a.addr)
	far.SetPeers(w.now, []*sa.Peer{theirs})
	w.run(8 * time.Second)
	wantAt(t, hub, far, "far", far.addr)
	w.run(10 * time.Minute)
	if n := len(hub.answered.v2.strange) + len(hub.answered.v2.from); n != 0 {
		t.Errorf("%d are left", n)
	}
	hub.budgets.tidyAt = 0
	hub.budgets.tidy(w.now)
	if n := len(hub.budgets.efforts); n > 8 {
		t.Errorf("%d budgets are left", n)
	}
}

// All strangers together have what one peer has of a core, and one a quarter of that, so that there is something left for a known peer.
func TestStrangersHaveOneBudget(t *testing.T) {
	w := newWorld(t, 0)
	hub := w.host("192.0.2.2", 0x1000)
	_, pb := peersFor()
	_, ours := fromAnywhere(hub, "far", func(_, _ *sa.Peer) {})
	hub.SetPeers(w.now, []*sa.Peer{pb, ours})
	const effort = 5 * time.Millisecond
	affords := func(from string, reachable bool) (n int) {
		for (*owner)(hub.Endpoint).Affords(w.now, netip.MustParseAddr(from), effort, reachable) {
			n++
		}
		return n
	}
	if n, want := affords("203.0.113.1", true), int(effortBurst/(effortForged*effort)); n != want {
		t.Errorf("one stranger has %d, want %d", n, want)
	}
	all := 0
	for i := range 100 {
		all += affords(fmt.Sprintf("203.0.113.%d", 2+i), true)
	}
	if want := int(effortBurst/(effortProven*effort)) - int(effortBurst/(effortForged*effort)); all != want {
		t.Errorf("the others have %d, want %d", all, want)
	}
	if n, want := affords("192.0.2.1", true), int(effortBurst/(effortProven*effort)); n != want {
		t.Errorf("the known peer has %d, want %d", n, want)
	}
	w.now = w.now.Add(time.Minute)
	all = 0
	for i := range 100 {
		all += affords(fmt.Sprintf("203.0.114.%d", i), false)
	}
	if want := int(effortBurst / (effortForged * effort)); all != want {
		t.Errorf("strangers that may have forged their address have %d, want %d", all, want)
	}
}

// Aggressive modes of strangers, which prove nothing, have a quarter of the half-open IKE SAs: there the oldest gives way.
func TestAFloodOfAggressiveModesFromAnywhere(t *testing.T) {
	w := newWorld(t, 0)
	hub, far := w.host("192.0.2.2", 0x1000), w.host("198.51.100.1", 0x2000)
	theirs, ours := fromAnywhere(hub, "far", func(pa, pb *sa.Peer) { aggressive(pa, pb); fastGroup(pa, pb) })
	hub.SetPeers(w.now, []*sa.Peer{ours})
	hub.cfg.MaxHalfOpen = 64
	far.SetPeers(w.now, []*sa.Peer{theirs})
	data := firstOf(w, far)
	far.dead = true
	for i := range 400 {
		hub.Handle(w.now, ipsec.Datagram{
			Local: netip.AddrPortFrom(hub.addr, 500), Remote: netip.MustParseAddrPort(fmt.Sprintf("203.0.%d.%d:500", i>>8, i&255)), Data: data,
		})
		hub.drain()
		w.now = w.now.Add(100 * time.Millisecond)
		hub.Advance(w.now)
	}
	w.wire = nil
	if n := len(hub.answered.v1.all); n == 0 || n > 16 {
		t.Errorf("%d half-open ISAKMP SAs, want at most 16", n)
	}
	far.dead = false
	w.run(20 * time.Second)
	wantAt(t, hub, far, "far", far.addr)
}

// What a stranger's message could not be used for is told of few peers only, whatever their number.
func TestAStrangersMessageConcernsFew(t *testing.T) {
	w := newWorld(t, 0)
	hub := w.host("192.0.2.2", 0x1000)
	var ps []*sa.Peer
	for i := range maxSuspects + 1 {
		_, ours := fromAnywhere(hub, fmt.Sprintf("far%d", i), func(_, _ *sa.Peer) {})
		ps = append(ps, ours)
	}
	told := func() (n int) {
		for i := range hub.peers {
			if !hub.peers[i].why.OK() {
				n++
			}
		}
		return n
	}
	garbage := first(7, nil)
	garbage = garbage[:len(garbage)-3]
	garbage[27] -= 3 // the length fits; the last payload does not
	hub.SetPeers(w.now, ps)
	answers(hub, w.now, "198.51.100.1:500", garbage)
	if n := told(); n != 0 {
		t.Errorf("%d peers hear of what anybody may have sent", n)
	}
	hub.SetPeers(w.now, ps[:2])
	answers(hub, w.now, "198.51.100.1:500", garbage)
	if n := told(); n != 2 {
		t.Errorf("%d peers hear of it, want both", n)
	}
}
