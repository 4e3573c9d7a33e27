package ike

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// selectorsOf are the pairs of selectors that an end has installed, sorted.
func selectorsOf(n *end) string {
	var out []string
	for _, c := range n.out {
		out = append(out, fmt.Sprint(c.Local, c.Remote))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestUnacceptableSelectorsAreToldOnBothEnds(t *testing.T) {
	w, a, b := pairOf(t, func(pa, _ *sa.Peer) { pa.Children[0].Local = selectors("10.9.0.0/16") })
	w.run(2 * time.Second)
	sa, sb := a.view()[0], b.view()[0]
	wantWhy(t, "initiator", sa.Children[0].Why, "we asked for [10.9.0.0/16] here and [10.2.0.0/16] there; the peer answered TS_UNACCEPTABLE: it has no such pair of subnets")
	wantWhy(t, "responder", sb.Children[0].Why, "traffic selectors: the peer asks for [10.2.0.0/16] here and [10.9.0.0/16] there; we have [10.2.0.0/16] here and [10.1.0.0/16] there")
	if sa.IKE == nil || sa.IKE.State != "established" || len(a.in)+len(b.in) != 0 {
		t.Error("the IKE SA is to stay, without a Child SA")
	}
	w.run(5 * time.Minute)
	if n := w.count(wire.ExchangeCreateChild, false); n < 8 || n > 30 {
		t.Errorf("%d attempts in five minutes", n)
	}
	wantIKE(t, a, b, 1)
	a.noLeaks()
	b.noLeaks()
}

func TestNoESPProposalInCommonIsToldOnBothEnds(t *testing.T) {
	w, a, b := pairOf(t, func(pa, _ *sa.Peer) { pa.Children[0].Proposals = proposals(ipsec.ProtoESP, "aes256-sha512") })
	w.run(500 * time.Millisecond)
	wantWhy(t, "initiator", a.view()[0].Children[0].Why, "we sent ESP proposals aes256-sha512; the peer answered NO_PROPOSAL_CHOSEN: it does not accept these ESP algorithms")
	wantWhy(t, "responder", b.view()[0].Children[0].Why, "encryption: ours aes128gcm16, theirs aes256; integrity: ours none, theirs sha512")
	a.noLeaks()
	b.noLeaks()
}

// A Child SA that is refused in IKE_AUTH costs neither end its IKE SA (RFC 7296 section 1.2): what is missing is asked for over the
// same one, again and again, and the end of that one is told.
func TestAChildRefusedInIKEAuthCostsNoIKESA(t *testing.T) {
	esp := func(text string) func(pa, pb *sa.Peer) {
		return func(pa, _ *sa.Peer) { pa.Children[0].Proposals = proposals(ipsec.ProtoESP, text) }
	}
	for name, change := range map[string]func(pa, pb *sa.Peer){
		"NO_PROPOSAL_CHOSEN": esp("aes256-sha512"),
		"TS_UNACCEPTABLE":    func(pa, _ *sa.Peer) { pa.Children[0].Local = selectors("10.9.0.0/16") },
	} {
		for _, ends := range []string{"initiator", "responder"} {
			w, a, b := pairOf(t, change)
			w.run(5 * time.Minute)
			if n, m := w.count(wire.ExchangeSAInit, false), w.count(wire.ExchangeCreateChild, false); n != 1 || m < 8 || m > 30 {
				t.Errorf("%s: in five minutes %d IKE SAs were begun, want 1, and %d Child SAs, want 8 to 30", name, n, m)
			}
			wantIKE(t, a, b, 1)
			if x, y := a.ikeOf(), b.ikeOf(); x.SPIi != y.SPIi || x.SPIr != y.SPIr || x.State != sa.Established || y.State != sa.Established {
				t.Errorf("%s: %+v\n%+v", name, x, y)
			}
			if a.view()[0].Children[0].Why == "" || b.view()[0].Children[0].Why == "" {
				t.Errorf("%s: an end does not say why there is no Child SA", name)
			}
			spi := a.ikeOf().SPIi
			map[string]*end{"initiator": a, "responder": b}[ends].Do(w.now, sa.Shutdown{})
			w.run(100 * time.Millisecond)
			for _, n := range []*end{a, b} {
				if m := n.peer(0).main(); m != nil && m.Info().SPIi == spi {
					t.Errorf("%s: the end of the %s was not told", name, ends)
				}
			}
		}
	}
}

// TestOtherPFSGroupIsTriedAgain: the ends prefer different groups. The first Child SA has no key exchange, and the
// rekey gets INVALID_KE_PAYLOAD.
func TestOtherPFSGroupIsTriedAgain(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
		pa.Children[0].Proposals = proposals(ipsec.ProtoESP, "aes128gcm16-x25519-ecp256")
		pb.Children[0].Proposals = proposals(ipsec.ProtoESP, "aes128gcm16-ecp256")
	})
	w.run(time.Second)
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	w.run(10 * time.Second)
	wantPairs(t, a, b, 1)
	if got := a.newest[0].Suite.KE.ID; got != ipsec.KEECP256 {
		t.Errorf("group %d", got)
	}
	if n := w.count(wire.ExchangeCreateChild, false); n != 2 {
		t.Errorf("%d CREATE_CHILD_SA requests, want 2", n)
	}
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	w.run(10 * time.Second)
	if n := w.count(wire.ExchangeCreateChild, false); n != 3 {
		t.Errorf("%d CREATE_CHILD_SA requests, want 3: the group is known now", n)
	}
}

// TestNoSPILeftIsToldAndTriedAgain: other Child SAs have all SPIs.
func TestNoSPILeftIsToldAndTriedAgain(t *testing.T) {
	w, a, b := pairOf(t, shared)
	w.run(5 * time.Second)
	none := func() (uint32, error) { return 0, errors.New("all are in use") }
	good := a.env.AllocSPI
	a.env.AllocSPI = none
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	a.peer(0).main().DeleteChildren(w.now, a.peer(0).children[1].cfg)
	w.run(30 * time.Second)
	wantWhy(t, "initiator", a.view()[0].Children[1].Why, "no SPI is left: all are in use")
	wantPairs(t, a, b, 1)
	old := a.newest[0]
	a.env.AllocSPI = good
	w.run(35 * time.Second)
	wantPairs(t, a, b, 2)
	if a.in[old.SPIIn] != nil {
		t.Error("the rekey was not tried again")
	}
	b.env.AllocSPI = none
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	w.run(time.Second)
	wantWhy(t, "initiator", a.view()[0].Children[0].Why, "the peer answered NO_ADDITIONAL_SAS")
	wantPairs(t, a, b, 2)
}

// TestPFSOnlyWherePeersAgree: of the two proposals one has a group and one has not.
func TestPFSOnlyWherePeersAgree(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
		pa.Children[0].Proposals = proposals(ipsec.ProtoESP, "aes256gcm16-x25519", "aes128gcm16")
		pb.Children[0].Proposals = proposals(ipsec.ProtoESP, "aes128gcm16")
	})
	w.run(time.Second)
	w.lossless = true
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	w.run(10 * time.Second)
	wantPairs(t, a, b, 1)
	if a.newest[0].Suite.KE.ID != 0 || a.newest[0].SPIIn == 0x1001 {
		t.Errorf("%+v", a.newest[0].Suite)
	}
	b.Do(w.now, sa.Rekey{Tunnel: "b"})
	w.run(10 * time.Second)
	wantPairs(t, a, b, 1)
}

func TestNarrowingIsTaken(t *testing.T) {
	w, a, b := pairOf(t, func(_, pb *sa.Peer) { pb.Children[0].Local = selectors("10.2.4.0/24") })
	w.run(5 * time.Second)
	wantPairs(t, a, b, 1)
	if got, want := selectorsOf(a), "[10.1.0.0/16] [10.2.4.0/24]"; got != want {
		t.Errorf("initiator has %s, want %s", got, want)
	}
	st := a.view()[0].Children[0]
	if st.Up || !st.Partly {
		t.Error("a narrowed child is not wholly up")
	}
	wantWhy(t, "initiator", st.Why, "the peer took only a part of 10.1.0.0/16 here and 10.2.0.0/16 there")
	if st := b.view()[0].Children[0]; !st.Up {
		t.Error("the responder has all that it wants")
	}
}

// TestPeerMayNotWiden: the peer answers with selectors that we did not ask for.
func TestPeerMayNotWiden(t *testing.T) {
	w, a, b := pairOf(t, nil)
	tap := newTap(w)
	w.filter = tap.change(func(h *wire.Header, ps []wire.Payload) []wire.Payload {
		if ts, ok := wire.FindType[*wire.TS](ps, wire.TypeTSr); ok && h.Flags&wire.FlagResponse != 0 {
			ts.Selectors = selectors("0.0.0.0/0")
			return ps
		}
		return nil
	})
	w.run(500 * time.Millisecond)
	wantWhy(t, "initiator", a.view()[0].Children[0].Why, "the peer answered with selectors that we did not offer")
	if len(a.in)+len(b.in) != 0 {
		t.Error("the Child SA is left at one end")
	}
	a.noLeaks()
}

// pairwise splits a child of two by two subnets into four.
func pairwise(p *sa.Peer) {
	whole := p.Children[0]
	p.Children = nil
	for _, l := range whole.Local {
		for _, r := range whole.Remote {
			c := *whole
			c.Name = fmt.Sprintf("%s/%d", whole.Name, len(p.Children)+1)
			c.Local, c.Remote = []ipsec.Selector{l}, []ipsec.Selector{r}
			p.Children = append(p.Children, &c)
		}
	}
}

func twoByTwo(pa, pb *sa.Peer) {
	x, y := selectors("10.1.0.0/24", "10.1.1.0/24"), selectors("10.2.0.0/24", "10.2.1.0/24")
	pa.Children[0].Local, pa.Children[0].Remote = x, y
	pb.Children[0].Local, pb.Children[0].Remote = y, x
}

func TestListMeetsList(t *testing.T) {
	w, a, b := pairOf(t, twoByTwo)
	w.run(10 * time.Second)
	wantPairs(t, a, b, 1)
	if !a.view()[0].Children[0].Up || !b.view()[0].Children[0].Up {
		t.Error("not up")
	}
}

// TestListMeetsPairs: one end asks for two by two subnets at once, and the other has four children with one pair each.
func TestListMeetsPairs(t *testing.T) {
	for _, initiator := range []string{"list", "pairs"} {
		t.Run("initiator has "+initiator, func(t *testing.T) {
			w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
				twoByTwo(pa, pb)
				if initiator == "list" {
					pairwise(pb)
				} else {
					pairwise(pa)
				}
			})
			w.run(20 * time.Second)
			wantPairs(t, a, b, 4)
			wantIKE(t, a, b, 1)
			want := "[10.1.0.0/24] [10.2.0.0/24] [10.1.0.0/24] [10.2.1.0/24] [10.1.1.0/24] [10.2.0.0/24] [10.1.1.0/24] [10.2.1.0/24]"
			if got := selectorsOf(a); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			for _, n := range []*end{a, b} {
				for _, c := range n.view()[0].Children {
					if !c.Up || c.Why != "" {
						t.Errorf("%v: %s is not up: %q", n.addr, c.Name, c.Why)
					}
				}
			}
			a.Do(w.now, sa.Rekey{Tunnel: "a"})
			w.run(20 * time.Second)
			wantPairs(t, a, b, 4)
			if got := selectorsOf(a); got != want {
				t.Errorf("after rekeys %s", got)
			}
		})
	}
}

// TestNarrowingTellsWhatElseIsPossible is N(ADDITIONAL_TS_POSSIBLE) of RFC 7296 section 2.9.
func TestNarrowingTellsWhatElseIsPossible(t *testing.T) {
	halves := func(pa, pb *sa.Peer) { // a asks for both subnets at once; b has a child for each
		twoByTwo(pa, pb)
		pb.Children[0].Local = pb.Children[0].Local[:1]
		other := *pb.Children[0]
		other.Name, other.Tunnel, other.Local = "b2", "b2", pa.Children[0].Remote[1:]
		pb.Children = append(pb.Children, &other)
	}
	for _, c := range []struct {
		name   string
		change func(pa, pb *sa.Peer)
		held   string
		want   string // whether each answer has the notification
	}{
		{"not narrowed", twoByTwo, "", "[false]"},
		{"a part is all", func(_, pb *sa.Peer) { pb.Children[0].Local = selectors("10.2.4.0/24") }, "", "[false]"},
		{"one of two", halves, "", "[true false false]"}, // then a asks for each missing pair
		{"the other is down", halves, "b2", "[false]"},
		{"one in the other", func(pa, pb *sa.Peer) {
			halves(pa, pb)
			pb.Children[1].Local = selectors("10.2.0.0/25")
		}, "", "[false]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, a, b := pairOf(t, c.change)
			b.Do(w.now, sa.Lower{Tunnel: c.held})
			tap := newTap(w)
			var got []bool
			w.filter = tap.change(func(h *wire.Header, ps []wire.Payload) []wire.Payload {
				if _, ok := wire.FindType[*wire.TS](ps, wire.TypeTSr); ok && h.Flags&wire.FlagResponse != 0 {
					n := wire.FindNotify(ps, wire.AdditionalTSPossible)
					got = append(got, n != nil)
					if n != nil && (ps[len(ps)-1] != wire.Payload(n) || len(n.Data)+len(n.SPI) != 0) {
						t.Errorf("%+v in %v", n, ps)
					}
				}
				return nil
			})
			w.run(time.Minute)
			if fmt.Sprint(got) != c.want {
				t.Errorf("answers with ADDITIONAL_TS_POSSIBLE: %v, want %v", got, c.want)
			}
			wantPairs(t, a, b, len(got))
		})
	}
}

// TestNarrowingKeepsTheFirstChoice: "the responder MUST narrow the Traffic Selectors to a subset that includes the
// initiator's first choices".
func TestNarrowingKeepsTheFirstChoice(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
		twoByTwo(pa, pb)
		pairwise(pb)
		slices.Reverse(pa.Children[0].Local)
		slices.Reverse(pa.Children[0].Remote)
	})
	w.run(20 * time.Second)
	wantPairs(t, a, b, 4)
	if got, want := fmt.Sprint(a.newest[0].Local, a.newest[0].Remote), "[10.1.1.0/24] [10.2.1.0/24]"; got != want {
		t.Errorf("narrowed to %s at first, want %s", got, want)
	}
}

// shared are two tunnels over one IKE SA.
func shared(pa, pb *sa.Peer) {
	for _, p := range []*sa.Peer{pa, pb} {
		c := *p.Children[0]
		c.Name, c.Tunnel = p.Name+"2", p.Name+"2"
		c.Local, c.Remote = slices.Clone(c.Local), slices.Clone(c.Remote)
		p.Children = append(p.Children, &c)
	}
	pa.Children[1].Local, pa.Children[1].Remote = selectors("172.16.1.0/24"), selectors("172.16.2.0/24")
	pb.Children[1].Local, pb.Children[1].Remote = selectors("172.16.2.0/24"), selectors("172.16.1.0/24")
}

func TestTunnelsShareAnIKESAAndAreLoweredAlone(t *testing.T) {
	w, a, b := pairOf(t, shared)
	w.run(5 * time.Second)
	wantPairs(t, a, b, 2)
	wantIKE(t, a, b, 1)
	spi := a.ikeOf().SPIi

	a.Do(w.now, sa.Lower{Tunnel: "a"})
	w.run(time.Minute)
	wantPairs(t, a, b, 1)
	if selectorsOf(a) != "[172.16.1.0/24] [172.16.2.0/24]" || a.ikeOf().SPIi != spi {
		t.Errorf("left: %s on IKE SA %x", selectorsOf(a), a.ikeOf().SPIi)
	}
	if st := a.view()[0].Children[0]; !st.Held || !st.ChildStatus.Why.Is(diag.OperatorDown) {
		t.Errorf("status %+v", st)
	}
	a.Do(w.now, sa.Lower{Tunnel: "a2"})
	w.run(time.Minute)
	wantPairs(t, a, b, 0)
	wantIKE(t, a, b, 0)

	a.Do(w.now, sa.Raise{Tunnel: "a"})
	if why := a.view()[0].Why; why != "" {
		t.Errorf("just raised, the peer's why is %q", why)
	}
	w.run(5 * time.Second)
	wantPairs(t, a, b, 1)
	a.Do(w.now, sa.Raise{Tunnel: "a2"})
	w.run(5 * time.Second)
	wantPairs(t, a, b, 2)
	wantIKE(t, a, b, 1)
}

func TestResponderHoldsATunnelDown(t *testing.T) {
	w, a, b := pairOf(t, shared)
	w.run(5 * time.Second)
	b.Do(w.now, sa.Lower{Tunnel: "b"})
	w.run(5 * time.Minute)
	wantPairs(t, a, b, 1)
	wantIKE(t, a, b, 1)
	b.Do(w.now, sa.Raise{Tunnel: "b"})
	w.run(35 * time.Second)
	wantPairs(t, a, b, 2)
}

// TestLowerDuringAnyExchange lowers when the n-th message is under way: nothing may
// come up behind the operator's back.
func TestLowerDuringAnyExchange(t *testing.T) {
	for _, others := range []bool{false, true} {
		for n := range 12 {
			w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
				if others {
					shared(pa, pb)
				}
			})
			seen := 0
			w.filter = func(*ipsec.Datagram) bool {
				if seen == n {
					a.Do(w.now, sa.Lower{Tunnel: "a"})
				}
				seen++
				return true
			}
			t.Logf("others %v, message %d", others, n)
			w.run(time.Second)
			a.Do(w.now, sa.Rekey{Tunnel: "a"})
			a.Do(w.now, sa.RekeyIKE{Tunnel: "a"})
			w.run(29 * time.Second)
			w.filter = nil
			w.run(10 * time.Second)
			want := 0
			if others {
				want = 1
			}
			wantPairs(t, a, b, want)
			wantIKE(t, a, b, want)
		}
	}
}

// TestDeletesOfOneChildCross: both ends delete the same Child SA at once (RFC 7296 section 1.4.1).
func TestDeletesOfOneChildCross(t *testing.T) {
	w, a, b := pairOf(t, shared)
	w.run(5 * time.Second)
	tap := newTap(w)
	deletes := 0
	w.filter = tap.change(func(h *wire.Header, ps []wire.Payload) []wire.Payload {
		if d, ok := wire.Find[*wire.Delete](ps); ok && d.Protocol == ipsec.ProtoESP {
			if deletes++; h.Flags&wire.FlagResponse != 0 {
				t.Error("a response deletes what both ends are deleting")
			}
		}
		return nil
	})
	a.Do(w.now, sa.Lower{Tunnel: "a"})
	b.Do(w.now, sa.Lower{Tunnel: "b"})
	w.run(time.Minute)
	wantPairs(t, a, b, 1)
	wantIKE(t, a, b, 1)
	if deletes != 2 {
		t.Errorf("%d Deletes", deletes)
	}
}

func TestDeletesOfTheIKESACross(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(5 * time.Second)
	a.Do(w.now, sa.Lower{Tunnel: "a"})
	b.Do(w.now, sa.Lower{Tunnel: "b"})
	w.run(10 * time.Second)
	wantPairs(t, a, b, 0)
	wantIKE(t, a, b, 0)
}

// TestPeerDeletesOneChildAndItComesBack: the peer's lifetime or operator may delete a Child SA.
func TestPeerDeletesOneChildAndItComesBack(t *testing.T) {
	w, a, b := pairOf(t, shared)
	w.run(5 * time.Second)
	b.peer(0).main().DeleteChildren(w.now, b.peer(0).children[0].cfg)
	w.run(100 * time.Millisecond)
	if len(a.in) != 1 || len(b.in) != 1 {
		t.Fatal("not deleted")
	}
	wantWhy(t, "initiator", a.view()[0].Children[0].Why, "the peer deleted the Child SA")
	w.run(5 * time.Second)
	wantPairs(t, a, b, 2)
	if why := a.view()[0].Children[0].Why; why != "" {
		t.Errorf("up again, but why is %q", why)
	}
}

func TestPeerCannotPileUpChildSAs(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	m, up, refused := malloryOf(w, a, b), a.newest[0], 0
	for i := range uint32(1100) {
		got := m.ask(wire.ExchangeCreateChild,
			&wire.SA{Proposals: []wire.Proposal{{Number: 1, Protocol: ipsec.ProtoESP, SPI: be32(0x9000 + i), Proposal: proposals(ipsec.ProtoESP, "aes128gcm16-x25519")[0]}}},
			&wire.Nonce{Data: make([]byte, 32)}, &wire.KE{Group: ipsec.KEX25519, Data: append(make([]byte, 31), 9)},
			&wire.TS{Selectors: up.Local}, &wire.TS{Responder: true, Selectors: up.Remote})
		if wire.FindNotify(got, wire.NoAdditionalSAs) != nil {
			refused++
		}
	}
	if len(b.in) != 1024 || refused != 1100-1023 {
		t.Errorf("%d Child SAs, want 1024; %d refused with NO_ADDITIONAL_SAS", len(b.in), refused)
	}
}

func TestManySelectorsAreNarrowedWithinBounds(t *testing.T) {
	many := func(net byte, n int) []ipsec.Selector {
		var out []ipsec.Selector
		for i := range n {
			out = append(out, selectors(fmt.Sprintf("10.%d.%d.0/24", net, i))...)
		}
		return out
	}
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
		pa.Children[0].Local, pa.Children[0].Remote = many(1, 255), many(2, 255)
		pb.Children[0].Local, pb.Children[0].Remote = many(2, 255), many(1, 255)
	})
	w.run(time.Second)
	wantPairs(t, a, b, 1)
	if c := a.newest[0]; len(c.Local) != 255 || len(c.Remote) != 255 {
		t.Errorf("%d and %d selectors", len(c.Local), len(c.Remote))
	}
}

// TestADeletedChildSAIsAskedForAsAWhole: that the peer has deleted it does not say that the peer wants a Child SA for each pair.
func TestADeletedChildSAIsAskedForAsAWhole(t *testing.T) {
	w, a, b := pairOf(t, twoByTwo)
	w.run(time.Second)
	old := a.newest[0]
	h := wire.Header{SPIi: a.ikeOf().SPIi, SPIr: a.ikeOf().SPIr, Major: 2, Exchange: wire.ExchangeInformational}
	del := &wire.Delete{Protocol: ipsec.ProtoESP, SPIs: [][]byte{be32(old.SPIOut)}}
	w.send(ipsec.Datagram{Local: a.ikeOf().Path.Local, Remote: a.ikeOf().Path.Remote, Data: newTap(w).forge(h, del)})
	w.run(10 * time.Second)
	if len(a.newest) != 1 || a.newest[0] == old || !ipsec.Covers(a.newest[0].Local, old.Local) || !ipsec.Covers(a.newest[0].Remote, old.Remote) {
		t.Errorf("%d Child SAs of a, %d of b", len(a.newest), len(b.newest))
	}
}
