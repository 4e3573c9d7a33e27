package ike

import (
	"bytes"
	"hash/crc32"
	"net/netip"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// FuzzFirst gives an Endpoint a first message of any bytes, twice, with an
// ordinary connection beside it.
func FuzzFirst(f *testing.F) {
	f.Add([]byte{}, uint16(500))
	f.Add(first(1, nil), uint16(500))
	f.Add(first(2, func(m *wire.Message) { m.Payloads = append(m.Payloads, &wire.Raw{Kind: 201, Critical: true}) }), uint16(4500))
	f.Add(first(3, func(m *wire.Message) { m.Payloads[1] = &wire.KE{Group: 31, Data: make([]byte, 32)} }), uint16(500))
	f.Add(first(4, func(m *wire.Message) { m.Major = 1 }), uint16(500))
	f.Add(first(5, func(m *wire.Message) {
		m.Payloads = append(m.Payloads, &wire.Notify{Kind: wire.NATDetectionSourceIP, Data: make([]byte, 20)},
			&wire.Notify{Kind: wire.NATDetectionDestinationIP, Data: make([]byte, 20)}, &wire.Notify{Kind: wire.FragmentationSupported})
	}), uint16(1024))
	f.Fuzz(func(t *testing.T, data []byte, port uint16) {
		w, a, b := pairOf(t, nil)
		w.run(time.Second)
		for _, cookies := range []int{32, 0} {
			b.cfg.CookieThreshold = cookies
			for _, from := range []netip.Addr{a.addr, netip.MustParseAddr("203.0.113.1")} {
				for range 2 {
					b.Handle(w.now, ipsec.Datagram{Local: netip.AddrPortFrom(b.addr, 500), Remote: netip.AddrPortFrom(from, port), Data: bytes.Clone(data)})
				}
			}
		}
		b.drain()
		if len(w.wire) > 8 || len(b.table.bySPI) > 2 {
			t.Errorf("%d answers, %d IKE SAs", len(w.wire), len(b.table.bySPI))
		}
		w.wire = nil
		w.run(time.Minute)
		wantPairs(t, a, b, 1)
		wantIKE(t, a, b, 1)
	})
}

// FuzzEndpoint plays a script between two Endpoints. The script says which messages arrive, how often, in which
// order and with which content, how time passes, and what operators and ESP say. The game has the keys, so a
// changed message is still authentic.
func FuzzEndpoint(f *testing.F) {
	fuzzGames(f, "FuzzEndpoint", play)
}

// fuzzGames plays every script: the seeds, and the variants that the fuzzer derives from them. At least
// half of them must reach an established SA.
func fuzzGames(f *testing.F, name string, play func(*testing.T, []byte) *game) {
	for _, s := range scripts {
		for want := s[0]&1 != 0; begins(s) != want; {
			s = append(s[:len(s):len(s)], '\x0e')
		}
		f.Add(s)
	}
	total, established := 0, 0
	share := shareFile()
	f.Fuzz(func(t *testing.T, script []byte) {
		g := play(t, script)
		total++
		if g.up {
			established++
		}
		share.note(g.up)
	})
	if total > 0 && 2*established < total {
		f.Errorf("%d of %d executions reached an established SA", established, total)
	}
	share.print(name)
}

// scripts are the seeds. The first byte says how the game begins: if it is odd, they
// are made to let the first exchanges pass.
var scripts = [][]byte{
	{0},
	{1},
	[]byte("\x01" + "\x10\x00\x0e\x04\x07\x0e\x10\x05\x12\x01\x0e\x04\x09\x0e"),                         // rekeys at once
	[]byte("\x09" + "\x11\x00\x05\x00\x0e\x11\x01\x06\x01\x12\x02\x0e\x04\x08\x0e\x11\x03\x10\x00\x0e"), // moves
	[]byte("\x11" + "\x05\x00\x13\x11\x0e\x06\x01\x13\x2a\x00\x0e\x04\x09\x0e\x10\x00\x0e"),             // fragments
	[]byte("\x10" + "\x00\x00\x12\x03\x00\x13\x47\x0e\x04\x05\x0e"),                                     // fragments of IKE_AUTH
	[]byte("\x19" + "\x05\x00\x00\x11\x00\x02\x12\x00\x0e\x10\x00\x13\x23\x0e\x04\x0a\x0e"),             // fragments and moves
	[]byte("\x01" + "\x05\x00\x0e" + "\x04\x05\x0e" + "\x06\x01\x0e\x04\x06\x0e"),                       // rekeys
	[]byte("\x05" + "\x05\x00\x05\x01\x00\x00\x00\x00\x00\x00\x0e\x04\x07\x0e"),                         // children collide
	[]byte("\x01" + "\x06\x00\x06\x01\x00\x00\x00\x00\x00\x00\x0e\x04\x07\x0e"),                         // IKE SAs collide
	[]byte("\x05" + "\x07\x00\x0e\x07\x02\x0e\x04\x09\x0e\x0d\x00\x0e\x0d\x02\x0e"),                     // lower, raise, reload
	[]byte("\x09" + "\x08\x00\x00\x08\x01\x01\x08\x02\x00\x0e\x04\x08\x0e"),                             // seen, expired, moved
	[]byte("\x00" + "\x00\x00\x09\x00\x10\x20\x00\x00\x0e\x04\x03\x0e"),                                 // a changed IKE_AUTH
	[]byte("\x00" + "\x01\x04\x03\x02\x00\x03\x00\x00\x0e\x04\x05\x0e"),                                 // loss before all
	[]byte("\x01" + "\x05\x00\x09\x02\x01\x00\x00\x0e\x05\x01\x09\x03\x02\x00\x0e"),                     // payloads fewer and more
	[]byte("\x01" + "\x0c\x00\x00\x0c\x01\x02\x0c\x02\x04\x0c\x03\x06\x0e\x04\x09\x0e"),                 // crafted requests
	[]byte("\x01" + "\x05\x00\x0b\x00\x0b\x01\x0b\x02\x0e\x0a\x00\x08\x0e\x0f\x00\x0e"),                 // replays, noise, shutdown
	[]byte("\x01" + "\x05\x00\x00\x0f\x01\x00\x0f\x21\x06\x01\x0f\x01\x0e\x0f\x21\x0e\x04\x09\x0e"),     // freezes in between
	[]byte("\x0d" + "\x06\x00\x09\x05\x21\x00\x0e\x04\x0a\x0e\x04\x0a\x0e\x04\x0b\x0e"),                 // long silence
	[]byte("\x01" + "\x05\x00\x00\x09\x06\x0e\x00\x0e\x06\x01\x00\x09\x06\x11\x00\x0e"),                 // notifications put in
}

// game is one script being played.
type game struct {
	w      *world
	a, b   *end
	tap    *tap
	script []byte
	steps  int
	up     bool // an SA was established at some time

	tap1   *tap1 // of a game in IKEv1; nil: in IKEv2
	change func(pa, pb *sa.Peer)
}

func (g *game) byte() byte {
	if len(g.script) == 0 {
		return 0
	}
	b := g.script[0]
	g.script = g.script[1:]
	return b
}

func (g *game) end(b byte) *end { return g.w.order[b&1] }

// begins reports whether the first exchanges pass before a script is played, as they do for three scripts in
// four. A checksum of the script decides, because a fuzzer cannot steer it: led by coverage alone, the fuzzer
// would spend most executions on connections that never come up.
func begins(script []byte) bool { return crc32.ChecksumIEEE(script)%4 != 0 }

// play plays a script. Bits 2 and 3 of its first byte choose a constellation; with bit 4 messages need several fragments.
func play(t *testing.T, script []byte) *game {
	g := &game{script: script}
	pass, begin := begins(script), g.byte()
	g.change = func(_, _ *sa.Peer) {}
	if begin&0x10 != 0 {
		g.change = func(pa, pb *sa.Peer) { manyNetworks(pa, pb, 60) } // messages of two or three fragments
	}
	switch begin >> 2 & 3 {
	case 0:
		g.w, g.a, g.b = pairOf(t, g.change)
	case 1:
		g.w, g.a, g.b = pairOf(t, shared)
	case 2:
		g.w, g.a, g.b, _ = behindNAT(t, g.change)
	case 3:
		g.w, g.a, g.b = pairOf(t, func(pa, pb *sa.Peer) {
			twoByTwo(pa, pb)
			pairwise(pb)
			for _, c := range pb.Children {
				c.Initiate = true
			}
		})
	}
	g.tap = newTap(g.w)
	if pass {
		g.w.run(2 * time.Second)
	} else {
		g.a.Advance(g.w.now)
		g.b.Advance(g.w.now)
	}
	g.rest(t)
	return g
}

// rest plays the script to its end.
func (g *game) rest(t *testing.T) {
	for len(g.script) > 0 && g.steps < 200 && !t.Failed() {
		g.steps++
		g.step()
		g.check(t)
	}
	g.over(t)
}

// waits are how long time can pass in one step.
var waits = [...]time.Duration{
	0, time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, time.Second, 3 * time.Second,
	5 * time.Second, 10 * time.Second, 31 * time.Second, time.Minute, 70 * time.Second, 30 * time.Minute, 2 * time.Hour,
}

func (g *game) step() {
	w := g.w
	op := g.byte() % 20
	switch op {
	case 4:
		w.now = w.now.Add(waits[int(g.byte())%len(waits)])
		for _, n := range w.order {
			n.Advance(w.now)
		}
	case 5, 6:
		b := g.byte()
		tunnel := [...]string{"a", "b", "a2", "b2"}[b&3]
		if op == 5 {
			g.end(b).Do(w.now, sa.Rekey{Tunnel: tunnel})
		} else {
			g.end(b).Do(w.now, sa.RekeyIKE{Tunnel: tunnel})
		}
	case 7:
		b := g.byte()
		tunnel := [...]string{"a", "b", "a2", "b2"}[b&1|b>>1&2]
		if b&2 == 0 {
			g.end(b).Do(w.now, sa.Lower{Tunnel: tunnel})
		} else {
			g.end(b).Do(w.now, sa.Raise{Tunnel: tunnel})
		}
	case 8:
		g.heard(g.byte(), g.byte())
	case 11:
		if len(w.got) > 0 { // a replay
			d := w.got[int(g.byte())%len(w.got)]
			w.wire = append([]ipsec.Datagram{d}, w.wire...)
			g.deliver()
		}
	case 12:
		g.craft(g.byte(), g.byte())
	case 13:
		g.reload(g.byte())
	case 14: // everything under way, and the answers
		for range 100 {
			if !g.deliver() {
				break
			}
		}
	case 15:
		if b := g.byte(); b&0x1f == 0 {
			g.end(b>>5).Do(w.now, sa.Shutdown{})
		} else {
			g.end(b >> 5).thaw(nil)
		}
	case 16: // both ends rekey everything at once, or two of them cross
		b := g.byte()
		for i, n := range w.order {
			for _, p := range n.inOrder() {
				if b>>i&1 == 0 {
					n.Do(w.now, sa.RekeyIKE{Tunnel: p.given.Name})
				}
				if b>>i&4 == 0 {
					n.Do(w.now, sa.Rekey{Tunnel: p.given.Name})
				}
			}
		}
	case 17:
		g.moves(g.byte())
	default:
		g.message(op)
	}
	for _, n := range w.order {
		n.drain()
		g.up = g.up || len(n.newest) > 0
	}
}

// deliver hands over the oldest datagram under way.
func (g *game) deliver() bool {
	for _, n := range g.w.order {
		n.drain()
	}
	if len(g.w.wire) == 0 {
		return false
	}
	d := g.w.wire[0]
	g.w.wire = g.w.wire[1:]
	g.w.arrive(d)
	return true
}

// message does something to the oldest datagram under way.
func (g *game) message(op byte) {
	w := g.w
	if len(w.wire) == 0 {
		return
	}
	switch d := &w.wire[0]; op {
	case 0:
		g.deliver()
	case 1:
		w.wire = w.wire[1:]
	case 2:
		w.wire = append(w.wire, *d)
	case 3:
		w.wire = append(w.wire[1:len(w.wire):len(w.wire)], *d)
	case 9:
		g.mutate(d)
	case 18: // a copy from elsewhere comes first
		x := *d
		x.Remote = elsewhere(d.Remote, g.byte())
		w.wire = append([]ipsec.Datagram{x}, w.wire...)
		g.deliver()
	case 19:
		g.cut(g.byte())
	case 10: // noise
		if x := bytes.Clone(d.Data); len(x) > 0 {
			x[(int(g.byte())|int(g.byte())<<8)%len(x)] ^= g.byte() | 1
			d.Data = x
		}
	}
}

// mutate changes what is inside an encrypted message, and seals it again.
func (g *game) mutate(d *ipsec.Datagram) {
	if g.tap1 != nil {
		g.mutate1(d)
		return
	}
	kind := g.byte() % 8
	h, next, plain, ok := g.tap.open(d.Data)
	if !ok {
		return
	}
	ps, err := wire.ParseChain(next, plain)
	pick := func() int { return int(g.byte()) % max(len(ps), 1) }
	switch {
	case kind == 0 && len(plain) > 0:
		plain[(int(g.byte())|int(g.byte())<<8)%len(plain)] ^= g.byte() | 1
		d.Data = g.tap.seal(h, next, plain)
		return
	case kind == 1:
		d.Data = g.tap.seal(h, next, plain[:int(g.byte())%(len(plain)+1)])
		return
	case err != nil || len(ps) == 0 && kind != 6:
		return
	case kind == 2:
		i := pick()
		ps = append(ps[:i:i], ps[i+1:]...)
	case kind == 3:
		i := pick()
		ps = append(ps, ps[i])
	case kind == 4:
		i, j := pick(), pick()
		ps[i], ps[j] = ps[j], ps[i]
	case kind == 5:
		b := g.byte()
		h.Exchange = wire.Exchange(34 + b&3)
		h.ID += uint32(b >> 2 & 1)
		h.Flags ^= wire.Flags(b & 0x20)
	case kind == 6:
		ps = append([]wire.Payload{g.payload(g.byte())}, ps...)
	case kind == 7:
		ps = []wire.Payload{g.payload(g.byte())}
	}
	d.Data = g.tap.forge(h, ps...)
}

// notifies are notifications that a peer may send.
var notifies = [...]wire.NotifyType{
	wire.InvalidSyntax, wire.NoProposalChosen, wire.InvalidKEPayload, wire.AuthenticationFailed, wire.TSUnacceptable, wire.TemporaryFailure,
	wire.ChildSANotFound, wire.NoAdditionalSAs, wire.UnsupportedCriticalPayload, wire.InvalidIKESPI, wire.InvalidSPI, 8000,
	wire.InitialContact, wire.RekeySA, wire.Cookie, wire.UseTransportMode, wire.FragmentationSupported, wire.SetWindowSize, 50000,
}

// payload is some payload that a peer could send.
func (g *game) payload(b byte) wire.Payload {
	x := g.end(b)
	spi := []byte{0, 0, 0x10, b}
	if len(x.newest) > 0 {
		spi = be32(x.newest[int(b>>1)%len(x.newest)].SPIOut)
	}
	switch b % 8 {
	case 0, 1, 2, 3:
		return &wire.Notify{Kind: notifies[int(b>>2)%len(notifies)], Data: []byte{0, b}, Protocol: ipsec.ProtoESP, SPI: spi}
	case 4:
		return &wire.Delete{Protocol: ipsec.ProtoESP, SPIs: [][]byte{spi, spi, {1, 2, 3, 4}}}
	case 5:
		return &wire.Delete{Protocol: ipsec.ProtoIKE}
	case 6:
		return &wire.Raw{Kind: wire.PayloadType(49 + b>>3), Critical: b&0x10 != 0, Data: []byte{b}}
	default:
		return &wire.TS{Responder: b&8 != 0, Selectors: selectors("0.0.0.0/0", "10.1.0.0/25", "fd00::/64")[b>>4%3:]}
	}
}

// craft sends an authentic request that neither end has made, with the next message id.
func (g *game) craft(who, what byte) {
	from, to := g.end(who), g.end(who+1)
	if len(from.peers) == 0 || len(to.peers) == 0 || from.peer(0).main() == nil {
		return
	}
	if g.tap1 != nil {
		g.craft1(to, who, what)
		return
	}
	in := from.peer(0).main().Info()
	h := wire.Header{SPIi: in.SPIi, SPIr: in.SPIr, Major: 2, Exchange: wire.ExchangeCreateChild, ID: uint32(who >> 1 & 7)}
	if in.Initiator {
		h.Flags = wire.FlagInitiator
	}
	if g.tap.cipher(h) == nil {
		return
	}
	nonce := &wire.Nonce{Data: bytes.Repeat([]byte{what}, 32)}
	ke := &wire.KE{Group: ipsec.KEX25519, Data: append(make([]byte, 31), what|1)}
	cfg := to.peer(0).children[0].cfg
	ts := []wire.Payload{&wire.TS{Selectors: cfg.Remote}, &wire.TS{Responder: true, Selectors: cfg.Local}}
	esp := &wire.SA{Proposals: []wire.Proposal{{Number: 1, Protocol: ipsec.ProtoESP, SPI: []byte{1, 2, who, what}, Proposal: cfg.Proposals[0]}}}
	ike := &wire.SA{Proposals: []wire.Proposal{{Number: 1, Protocol: ipsec.ProtoIKE, SPI: []byte{1, 2, 3, 4, 5, 6, who, what}, Proposal: to.peer(0).cfg.Proposals[0]}}}
	var ps []wire.Payload
	switch what % 6 {
	case 0:
		ps = append([]wire.Payload{esp, nonce, ke}, ts...)
	case 1:
		ps = append([]wire.Payload{g.payload(what), esp, nonce, ke}, ts...)
	case 2:
		ps = []wire.Payload{ike, nonce, ke}
	case 3:
		if len(to.newest) > 0 {
			n := &wire.Notify{Kind: wire.RekeySA, Protocol: ipsec.ProtoESP, SPI: be32(to.newest[0].SPIOut)}
			ps = append([]wire.Payload{n, esp, nonce, ke}, ts...)
		}
	default:
		h.Exchange = wire.ExchangeInformational
		ps = []wire.Payload{g.payload(what)}
	}
	g.w.send(ipsec.Datagram{Local: in.Path.Remote, Remote: in.Path.Local, Data: g.tap.forge(h, ps...)})
}

// heard has ESP report something.
func (g *game) heard(what, which byte) {
	n := g.end(which)
	spi := uint32(which)
	for _, c := range n.newest {
		spi = c.SPIIn
	}
	switch what % 5 {
	case 0:
		n.Do(g.w.now, sa.SeenInbound{SPIIn: spi})
	case 1:
		n.Do(g.w.now, sa.Expired{SPIIn: spi, Limit: ipsec.LimitBytes})
	case 2:
		n.Do(g.w.now, sa.Moved{SPIIn: spi, Remote: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.9"), uint16(which))})
	case 3:
		n.Do(g.w.now, sa.InvalidSPI{Remote: netip.AddrPortFrom(g.end(which+1).addr, 0)})
	case 4:
		n.last[spi] = g.w.now
	}
}

// reload gives an end other peers, fewer or none.
func (g *game) reload(b byte) {
	n := g.end(b)
	pa, pb := peersFor()
	g.change(pa, pb)
	p := pa
	if n == g.b {
		p = pb
	}
	switch b >> 1 & 3 {
	case 0:
		n.SetPeers(g.w.now, nil)
		return
	case 1:
		shared(pa, pb)
	case 2:
		p.PSK = ipsec.Secret("another")
	}
	n.SetPeers(g.w.now, []*sa.Peer{p})
}

// check checks what must hold at any time. drain checks that no SPI is freed twice, and that an
// outbound half is installed only after its inbound half.
func (g *game) check(t *testing.T) {
	t.Helper()
	for _, n := range g.w.order {
		machines, children := 8+2*g.steps, 16+4*g.steps
		if len(n.table.bySPI) > machines || len(n.answered.byKey) > machines {
			t.Errorf("%v: %d IKE SAs after %d steps", n.addr, len(n.table.bySPI), g.steps)
		}
		if len(n.in) > children || len(n.installed) != len(n.in) {
			t.Errorf("%v: %d Child SAs, of which the endpoint knows %d, after %d steps", n.addr, len(n.in), len(n.installed), g.steps)
		}
		if n.timers.Len() > len(n.table.bySPI)+len(n.peers)+min(1, n.pending.left()) {
			t.Errorf("%v: %d timers for %d IKE SAs and %d peers", n.addr, n.timers.Len(), len(n.table.bySPI), len(n.peers))
		}
		for _, m := range n.table.bySPI {
			if at := m.Deadline(); !n.timers.At(m).Equal(at) {
				t.Errorf("%v: the timer of %v was not set again", n.addr, m.Info())
			}
		}
	}
	if len(g.w.wire) > 20+8*g.steps {
		t.Errorf("%d messages under way after %d steps", len(g.w.wire), g.steps)
	}
}

// left is how much is kept, in pieces.
func (ps *pendingMains) left() int {
	return len(ps.byKey) + len(ps.byCookie) + len(ps.from) + ps.queue.Len() + ps.bytes
}

// over ends the game: without peers, nothing may be left after a while.
func (g *game) over(t *testing.T) {
	for _, n := range g.w.order {
		n.SetPeers(g.w.now, nil)
	}
	g.w.run(3 * time.Minute)
	for _, n := range g.w.order {
		if len(n.table.bySPI) != 0 || len(n.in) != 0 || len(n.installed) != 0 || n.timers.Len() != 0 || len(n.answered.byKey)+len(n.answered.v2.all)+len(n.answered.v2.from)+len(n.answered.v1.all)+n.pending.left() != 0 {
			t.Errorf("%v: left are %d IKE SAs, %d Child SAs, %d timers, %d first messages", n.addr, len(n.table.bySPI), len(n.in), n.timers.Len(), len(n.answered.byKey))
		}
		n.noLeaks()
	}
}
