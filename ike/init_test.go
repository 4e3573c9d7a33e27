package ike

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

func sends(n *end) string { return strings.Join(n.trace, ", ") }

func TestCookieIsReturnedAndTheMessageIDStaysZero(t *testing.T) {
	w, a, b := pairOf(t, nil)
	b.cfg.CookieThreshold = 0 // always
	w.run(time.Second)
	wantPairs(t, a, b, 1)
	// IKE_SA_INIT -->, <-- N(COOKIE), IKE_SA_INIT N(COOKIE) -->
	if got, want := sends(a), "send IKE_SA_INIT 0, send IKE_SA_INIT 0, send IKE_AUTH 1, in, out"; got != want {
		t.Errorf("initiator did %s, want %s", got, want)
	}
	if got := b.Counters().CookiesSent; got != 1 {
		t.Errorf("%d cookies sent, want 1", got)
	}
	if len(b.answered.byKey) != 1 {
		t.Errorf("%d first messages are remembered, want 1", len(b.answered.byKey))
	}
}

func TestInvalidKEPayloadIsAnsweredWithTheGroupAskedFor(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
		pa.Proposals = proposals(ipsec.ProtoIKE, "aes128-sha256-x25519-ecp384")
		pb.Proposals = proposals(ipsec.ProtoIKE, "aes128-sha256-ecp384")
	})
	w.run(time.Second)
	wantPairs(t, a, b, 1)
	// It asks again for the other group once the answer is authentic.
	if got, want := sends(a), "send IKE_SA_INIT 0, send IKE_SA_INIT 0, send IKE_AUTH 1, in, out, send CREATE_CHILD_SA 2"; got != want {
		t.Errorf("initiator did %s, want %s", got, want)
	}
	if got := a.ikeOf().Suite.KE.ID; got != ipsec.KEECP384 {
		t.Errorf("group %d", got)
	}
	if len(b.answered.byKey) != 1 {
		t.Error("a refused first message left state behind")
	}
}

// TestCookieIsKeptWhenTheGroupChanges: this is the shorter exchange of RFC 7296 section 2.6.1.
func TestCookieIsKeptWhenTheGroupChanges(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
		pa.Proposals = proposals(ipsec.ProtoIKE, "aes128-sha256-x25519-ecp384")
		pb.Proposals = proposals(ipsec.ProtoIKE, "aes128-sha256-ecp384")
	})
	b.cfg.CookieThreshold = 0
	w.run(time.Second)
	wantPairs(t, a, b, 1)
	if got, want := sends(a), "send IKE_SA_INIT 0, send IKE_SA_INIT 0, send IKE_SA_INIT 0, send IKE_AUTH 1, in, out, send CREATE_CHILD_SA 2"; got != want {
		t.Errorf("initiator did %s, want %s", got, want)
	}
}

// TestRepliesToFirstMessagesDoNotGoInCircles: somebody answers every first message with a new cookie, or asks for
// one group and then for the other.
func TestRepliesToFirstMessagesDoNotGoInCircles(t *testing.T) {
	for name, notify := range map[string]func(n int) *wire.Notify{
		"cookies": func(n int) *wire.Notify { return &wire.Notify{Kind: wire.Cookie, Data: []byte{1, byte(n)}} },
		"groups": func(n int) *wire.Notify {
			return &wire.Notify{Kind: wire.InvalidKEPayload, Data: []byte{0, [...]byte{ipsec.KEECP384, ipsec.KEX25519}[n%2]}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, a, b := pairOf(t, func(pa, _ *sa.Peer) { pa.Proposals = proposals(ipsec.ProtoIKE, "aes128-sha256-x25519-ecp384") })
			b.dead = true
			n := 0
			w.filter = func(d *ipsec.Datagram) bool {
				if d.Local.Addr() == b.addr {
					h, _ := wire.ParseHeader(d.Data)
					h.Flags, h.SPIr = wire.FlagResponse, 0
					m := wire.Message{Header: h, Payloads: []wire.Payload{notify(n)}}
					w.wire = append(w.wire, ipsec.Datagram{Local: d.Remote, Remote: d.Local, Data: m.Marshal()})
					n++
				}
				return true
			}
			w.run(50 * time.Second)
			if got := w.count(wire.ExchangeSAInit, false); got > 30 {
				t.Errorf("%d first messages in 50 s", got)
			}
			_ = a
		})
	}
}

func TestNoProposalInCommonIsToldOnBothEnds(t *testing.T) {
	for _, c := range []struct{ name, ours, theirs, field string }{
		{"cipher", "aes256-sha256-x25519", "aes128-sha256-x25519", "encryption: ours aes128, theirs aes256"},
		{"hash", "aes128-sha384-x25519", "aes128-sha256-x25519", "integrity: ours sha256, theirs sha384; PRF: ours prfsha256, theirs prfsha384"},
		{"group", "aes128-sha256-ecp256-ecp384", "aes128-sha256-x25519", "key exchange: ours x25519, theirs ecp256 or ecp384"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
				pa.Proposals, pb.Proposals = proposals(ipsec.ProtoIKE, c.ours), proposals(ipsec.ProtoIKE, c.theirs)
			})
			w.run(2 * time.Second)
			wantWhy(t, "initiator", a.view()[0].Why, "we sent IKE proposals "+pa(c.ours)+"; the peer answered NO_PROPOSAL_CHOSEN: it has no connection for us with these IKE algorithms")
			wantWhy(t, "responder", b.view()[0].Why, "nothing in common: "+c.field)
			if len(b.table.bySPI) != 0 {
				t.Error("a refused first message left state behind")
			}
			// Once the peer has the right configuration, the connection comes up by itself.
			_, pb := peersFor()
			pb.Proposals = proposals(ipsec.ProtoIKE, c.ours)
			b.SetPeers(w.now, []*sa.Peer{pb})
			w.run(10 * time.Second)
			wantPairs(t, a, b, 1)
			if why := a.view()[0].Why + b.view()[0].Why; why != "" {
				t.Errorf("all is well, but the status says %q", why)
			}
		})
	}
}

func pa(s string) string { return proposals(ipsec.ProtoIKE, s)[0].String() }

func wantWhy(t testing.TB, who, got, want string) {
	t.Helper()
	if !strings.Contains(got, want) {
		t.Errorf("%s says %q, want %q in it", who, got, want)
	}
}

func TestSilenceIsTold(t *testing.T) {
	w, a, b := pairOf(t, nil)
	b.dead = true
	w.run(61 * time.Second)
	wantWhy(t, "initiator", a.view()[0].Why, "no answer to IKE_SA_INIT from 192.0.2.2:500")
	if n := len(a.table.bySPI); n > 1 {
		t.Errorf("%d IKE SAs", n)
	}
	w.run(10 * time.Minute)
	b.dead = false
	w.run(35 * time.Second)
	wantPairs(t, a, b, 1)
}

// first makes a raw IKE_SA_INIT request.
func first(spi uint64, change func(m *wire.Message)) []byte {
	p := proposals(ipsec.ProtoIKE, "aes128-sha256-x25519")[0]
	m := &wire.Message{
		Header: wire.Header{SPIi: spi, Major: 2, Exchange: wire.ExchangeSAInit, Flags: wire.FlagInitiator},
		Payloads: []wire.Payload{
			&wire.SA{Proposals: []wire.Proposal{{Number: 1, Protocol: ipsec.ProtoIKE, Proposal: p}}},
			&wire.KE{Group: ipsec.KEX25519, Data: append(make([]byte, 31), 9)},
			&wire.Nonce{Data: make([]byte, 32)},
		},
	}
	if change != nil {
		change(m)
	}
	return m.Marshal()
}

// answers are the messages in the clear that an end sends back to one message.
func answers(n *end, now time.Time, from string, data []byte) []*wire.Message {
	n.Handle(now, ipsec.Datagram{Local: netip.AddrPortFrom(n.addr, 500), Remote: netip.MustParseAddrPort(from), Data: data})
	var out []*wire.Message
	for a := n.Next(); a != nil; a = n.Next() {
		if s, ok := a.(sa.Send); ok {
			m, _ := wire.Parse(s.Data)
			out = append(out, m)
		}
	}
	return out
}

func TestFirstMessagesThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		from   string
		change func(m *wire.Message)
		want   wire.NotifyType // 0: no answer
	}{
		"unknown critical payload": {"192.0.2.1:500", func(m *wire.Message) {
			m.Payloads = append(m.Payloads, &wire.Raw{Kind: 200, Critical: true})
		}, wire.UnsupportedCriticalPayload},
		"a payload too few":  {"192.0.2.1:500", func(m *wire.Message) { m.Payloads = m.Payloads[:2] }, 0},
		"a payload too many": {"192.0.2.1:500", func(m *wire.Message) { m.Payloads = append(m.Payloads, m.Payloads[2]) }, 0},
		"a short public value": {"192.0.2.1:500", func(m *wire.Message) {
			m.Payloads[1] = &wire.KE{Group: ipsec.KEX25519, Data: []byte{9}}
		}, 0},
		"no SPI":              {"192.0.2.1:500", func(m *wire.Message) { m.SPIi = 0 }, 0},
		"both SPIs":           {"192.0.2.1:500", func(m *wire.Message) { m.SPIr = 1 }, 0},
		"a message id":        {"192.0.2.1:500", func(m *wire.Message) { m.ID = 1 }, 0},
		"from the responder":  {"192.0.2.1:500", func(m *wire.Message) { m.Flags = 0 }, 0},
		"from a stranger":     {"192.0.2.77:500", nil, wire.NoProposalChosen},
		"of version 3":        {"192.0.2.1:500", func(m *wire.Message) { m.Major = 3 }, wire.InvalidMajorVersion},
		"of version 1":        {"192.0.2.1:500", func(m *wire.Message) { m.Major = 1 }, 0},
		"of an unknown SA":    {"192.0.2.1:500", func(m *wire.Message) { m.Exchange, m.SPIr, m.ID = wire.ExchangeInformational, 77, 3 }, wire.InvalidIKESPI},
		"a response, unknown": {"192.0.2.1:500", func(m *wire.Message) { m.Exchange, m.SPIr, m.Flags = wire.ExchangeInformational, 77, wire.FlagResponse }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w, _, b := pairOf(t, nil)
			data := first(0x1234, c.change)
			h, _ := wire.ParseHeader(data)
			got := answers(b, w.now, c.from, data)
			if len(b.table.bySPI) != 0 {
				t.Error("it left state behind")
			}
			if c.want == 0 {
				if len(got) != 0 {
					t.Fatalf("answered %v %v", got[0].Header, got[0].Payloads)
				}
				return
			}
			if len(got) != 1 || wire.FindNotify(got[0].Payloads, c.want) == nil {
				t.Fatalf("answered %v, want %v", got, c.want)
			}
			r := got[0].Header
			if r.SPIi != h.SPIi || r.SPIr != h.SPIr || r.ID != h.ID || r.Flags&wire.FlagResponse == 0 || r.Major != 2 ||
				r.Flags&wire.FlagInitiator == h.Flags&wire.FlagInitiator {
				t.Errorf("header %+v answers %+v", r, h)
			}
		})
	}
}

func TestIKEv1IsNamedAsTheReason(t *testing.T) {
	w, _, b := pairOf(t, nil)
	answers(b, w.now, "192.0.2.1:500", first(1, func(m *wire.Message) { m.Major = 1 }))
	wantWhy(t, "responder", b.view()[0].Why, "the peer speaks IKEv1; this connection is IKEv2")
}

// TestFloodLeavesRoomForAGenuinePeer: a flood of first messages has forged sources.
func TestFloodLeavesRoomForAGenuinePeer(t *testing.T) {
	w, a, b := pairOf(t, nil)
	a.dead = true
	for i := range 2000 {
		answers(b, w.now, netip.AddrPortFrom(a.addr, uint16(1000+i)).String(), first(uint64(i)+1, nil))
	}
	if n := len(b.table.bySPI); n != b.cfg.CookieThreshold {
		t.Errorf("%d half-open IKE SAs, want %d", n, b.cfg.CookieThreshold)
	}
	if got := b.Counters().CookiesSent; got != 2000-32 {
		t.Errorf("%d cookies sent", got)
	}
	a.dead = false
	w.run(2 * time.Second)
	if len(a.out) != 1 {
		t.Error("a genuine peer does not get through")
	}
	w.run(time.Minute)
	wantPairs(t, a, b, 1)
	wantIKE(t, a, b, 1)
	if len(b.answered.byKey) != 1 || len(b.answered.v2.all)+len(b.answered.v2.from) != 0 || b.timers.Len() > 2 {
		t.Errorf("half-open IKE SAs did not expire: %d, %d, %d timers", len(b.answered.byKey), len(b.answered.v2.all), b.timers.Len())
	}
}

func TestHalfOpenIKESAsAreBounded(t *testing.T) {
	w := newWorld(t, 0)
	b := w.host("192.0.2.2", 0x2000)
	b.SetPeers(w.now, []*sa.Peer{peerFor("1", "192.0.2.2", "192.0.2.1"), peerFor("3", "192.0.2.2", "192.0.2.3"), peerFor("4", "192.0.2.2", "192.0.2.4")})
	b.cfg.CookieThreshold, b.cfg.MaxHalfOpen = 1000, 50
	for i := range 200 {
		answers(b, w.now, [...]string{"192.0.2.1:500", "192.0.2.3:500", "192.0.2.4:500"}[i%3], first(uint64(i)+1, nil))
	}
	if len(b.table.bySPI) != 50 || b.Counters().HalfOpenFull != 150 {
		t.Errorf("%d half-open IKE SAs, %d refused", len(b.table.bySPI), b.Counters().HalfOpenFull)
	}
}

// flood begins n IKE SAs from one address, each from another port and with a cookie where it is asked for. It never
// sends IKE_AUTH.
func flood(n *end, now time.Time, from string, count int) {
	for i := range count {
		at := fmt.Sprintf("%s:%d", from, 1000+i)
		for _, m := range answers(n, now, at, first(uint64(i)+1, nil)) {
			if cookie := wire.FindNotify(m.Payloads, wire.Cookie); cookie != nil {
				answers(n, now, at, first(uint64(i)+1, func(m *wire.Message) {
					m.Payloads = append([]wire.Payload{cookie}, m.Payloads...)
				}))
			}
		}
	}
}

// TestOneAddressCannotUseUpAllHalfOpenIKESAs: the flood comes from a host that receives its cookies.
func TestOneAddressCannotUseUpAllHalfOpenIKESAs(t *testing.T) {
	w, a, b := pairOf(t, nil)
	c := w.host("192.0.2.3", 0x3000)
	_, pb := peersFor()
	pc, pbc := peersFor()
	pc.LocalID, pbc.RemoteID, pbc.Remote = ipsec.IdentityOf(c.addr), ipsec.IdentityOf(c.addr), c.addr
	pbc.Children[0].Name, pbc.Children[0].Tunnel = "bc", "bc"
	b.SetPeers(w.now, []*sa.Peer{pb, pbc})
	a.dead = true
	flood(b, w.now, "192.0.2.1", 2000)
	if n, want := len(b.table.bySPI), 32+shareAlways; n != want || b.Counters().HalfOpenShare != uint64(2000-want) {
		t.Errorf("%d half-open IKE SAs, want %d; %d refused", n, want, b.Counters().HalfOpenShare)
	}
	c.SetPeers(w.now, []*sa.Peer{pc})
	w.run(2 * time.Second)
	if len(c.out) != 1 {
		t.Error("a peer at another address does not get through")
	}
	a.dead = false
	w.run(time.Minute)
	if len(a.out) != 1 || len(b.out) != 2 || len(b.answered.v2.from) != 0 {
		t.Errorf("a minute later: %d and %d Child SAs, %d addresses", len(a.out), len(b.out), len(b.answered.v2.from))
	}
}

// TestManyPeersBehindOneNATMayBeginAtOnce, as after a restart of this end: the share of an address grows with the
// number of peers configured there.
func TestManyPeersBehindOneNATMayBeginAtOnce(t *testing.T) {
	for peers, want := range map[int]int{1: 64, 100: 432, 200: 512} {
		w := newWorld(t, 0)
		b := w.host("192.0.2.2", 0x2000)
		var ps []*sa.Peer
		for i := range peers {
			p := peerFor(fmt.Sprint(i), "192.0.2.2", "192.0.2.1")
			p.RemoteID = ipsec.Identity{Type: ipsec.IDFQDN, Data: p.Name}
			p.Children[0].Initiate = false
			ps = append(ps, p)
		}
		b.SetPeers(w.now, ps)
		flood(b, w.now, "192.0.2.1", 600)
		if got := len(b.table.bySPI); got != want {
			t.Errorf("%d peers: %d half-open IKE SAs, want %d", peers, got, want)
		}
	}
}

func TestRefusalsInTheClearAreRationed(t *testing.T) {
	w, _, b := pairOf(t, nil)
	n := 0
	for i := range 1000 {
		n += len(answers(b, w.now, "203.0.113.7:500", first(uint64(i)+1, nil)))
	}
	if n > 20 {
		t.Errorf("%d answers to strangers in a second", n)
	}
}

func TestRepeatedFirstMessageGetsTheSameAnswer(t *testing.T) {
	w, _, b := pairOf(t, nil)
	data := first(7, nil)
	one, two := answers(b, w.now, "192.0.2.1:500", data), answers(b, w.now, "192.0.2.1:500", data)
	if len(one) != 1 || len(two) != 1 || one[0].SPIr != two[0].SPIr || len(b.table.bySPI) != 1 {
		t.Errorf("%v, then %v", one, two)
	}
	// The same SPI from another port or with another nonce belongs to another peer.
	three := answers(b, w.now, "192.0.2.1:501", data)
	four := answers(b, w.now, "192.0.2.1:500", first(7, func(m *wire.Message) { m.Payloads[2].(*wire.Nonce).Data[0] = 1 }))
	if len(b.table.bySPI) != 3 || three[0].SPIr == one[0].SPIr || four[0].SPIr == one[0].SPIr {
		t.Errorf("%d IKE SAs, want 3", len(b.table.bySPI))
	}
}

func TestCookiesAreForOneSenderAndForAWhile(t *testing.T) {
	w := newWorld(t, 0)
	c := cookies{rand: w.rand}
	at := netip.MustParseAddrPort("192.0.2.1:500")
	nonce := &wire.Nonce{Data: make([]byte, 32)}
	msg := func(cookie []byte, spi uint64) *wire.Message {
		return &wire.Message{Header: wire.Header{SPIi: spi}, Payloads: []wire.Payload{&wire.Notify{Kind: wire.Cookie, Data: cookie}, nonce}}
	}
	k := c.mint(w.now, nonce.Data, at, 1)
	for _, x := range []struct {
		what string
		m    *wire.Message
		from string
		wait time.Duration
		want bool
	}{
		{"itself", msg(k, 1), "192.0.2.1:500", 0, true},
		{"another SPI", msg(k, 2), "192.0.2.1:500", 0, false},
		{"another port", msg(k, 1), "192.0.2.1:501", 0, false},
		{"another address", msg(k, 1), "192.0.2.2:500", 0, false},
		{"no cookie", &wire.Message{Payloads: []wire.Payload{nonce}}, "192.0.2.1:500", 0, false},
		{"an empty cookie", msg(nil, 1), "192.0.2.1:500", 0, false},
		{"after the secret has changed", msg(k, 1), "192.0.2.1:500", 61 * time.Second, true},
		{"after it has changed twice", msg(k, 1), "192.0.2.1:500", 61 * time.Second, false},
	} {
		w.now = w.now.Add(x.wait)
		if got := c.valid(w.now, x.m, netip.MustParseAddrPort(x.from)); got != x.want {
			t.Errorf("cookie with %s: %v, want %v", x.what, got, x.want)
		}
	}
	k = c.mint(w.now, nonce.Data, at, 1)
	if c.valid(w.now.Add(time.Hour), msg(k, 1), at) {
		t.Error("a cookie outlives a long silence")
	}
}

// TestANetworkCannotUseUpAllHalfOpenIKESAs: the flood comes from many hosts, each a peer's, that receive their cookies. A peer
// at another address takes the place of one of theirs; who has only forged that address does not.
func TestANetworkCannotUseUpAllHalfOpenIKESAs(t *testing.T) {
	w, a, b := pairOf(t, nil)
	_, pb := peersFor()
	peers := []*sa.Peer{pb}
	var network []string
	for i := range 20 {
		at := fmt.Sprintf("203.0.113.%d", i+1)
		p := peerFor(at, "192.0.2.2", at)
		p.Children[0].Initiate = false
		peers, network = append(peers, p), append(network, at)
	}
	b.SetPeers(w.now, peers)
	for _, at := range network {
		flood(b, w.now, at, 100)
	}
	if n := len(b.answered.v2.all); n != 1024 || b.Counters().HalfOpenFull == 0 || b.Counters().HalfOpenDisplaced == 0 {
		t.Fatalf("%d half-open IKE SAs, want as many as there may be: %+v", n, b.Counters())
	}
	least := func() int { return slices.Min(slices.Collect(maps.Values(b.answered.v2.from))) }
	if n := least(); n < 1024/20 {
		t.Errorf("one address has only %d", n)
	}
	before := b.Counters().HalfOpenDisplaced
	for i := range 100 {
		answers(b, w.now, "192.0.2.1:500", first(uint64(i)+1, nil))
	}
	if n := b.Counters().HalfOpenDisplaced; n != before {
		t.Errorf("%d gave way to a forged address", n-before)
	}
	w.run(time.Second)
	wantPairs(t, a, b, 1)
	if n := b.Counters().HalfOpenDisplaced; n != before+1 {
		t.Errorf("%d gave way to the peer, want 1", n-before)
	}
}
