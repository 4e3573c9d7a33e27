package ike

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

func TestLivenessIsAskedOnlyWhenNothingIsHeard(t *testing.T) {
	w, a, b := pairOf(t, func(_, pb *sa.Peer) { pb.DPD = dpd.Config{} })
	w.run(time.Second)
	before := w.count(wire.ExchangeInformational, false)
	for range 10 { // traffic proves that the peer is alive
		a.last[a.newest[0].SPIIn] = w.now
		w.run(20 * time.Second)
	}
	if got := w.count(wire.ExchangeInformational, false); got != before {
		t.Errorf("%d liveness checks beside traffic", got-before)
	}
	w.run(5 * time.Minute)
	if got := w.count(wire.ExchangeInformational, false) - before; got < 9 || got > 10 {
		t.Errorf("%d liveness checks in five silent minutes, want one each 30 s", got)
	}
	wantPairs(t, a, b, 1)
}

// Two ends with the same interval have one exchange for both: the initiator's question is a sign of life for the responder, which asks
// by itself when no question comes.
func TestOneLivenessCheckServesBothEnds(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
				if version != nil {
					version(pa, pb)
				}
				pa.DPD = dpd.Config{Interval: 10 * time.Second, Timeout: 20 * time.Second}
				pb.DPD = pa.DPD
			})
			w.run(2 * time.Minute)
			asked := func(h *end) (n int) {
				for _, f := range h.mirror.exchanged {
					if f.What == sa.LivenessCheck {
						n++
					}
				}
				return n
			}
			if first, second := asked(a), asked(b); first < 11 || second != 0 {
				t.Errorf("the initiator asked %d times in 2 minutes, want 12, and the responder %d times, want none", first, second)
			}
			wantPairs(t, a, b, 1)
			w.filter = func(d *ipsec.Datagram) bool { return d.Remote.Addr() != a.addr } // the initiator's questions are lost
			w.run(10 * time.Second)
			w.filter = nil
			w.run(5 * time.Second) // the answer comes to a repetition
			if asked(b) == 0 {
				t.Error("the responder does not ask, though no question came")
			}
		})
	}
}

func TestDeadPeerIsNoticedAndComesBackByItself(t *testing.T) {
	for name, c := range map[string]struct {
		dpd    dpd.Config
		within time.Duration
	}{
		"by retransmission": {dpd.Config{Interval: 30 * time.Second}, 90 * time.Second},
		"by timeout":        {dpd.Config{Interval: 10 * time.Second, Timeout: 15 * time.Second}, 26 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w, a, b := pairOf(t, func(pa, _ *sa.Peer) { pa.DPD = c.dpd })
			w.run(time.Second)
			b.dead = true
			w.run(c.within - 5*time.Second)
			if len(a.in) != 1 {
				t.Error("given up too early")
			}
			w.run(5 * time.Second)
			if len(a.in) != 0 {
				t.Error("the Child SA of a dead peer is still there")
			}
			wantWhy(t, "initiator", a.view()[0].Children[0].Why, "the peer is dead")
			w.run(10 * time.Minute)
			a.noLeaks()
			nb := w.host(b.addr.String(), 0x5000)
			_, pb := peersFor()
			nb.SetPeers(w.now, []*sa.Peer{pb})
			w.run(32 * time.Second)
			wantPairs(t, a, nb, 1)
			wantIKE(t, a, nb, 1)
		})
	}
}

// TestRestartedInitiatorReplacesItsOldIKESA by saying INITIAL_CONTACT.
func TestRestartedInitiatorReplacesItsOldIKESA(t *testing.T) {
	w, a, b := pairOf(t, shared)
	w.run(5 * time.Second)
	wantPairs(t, a, b, 2)
	na := w.host(a.addr.String(), 0x5000)
	pa, pb := peersFor()
	shared(pa, pb)
	na.SetPeers(w.now, []*sa.Peer{pa})
	w.run(3 * time.Second)
	wantPairs(t, na, b, 2)
	w.run(10 * time.Second)
	wantIKE(t, na, b, 1)
}

// TestInitialContactIsAssertedOnlyByTheFirst: there may be other IKE SAs to that identity.
func TestInitialContactIsAssertedOnlyByTheFirst(t *testing.T) {
	w, a, b := pairOf(t, nil)
	tap := newTap(w)
	var asserted []bool
	w.filter = tap.change(func(h *wire.Header, ps []wire.Payload) []wire.Payload {
		if h.Exchange == wire.ExchangeAuth && h.Flags&wire.FlagResponse == 0 {
			asserted = append(asserted, wire.FindNotify(ps, wire.InitialContact) != nil)
		}
		return nil
	})
	w.run(time.Second)
	a.peer(0).initiate(w.now)
	w.run(dedupeAfter / 2)
	if want := []bool{true, false}; !slices.Equal(asserted, want) {
		t.Errorf("INITIAL_CONTACT %v, want %v", asserted, want)
	}
	wantIKE(t, a, b, 2)
	wantPairs(t, a, b, 2)
}

// TestRestartedResponderIsConnectedAgain: it answers INVALID_IKE_SPI, a hint to check whether it is alive.
func TestRestartedResponderIsConnectedAgain(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	nb := w.host(b.addr.String(), 0x5000)
	_, pb := peersFor()
	nb.SetPeers(w.now, []*sa.Peer{pb})
	a.Do(w.now, sa.InvalidSPI{Remote: netip.MustParseAddrPort("192.0.2.2:0")}) // its ESP gives the same hint
	w.run(65 * time.Second)
	wantPairs(t, a, nb, 1)
	wantIKE(t, a, nb, 1)
}

// TestHintsAreFollowedSeldom: forged INVALID_IKE_SPI or bad ESP must not make us ask all the time.
func TestHintsAreFollowedSeldom(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) { pa.DPD, pb.DPD = dpd.Config{}, dpd.Config{} })
	w.run(time.Second)
	st := a.ikeOf()
	hint := (&wire.Message{
		Header:   wire.Header{SPIi: st.SPIi, SPIr: st.SPIr, Major: 2, Exchange: wire.ExchangeInformational, Flags: wire.FlagResponse},
		Payloads: []wire.Payload{&wire.Notify{Kind: wire.InvalidIKESPI}},
	}).Marshal()
	before := w.count(wire.ExchangeInformational, false)
	for range 600 {
		a.Do(w.now, sa.InvalidSPI{Remote: netip.MustParseAddrPort("192.0.2.2:0")})
		a.Handle(w.now, ipsec.Datagram{Local: st.Path.Local, Remote: st.Path.Remote, Data: hint})
		w.run(100 * time.Millisecond)
	}
	if got := w.count(wire.ExchangeInformational, false) - before; got == 0 || got > 7 {
		t.Errorf("%d liveness checks in a minute of hints", got)
	}
	wantPairs(t, a, b, 1)
}

func TestDaemonStartedBeforeThePeer(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.host("192.0.2.1", 0x1000), w.host("192.0.2.2", 0x2000)
	pa, pb := peersFor()
	a.SetPeers(w.now, []*sa.Peer{pa})
	b.dead = true
	w.run(5 * time.Minute)
	b.dead = false
	b.SetPeers(w.now, []*sa.Peer{pb})
	w.run(31 * time.Second)
	wantPairs(t, a, b, 1)
}

// TestFilteredPort4500IsTold: the filter lets the first exchange pass, and not the second.
func TestFilteredPort4500IsTold(t *testing.T) {
	w, a, b, _ := behindNAT(t, nil)
	w.filter = func(d *ipsec.Datagram) bool { return d.Local.Port() == 500 }
	w.run(61 * time.Second)
	wantWhy(t, "initiator", a.view()[0].Why, "no answer to IKE_AUTH from 192.0.2.2:4500: the peer answered IKE_SA_INIT, so look for a filter on UDP 4500")
	wantWhy(t, "responder", b.view()[0].Why, "the peer began and did not go on to IKE_AUTH within 30s")
	w.filter = nil
	w.run(35 * time.Second)
	wantPairs(t, a, b, 1)
}

func TestNoRouteIsToldAndTriedAgain(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.host("192.0.2.1", 0x1000), w.host("192.0.2.2", 0x2000)
	pa, pb := peersFor()
	good := a.cfg.Source
	a.cfg.Source = func(netip.Addr) (netip.Addr, error) { return netip.Addr{}, errors.New("network is unreachable") }
	b.SetPeers(w.now, []*sa.Peer{pb})
	a.SetPeers(w.now, []*sa.Peer{pa})
	w.run(2 * time.Minute)
	wantWhy(t, "initiator", a.view()[0].Why, "no route to 192.0.2.2: network is unreachable")
	a.cfg.Source = good
	w.run(31 * time.Second)
	wantPairs(t, a, b, 1)
}

func TestConfiguredLocalAddressIsTheOneToSendFrom(t *testing.T) {
	w := newWorld(t, 0)
	a := w.host("192.0.2.1", 0x1000)
	pa, _ := peersFor()
	pa.Local = netip.MustParseAddr("192.0.2.7")
	a.SetPeers(w.now, []*sa.Peer{pa})
	a.Advance(w.now)
	for act := a.Next(); act != nil; act = a.Next() {
		if s, ok := act.(sa.Send); ok && s.Path.Local.Addr() != pa.Local {
			t.Errorf("sent from %v", s.Path.Local)
		}
	}
}

func TestPeerCannotPileUpIKESAs(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	p := a.peer(0)
	for range 60 {
		p.machines = nil // as if the peer had forgotten them, but for INITIAL_CONTACT
		p.initiate(w.now)
		w.filter = newTap(w).change(func(h *wire.Header, ps []wire.Payload) []wire.Payload {
			if n := wire.FindNotify(ps, wire.InitialContact); n != nil {
				n.Kind = 40001
				return ps
			}
			return nil
		})
		w.run(time.Second)
	}
	if n := len(b.table.bySPI); n > 16 {
		t.Errorf("the peer has %d IKE SAs", n)
	}
	b.wantCause("IKEEnded", diag.TooManyIKE)
}

// TestOutboundActionsKeepTheirOrder: the order is the safety argument.
func TestOutboundActionsKeepTheirOrder(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	a.trace, b.trace = nil, nil
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	w.run(10 * time.Second)
	// CREATE_CHILD_SA {N(REKEY_SA), SA, Ni, KEi, TSi, TSr} -->, INFORMATIONAL {D} -->
	if want := []string{"send CREATE_CHILD_SA 2", "in", "out", "send INFORMATIONAL 3", "remove"}; !slices.Equal(a.trace, want) {
		t.Errorf("initiator did %q, want %q", a.trace, want)
	}
	if want := []string{"in", "send CREATE_CHILD_SA 2", "out", "send INFORMATIONAL 3", "remove"}; !slices.Equal(b.trace, want) {
		t.Errorf("responder did %q, want %q", b.trace, want)
	}
}

func reload(n *end, change func(p *sa.Peer)) {
	n.w.t.Helper()
	pa, pb := peersFor()
	shared(pa, pb)
	p := pa
	if n == n.w.order[1] {
		p = pb
	}
	if change != nil {
		change(p)
	}
	if n.w.bySetPeer && len(n.Endpoint.peers) == 1 {
		n.SetPeer(n.w.now, n.peer(0).given, p)
		return
	}
	n.SetPeers(n.w.now, []*sa.Peer{p})
}

// bothWays runs a test of reloads with SetPeers and with SetPeer, which make the same promises.
func bothWays(t *testing.T, f func(t *testing.T, bySetPeer bool)) {
	t.Run("SetPeers", func(t *testing.T) { f(t, false) })
	t.Run("SetPeer", func(t *testing.T) { f(t, true) })
}

func TestReloadOfTheSameTouchesNothing(t *testing.T) { bothWays(t, reloadOfTheSameTouchesNothing) }

func reloadOfTheSameTouchesNothing(t *testing.T, bySetPeer bool) {
	w, a, b := pairOf(t, shared)
	w.bySetPeer = bySetPeer
	w.run(5 * time.Second)
	sent, ike := len(w.sent), a.ikeOf().SPIi
	for range 3 {
		reload(a, func(p *sa.Peer) { p.Name = "renamed" })
		reload(b, nil)
		w.run(time.Second)
	}
	if len(w.sent) != sent || a.ikeOf().SPIi != ike {
		t.Error("a reload of the same settings sent something")
	}
	wantPairs(t, a, b, 2)
	if name := a.view()[0].Name; name != "renamed" {
		t.Errorf("name %q", name)
	}
	// The machines still know their children.
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	b.Do(w.now, sa.Rekey{Tunnel: "b2"})
	w.run(10 * time.Second)
	wantPairs(t, a, b, 2)
	for _, c := range append(a.view()[0].Children, b.view()[0].Children...) {
		if !c.Up {
			t.Errorf("%s is not up after the reload", c.Name)
		}
	}
}

func TestReloadTouchesOnlyWhatChanged(t *testing.T) { bothWays(t, reloadTouchesOnlyWhatChanged) }

func reloadTouchesOnlyWhatChanged(t *testing.T, bySetPeer bool) {
	for name, c := range map[string]struct {
		change func(p *sa.Peer)
		pairs  int
	}{
		"lifetime": {func(p *sa.Peer) { p.Children[1].Lifetime.Time = 2 * time.Hour }, 2},
		"removed":  {func(p *sa.Peer) { p.Children = p.Children[:1] }, 1},
		"selector": {func(p *sa.Peer) { p.Children[1].Local = selectors("172.16.1.0/25") }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w, a, b := pairOf(t, shared)
			w.bySetPeer = bySetPeer
			w.run(5 * time.Second)
			ike := a.ikeOf().SPIi
			var untouched, touched *ipsec.ChildSA
			for _, x := range a.newest {
				if x.Child == "a" {
					untouched = x
				} else {
					touched = x
				}
			}
			reload(a, c.change)
			w.run(5 * time.Second)
			if a.in[untouched.SPIIn] != untouched || a.out[untouched.SPIIn] != untouched {
				t.Error("the child that did not change was touched")
			}
			if a.in[touched.SPIIn] != nil {
				t.Error("the child that changed was not")
			}
			wantPairs(t, a, b, c.pairs)
			wantIKE(t, a, b, 1)
			if a.ikeOf().SPIi != ike {
				t.Error("the IKE SA was replaced")
			}
			reload(a, nil)
			w.run(5 * time.Second)
			wantPairs(t, a, b, 2)
		})
	}
}

// TestChangeOfWhoBeginsTouchesNothing: Initiate says which end brings a Child SA up, and does not change the SA.
func TestChangeOfWhoBeginsTouchesNothing(t *testing.T) { bothWays(t, changeOfWhoBeginsTouchesNothing) }

func changeOfWhoBeginsTouchesNothing(t *testing.T, bySetPeer bool) {
	w, a, b := pairOf(t, shared)
	w.bySetPeer = bySetPeer
	w.run(5 * time.Second)
	sent, ike := len(w.sent), a.ikeOf().SPIi
	begin := func(n *end, initiate bool) {
		reload(n, func(p *sa.Peer) {
			for _, c := range p.Children {
				c.Initiate = initiate
			}
		})
		w.run(time.Second)
	}
	begin(a, false)
	begin(b, true)
	if len(w.sent) != sent || a.ikeOf().SPIi != ike {
		t.Error("something was sent")
	}
	a.Do(w.now, sa.Lower{Tunnel: "a"})
	a.Do(w.now, sa.Lower{Tunnel: "a2"})
	w.run(time.Minute)
	a.Do(w.now, sa.Raise{Tunnel: "a"})
	if !a.view()[0].Children[0].Waiting {
		t.Error("who only answers does not wait")
	}
	w.run(40 * time.Second)
	wantPairs(t, a, b, 1)
	if b.ikeOf().Initiator == false {
		t.Error("the end that is to answer has begun")
	}
}

func TestReloadAddsAChild(t *testing.T) { bothWays(t, reloadAddsAChild) }

func reloadAddsAChild(t *testing.T, bySetPeer bool) {
	w, a, b := pairOf(t, nil)
	w.bySetPeer = bySetPeer
	w.run(5 * time.Second)
	reload(b, nil)
	reload(a, nil)
	w.run(5 * time.Second)
	wantPairs(t, a, b, 2)
	wantIKE(t, a, b, 1)
}

// TestReloadWithOtherIKESettingsReplacesTheIKESA, at both ends one after the other.
func TestReloadWithOtherIKESettingsReplacesTheIKESA(t *testing.T) {
	bothWays(t, reloadWithOtherIKESettingsReplacesTheIKESA)
}

func reloadWithOtherIKESettingsReplacesTheIKESA(t *testing.T, bySetPeer bool) {
	for name, change := range map[string]func(p *sa.Peer){
		"key":       func(p *sa.Peer) { p.PSK = ipsec.Secret("new") },
		"proposals": func(p *sa.Peer) { p.Proposals = proposals(ipsec.ProtoIKE, "aes256-sha256-x25519") },
		"encap":     func(p *sa.Peer) { p.Encap = sa.EncapAlways },
	} {
		t.Run(name, func(t *testing.T) {
			w, a, b := pairOf(t, shared)
			w.bySetPeer = bySetPeer
			w.run(5 * time.Second)
			ike := a.ikeOf().SPIi
			reload(b, change)
			w.run(time.Second)
			reload(a, change)
			w.run(40 * time.Second)
			wantPairs(t, a, b, 2)
			wantIKE(t, a, b, 1)
			if a.ikeOf().SPIi == ike {
				t.Error("the IKE SA is the old one")
			}
		})
	}
}

// TestReloadDuringAnyExchange removes a child, or changes it, while a message is under way.
func TestReloadDuringAnyExchange(t *testing.T) { bothWays(t, reloadDuringAnyExchange) }

func reloadDuringAnyExchange(t *testing.T, bySetPeer bool) {
	for name, change := range map[string]func(p *sa.Peer){
		"same":    nil,
		"removed": func(p *sa.Peer) { p.Children = p.Children[1:] },
		"key":     func(p *sa.Peer) { p.PSK = ipsec.Secret("new") },
	} {
		for n := range 16 {
			for which := range 2 {
				w, a, b := pairOf(t, shared)
				w.bySetPeer = bySetPeer
				seen := 0
				w.filter = func(*ipsec.Datagram) bool {
					if seen == n {
						reload(w.order[which], change)
					}
					seen++
					return true
				}
				w.run(2 * time.Second)
				a.Do(w.now, sa.Rekey{Tunnel: "a2"})
				a.Do(w.now, sa.RekeyIKE{Tunnel: "a2"})
				w.run(29 * time.Second)
				w.filter = nil
				if seen > n {
					reload(w.order[1-which], change)
				}
				w.run(2 * time.Minute)
				want := 2
				if name == "removed" && seen > n {
					want = 1
				}
				wantPairs(t, a, b, want)
				wantIKE(t, a, b, 1)
				if t.Failed() {
					t.Fatalf("%s at end %d, message %d", name, which, n)
				}
			}
		}
	}
}

func TestPeerRemovedByReloadIsDeleted(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	a.SetPeers(w.now, nil)
	w.run(time.Second)
	if len(a.table.bySPI) != 0 || len(a.in) != 0 || len(b.in) != 0 || len(a.view()) != 0 || a.timers.Len() != 0 || len(a.installed) != 0 {
		t.Errorf("left: %d IKE SAs, %d Child SAs, %d timers", len(a.table.bySPI), len(a.in), a.timers.Len())
	}
	w.run(time.Minute)
	wantIKE(t, a, b, 0)
}

func TestShutdownTellsThePeerAndIsIdle(t *testing.T) {
	w, a, b := pairOf(t, shared)
	w.run(5 * time.Second)
	a.Do(w.now, sa.Shutdown{})
	if a.Idle() {
		t.Error("idle before the peer has answered")
	}
	w.run(100 * time.Millisecond)
	if !a.Idle() || len(a.in) != 0 || len(b.in) != 0 {
		t.Error("not idle, or Child SAs are left")
	}
	if b.Do(w.now, sa.Shutdown{}); !b.Idle() {
		t.Error("an SA that only repeats its last response is waited for")
	}
	w.run(time.Hour)
	if len(a.table.bySPI) != 0 {
		t.Error("it came back")
	}
	if got := answers(a, w.now, "192.0.2.2:500", first(1, nil)); len(got) != 0 {
		t.Error("it answers a first message")
	}
	wantWhy(t, "responder", b.view()[0].Why, "the peer deleted the IKE SA")
}

func TestShutdownDoesNotWaitForADeadPeer(t *testing.T) {
	for _, when := range []time.Duration{0, time.Microsecond, time.Second} {
		w, a, b := pairOf(t, nil)
		w.run(when)
		b.dead = true
		a.Do(w.now, sa.RekeyIKE{Tunnel: "a"}) // an exchange is open
		a.Do(w.now, sa.Shutdown{})
		w.run(6 * time.Second)
		if !a.Idle() {
			t.Errorf("after %v: still waiting", when)
		}
		a.noLeaks()
	}
}

// TestStatusTellsOfTheIKESA: an operator sees the state, the proposal and why it is weak.
func TestStatusTellsOfTheIKESA(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
		pa.Proposals, pb.Proposals = proposals(ipsec.ProtoIKE, "3des-sha1-modp1024"), proposals(ipsec.ProtoIKE, "3des-sha1-modp1024")
	})
	if st := b.view()[0]; !st.Children[0].Waiting || st.IKE != nil {
		t.Errorf("a responder that nobody called: %+v", st)
	}
	w.run(time.Second)
	st := a.view()[0]
	if st.IKE.State != "established" || st.IKE.Version != 2 || st.IKE.Proposal != "3des-sha1-prfsha1-modp1024" || len(st.IKE.Weak) != 3 || !st.Children[0].Up || st.Why != "" {
		t.Errorf("%+v", st.IKE)
	}
}

// TestRunsAreRepeatable: a failed run can be repeated exactly.
func TestRunsAreRepeatable(t *testing.T) {
	run := func() ([]string, []wire.Header) {
		w, a, b := pairWith(t, 7, func(_, pb *sa.Peer) { pb.Children[0].Initiate = true })
		w.run(time.Minute)
		a.Do(w.now, sa.RekeyIKE{Tunnel: "a"})
		b.Do(w.now, sa.Rekey{Tunnel: "b"})
		w.run(time.Hour)
		return append(a.trace, b.trace...), w.sent
	}
	t1, s1 := run()
	t2, s2 := run()
	if !slices.Equal(t1, t2) || !reflect.DeepEqual(s1, s2) {
		t.Error("two runs with one seed differ")
	}
}
