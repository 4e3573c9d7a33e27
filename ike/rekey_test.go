package ike

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// command is a command for one end.
type command struct {
	end int // 0: a, 1: b
	do  func(tunnel string) sa.Command
}

func rekeyChild(tunnel string) sa.Command { return sa.Rekey{Tunnel: tunnel} }
func rekeyIKE(tunnel string) sa.Command   { return sa.RekeyIKE{Tunnel: tunnel} }

// atOnce gives the commands so that their messages cross, and loses the n-th message from then on. It
// returns the number of messages, and a check that the SAs were rekeyed.
func atOnce(w *world, lose int, commands []command) (sent *int, rekeyed func(testing.TB)) {
	a, b := w.order[0], w.order[1]
	ike, spi := a.ikeOf().SPIi, a.newest[0].SPIIn
	w.lossless = true
	sent = new(int)
	w.filter = func(*ipsec.Datagram) bool {
		*sent++
		return *sent-1 != lose
	}
	rekeysIKE := false
	for _, c := range commands {
		tunnel := [...]string{"a", "b"}[c.end]
		w.order[c.end].Do(w.now, c.do(tunnel))
		if _, ok := c.do(tunnel).(sa.RekeyIKE); ok {
			rekeysIKE = true
		}
	}
	return sent, func(t testing.TB) {
		t.Helper()
		if rekeysIKE && a.ikeOf().SPIi == ike {
			t.Error("the IKE SA was not rekeyed")
		}
		if !rekeysIKE && a.newest[0].SPIIn == spi {
			t.Error("the Child SA was not rekeyed")
		}
		if a.ikeOf().SPIi != b.ikeOf().SPIi {
			t.Error("the two ends use different IKE SAs")
		}
	}
}

// during connects two ends, gives the commands so that their messages cross, loses the n-th message from then on,
// and checks that one pair of SAs is left. At every moment each end can receive on the newest Child SA of the other.
// during reports whether there was an n-th message.
func during(t *testing.T, seed byte, lose int, commands ...command) bool {
	t.Helper()
	w, a, b := pairWith(t, seed, nil)
	w.run(time.Second)
	wantPairs(t, a, b, 1)
	sent, rekeyed := atOnce(w, lose, commands)
	w.run(20 * time.Second)
	w.filter = nil
	w.run(100 * time.Second) // longer than an end waits for the other's Delete
	wantPairs(t, a, b, 1)
	wantIKE(t, a, b, 1)
	rekeyed(t)
	// The SAs that are left can be rekeyed.
	for _, c := range []command{{0, rekeyChild}, {1, rekeyIKE}} {
		w.order[c.end].Do(w.now, c.do([...]string{"a", "b"}[c.end]))
		w.run(10 * time.Second)
	}
	wantPairs(t, a, b, 1)
	wantIKE(t, a, b, 1)
	return lose < *sent
}

// TestRekeysLoseNothing: either end rekeys, or both at once, a Child SA or the IKE SA or both, and each message is
// lost in turn.
func TestRekeysLoseNothing(t *testing.T) {
	t.Parallel()
	for name, commands := range map[string][]command{
		"child by the initiator":            {{0, rekeyChild}},
		"child by the responder":            {{1, rekeyChild}},
		"IKE SA by the initiator":           {{0, rekeyIKE}},
		"IKE SA by the responder":           {{1, rekeyIKE}},
		"child by both":                     {{0, rekeyChild}, {1, rekeyChild}},
		"IKE SA by both":                    {{0, rekeyIKE}, {1, rekeyIKE}},
		"child by one, IKE SA by the other": {{0, rekeyChild}, {1, rekeyIKE}},
		"IKE SA by one, child by the other": {{0, rekeyIKE}, {1, rekeyChild}},
		"everything by both":                {{0, rekeyChild}, {0, rekeyIKE}, {1, rekeyChild}, {1, rekeyIKE}},
		"everything by both, other order":   {{0, rekeyIKE}, {0, rekeyChild}, {1, rekeyIKE}, {1, rekeyChild}},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range byte(6) { // the end with the lowest nonce differs
				for lose := -1; ; lose++ {
					more := during(t, seed, lose, commands...)
					if t.Failed() {
						t.Fatalf("seed %d, message %d lost", seed, lose)
					}
					if !more && lose >= 0 {
						break
					}
				}
			}
		})
	}
}

// TestRekeyCollisionLowestNonceLoses looks at the nonces of RFC 7296 section 2.8.1: "the SA created
// with the lowest of the four nonces used in the two exchanges SHOULD be closed by
// the endpoint that created it".
func TestRekeyCollisionLowestNonceLoses(t *testing.T) {
	outcomes := map[string]int{}
	for seed := range byte(12) {
		for _, c := range []struct {
			what string
			do   func(string) sa.Command
		}{{"child", rekeyChild}, {"IKE SA", rekeyIKE}} {
			w, a, b := pairWith(t, seed, nil)
			w.run(time.Second)
			tap := newTap(w)
			lowest := map[bool][]byte{}   // by whether a asked
			deleter := map[bool]int{}     // Deletes that an end began
			spis := map[bool][]uint64{}   // IKE SAs that the exchange of an end made
			children := map[bool]uint32{} // inbound SPI at a of the child that the exchange made
			w.filter = tap.change(func(h *wire.Header, ps []wire.Payload) []wire.Payload {
				fromA := h.Flags&wire.FlagInitiator != 0
				asked := fromA == (h.Flags&wire.FlagResponse == 0) // whether a asked
				if nonce, ok := wire.Find[*wire.Nonce](ps); ok {
					if n := lowest[asked]; n == nil || bytes.Compare(nonce.Data, n) < 0 {
						lowest[asked] = nonce.Data
					}
					p, _ := wire.Find[*wire.SA](ps)
					spi := p.Proposals[0].SPI
					if len(spi) == 4 && fromA {
						children[asked] = uint32(spi[0])<<24 | uint32(spi[1])<<16 | uint32(spi[2])<<8 | uint32(spi[3])
					} else if len(spi) == 8 {
						spis[asked] = append(spis[asked], uint64(spi[7]))
					}
				}
				if _, ok := wire.Find[*wire.Delete](ps); ok && h.Flags&wire.FlagResponse == 0 {
					deleter[fromA]++
				}
				return nil
			})
			a.Do(w.now, c.do("a"))
			b.Do(w.now, c.do("b"))
			w.run(10 * time.Second)
			wantPairs(t, a, b, 1)
			winnerIsA := bytes.Compare(lowest[true], lowest[false]) > 0
			outcomes[fmt.Sprint(c.what, winnerIsA)]++
			if c.what == "child" {
				if got := a.newest[0].SPIIn; got != children[winnerIsA] {
					t.Errorf("seed %d: Child SA %08x stays, want %08x of the exchange with the higher nonces", seed, got, children[winnerIsA])
				}
			} else if got, want := a.ikeOf().Initiator, winnerIsA; got != want {
				t.Errorf("seed %d: the IKE SA that a made stays: %v, want %v", seed, got, want)
			}
			// The winner deletes the old SA, the loser its own new one.
			if c.what == "child" && (deleter[true] != 1 || deleter[false] != 1) {
				t.Errorf("seed %d: Deletes %v, want one from each end", seed, deleter)
			}
		}
	}
	for _, o := range []string{"childtrue", "childfalse", "IKE SAtrue", "IKE SAfalse"} {
		if outcomes[o] == 0 {
			t.Errorf("outcome %q was never seen: %v", o, outcomes)
		}
	}
}

// TestResponderSendsOnTheNewChildOnlyWhenThePeerIsReady: a packet on the new Child SA proves it, or the Delete of the
// old one (RFC 7296 section 2.8).
func TestResponderSendsOnTheNewChildOnlyWhenThePeerIsReady(t *testing.T) {
	for _, proof := range []string{"packet", "Delete"} {
		w, a, b := pairOf(t, nil)
		w.run(time.Second)
		old := b.newest[0]
		tap := newTap(w)
		w.filter = func(d *ipsec.Datagram) bool { // no Delete gets through
			_, ps, ok := tap.payloads(d.Data)
			_, del := wire.Find[*wire.Delete](ps)
			return !ok || !del
		}
		a.Do(w.now, sa.Rekey{Tunnel: "a"})
		w.run(5 * time.Second)
		if len(b.in) != 2 || len(b.newest) != 1 || b.newest[0] != old {
			t.Fatal("the responder sends on the new Child SA already")
		}
		if len(a.newest) != 2 {
			t.Fatal("the initiator does not send on the new Child SA yet")
		}
		if proof == "packet" {
			b.Do(w.now, sa.SeenInbound{SPIIn: old.SPIIn}) // proves nothing
			b.drain()
			if len(b.newest) != 1 {
				t.Fatal("moved on a packet of the old Child SA")
			}
			b.Do(w.now, sa.SeenInbound{SPIIn: a.newest[1].SPIOut})
		} else {
			w.filter = nil
			w.run(10 * time.Second)
		}
		b.drain()
		if last := b.sendsOn(); last == old {
			t.Errorf("%s: the responder still sends on the old Child SA", proof)
		}
		w.filter = nil
		w.run(30 * time.Second)
		wantPairs(t, a, b, 1)
	}
}

// TestOldChildLingersForPacketsUnderWay: both ends have deleted it, and 5 s later it is gone.
func TestOldChildLingersForPacketsUnderWay(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	w.run(4 * time.Second)
	if len(a.in) != 2 || len(b.in) != 2 {
		t.Errorf("%d and %d inbound after 4 s, want 2", len(a.in), len(b.in))
	}
	w.run(2 * time.Second)
	wantPairs(t, a, b, 1)
}

func TestLifetimesInBytesAndPacketsRekey(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	for i, limit := range []ipsec.Limit{ipsec.LimitBytes, ipsec.LimitPackets, ipsec.LimitSequence} {
		n := w.order[i%2]
		old := n.newest[0].SPIIn
		w.lossless = true
		n.Do(w.now, sa.Expired{SPIIn: old, Limit: limit})
		n.Do(w.now, sa.Expired{SPIIn: old, Limit: limit}) // told twice
		w.run(10 * time.Second)
		wantPairs(t, a, b, 1)
		if n.newest[0].SPIIn == old {
			t.Errorf("%s: no rekey", limit)
		}
		n.Do(w.now, sa.Expired{SPIIn: old, Limit: limit}) // too late
	}
	if got := w.count(wire.ExchangeCreateChild, false); got != 3 {
		t.Errorf("%d CREATE_CHILD_SA requests, want 3", got)
	}
}

// refuseRekeys replaces each CREATE_CHILD_SA of a by an empty INFORMATIONAL, and its answer by a notification.
func refuseRekeys(w *world, kind wire.NotifyType) {
	tap, refused := newTap(w), map[uint32]bool{}
	w.filter = func(d *ipsec.Datagram) bool {
		h, _, ok := tap.payloads(d.Data)
		switch response := h.Flags&wire.FlagResponse != 0; {
		case !ok:
		case d.Local.Addr() == w.order[1].addr && !response && h.Exchange == wire.ExchangeCreateChild:
			h.Exchange = wire.ExchangeInformational
			d.Data = tap.forge(h, &wire.Vendor{Data: []byte("was CREATE_CHILD_SA")})
			refused[h.ID] = true
		case d.Local.Addr() == w.order[0].addr && response && refused[h.ID]:
			h.Exchange = wire.ExchangeCreateChild
			d.Data = tap.forge(h, &wire.Notify{Kind: kind})
		}
		return true
	}
}

// TestRefusedChildRekeyEndsHardAndComesBack: an SA past its lifetime "MUST NOT be used", however little the peer cooperates.
func TestRefusedChildRekeyEndsHardAndComesBack(t *testing.T) {
	w, a, _ := pairOf(t, func(pa, pb *sa.Peer) {
		pa.Children[0].Lifetime.Time, pb.Children[0].Lifetime.Time = 2*time.Minute, 0
		pb.DPD.Interval = 0
	})
	w.run(time.Second)
	refuseRekeys(w, wire.NoAdditionalSAs)
	end := w.now.Add(2*time.Minute - time.Second)
	w.run(end.Add(-time.Millisecond).Sub(w.now))
	if len(a.in) != 1 {
		t.Fatalf("%d Child SAs just before the end", len(a.in))
	}
	wantWhy(t, "initiator", a.view()[0].Children[0].Why, "the peer answered NO_ADDITIONAL_SAS: it takes no more Child SAs on this IKE SA")
	w.run(10 * time.Millisecond)
	if len(a.in) != 0 || len(a.out) != 0 {
		t.Fatal("the Child SA outlives its lifetime")
	}
	w.filter = nil
	w.run(time.Minute)
	if len(a.out) != 1 {
		t.Error("it does not come back")
	}
}

// TestChildEndsHardThoughThePeerIsSilent: the end does not wait for an answer to the Delete.
func TestChildEndsHardThoughThePeerIsSilent(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
		pa.Children[0].Lifetime.Time = 40 * time.Second
		pa.DPD.Interval = 0
	})
	w.run(time.Second)
	b.dead = true
	w.run(39*time.Second - time.Millisecond)
	if len(a.in) != 1 {
		t.Fatal("ended too early")
	}
	w.run(10 * time.Millisecond)
	if len(a.in)+len(a.out) != 0 {
		t.Error("the Child SA outlives its lifetime")
	}
}

// TestOtherGroupForTheIKERekey: the peer answers INVALID_KE_PAYLOAD, as after a change of its settings.
func TestOtherGroupForTheIKERekey(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
		pa.Proposals = proposals(ipsec.ProtoIKE, "aes128-sha256-x25519-ecp256")
		pb.Proposals = proposals(ipsec.ProtoIKE, "aes128-sha256-x25519-ecp256")
	})
	w.run(time.Second)
	b.peer(0).cfg.Proposals = proposals(ipsec.ProtoIKE, "aes128-sha256-ecp256")
	w.lossless = true
	a.Do(w.now, sa.RekeyIKE{Tunnel: "a"})
	w.run(10 * time.Second)
	wantPairs(t, a, b, 1)
	wantIKE(t, a, b, 1)
	if got := a.ikeOf().Suite.KE.ID; got != ipsec.KEECP256 {
		t.Errorf("group %d", got)
	}
	if n := w.count(wire.ExchangeCreateChild, false); n != 2 {
		t.Errorf("%d CREATE_CHILD_SA requests, want 2", n)
	}
}

func TestRefusedIKERekeyEndsHardAndComesBack(t *testing.T) {
	w, a, b := pairOf(t, func(pa, _ *sa.Peer) { pa.Lifetime = 5 * time.Minute })
	w.run(time.Second)
	refuseRekeys(w, wire.NoProposalChosen)
	w.run(5*time.Minute - 2*time.Second)
	spi := a.ikeOf().SPIi
	w.run(2 * time.Second)
	if m := a.peer(0).main(); m != nil && m.Info().SPIi == spi {
		t.Fatal("the IKE SA outlives its lifetime")
	}
	w.filter = nil
	w.run(time.Minute)
	wantPairs(t, a, b, 1)
	wantIKE(t, a, b, 1)
}

// TestEndlessTemporaryFailureClosesTheIKESA: "it SHOULD conclude that the state information is out of sync".
func TestEndlessTemporaryFailureClosesTheIKESA(t *testing.T) {
	for name, do := range map[string]func(string) sa.Command{"child": rekeyChild, "IKE SA": rekeyIKE} {
		w, a, b := pairOf(t, nil)
		w.run(time.Second)
		spi := a.ikeOf().SPIi
		refuseRekeys(w, wire.TemporaryFailure)
		a.Do(w.now, do("a"))
		w.run(170 * time.Second)
		if a.ikeOf().SPIi != spi {
			t.Errorf("%s: given up too early", name)
		}
		n := w.count(wire.ExchangeCreateChild, false)
		if n < 25 || n > 90 {
			t.Errorf("%s: %d attempts", name, n)
		}
		w.run(20 * time.Second)
		if a.peer(0).main() != nil && a.ikeOf().SPIi == spi {
			t.Errorf("%s: still the same IKE SA", name)
		}
		w.filter = nil
		w.run(time.Minute)
		wantPairs(t, a, b, 1)
	}
}

// TestRekeyThatIsTriedAgainSaysWhy: the log names the failure, not the lifetime.
func TestRekeyThatIsTriedAgainSaysWhy(t *testing.T) {
	for what, do := range map[string]func(string) sa.Command{"a Child SA": rekeyChild, "the IKE SA": rekeyIKE} {
		w, a, _ := pairOf(t, nil)
		var log bytes.Buffer
		whys := func() (out []string) {
			for line := range strings.Lines(log.String()) {
				if strings.Contains(line, `msg="rekeying `+what+`"`) {
					_, code, _ := strings.Cut(line, " code=")
					out = append(out, strings.TrimSpace(code))
				}
			}
			return out
		}
		a.env.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		w.run(time.Second)
		refuseRekeys(w, wire.TemporaryFailure)
		a.Do(w.now, do("a"))
		w.run(7 * time.Second)
		if got := whys(); len(got) < 2 || got[0] != "operator-asked" || got[1] != "peer-answered" {
			t.Errorf("%s is rekeyed because of %s", what, got)
		}
		w.filter = nil
		w.run(24 * time.Hour)
		if got := whys(); got[len(got)-1] != "lifetime" {
			t.Errorf("%s is rekeyed because of %s at last", what, got[len(got)-1])
		}
	}
}

// TestChildThatThePeerLostIsCreatedAgain: "CHILD_SA_NOT_FOUND [...] silently delete the Child SA [...] and send a request to create a new Child SA from scratch".
func TestChildThatThePeerLostIsCreatedAgain(t *testing.T) {
	w, a, _ := pairOf(t, twoByTwo)
	w.run(time.Second)
	old := a.newest[0].SPIIn
	refuseRekeys(w, wire.ChildSANotFound)
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	w.run(100 * time.Millisecond)
	if len(a.in) != 0 {
		t.Fatal("the Child SA is still there")
	}
	w.filter = nil
	w.run(10 * time.Second)
	if len(a.out) != 1 || a.newest[0].SPIIn == old {
		t.Fatalf("%d Child SAs, want a new one", len(a.out))
	}
	if c := a.peer(0).cfg.Children[0]; !ipsec.Covers(a.newest[0].Local, c.Local) || !ipsec.Covers(a.newest[0].Remote, c.Remote) {
		t.Error("it does not carry everything, which the peer took before")
	}
}

// TestPeerThinksBetterOfARekey: the peer deletes the new Child SA instead of the old one.
func TestPeerThinksBetterOfARekey(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	old := b.newest[0]
	m := malloryOf(w, a, b)
	request := func() uint32 {
		got := m.ask(wire.ExchangeCreateChild,
			&wire.Notify{Protocol: ipsec.ProtoESP, SPI: be32(old.SPIOut), Kind: wire.RekeySA},
			&wire.SA{Proposals: []wire.Proposal{{Number: 1, Protocol: ipsec.ProtoESP, SPI: []byte("1234"), Proposal: proposals(ipsec.ProtoESP, "aes128gcm16-x25519")[0]}}},
			&wire.Nonce{Data: make([]byte, 32)}, &wire.KE{Group: ipsec.KEX25519, Data: append(make([]byte, 31), 9)},
			&wire.TS{Selectors: old.Remote}, &wire.TS{Responder: true, Selectors: old.Local})
		if n := len(got); n < 4 {
			t.Fatalf("refused: %+v", got[0])
		}
		return 0
	}
	request()
	m.ask(wire.ExchangeInformational, &wire.Delete{Protocol: ipsec.ProtoESP, SPIs: [][]byte{[]byte("1234")}})
	if len(b.in) != 1 || len(b.out) != 1 || b.view()[0].Children[0].SA != old {
		t.Fatal("the old Child SA did not stay")
	}
	request() // and once more
	if len(b.in) != 2 {
		t.Error("no second rekey")
	}
}

func be32(v uint32) []byte { return []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)} }
