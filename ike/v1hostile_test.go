package ike

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// cookiesOf names an ISAKMP SA in the SPI field of a payload.
func cookiesOf(in sa.Info) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, in.SPIi), in.SPIr)
}

// established1 is a connected pair with a tap on its messages.
func established1(t testing.TB, change func(pa, pb *sa.Peer)) (*world, *end, *end, *tap1) {
	w, a, b := pairOf(t, change)
	tap := newTap1(w)
	w.filter = func(d *ipsec.Datagram) bool {
		tap.see(d.Data)
		tap.passed(d.Data)
		return true
	}
	w.run(10 * time.Second)
	wantPairs(t, a, b, 1)
	return w, a, b, tap
}

// give hands a message over and returns what comes back at once.
func (n *end) give(data []byte) [][]byte {
	before := len(n.w.wire)
	in := n.peer(0).main().Info()
	n.Handle(n.w.now, ipsec.Datagram{Local: in.Path.Local, Remote: in.Path.Remote, Data: bytes.Clone(data)})
	n.drain()
	var out [][]byte
	for _, d := range n.w.wire[before:] {
		out = append(out, d.Data)
	}
	n.w.wire = n.w.wire[:before]
	return out
}

// Bad messages change nothing, get no answer, and are counted each under its name.
func TestV1HostileMessagesChangeNothing(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b, tap := established1(t, change)
		for _, n := range []*end{b, a} {
			spi := []byte(string(binary.BigEndian.AppendUint32(nil, n.newest[0].SPIOut)))
			cookies := cookiesOf(n.ikeOf())
			del := &wire.Delete1{DOI: 1, Protocol: ipsec.ProtoESP, SPIs: [][]byte{spi}}
			delIKE := &wire.Delete1{DOI: 1, Protocol: ipsec.ProtoIKE, SPIs: [][]byte{cookies}}
			info, quick := toOf(n, wire.ExchangeInfo1, 4711), toOf(n, wire.ExchangeQuick, 4712)
			other := info
			other.SPIr ^= 1
			none := info
			none.SPIi, none.SPIr = 77, 78
			enc := func(h wire.Header, id uint32, ps ...wire.Payload) []byte { h.ID = id; return tap.encrypt(h, ps, nil) }
			hash := &wire.Raw{Kind: wire.TypeHash1, Data: make([]byte, 16)}
			plain := func(h wire.Header, ps ...wire.Payload) []byte {
				return (&wire.Message{Header: h, Payloads: ps}).Marshal()
			}
			esp := &wire.SA1{Proposals: []wire.Proposal1{{Number: 1, Protocol: ipsec.ProtoESP, SPI: spi, Transforms: []wire.Transform1{{Number: 1, ID: 12}}}}}
			raw := func(kind wire.PayloadType, data ...byte) wire.Payload { return &wire.Raw{Kind: kind, Data: data} }
			cut := enc(info, 5001, hash, del)
			garbage := bytes.Clone(enc(info, 5002, hash, del))
			for i := wire.HeaderSize; i < len(garbage); i++ {
				garbage[i] ^= 0x5a
			}
			dpdBack := func(id uint32, seq uint32) []byte {
				h := info
				h.ID = id
				return tap.forge(h, []wire.Payload{&wire.Notify1{DOI: 1, Protocol: ipsec.ProtoIKE, SPI: cookies, Kind: wire.RUThere, Data: binary.BigEndian.AppendUint32(nil, seq)}}, nil)
			}
			n.give(dpdBack(4000, 1000)) // a true one, so that the others are older
			type hostile struct {
				name string
				data []byte
				want sa.Drop // Drops: counted elsewhere
			}
			cases := []hostile{
				{"a delete in the clear", plain(info, del), sa.DropCleartext},
				{"a delete of the ISAKMP SA in the clear", plain(info, delIKE), sa.DropCleartext},
				{"a notification in the clear", plain(info, notify1(wire.InvalidCookie1)), sa.DropCleartext},
				{"an INITIAL-CONTACT in the clear", plain(info, notify1(wire.InitialContact1)), sa.DropCleartext},
				{"a delete with a wrong HASH", enc(info, 5003, hash, del), sa.DropBadHash},
				{"a delete of the ISAKMP SA with a wrong HASH", enc(info, 5004, hash, delIKE), sa.DropBadHash},
				{"a delete without HASH", enc(info, 5005, del), sa.DropBadHash},
				{"a HASH that is short", enc(info, 5006, raw(wire.TypeHash1, 1, 2), del), sa.DropBadHash},
				{"a quick mode with a wrong HASH", enc(quick, 5007, hash, esp, &wire.Nonce1{Data: make([]byte, 16)}), sa.DropBadHash},
				{"a quick mode in the clear", plain(quick, hash, esp, &wire.Nonce1{Data: make([]byte, 16)}), sa.DropCleartext},
				{"a quick mode without nonce", enc(quick, 5008, hash, esp), sa.DropMalformed},
				{"a quick mode with one ID", enc(quick, 5009, hash, esp, &wire.Nonce1{Data: make([]byte, 16)}, raw(wire.TypeID1, 1, 0, 0, 0, 10, 0, 0, 1)), sa.DropMalformed},
				{"half a block", cut[:len(cut)-8], sa.Drops},
				{"noise", garbage, sa.DropUndecryptable},
				{"malformed SA", enc(quick, 5010, hash, raw(wire.TypeSA1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9), &wire.Nonce1{Data: make([]byte, 16)}), sa.DropUndecryptable},
				{"malformed nonce", enc(quick, 5011, hash, esp, raw(wire.TypeNonce1, 1, 2)), sa.DropUndecryptable},
				{"malformed ID", enc(quick, 5012, hash, esp, &wire.Nonce1{Data: make([]byte, 16)}, raw(wire.TypeID1, 4, 0, 0, 0, 1)), sa.DropUndecryptable},
				{"malformed delete", enc(info, 5013, hash, raw(wire.TypeDelete1, 0, 0, 0, 1, 3, 4, 0, 9)), sa.DropUndecryptable},
				{"malformed notification", enc(info, 5014, hash, raw(wire.TypeNotify1, 0, 0, 0, 1, 3, 40, 0, 9)), sa.DropUndecryptable},
				{"a repeated message id of ours", w.got[len(w.got)-1].Data, sa.Drops},
				{"a liveness check that is older", dpdBack(4001, 999), sa.DropSequence},
				{"an answer to no liveness check", func() []byte {
					h := info
					h.ID = 4002
					return tap.forge(h, []wire.Payload{notify1(wire.RUThereAck, 0, 0, 0, 1)}, nil)
				}(), sa.DropSequence},
				{"main mode on an SA that is up", plain(toOf(n, wire.ExchangeMain, 0), raw(wire.TypeKE1, 1), &wire.Nonce1{Data: make([]byte, 16)}), sa.DropRepeated},
				{"a transaction exchange", enc(toOf(n, 6, 9), 5015, hash), sa.DropMalformed},
				{"another cookie", plain(other, del), sa.Drops},
				{"no cookies of ours", plain(none, del), sa.Drops},
			}
			for _, c := range cases {
				before, count := n.Counters().Dropped, total(n.Counters())
				trace := len(n.trace)
				if len(c.data) != int(binary.BigEndian.Uint32(c.data[24:])) {
					binary.BigEndian.PutUint32(c.data[24:], uint32(len(c.data)))
				}
				for range 3 {
					if got := n.give(c.data); len(got) != 0 && c.name != "a repeated message id of ours" {
						h, _ := wire.ParseHeader(got[0])
						t.Errorf("%s is answered with %v", c.name, h)
					}
				}
				if c.name == "a repeated message id of ours" {
					continue
				}
				if len(n.trace) != trace {
					t.Errorf("%s leads to %v", c.name, n.trace[trace:])
				}
				if got := total(n.Counters()) - count; got != 3 {
					t.Errorf("%s is counted %d times of 3", c.name, got)
				}
				if c.want < sa.Drops && n.Counters().Dropped[c.want] == before[c.want] {
					t.Errorf("%s is counted as %v", c.name, diff(before, n.Counters().Dropped))
				}
			}
		}
		wantPairs(t, a, b, 1)
		wantIKE(t, a, b, 1)
		a.Do(w.now, sa.Rekey{Tunnel: "a"})
		w.run(20 * time.Second)
		wantPairs(t, a, b, 1)
	})
}

func total(c Counters) uint64 {
	n := c.Malformed + c.UnknownSPI
	for _, d := range c.Dropped {
		n += d
	}
	return n
}

func diff(a, b [sa.Drops]uint64) map[string]uint64 {
	out := map[string]uint64{}
	for i := range a {
		if b[i] != a[i] {
			out[sa.Drop(i).String()] = b[i] - a[i]
		}
	}
	return out
}

func TestV1PhaseTwoBeforePhaseOne(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, change)
		a.Advance(w.now)
		a.drain()
		w.arrive(w.wire[0]) // the first message only
		b.drain()
		answer, _ := wire.ParseHeader(w.wire[len(w.wire)-1].Data)
		spiI, spiR := answer.SPIi, answer.SPIr
		for _, x := range []wire.Exchange{wire.ExchangeQuick, wire.ExchangeInfo1} {
			m := wire.Message{Header: wire.Header{SPIi: spiI, SPIr: spiR, Major: 1, Exchange: x, ID: 9, Flags: wire.FlagEncrypted}, Payloads: []wire.Payload{&wire.Raw{Kind: 8, Data: make([]byte, 28)}}}
			b.Handle(w.now, ipsec.Datagram{Local: netip.AddrPortFrom(b.addr, 500), Remote: netip.AddrPortFrom(a.addr, 500), Data: m.Marshal()})
		}
		b.drain()
		if n := b.Counters().Dropped; n[sa.DropTooEarly]+n[sa.DropBadHash]+n[sa.DropUndecryptable] != 2 {
			t.Errorf("counted %v", diff([sa.Drops]uint64{}, n))
		}
		w.run(time.Second)
		wantPairs(t, a, b, 1)
	})
}

// Replays of everything that was ever sent, in any order, change no key and no counter.
func TestV1ReplaysChangeNothing(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b, _ := established1(t, change)
		a.Do(w.now, sa.Rekey{Tunnel: "a"})
		w.run(2 * time.Minute)
		wantPairs(t, a, b, 1)
		spi, ike := a.newest[0].SPIIn, a.ikeOf()
		all := append([]ipsec.Datagram(nil), w.got...)
		r := rand.New(rand.NewPCG(1, 2))
		w.filter = nil
		for range 20 {
			r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			for _, d := range all {
				w.arrive(d)
			}
			for _, n := range w.order {
				n.drain()
			}
			if len(w.wire) > 4*len(all) {
				t.Fatalf("%d answers to %d replays", len(w.wire), len(all))
			}
			w.run(time.Second)
		}
		w.run(2 * time.Minute)
		wantPairs(t, a, b, 1)
		wantIKE(t, a, b, 1)
		if a.newest[0].SPIIn != spi || a.ikeOf().SPIi != ike.SPIi {
			t.Error("replays have changed the SAs")
		}
	})
}

// A repeated message gets the same answer again, bit for bit, without a new nonce or exponent.
func TestV1RepeatedMessageGetsTheSameAnswerWithoutComputation(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, change)
		answers, repeated := 0, 0
		w.filter = func(d *ipsec.Datagram) bool {
			n := w.ends[d.Local.Addr()]
			first := bytes.Clone(d.Data)
			at := *d
			n.drain()
			before := len(w.wire)
			n.Handle(w.now, ipsec.Datagram{Local: at.Local, Remote: at.Remote, Data: bytes.Clone(first)})
			n.drain()
			once := append([]ipsec.Datagram(nil), w.wire[before:]...)
			if len(once) == 0 || n.ikeUp() {
				return false
			}
			answers++
			drawn := w.drawn
			mark := len(w.wire)
			n.Handle(w.now, ipsec.Datagram{Local: at.Local, Remote: at.Remote, Data: bytes.Clone(first)})
			n.drain()
			again := w.wire[mark:]
			if w.drawn != drawn {
				t.Errorf("randomness was drawn for a repeated message")
			}
			if len(again) > 0 && bytes.Equal(again[0].Data, once[0].Data) {
				repeated++
			}
			w.wire = w.wire[:mark]
			return false
		}
		w.run(time.Second)
		w.filter = nil
		w.run(time.Minute)
		wantPairs(t, a, b, 1)
		if answers < 1 || repeated != answers {
			t.Errorf("%d answers, %d of them given again", answers, repeated)
		}
	})
}

// ikeUp reports whether an end has an IKE SA.
func (n *end) ikeUp() bool { return len(n.peers) > 0 && n.peer(0).main() != nil }

func TestV1Amplification(t *testing.T) {
	worst := map[wire.Exchange]float64{}
	note := func(x wire.Exchange, request, answer int) {
		worst[x] = max(worst[x], float64(answer)/float64(request))
	}
	for _, group := range []string{"modp768", "modp1024", "modp2048", "modp4096", "ecp256", "ecp521"} {
		for _, hash := range []string{"md5", "sha1", "sha512"} {
			for _, keep := range []string{"RFC 3947", "draft 02", "none"} {
				both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
					w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
						change(pa, pb)
						pa.Proposals = proposals(ipsec.ProtoIKE, "aes128-"+hash+"-"+group)
						pb.Proposals = pa.Proposals
					})
					spare := speakOnly(keep)
					request := 0
					w.filter = func(d *ipsec.Datagram) bool {
						spare(d)
						h, _ := wire.ParseHeader(d.Data)
						if h.Exchange != wire.ExchangeMain && h.Exchange != wire.ExchangeAggressive {
							return true
						}
						if d.Local.Addr() == b.addr {
							request = len(d.Data)
						} else if h.Exchange == wire.ExchangeAggressive || request > 0 {
							note(h.Exchange, request, len(d.Data))
						}
						if h.Exchange == wire.ExchangeMain && d.Local.Addr() == a.addr {
							request = 0 // only one answer may go to an address that is not proven
							w.filter = spare
						}
						return true
					}
					w.run(time.Second)
					wantPairs(t, a, b, 1)
				})
			}
		}
	}
	t.Logf("message 2 of main mode is at most %.2f times message 1, of aggressive mode %.2f times", worst[wire.ExchangeMain], worst[wire.ExchangeAggressive])
	if worst[wire.ExchangeMain] > 1 || worst[wire.ExchangeAggressive] > 2 {
		t.Errorf("main mode %.2f, want at most 1; aggressive mode %.2f, want at most 2", worst[wire.ExchangeMain], worst[wire.ExchangeAggressive])
	}
}

// The smallest first message of aggressive mode would have the longest answer, and gets none.
func TestV1AggressiveModeAnswersNoMoreThanTwice(t *testing.T) {
	w, _, b := pairOf(t, func(pa, pb *sa.Peer) {
		aggressive(pa, pb)
		pb.LocalID = ipsec.ParseIdentity("keyid:" + string(bytes.Repeat([]byte("x"), 250)))
		pa.RemoteID = pb.LocalID
		pa.NATT = false
	})
	longest := 0.0
	request := 0
	w.filter = func(d *ipsec.Datagram) bool {
		if d.Local.Addr() == b.addr {
			h, c, err := wire.Parse1(d.Data)
			if err == nil && h.Exchange == wire.ExchangeAggressive && h.Flags == 0 { // without vendor ids
				d.Data = (&wire.Message{Header: h, Payloads: c.Payloads[:4]}).Marshal()
				request = len(d.Data)
			}
			return true
		}
		longest = max(longest, float64(len(d.Data))/float64(request))
		return true
	}
	w.run(20 * time.Second)
	t.Logf("at most %.2f times", longest)
	if longest > 2 {
		t.Errorf("an answer %.2f times as long as the question", longest)
	}
}

func TestV1AggressiveModeRepliesOnceAndIsLimited(t *testing.T) {
	w, a, b := pairOf(t, aggressive)
	w.filter = func(d *ipsec.Datagram) bool { return d.Local.Addr() == b.addr } // nothing comes back
	a.Advance(w.now)
	a.drain()
	one := w.wire[0]
	w.wire = nil
	w.arrive(one)
	a.dead = true
	w.run(20 * time.Second)
	n := 0
	for _, h := range w.sent {
		if h.Exchange == wire.ExchangeAggressive && h.SPIr != 0 {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d answers to one message, without a third", n)
	}
	// Of a flood from one source a few messages a second are answered.
	answers := 0
	for i := range 1000 {
		d := bytes.Clone(one.Data)
		binary.BigEndian.PutUint64(d, uint64(i)+1)
		before := len(w.sent)
		b.Handle(w.now, ipsec.Datagram{Local: one.Local, Remote: one.Remote, Data: d})
		b.drain()
		answers += len(w.sent) - before
	}
	if answers > int(replyBurst/replyEvery) {
		t.Errorf("%d of 1000 first messages in one second are answered", answers)
	}
	if got := b.Counters().Limited; got < 990 {
		t.Errorf("%d were limited", got)
	}
}

func TestV1AggressiveModeOnlyForWhoAsksForIt(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) { aggressive(pa, pb); pb.Aggressive = false })
	w.run(10 * time.Second)
	for _, h := range w.sent {
		if h.Exchange == wire.ExchangeAggressive && h.SPIr != 0 {
			t.Error("aggressive mode is answered for a connection of main mode")
		}
	}
	wantPairs(t, a, b, 0)
	// A source where no peer is configured gets no answer.
	w, a, b = pairOf(t, aggressive)
	a.Advance(w.now)
	a.drain()
	d := w.wire[0]
	d.Remote = netip.MustParseAddrPort("203.0.113.77:500")
	before := len(w.sent)
	b.Handle(w.now, d)
	b.drain()
	if len(w.sent) != before || b.Counters().UnknownSources != 1 {
		t.Error("a stranger's aggressive mode is answered")
	}
}

// While 20 000 first messages a second carry the address of a peer, that peer connects within 5 s, and the
// tunnel of another peer is untouched.
func TestV1FloodLeavesRoomForAGenuinePeer(t *testing.T) {
	w := newWorld(t, 0)
	a, b, c := w.host("192.0.2.1", 0x1000), w.host("192.0.2.2", 0x2000), w.host("192.0.2.3", 0x3000)
	pa, pb := peersFor()
	v1(pa, pb)
	pc, pb2 := peerFor("c", "192.0.2.3", "192.0.2.2"), peerFor("b2", "192.0.2.2", "192.0.2.3")
	v1(pc, pb2)
	pc.Children[0].Local, pc.Children[0].Remote = selectors("10.3.0.0/16"), selectors("10.2.0.0/16")
	pb2.Children[0].Local, pb2.Children[0].Remote = selectors("10.2.0.0/16"), selectors("10.3.0.0/16")
	pb2.Children[0].Initiate = false
	b.SetPeers(w.now, []*sa.Peer{pb, pb2})
	a.SetPeers(w.now, []*sa.Peer{pa})
	w.run(5 * time.Second)
	ours := a.newest[0].SPIIn
	c.SetPeers(w.now, []*sa.Peer{pc})
	c.Advance(w.now)
	c.drain()
	model := w.wire[0]
	w.wire = nil
	var delayed [][]ipsec.Datagram // by tick: the genuine peer is far away
	const oneWay = 15              // ticks of 20 ms
	took := time.Duration(-1)
	began := w.now
	start := time.Now()
	sent, spi := 0, uint64(1)
	for tick := 0; tick < 5000 && took < 0; tick += 20 {
		for range 400 {
			d := bytes.Clone(model.Data)
			spi++
			binary.BigEndian.PutUint64(d, spi)
			b.Handle(w.now, ipsec.Datagram{Local: model.Local, Remote: netip.AddrPortFrom(c.addr, uint16(spi)|1024), Data: d})
			sent++
		}
		for _, n := range w.order {
			n.Advance(w.now)
			n.drain()
		}
		var under, deliver []ipsec.Datagram
		for _, d := range w.wire {
			if d.Local.Addr() == c.addr && d.Local.Port() != 500 && d.Local.Port() != 4500 {
				continue // an answer to a port of the flood
			}
			under = append(under, d)
		}
		w.wire = nil
		if delayed = append(delayed, under); len(delayed) > oneWay {
			deliver, delayed = delayed[0], delayed[1:]
		}
		for _, d := range deliver {
			w.arrive(d)
		}
		w.now = w.now.Add(20 * time.Millisecond)
		if len(c.out) > 0 {
			took = w.now.Sub(began)
		}
	}
	if took < 0 {
		t.Fatal("the genuine peer is not up within 5 s")
	}
	t.Logf("up after %v of a flood of 20 000 a second; %v for each of %d false messages; %d displaced", took, time.Since(start)/time.Duration(sent), sent, b.Counters().Displaced)
	if b.pending.queue.Len() > maxPending || len(b.table.bySPI) > 64 {
		t.Errorf("%d ISAKMP SAs", len(b.table.bySPI))
	}
	if a.in[ours] == nil || len(a.table.bySPI) != 1 {
		t.Error("the flood has touched another's tunnel")
	}
	w.run(5 * time.Minute)
	if len(b.table.bySPI) != 2 || b.pending.left() != 0 || len(b.answered.byKey) > 2 {
		t.Errorf("left are %d ISAKMP SAs, %d pending main modes, %d first messages", len(b.table.bySPI), len(b.pending.byKey), len(b.answered.byKey))
	}
	b.noLeaks()
}

func TestV1BigMessagesAreFragmented(t *testing.T) {
	t.Parallel()
	big := func(pa, pb *sa.Peer) {
		for _, p := range []*sa.Peer{pa, pb} {
			p.Children[0].Proposals = proposals(ipsec.ProtoESP, "aes256-aes192-aes128-3des-des-sha512-sha384-sha256-sha1-md5-modp4096")
		}
	}
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		for lose := -1; lose < 6; lose++ {
			w, a, b := pairOf(t, func(pa, pb *sa.Peer) { change(pa, pb); big(pa, pb) })
			pieces, longest := 0, 0
			w.filter = func(d *ipsec.Datagram) bool {
				longest = max(longest, len(d.Data))
				if h, _ := wire.ParseHeader(d.Data); h.Next == wire.TypeFragment1 {
					pieces++
					if pieces == lose {
						return false
					}
					if pieces%2 == 0 && lose > 0 { // and out of order
						w.wire = append(w.wire, *d)
						d.Data = bytes.Clone(d.Data)
						pieces += 100
						return false
					}
				}
				return true
			}
			w.run(5 * time.Second)
			wantPairs(t, a, b, 1)
			if pieces < 2 || longest > 1280 {
				t.Errorf("%d fragments, the longest message has %d bytes", pieces, longest)
			}
		}
		// A peer that does not offer fragmentation gets whole messages.
		w, a, b := pairOf(t, func(pa, pb *sa.Peer) { change(pa, pb); big(pa, pb) })
		fragmented := false
		w.filter = func(d *ipsec.Datagram) bool {
			h, c, err := wire.Parse1(d.Data)
			fragmented = fragmented || h.Next == wire.TypeFragment1
			if err == nil && c.Index(wire.TypeSA1) >= 0 && h.Flags == 0 {
				m := wire.Message{Header: h}
				for _, p := range c.Payloads {
					if r, ok := p.(*wire.Raw); !ok || r.Kind != wire.TypeVendor1 || r.Data[0] != 0x40 {
						m.Payloads = append(m.Payloads, p)
					}
				}
				d.Data = m.Marshal()
			}
			return true
		}
		w.run(5 * time.Second)
		wantPairs(t, a, b, 1)
		if fragmented {
			t.Error("a peer that does not take fragments got some")
		}
	})
}

// TestV1ForgedAggressiveModeDoesNotKeepUsFromBeginning: a first message in the peer's name makes a half-open ISAKMP SA.
func TestV1ForgedAggressiveModeDoesNotKeepUsFromBeginning(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) { aggressive(pa, pb); pb.Children[0].Initiate = true })
	a.Advance(w.now)
	a.drain()
	first := w.wire[0].Data
	w.wire = nil
	begun := 0 // messages of ours
	w.filter = func(d *ipsec.Datagram) bool {
		if h, _ := wire.ParseHeader(d.Data); h.SPIr == 0 && d.Local.Addr() == a.addr {
			begun++
		}
		return false
	}
	b.Advance(w.now)
	b.drain()
	w.wire = nil
	for i := range 20 {
		d := bytes.Clone(first)
		binary.BigEndian.PutUint64(d, uint64(i+1))
		b.Handle(w.now, ipsec.Datagram{Local: netip.AddrPortFrom(b.addr, 500), Remote: netip.AddrPortFrom(a.addr, 500), Data: d})
		w.run(10 * time.Second)
	}
	if begun < 25 {
		t.Errorf("%d first messages in 200 s", begun)
	}
}

// TestV1OneMessageGetsOneAnswer: a peer asks sixty times in one message, and notes sixty errors.
func TestV1OneMessageGetsOneAnswer(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b, tap := established1(t, change)
		ask := &wire.Notify1{DOI: 1, Protocol: ipsec.ProtoIKE, SPI: cookiesOf(b.ikeOf()), Kind: wire.RUThere, Data: []byte{0, 0, 0x10, 0}}
		if got := b.give(tap.forge(toOf(b, wire.ExchangeInfo1, 4711), slices.Repeat([]wire.Payload{ask}, 60), nil)); len(got) != 1 {
			t.Errorf("%d answers to one message", len(got))
		}
		b.give(tap.forge(toOf(b, wire.ExchangeInfo1, 4712), slices.Repeat([]wire.Payload{notify1(wire.InvalidSPI1)}, 60), nil))
		w.run(time.Minute)
		wantPairs(t, a, b, 1)
	})
}
