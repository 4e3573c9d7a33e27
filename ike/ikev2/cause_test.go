package ikev2

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// sealedBy finds the machine that sealed a datagram.
func (w *world) sealedBy(d ipsec.Datagram) *SA {
	h, _ := wire.ParseHeader(d.Data)
	for _, e := range [...]*host{w.a, w.b} {
		for _, m := range e.machines {
			if m := m.(*SA); m.spiI == h.SPIi && m.initiator == (h.Flags&wire.FlagInitiator != 0) && m.keys != nil {
				return m
			}
		}
	}
	return nil
}

// rewrite makes every message of an exchange say something else. It seals the new
// payloads with the keys of the sender, as a peer could that behaves so.
func (w *world) rewrite(x wire.Exchange, response bool, change func(ps []wire.Payload) []wire.Payload) {
	w.meddle = func(d *ipsec.Datagram) {
		h, _ := wire.ParseHeader(d.Data)
		if h.Exchange != x || (h.Flags&wire.FlagResponse != 0) != response {
			return
		}
		m, err := wire.Parse(d.Data)
		if err != nil {
			w.t.Fatal(err)
		}
		p, ok := m.Payloads[len(m.Payloads)-1].(*wire.Encrypted)
		if !ok {
			m.Payloads = change(m.Payloads)
			d.Data = m.Marshal()
			return
		}
		s := w.sealedBy(*d)
		c := s.keys.toI
		if s.initiator {
			c = s.keys.fromI
		}
		plain, err := c.Open(d.Data, p.Offset)
		if err != nil {
			w.t.Fatal(err)
		}
		ps, err := wire.ParseChain(p.Next, plain)
		if err != nil {
			w.t.Fatal(err)
		}
		msgs, err := s.seal(x, h.Flags&wire.FlagResponse, h.ID, change(ps))
		if err != nil {
			w.t.Fatal(err)
		}
		d.Data = msgs[0]
	}
}

// without leaves payloads of a type out.
func without(typ wire.PayloadType) func(ps []wire.Payload) []wire.Payload {
	return func(ps []wire.Payload) []wire.Payload {
		var out []wire.Payload
		for _, p := range ps {
			if p.Type() != typ {
				out = append(out, p)
			}
		}
		return out
	}
}

// only replaces all payloads by a notification.
func only(kind wire.NotifyType) func(ps []wire.Payload) []wire.Payload {
	return func([]wire.Payload) []wire.Payload { return []wire.Payload{&wire.Notify{Kind: kind}} }
}

// each changes the payloads of one Go type.
func each[P wire.Payload](change func(P)) func(ps []wire.Payload) []wire.Payload {
	return func(ps []wire.Payload) []wire.Payload {
		for _, p := range ps {
			if p, ok := p.(P); ok {
				change(p)
			}
		}
		return ps
	}
}

// Each end says why something failed, by this code and in these words.
func TestCausesAreTold(t *testing.T) {
	two := func(w *world) {
		w.a.current().Create(w.now, w.a.peer.Children[1], w.a.peer.Children[1].Local, w.a.peer.Children[1].Remote)
	}
	rekey := func(w *world) { w.a.current().RekeyChildren(w.now, w.a.peer.Children[0], asked) }
	rekeySA := func(w *world) { w.a.current().RekeyIKE(w.now, asked) }
	for _, c := range []struct {
		code   diag.Code
		says   string
		peers  func(a, b *sa.Peer)
		before func(w *world) // before IKE_SA_INIT
		do     func(w *world) // 20 s later
		wait   time.Duration
	}{
		{
			code: diag.IKEGroupGuess, says: "the peer guessed key exchange group x25519; ours is ecp256",
			peers: suites[3].change,
		},
		{
			code: diag.KEGroupChanged, says: "the peer answered with a key exchange group other than the one it chose",
			before: func(w *world) {
				w.rewrite(wire.ExchangeSAInit, true, each(func(ke *wire.KE) { ke.Group = ipsec.KEECP256 }))
			},
		},
		{
			code: diag.IKENotOffered, says: "the peer chose an IKE proposal that we did not offer",
			before: func(w *world) {
				w.rewrite(wire.ExchangeSAInit, true, each(func(p *wire.SA) { p.Proposals[0].Transforms = p.Proposals[0].Transforms[1:] }))
			},
		},
		{
			code: diag.PSKMismatch, says: "the pre-shared keys do not match",
			before: func(w *world) { w.rewrite(wire.ExchangeAuth, true, each(func(p *wire.Auth) { p.Data[0] ^= 1 })) },
		},
		{
			code: diag.AuthDisbelieved, says: "the peer does not accept our proof of identity (AUTHENTICATION_FAILED): the pre-shared keys differ, or it expects another identity than 192.0.2.2 (IPv4 address)",
			before: func(w *world) { w.rewrite(wire.ExchangeAuth, true, each(func(p *wire.Auth) { p.Data[0] ^= 1 })) },
		},
		{
			code: diag.AuthMethod, says: "the peer authenticates by method 9; we know only the pre-shared key (2)",
			before: func(w *world) { w.rewrite(wire.ExchangeAuth, false, each(func(p *wire.Auth) { p.Method = 9 })) },
		},
		{
			code: diag.MessageUnread, says: "the peer could not read our message: UNSUPPORTED_CRITICAL_PAYLOAD",
			do: func(w *world) {
				w.rewrite(wire.ExchangeInformational, false, only(wire.UnsupportedCriticalPayload))
				w.a.current().Probe(w.now)
			},
		},
		{
			code: diag.RequestUnread, says: "the peer could not read our CREATE_CHILD_SA request (INVALID_SYNTAX), which ends the IKE SA at both ends",
			do: func(w *world) { w.rewrite(wire.ExchangeCreateChild, true, only(wire.InvalidSyntax)); two(w) },
		},
		{
			code: diag.Malformed, says: "the peer's message cannot be read: CREATE_CHILD_SA with 0 Nonce payloads instead of 1",
			do: func(w *world) { w.rewrite(wire.ExchangeCreateChild, true, without(wire.TypeNonce)); two(w) },
		},
		{
			code: diag.AnswerIncomplete, says: "the peer's answer has no Child SA in it",
			do: func(w *world) { w.rewrite(wire.ExchangeCreateChild, true, without(wire.TypeTSi)); two(w) },
		},
		{
			code: diag.AnswerIncomplete, says: "the peer's answer has no key exchange value of the group that we sent",
			do: func(w *world) { w.rewrite(wire.ExchangeCreateChild, true, without(wire.TypeKE)); two(w) },
		},
		{
			code: diag.ESPNotOffered, says: "the peer chose an ESP proposal that we did not offer: encryption: ours aes128gcm16, theirs aes192gcm16",
			do: func(w *world) {
				w.rewrite(wire.ExchangeCreateChild, true, each(func(p *wire.SA) { p.Proposals[0].Transforms[0].KeyBits = 192 }))
				two(w)
			},
		},
		{
			code: diag.SelectorsWrong, says: "the peer answered with selectors that we did not offer: [10.99.0.0/16] and [10.4.0.0/16]",
			do: func(w *world) {
				w.rewrite(wire.ExchangeCreateChild, true, each(func(p *wire.TS) {
					if !p.Responder {
						p.Selectors = childFor("", "10.99.0.0/16", "10.4.0.0/16").Local
					}
				}))
				two(w)
			},
		},
		{
			code: diag.ReservedSPI, says: "the peer chose a reserved SPI",
			do: func(w *world) {
				w.rewrite(wire.ExchangeCreateChild, true, each(func(p *wire.SA) { p.Proposals[0].SPI = u32(255) }))
				two(w)
			},
		},
		{
			code: diag.KeyExchange, says: "the peer's key exchange value is invalid: key exchange x25519: the peer's public value is not of the group",
			do: func(w *world) {
				w.rewrite(wire.ExchangeCreateChild, true, each(func(p *wire.KE) { clear(p.Data) }))
				two(w)
			},
		},
		{
			code: diag.NoSPI, says: "no SPI is left: all are in use",
			do: func(w *world) {
				w.a.env.AllocSPI = func() (uint32, error) { return 0, errors.New("all are in use") }
				two(w)
			},
		},
		{
			code: diag.Internal, says: "vpngw could not make a nonce: no randomness",
			do: func(w *world) { w.a.env.Rand = broken{}; two(w) },
		},
		{
			code: diag.RekeyAnswer, says: "the peer's answer to the rekey of the IKE SA does not fit our request",
			do: func(w *world) { w.rewrite(wire.ExchangeCreateChild, true, without(wire.TypeKE)); rekeySA(w) },
		},
		{
			code: diag.PeerAnswered, says: "the peer answered NO_ADDITIONAL_SAS",
			do: func(w *world) { w.rewrite(wire.ExchangeCreateChild, true, only(wire.NoAdditionalSAs)); rekeySA(w) },
		},
		{
			code: diag.IKELifetimeEnded, says: "the IKE SA's lifetime ended before a rekey succeeded", wait: 31 * time.Minute,
			peers: func(a, b *sa.Peer) { a.Children[0].Lifetime.Time, b.Children[0].Lifetime.Time = 0, 0 },
			do: func(w *world) {
				w.rewrite(wire.ExchangeCreateChild, false, each(func(p *wire.SA) { p.Proposals[0].Transforms[0].ID = 999 }))
			},
		},
		{
			code: diag.PeerTemporary, says: "the peer has answered TEMPORARY_FAILURE for 3m0s", wait: 4 * time.Minute,
			do: func(w *world) { w.rewrite(wire.ExchangeCreateChild, true, only(wire.TemporaryFailure)); rekey(w) },
		},
		{
			code: diag.RekeyRefused, says: "the peer has refused to rekey for 3m0s", wait: 4 * time.Minute,
			do: func(w *world) { w.rewrite(wire.ExchangeCreateChild, true, only(wire.NoAdditionalSAs)); rekey(w) },
		},
		{
			code: diag.LifetimeEnded, says: "its lifetime ended before a rekey succeeded", wait: 11 * time.Minute,
			peers: func(a, b *sa.Peer) { a.DPD.Interval, b.DPD.Interval = 0, 0 },
			do: func(w *world) {
				for _, h := range [...]*host{w.a, w.b} {
					h.current().fam.children[0].softAt = time.Time{} // it is never rekeyed
				}
			},
		},
		{
			code: diag.ESPRefused, says: "we sent ESP proposals aes128gcm16-x25519; the peer answered NO_PROPOSAL_CHOSEN: it does not accept these ESP algorithms; compare encryption, hash and PFS group",
			do: func(w *world) { w.rewrite(wire.ExchangeCreateChild, true, only(wire.NoProposalChosen)); two(w) },
		},
		{
			code: diag.SelectorsRefuse, says: "we asked for [10.3.0.0/16] here and [10.4.0.0/16] there; the peer answered TS_UNACCEPTABLE: it has no such pair of subnets, or has taken the connection down; compare local and remote subnets, mirrored",
			do: func(w *world) { w.rewrite(wire.ExchangeCreateChild, true, only(wire.TSUnacceptable)); two(w) },
		},
		{
			code: diag.ChildNotFound, says: "the peer does not have the Child SA any more",
			do: func(w *world) { w.rewrite(wire.ExchangeCreateChild, true, only(wire.ChildSANotFound)); rekey(w) },
		},
		{
			code: diag.UnknownChild, says: "the peer wants to rekey a Child SA that we do not have",
			do: func(w *world) {
				w.rewrite(wire.ExchangeCreateChild, false, each(func(n *wire.Notify) {
					if n.Kind == wire.RekeySA {
						n.SPI = u32(4711)
					}
				}))
				rekey(w)
			},
		},
		{
			code: diag.ChildHeld, says: "two is held down by the operator",
			do: func(w *world) { w.b.held[w.b.peer.Children[1]] = true; two(w) },
		},
		{
			code: diag.ChildDeleted, says: "this gateway deleted the Child SA",
			do: func(w *world) { w.a.current().DeleteChildren(w.now, w.a.peer.Children[0]) },
		},
		{
			code: diag.PeerDeletedESP, says: "the peer deleted the Child SA",
			do: func(w *world) { w.a.current().DeleteChildren(w.now, w.a.peer.Children[0]) },
		},
		{
			code: diag.SuccessorDeleted, says: "the peer deleted the SA that was to replace this one",
			do: func(w *world) {
				rekey(w)
				w.rewrite(wire.ExchangeInformational, false, each(func(p *wire.Delete) { // of the new one instead of the old one
					if c := w.a.newest(); len(p.SPIs) > 0 && c != nil {
						p.SPIs[0] = u32(c.SPIIn)
					}
				}))
			},
		},
		{
			code: diag.BeingReplaced, says: "the IKE SA is being replaced",
			do: func(w *world) {
				rekeySA(w)
				w.b.current().Create(w.now, w.b.peer.Children[1], w.b.peer.Children[1].Local, w.b.peer.Children[1].Remote)
			},
		},
		{
			code: diag.BeingReplaced, says: "the Child SA is being replaced",
			do: func(w *world) { rekey(w); w.b.current().DeleteChildren(w.now, w.b.peer.Children[0]) },
		},
		{
			code: diag.ChildBusy, says: "a Child SA is being made, rekeyed or deleted",
			do: func(w *world) { rekeySA(w); w.b.current().DeleteChildren(w.now, w.b.peer.Children[0]) },
		},
		{
			code: diag.RekeyedAlready, says: "the peer has rekeyed the IKE SA a moment ago",
			do: func(w *world) {
				s := w.a.current()
				rekeySA(w)
				w.b.current().RekeyIKE(w.now, asked)
				w.lose = func(d ipsec.Datagram) bool {
					h, _ := wire.ParseHeader(d.Data)
					return h.Flags&wire.FlagResponse != 0
				}
				w.run(100 * time.Millisecond)
				r, _ := (&rekeyIKE{}).build(s, w.now) // a peer that does not wait for our response
				msgs, err := s.seal(r.exchange, 0, s.outID+1, r.payloads)
				if err != nil {
					t.Fatal(err)
				}
				s.send(s.path, msgs)
			},
		},
		{
			code: diag.UnknownPeer, says: "no connection has a peer at 192.0.2.1",
			before: func(w *world) { w.b.peer = nil },
		},
		{
			code: diag.IKEProposal, says: "the peer's IKE proposals and ours have nothing in common: encryption: ours aes256gcm16, theirs aes128gcm16",
			peers: func(_, b *sa.Peer) { b.Proposals = parse(ipsec.ProtoIKE, "aes256gcm16-prfsha256-x25519") },
		},
		{
			code: diag.IKERefused, says: "we sent IKE proposals aes128gcm16-prfsha256-x25519; the peer answered NO_PROPOSAL_CHOSEN: it has no connection for us with these IKE algorithms; compare encryption, hash and DH group, the IKE version, and whether it knows our address",
			peers: func(_, b *sa.Peer) { b.Proposals = parse(ipsec.ProtoIKE, "aes256gcm16-prfsha256-x25519") },
		},
		{
			code: diag.IKEGroup, says: "we offered key exchange in group x25519; the peer wants modp2048, which our proposals do not have",
			peers: func(_, b *sa.Peer) { b.Proposals = parse(ipsec.ProtoIKE, "aes128gcm16-prfsha256-x25519") },
			before: func(w *world) {
				w.rewrite(wire.ExchangeSAInit, true, func([]wire.Payload) []wire.Payload {
					return []wire.Payload{&wire.Notify{Kind: wire.InvalidKEPayload, Data: u16(ipsec.KEMODP2048)}}
				})
			},
		},
		{
			code: diag.PeerIdentity, says: "the peer says that it is a.example (FQDN); the configuration expects 192.0.2.1 (IPv4 address)",
			peers: func(a, _ *sa.Peer) { a.LocalID = ipsec.Identity{Type: ipsec.IDFQDN, Data: "a.example"} },
		},
		{
			code: diag.OurIdentity, says: "the peer asks for b.example (FQDN); our identity is 192.0.2.2 (IPv4 address)",
			peers: func(a, _ *sa.Peer) { a.RemoteID = ipsec.Identity{Type: ipsec.IDFQDN, Data: "b.example"} },
		},
		{
			code: diag.AuthRefused, says: "we sent identity 192.0.2.1 (IPv4 address) and expect 192.0.2.2 (IPv4 address); the peer answered IKE_AUTH with AUTHENTICATION_FAILED: the pre-shared keys differ, or it does not know our identity or expects another of its own",
			peers: func(a, _ *sa.Peer) { a.PSK = ipsec.Secret("another") },
		},
		{
			code: diag.SuiteOfOther, says: "aes128gcm16-prfsha256-x25519 is negotiated, which the proposals of the other (aes256gcm16-prfsha256-x25519) do not have",
			before: func(w *world) {
				weak, strong := *w.b.peer, *w.b.peer
				weak.RemoteID = ipsec.Identity{Type: ipsec.IDFQDN, Data: "weak.example"}
				strong.Proposals = parse(ipsec.ProtoIKE, "aes256gcm16-prfsha256-x25519")
				w.b.peer, w.b.others = &strong, []*sa.Peer{&weak}
			},
		},
		{
			code: diag.ESPProposal, says: "the peer's ESP proposals and ours have nothing in common: encryption: ours aes256gcm16, theirs aes128gcm16",
			peers: func(_, b *sa.Peer) { b.Children[0].Proposals = parse(ipsec.ProtoESP, "aes256gcm16-x25519") },
		},
		{
			code: diag.ESPGroup, says: "the peer guessed another PFS group than ecp256",
			peers: func(_, b *sa.Peer) { b.Children[1].Proposals = parse(ipsec.ProtoESP, "aes128gcm16-ecp256") },
			do: func(w *world) {
				next := *w.a.peer.Children[1]
				next.Proposals = parse(ipsec.ProtoESP, "aes128gcm16-x25519-ecp256")
				w.a.peer.Children[1] = &next
				two(w)
			},
		},
		{
			code: diag.Selectors, says: "traffic selectors: the peer asks for [10.99.0.0/16] here and [10.3.0.0/16] there; we have [10.2.0.0/16] here and [10.1.0.0/16] there, [10.4.0.0/16] here and [10.3.0.0/16] there",
			peers: func(a, _ *sa.Peer) { a.Children[1].Remote = childFor("", "10.99.0.0/16", "10.99.0.0/16").Remote },
			do:    two,
		},
		{
			code: diag.TooManyChildren, says: "the peer has 1024 Child SAs already",
			do: func(w *world) {
				f := w.b.current().fam
				for len(f.children) < maxChildren {
					f.children = append(f.children, f.children[0])
				}
				two(w)
				w.run(time.Second)
				f.children = f.children[:1]
			},
		},
		{
			code: diag.NATForbidden, says: "this host is behind a NAT, which raw ESP does not pass, but encap is \"never\": set encap to \"auto\"",
			peers: func(a, _ *sa.Peer) { a.Encap = sa.EncapNever }, before: func(w *world) { w.nat = 20000 },
		},
		{
			code: diag.NATForbidden, says: "the peer is behind a NAT, which raw ESP does not pass, but encap is \"never\": set encap to \"auto\"",
			peers: func(_, b *sa.Peer) { b.Encap = sa.EncapNever }, before: func(w *world) { w.nat = 20000 },
		},
		{
			code: diag.PeerRestarted, says: diag.Lookup(diag.PeerRestarted).Sentence,
			do: func(w *world) { w.a.current().Drop(w.now, asked); w.start() },
		},
		{
			code: diag.LifetimeReached, says: "its lifetime nears its end", wait: 10 * time.Minute,
		},
		{
			code: diag.Replaced, says: "replaced by a newer SA",
			do: rekeySA,
		},
		{
			code: diag.Collision, says: "both ends began at once; the other IKE SA stays",
			do: func(w *world) { rekeySA(w); w.b.current().RekeyIKE(w.now, asked) },
		},
		{
			code: diag.PeerDeletedIKE, says: "the peer deleted the IKE SA",
			do: func(w *world) { w.a.current().Close(w.now, asked) },
		},
		{
			code: diag.LivenessDead, says: "the peer is dead: it did not answer a liveness check within 20s",
			peers: func(a, _ *sa.Peer) { a.DPD.Timeout = 20 * time.Second },
			do:    func(w *world) { w.lose = func(ipsec.Datagram) bool { return true } },
		},
		{
			code: diag.NoAnswerAuth, says: "no answer to IKE_AUTH from 192.0.2.2:500: the peer answered IKE_SA_INIT, so look for a filter on UDP 4500 or for large packets that are lost, and in the peer's log",
			before: func(w *world) {
				w.lose = func(d ipsec.Datagram) bool {
					h, _ := wire.ParseHeader(d.Data)
					return h.Exchange == wire.ExchangeAuth
				}
			},
		},
		{
			code: diag.NoAnswer, says: "no answer to IKE_SA_INIT from 192.0.2.2:500, nor on its UDP port 4500: is the address right, do firewalls on the way let that through, and is the peer running and willing?",
			before: func(w *world) { w.lose = func(ipsec.Datagram) bool { return true } },
		},
		{
			code: diag.PeerStopped, says: "the peer began and did not go on to IKE_AUTH within 30s: did our answer reach it, and is UDP 4500 open on the way?",
			before: func(w *world) {
				w.lose = func(d ipsec.Datagram) bool {
					h, _ := wire.ParseHeader(d.Data)
					return h.Exchange == wire.ExchangeAuth
				}
			},
		},
		{
			code: diag.PeerDead, says: "the peer is dead: no answer from 192.0.2.2:500 to repeated requests",
			do: func(w *world) { w.lose = func(ipsec.Datagram) bool { return true }; two(w) },
		},
	} {
		t.Run(string(c.code)+": "+c.says, func(t *testing.T) {
			w := newWorld(t, c.peers)
			if c.before != nil {
				c.before(w)
			}
			w.start()
			w.run(20 * time.Second)
			if c.do != nil {
				c.do(w)
			}
			w.run(max(c.wait, time.Minute+10*time.Second))
			if !w.told(c.code, c.says) {
				t.Errorf("nobody is told %s: %s", c.code, c.says)
				for _, h := range [...]*host{w.a, w.b} {
					for _, c := range h.causes {
						t.Logf("%v: %s: %s", h.addr, c.Code, c)
					}
				}
			}
		})
	}
}

// Limits have codes of their own, and every one is told.
func TestLimitsAreCauses(t *testing.T) {
	for limit, code := range map[ipsec.Limit]diag.Code{
		ipsec.LimitBytes: diag.BytesReached, ipsec.LimitPackets: diag.PacketsReached, ipsec.LimitSequence: diag.SequenceReached,
	} {
		w := newWorld(t, nil)
		w.start()
		w.run(time.Second)
		if s := w.a.current(); !s.Expired(w.now, w.a.newest().SPIIn, limit) {
			t.Errorf("%v: not one of its SPIs", limit)
		}
		w.run(time.Second)
		if !w.told(code, diag.Cause{Code: code}.String()) {
			t.Errorf("%v: no rekey because of %s", limit, code)
		}
	}
}

// broken is a source of randomness that always fails.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("no randomness") }

// newest is the newest Child SA that is to stay.
func (h *host) newest() *ipsec.ChildSA {
	for _, m := range h.machines {
		for _, c := range slices.Backward(m.Children()) {
			if !c.Leaving {
				return c.SA
			}
		}
	}
	return nil
}

// told reports whether an end told its Owner or its log of a cause.
func (w *world) told(code diag.Code, says string) bool {
	for _, h := range [...]*host{w.a, w.b} {
		for _, c := range h.causes {
			if c.Code == code && c.String() == says {
				return true
			}
		}
		for line := range strings.Lines(h.log.String()) {
			if strings.Contains(line, " code="+string(code)) && strings.Contains(line, says) {
				return true
			}
		}
	}
	return false
}
