package ikev1

import (
	"crypto/cipher"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// inClear changes the payloads of a message that is not encrypted. Other messages pass as they are.
func inClear(d *ipsec.Datagram, kind wire.Exchange, change func(h wire.Header, ps []wire.Payload) []wire.Payload) {
	h, c, err := wire.Parse1(d.Data)
	if err != nil || h.Exchange != kind || h.Flags != 0 {
		return
	}
	d.Data = (&wire.Message{Header: h, Payloads: change(h, c.Payloads)}).Marshal()
}

// inQuick12 changes the payloads behind the HASH of message 1 or 2 of a quick mode, as only a peer that has
// the keys can. to is the end that it comes to, from the one that sent it.
func inQuick12(d *ipsec.Datagram, from, to *host, change func(ps []wire.Payload) []wire.Payload) {
	h, err := wire.ParseHeader(d.Data)
	if err != nil || h.Exchange != wire.ExchangeQuick || d.Local.Addr() != to.addr {
		return
	}
	s, x := to.main(), &exchange{id: h.ID}
	hash := func(rest []byte) []byte { return s.keys.hash1(h.ID, rest) }
	if q := s.asking; q != nil && q.x.id == h.ID {
		x.iv, hash = q.x.iv, func(rest []byte) []byte { return s.keys.hash2(h.ID, q.ni, rest) }
	} else if q := from.main().asking; q == nil || q.x.id != h.ID {
		return // message 3
	} else {
		x.iv = s.keys.nextIV(s.lastIV, h.ID)
	}
	plain := make([]byte, len(d.Data)-wire.HeaderSize)
	cipher.NewCBCDecrypter(s.keys.block, x.iv).CryptBlocks(plain, d.Data[wire.HeaderSize:])
	c, err := wire.ParseChain1(h.Next, plain, s.keys.block.BlockSize())
	if err != nil {
		to.w.t.Fatal(err)
	}
	x.kind = h.Exchange
	d.Data = s.seal(x, hashed(change(c.Payloads[1:]), hash))
}

// transform changes the SA payload of a message.
func transform(ps []wire.Payload, change func(p *wire.Proposal1)) []wire.Payload {
	for _, p := range ps {
		if p, ok := p.(*wire.SA1); ok {
			change(&p.Proposals[0])
		}
	}
	return ps
}

func without(ps []wire.Payload, kind wire.PayloadType) []wire.Payload {
	return slices.DeleteFunc(ps, func(p wire.Payload) bool { return p.Type() == kind })
}

// each is a filter that changes datagrams and loses none.
func each(change func(d *ipsec.Datagram)) func(*ipsec.Datagram) bool {
	return func(d *ipsec.Datagram) bool { change(d); return false }
}

// chosen changes the transform that the responder chooses in message 2 of main mode.
func (w *world) chosen(change func(p *wire.Proposal1)) {
	w.lose = each(func(d *ipsec.Datagram) {
		inClear(d, wire.ExchangeMain, func(h wire.Header, ps []wire.Payload) []wire.Payload {
			if h.SPIr == 0 {
				return ps
			}
			return transform(ps, change)
		})
	})
}

// quick2 changes message 2 of quick mode, which comes from b.
func (w *world) quick2(change func(ps []wire.Payload) []wire.Payload) {
	w.lose = each(func(d *ipsec.Datagram) { inQuick12(d, w.b, w.a, change) })
}

func exchangeOf(d *ipsec.Datagram) wire.Exchange {
	h, _ := wire.ParseHeader(d.Data)
	return h.Exchange
}

// Each end says what is wrong, in these words.
func TestCausesAreTold(t *testing.T) {
	cases := []struct {
		name  string
		peers func(a, b *sa.Peer)
		begin func(w *world) // before phase 1
		then  func(w *world)
		a, b  string // what the end says; empty: does not matter
	}{
		{
			name: "another key, in main mode", peers: func(_, b *sa.Peer) { b.PSK = ipsec.Secret("another") },
			then: func(w *world) { w.run(2 * time.Minute) },
			a:    "no message 6 from 192.0.2.2:500: the pre-shared keys or the identities differ (we sent 192.0.2.1 (IPv4 address) and expect 192.0.2.2 (IPv4 address)), or UDP 4500 is closed on the way; look in the peer's log",
			b:    "message 5 does not decrypt: the pre-shared keys differ",
		},
		{
			name: "another key, in aggressive mode", peers: func(a, b *sa.Peer) { aggressive(a, b); b.PSK = ipsec.Secret("another") },
			then: func(w *world) { w.run(time.Minute) },
			a:    "HASH_R in message 2 of aggressive mode is wrong: the pre-shared keys differ",
			b:    "the peer began and did not go on to message 3 of aggressive mode within 30s: did our answer reach it, and is UDP 4500 open on the way?",
		},
		{
			name: "message 3 of aggressive mode by somebody else", peers: aggressive,
			begin: func(w *world) {
				w.lose = func(d *ipsec.Datagram) bool {
					h, _ := wire.ParseHeader(d.Data)
					if h.Exchange == wire.ExchangeAggressive && h.Flags != 0 {
						h.Flags = 0
						d.Data = (&wire.Message{Header: h, Payloads: []wire.Payload{&wire.Raw{Kind: wire.TypeHash1, Data: make([]byte, 32)}}}).Marshal()
					}
					return exchangeOf(d) == wire.ExchangeQuick
				}
			},
			b: "HASH_I in message 3 of aggressive mode is wrong: the pre-shared keys differ",
		},
		{
			name: "two transforms are chosen",
			begin: func(w *world) {
				w.chosen(func(p *wire.Proposal1) { p.Transforms = append(p.Transforms, p.Transforms[0]) })
			},
			a: "the peer's answer chooses 2 proposals; it must choose one",
		},
		{
			name: "another transform is chosen",
			begin: func(w *world) {
				w.chosen(func(p *wire.Proposal1) { p.Transforms[0].Attributes = nil })
			},
			a: "the peer chose an IKE proposal that we did not offer",
		},
		{
			name: "an answer that is too long", peers: func(a, b *sa.Peer) {
				aggressive(a, b)
				a.NATT, b.NATT = false, false
				b.LocalID = ipsec.ParseIdentity("keyid:" + strings.Repeat("x", 400))
				a.RemoteID = b.LocalID
			},
			b: "message 1 of aggressive mode has 260 bytes, and our answer of 692 bytes would be more than twice as long",
		},
		{
			name: "nobody", begin: func(w *world) { w.lose = func(*ipsec.Datagram) bool { return true } },
			then: func(w *world) { w.run(2 * time.Minute) },
			a:    "no answer to phase 1 of IKEv1 in main mode from 192.0.2.2:500, nor on its UDP port 4500: is the address right, do firewalls on the way let that through, and is the peer running and willing?",
		},
		{
			name: "message 4 is lost",
			begin: func(w *world) {
				w.lose = func(d *ipsec.Datagram) bool {
					_, c, err := wire.Parse1(d.Data)
					return err == nil && d.Local.Addr() == w.a.addr && c.Index(wire.TypeKE1) >= 0
				}
			},
			then: func(w *world) { w.run(2 * time.Minute) },
			a:    "no message 4 of main mode from 192.0.2.2:500: the peer answered message 1, so look for large packets that are lost, and in its log",
			b:    "the peer began and did not go on to message 5 within 30s: did our answer reach it, and is UDP 4500 open on the way?",
		},
		{
			name: "quick modes are lost", begin: func(w *world) {
				w.lose = func(d *ipsec.Datagram) bool { return exchangeOf(d) == wire.ExchangeQuick }
			},
			then: func(w *world) { w.run(30 * time.Second) },
			a:    "no answer to a quick mode for 10.1.0.0/16 here and 10.2.0.0/16 there: the peer may have no such pair of subnets, or other ESP algorithms; look in its log",
		},
		{
			name: "nobody any more, without liveness checks", begin: func(w *world) {
				w.lose = func(d *ipsec.Datagram) bool {
					inClear(d, wire.ExchangeMain, func(_ wire.Header, ps []wire.Payload) []wire.Payload { return without(ps, wire.TypeVendor1) })
					return exchangeOf(d) == wire.ExchangeQuick
				}
			},
			then: func(w *world) {
				w.lose = func(*ipsec.Datagram) bool { return true }
				w.run(30 * time.Second)
			},
			a: "the peer is dead: no answer from 192.0.2.2:500 to repeated requests",
		},
		{
			name: "nobody any more",
			then: func(w *world) {
				w.lose = func(*ipsec.Datagram) bool { return true }
				w.run(3 * time.Minute)
			},
			a: "the peer is dead: it did not answer a liveness check within 1m0s",
		},
		{
			name: "message ids without end",
			then: func(w *world) {
				w.lose = func(*ipsec.Datagram) bool { return true } // and no ISAKMP SA in its place
				for id := range uint32(maxIDs) {
					w.b.main().use(id<<8 | 1)
				}
				w.run(time.Second)
				w.lose = func(*ipsec.Datagram) bool { return false }
			},
			b: "the ISAKMP SA has used up its 32768 message ids, and the peer let nothing take its place",
		},
		{
			name: "another identity there", peers: func(_, b *sa.Peer) { b.RemoteID = ipsec.ParseIdentity("other.example.net") },
			a: "the peer does not accept our proof of identity (INVALID-ID-INFORMATION): it expects another identity than 192.0.2.1 (IPv4 address), or another mode than main",
			b: "the peer says that it is 192.0.2.1 (IPv4 address); the configuration expects other.example.net (FQDN)",
		},
		{
			name: "another identity here", peers: func(_, b *sa.Peer) { b.LocalID = ipsec.ParseIdentity("other.example.net") },
			a: "the peer says that it is other.example.net (FQDN); the configuration expects 192.0.2.2 (IPv4 address)",
			b: "the peer does not accept our proof of identity (INVALID-ID-INFORMATION): it expects another identity than other.example.net (FQDN), or another mode than main",
		},
		{
			name: "other algorithms", peers: func(_, b *sa.Peer) { b.Proposals = proposal(ipsec.ProtoIKE, "aes256-sha1-modp1024") },
			b: "the peer's IKE proposals and ours have nothing in common: encryption: ours aes256, theirs aes128; integrity: ours sha1, theirs sha256; PRF: ours prfsha1, theirs prfsha256; key exchange: ours modp1024, theirs ecp256",
		},
		{
			name: "the other mode", peers: func(a, _ *sa.Peer) { a.Aggressive = true },
			b: "the peer begins in aggressive mode; this connection is in main mode: set the same at both ends",
		},
		{
			name: "a stranger", begin: func(w *world) {
				next := *w.b.peer
				next.Remote = outside
				w.b.peer = &next
			},
			b: "no connection has a peer at 192.0.2.1 that speaks IKEv1",
		},
		{
			name: "a configuration that changes meanwhile",
			begin: func(w *world) {
				w.lose = func(d *ipsec.Datagram) bool {
					if h, _ := wire.ParseHeader(d.Data); h.Exchange == wire.ExchangeMain && h.Flags != 0 && d.Local.Addr() == w.b.addr {
						next := *w.b.peer
						next.PSK = ipsec.Secret("another")
						w.b.peer = &next
					}
					return false
				}
			},
			b: "the configuration changed",
		},
		{
			name: "proposals that change meanwhile",
			begin: func(w *world) {
				w.lose = func(d *ipsec.Datagram) bool {
					if h, _ := wire.ParseHeader(d.Data); h.Exchange == wire.ExchangeMain && h.Flags != 0 && d.Local.Addr() == w.b.addr {
						next := *w.b.peer
						next.Proposals = proposal(ipsec.ProtoIKE, "3des-sha1-modp1024")
						w.b.peer = &next
					}
					return false
				}
			},
			b: "aes128-sha256-prfsha256-ecp256 is negotiated, which the proposals of the other (3des-sha1-prfsha1-modp1024) do not have",
		},
		{
			name: "a NAT that may not be", peers: func(a, _ *sa.Peer) { a.Encap = sa.EncapNever },
			begin: func(w *world) { w.nat = 20000 },
			a:     "this host is behind a NAT, which raw ESP does not pass, but encap is \"never\": set encap to \"auto\"",
		},
		{
			name: "encapsulation at one end", peers: func(a, b *sa.Peer) { a.NATT, b.NATT, a.Encap = false, false, sa.EncapAlways },
			a: "we sent ESP proposals aes128-sha256-ecp256; the peer answered NO-PROPOSAL-CHOSEN: compare encryption, hash, PFS group and encapsulation mode with the peer's",
			b: "there is no NAT between us, and the peer does not offer plain tunnel mode",
		},
		{
			name: "other ESP algorithms", peers: func(_, b *sa.Peer) { b.Children[0].Proposals = proposal(ipsec.ProtoESP, "aes256-sha256-ecp256") },
			a: "we sent ESP proposals aes128-sha256-ecp256; the peer answered NO-PROPOSAL-CHOSEN: compare encryption, hash, PFS group and encapsulation mode with the peer's",
			b: "the peer's ESP proposals and ours have nothing in common: encryption: ours aes256, theirs aes128",
		},
		{
			name: "other subnets", peers: func(_, b *sa.Peer) { b.Children[0].Local = b.Children[1].Local },
			a: "we asked for 10.1.0.0/16 here and 10.2.0.0/16 there; the peer answered INVALID-ID-INFORMATION: it has no such pair of subnets; compare local and remote subnets, mirrored",
			b: "traffic selectors: the peer asks for 10.2.0.0/16 here and 10.1.0.0/16 there; we have [10.4.0.0/16] here and [10.1.0.0/16] there, [10.4.0.0/16] here and [10.3.0.0/16] there",
		},
		{
			name: "selectors that are none", begin: func(w *world) {
				w.lose = each(func(d *ipsec.Datagram) {
					inQuick12(d, w.a, w.b, func(ps []wire.Payload) []wire.Payload {
						for _, p := range ps {
							if p, ok := p.(*wire.ID1); ok {
								p.Kind, p.Data = ipsec.IDFQDN, []byte("example.net")
							}
						}
						return ps
					})
				})
			},
			a: "we asked for 10.1.0.0/16 here and 10.2.0.0/16 there; the peer answered INVALID-ID-INFORMATION: it has no such pair of subnets; compare local and remote subnets, mirrored",
		},
		{
			name: "an algorithm that IKEv1 has no number for", peers: func(a, _ *sa.Peer) { a.Children[0].Proposals = proposal(ipsec.ProtoESP, "chacha20poly1305") },
			a: "vpngw could not ask for a Child SA: IKEv1 has no ESP proposal like chacha20poly1305",
		},
		{
			name: "a reserved SPI in the answer", begin: func(w *world) {
				w.quick2(func(ps []wire.Payload) []wire.Payload {
					return transform(ps, func(p *wire.Proposal1) { p.SPI = []byte{0, 0, 0, 255} })
				})
			},
			a: "the peer chose a reserved SPI",
		},
		{
			name: "another ESP proposal is chosen", begin: func(w *world) {
				w.quick2(func(ps []wire.Payload) []wire.Payload {
					return transform(ps, func(p *wire.Proposal1) { p.Transforms[0].ID = ipsec.Encr3DES })
				})
			},
			a: "the peer chose an ESP proposal that we did not offer: encryption: ours aes128, theirs encryption 3/128 bits",
		},
		{
			name: "two ESP proposals are chosen", begin: func(w *world) {
				w.quick2(func(ps []wire.Payload) []wire.Payload {
					return transform(ps, func(p *wire.Proposal1) { p.Transforms = append(p.Transforms, p.Transforms[0]) })
				})
			},
			a: "the peer's answer chooses 2 proposals; it must choose one",
		},
		{
			name: "other subnets in the answer", begin: func(w *world) {
				w.quick2(func(ps []wire.Payload) []wire.Payload {
					for _, p := range ps {
						if p, ok := p.(*wire.ID1); ok {
							p.Data[1]++
						}
					}
					return ps
				})
			},
			a: "the peer answered with selectors that we did not offer: 10.2.0.0/16 here and 10.3.0.0/16 there",
		},
		{
			name: "no subnets in the answer", begin: func(w *world) {
				w.quick2(func(ps []wire.Payload) []wire.Payload { return without(ps, wire.TypeID1) })
			},
			a: "the peer answered with selectors that we did not offer: none",
		},
		{
			name: "no key exchange value in the answer", begin: func(w *world) {
				w.quick2(func(ps []wire.Payload) []wire.Payload { return without(ps, wire.TypeKE1) })
			},
			a: "the peer's key exchange value is invalid: there is none, though the peer took a proposal with PFS",
		},
		{
			name: "an invalid key exchange value", begin: func(w *world) {
				w.quick2(func(ps []wire.Payload) []wire.Payload {
					ke, _ := wire.FindType[*wire.Raw](ps, wire.TypeKE1)
					ke.Data = ke.Data[1:]
					return ps
				})
			},
			a: "the peer's key exchange value is invalid: key exchange ecp256: the peer's public value has 63 bytes, not 64",
		},
		{
			name: "message 3 of quick mode is lost",
			begin: func(w *world) {
				n := 0
				w.lose = func(d *ipsec.Datagram) bool {
					if exchangeOf(d) == wire.ExchangeQuick && d.Local.Addr() == w.b.addr {
						n++
						return n > 1
					}
					return false
				}
			},
			then: func(w *world) { w.run(30 * time.Second) },
			b:    "the peer began and did not go on to message 3 of quick mode within 25s: did our answer reach it, and is UDP 4500 open on the way?",
		},
		{
			name: "rekeys that are refused",
			then: func(w *world) {
				w.b.peer.Children[0].Proposals = proposal(ipsec.ProtoESP, "aes256-sha256-ecp256")
				w.run(11 * time.Minute)
			},
			a: "its lifetime ended before a rekey succeeded: we sent ESP proposals aes128-sha256-ecp256; the peer answered NO-PROPOSAL-CHOSEN: compare encryption, hash, PFS group and encapsulation mode with the peer's",
		},
		{
			name: "rekeys of the ISAKMP SA that are lost",
			then: func(w *world) {
				w.lose = func(d *ipsec.Datagram) bool { return exchangeOf(d) == wire.ExchangeMain }
				w.run(31 * time.Minute)
			},
			a: "the IKE SA's lifetime ended before a rekey succeeded",
		},
		{
			name: "deletes",
			then: func(w *world) {
				w.a.main().DeleteChildren(w.now, w.a.peer.Children[0])
				w.run(time.Second)
				w.a.main().Close(w.now, asked)
			},
			a: "no connection wants it any more",
			b: "the peer deleted the Child SA",
		},
		{
			name: "a peer that restarts and refuses",
			then: func(w *world) {
				old := w.b
				w.b = w.host("192.0.2.2", 0x9000)
				next := *old.peer
				next.Children = slices.Clone(next.Children)
				next.Children[0] = childFor("one", "10.2.0.0/16", "10.1.0.0/16")
				next.Children[0].Proposals = proposal(ipsec.ProtoESP, "aes256-sha256-ecp256")
				w.b.peer = &next
				if _, err := Initiate(w.b.env, w.now, w.b.peer, sa.FirstPath(w.b.addr, w.a.addr, sa.PortIKE), 0); err != nil {
					w.t.Fatal(err)
				}
				w.run(40 * time.Second)
			},
			a: "the peer restarted (INITIAL-CONTACT), and no other Child SA came: we sent ESP proposals aes128-sha256-ecp256; the peer answered NO-PROPOSAL-CHOSEN: compare encryption, hash, PFS group and encapsulation mode with the peer's",
		},
	}
	provoked := map[diag.Code]bool{}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.peers)
			if c.begin != nil {
				c.begin(w)
			}
			w.begin()
			if c.then != nil {
				c.then(w)
			}
			w.run(5 * time.Second)
			for _, x := range []struct {
				n    *host
				want string
			}{{w.a, c.a}, {w.b, c.b}} {
				said := []string{}
				for _, why := range x.n.causes {
					said = append(said, why.String())
					for _, because := range append(why.Because, why) {
						provoked[because.Code] = true
					}
					if diag.Lookup(why.Code) == nil || strings.Contains(why.String(), "(unknown)") {
						t.Errorf("%v: %s is %q", x.n.addr, why.Code, why)
					}
				}
				if x.want != "" && !slices.Contains(said, x.want) {
					t.Errorf("%v says %q, want %q", x.n.addr, said, x.want)
				}
			}
		})
	}
	for _, code := range []diag.Code{
		diag.SeveralChosen, diag.HashWrong, diag.NotDecrypted, diag.AnswerTooLong, diag.NoAnswerKeys, diag.NoAnswerSize, diag.NoAnswerQuick,
		diag.IDsUsed, diag.Phase1Refused, diag.IDDisbelieved, diag.NoneSince, diag.IKEMode, diag.NATModes, diag.ConfigChanged, diag.NotWanted,
	} {
		if !provoked[code] {
			t.Errorf("no test provokes %s", code)
		}
	}
}

// What the peer notes in the clear, in answer to message 1, is told.
func TestRefusalInTheClearIsTold(t *testing.T) {
	for kind, want := range map[wire.NotifyType1]string{
		wire.NoProposalChosen1: "we sent IKE proposals aes128-sha256-prfsha256-ecp256; the peer answered NO-PROPOSAL-CHOSEN: " +
			"it has no connection for us with these IKE algorithms; compare encryption, hash and DH group, the IKE version, main or aggressive mode, and whether it knows our address",
		wire.InvalidExchange1: "the peer answered INVALID-EXCHANGE-TYPE: see the peer's log",
	} {
		w := newWorld(t, nil)
		w.lose = func(*ipsec.Datagram) bool { return true }
		w.begin()
		s := w.a.machines[0].(*SA)
		s.Handle(w.now, ipsec.Datagram{Local: s.path.Local, Remote: s.path.Remote, Data: (&wire.Message{
			Header:   wire.Header{SPIi: s.spiI, Major: 1, Exchange: wire.ExchangeInfo1, ID: 7},
			Payloads: []wire.Payload{&wire.Notify1{DOI: 1, Protocol: ipsec.ProtoIKE, Kind: kind}},
		}).Marshal()})
		if n := len(w.a.causes); n != 1 || w.a.causes[0].String() != want {
			t.Errorf("says %q, want %q", w.a.causes, want)
		}
	}
}
