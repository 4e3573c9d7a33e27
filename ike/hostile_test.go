package ike

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// mallory has the keys of an IKE SA and speaks to its responder as the initiator.
type mallory struct {
	*tap
	to   *end
	path ipsec.Path // of to
	h    wire.Header
}

func malloryOf(w *world, a, b *end) *mallory {
	st := b.ikeOf()
	m := &mallory{newTap(w), b, st.Path, wire.Header{SPIi: st.SPIi, SPIr: st.SPIr, Major: 2, Flags: wire.FlagInitiator}}
	if !st.Initiator {
		m.h.ID = 2
	} else {
		m.h.Flags = 0
	}
	a.dead = true
	return m
}

// deliver hands over one message and returns what comes back at once.
func (m *mallory) deliver(data []byte) [][]byte {
	before := len(m.w.wire)
	m.to.Handle(m.w.now, ipsec.Datagram{Local: m.path.Local, Remote: m.path.Remote, Data: bytes.Clone(data)})
	m.to.drain()
	var out [][]byte
	for _, d := range m.w.wire[before:] {
		out = append(out, d.Data)
	}
	m.w.wire = m.w.wire[:before]
	return out
}

// ask sends a request of the next message id and returns the response's payloads.
func (m *mallory) ask(x wire.Exchange, ps ...wire.Payload) []wire.Payload {
	m.w.t.Helper()
	m.h.Exchange = x
	out := m.deliver(m.forge(m.h, ps...))
	m.h.ID++
	for _, data := range out {
		if h, got, ok := m.payloads(data); ok && h.Flags&wire.FlagResponse != 0 && h.ID == m.h.ID-1 {
			return got
		}
	}
	m.w.t.Fatalf("no answer to %v", x)
	return nil
}

func established(t *testing.T) (*world, *end, *end, *mallory) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	wantPairs(t, a, b, 1)
	return w, a, b, malloryOf(w, a, b)
}

var critical = &wire.Raw{Kind: 201, Critical: true, Data: []byte("?")}

func TestUnknownCriticalPayloadIsRefusedAndTheIKESALives(t *testing.T) {
	_, _, b, m := established(t)
	for _, x := range []wire.Exchange{wire.ExchangeInformational, wire.ExchangeCreateChild} {
		got := m.ask(x, &wire.Delete{Protocol: ipsec.ProtoIKE}, critical)
		n := wire.FindNotify(got, wire.UnsupportedCriticalPayload)
		if len(got) != 1 || n == nil || !bytes.Equal(n.Data, []byte{201}) {
			t.Errorf("%v: answered %v", x, got)
		}
	}
	if got := m.ask(wire.ExchangeInformational); len(got) != 0 || len(b.table.bySPI) != 1 || len(b.in) != 1 {
		t.Errorf("then answered %v; %d IKE SAs", got, len(b.table.bySPI))
	}
}

func TestUnknownCriticalPayloadInIKEAuth(t *testing.T) {
	for _, response := range []bool{false, true} {
		w, a, b := pairOf(t, nil)
		tap := newTap(w)
		w.filter = tap.change(func(h *wire.Header, ps []wire.Payload) []wire.Payload {
			if h.Exchange == wire.ExchangeAuth && (h.Flags&wire.FlagResponse != 0) == response {
				return append(ps, critical)
			}
			return nil
		})
		w.run(300 * time.Millisecond)
		if len(a.in) != 0 {
			t.Error("the initiator is up")
		}
		if response {
			wantWhy(t, "initiator", a.view()[0].Why, "critical payload of unknown type 201")
			wantWhy(t, "responder", b.view()[0].Why, "the peer could not read our message: UNSUPPORTED_CRITICAL_PAYLOAD")
			if len(b.in) != 0 {
				t.Error("the responder was not told")
			}
		} else {
			wantWhy(t, "initiator", a.view()[0].Why, "the peer answered IKE_AUTH with UNSUPPORTED_CRITICAL_PAYLOAD: it does not know a payload that we marked critical")
			if len(b.in) != 0 {
				t.Error("the responder is up")
			}
		}
	}
}

func TestUnknownPayloadsAndNotifiesAreIgnored(t *testing.T) {
	w, a, b := pairOf(t, nil)
	tap := newTap(w)
	w.filter = tap.change(func(_ *wire.Header, ps []wire.Payload) []wire.Payload {
		return slices.Concat([]wire.Payload{&wire.Raw{Kind: 201}, &wire.Notify{Kind: 40000, Data: []byte("x")}, &wire.Vendor{Data: []byte("v")}},
			ps, []wire.Payload{&wire.Raw{Kind: wire.TypeCertReq, Critical: true}, &wire.Notify{Kind: 50000, Protocol: 9, SPI: []byte("12345")}})
	})
	w.run(time.Second)
	wantPairs(t, a, b, 1)
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	b.Do(w.now, sa.RekeyIKE{Tunnel: "b"})
	w.run(20 * time.Second)
	wantPairs(t, a, b, 1)
	wantIKE(t, a, b, 1)
}

// TestUnreadableRequestEndsTheIKESA: INVALID_SYNTAX is "fatal in both peers".
func TestUnreadableRequestEndsTheIKESA(t *testing.T) {
	ke, nonce := &wire.KE{Group: ipsec.KEX25519, Data: append(make([]byte, 31), 9)}, &wire.Nonce{Data: make([]byte, 32)}
	esp := func(spi []byte) *wire.SA {
		return &wire.SA{Proposals: []wire.Proposal{{Number: 1, Protocol: ipsec.ProtoESP, SPI: spi, Proposal: proposals(ipsec.ProtoESP, "aes128gcm16-x25519")[0]}}}
	}
	tsi, tsr := &wire.TS{Selectors: selectors("10.1.0.0/16")}, &wire.TS{Responder: true, Selectors: selectors("10.2.0.0/16")}
	for name, ask := range map[string]func(m *mallory) []wire.Payload{
		"unknown exchange": func(m *mallory) []wire.Payload { return m.ask(99) },
		"second IKE_AUTH":  func(m *mallory) []wire.Payload { return m.ask(wire.ExchangeAuth, &wire.ID{}, &wire.Auth{}) },
		"no nonce":         func(m *mallory) []wire.Payload { return m.ask(wire.ExchangeCreateChild, esp([]byte("1234")), tsi, tsr) },
		"no selectors":     func(m *mallory) []wire.Payload { return m.ask(wire.ExchangeCreateChild, esp([]byte("1234")), nonce) },
		"reserved SPI": func(m *mallory) []wire.Payload {
			return m.ask(wire.ExchangeCreateChild, esp([]byte{0, 0, 0, 7}), nonce, ke, tsi, tsr)
		},
		"all-zero public value": func(m *mallory) []wire.Payload {
			return m.ask(wire.ExchangeCreateChild, esp([]byte("1234")), nonce, &wire.KE{Group: ipsec.KEX25519, Data: make([]byte, 32)}, tsi, tsr)
		},
		"short nonce": func(m *mallory) []wire.Payload {
			return m.ask(wire.ExchangeCreateChild, &wire.Nonce{Data: []byte("short")})
		},
		"IKE rekey without KE": func(m *mallory) []wire.Payload {
			return m.ask(wire.ExchangeCreateChild, &wire.SA{Proposals: []wire.Proposal{{Number: 1, Protocol: ipsec.ProtoIKE, SPI: []byte("12345678"), Proposal: proposals(ipsec.ProtoIKE, "aes128-sha256-x25519")[0]}}}, nonce)
		},
		"IKE rekey without SPI": func(m *mallory) []wire.Payload {
			return m.ask(wire.ExchangeCreateChild, &wire.SA{Proposals: []wire.Proposal{{Number: 1, Protocol: ipsec.ProtoIKE, Proposal: proposals(ipsec.ProtoIKE, "aes128-sha256-x25519")[0]}}}, nonce, ke)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, _, b, m := established(t)
			got := ask(m)
			if len(got) != 1 || wire.FindNotify(got, wire.InvalidSyntax) == nil {
				t.Errorf("answered %v, want INVALID_SYNTAX", got)
			}
			if len(b.in) != 0 {
				t.Error("the Child SA is still there")
			}
			w.run(10 * time.Second)
			if len(b.table.bySPI) != 0 {
				t.Error("the IKE SA is still there")
			}
			b.noLeaks()
		})
	}
}

func TestInvalidSyntaxInAResponseEndsTheIKESAWithoutADelete(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	tap := newTap(w)
	spoil := tap.change(func(h *wire.Header, ps []wire.Payload) []wire.Payload {
		if h.Exchange == wire.ExchangeCreateChild && h.Flags&wire.FlagResponse != 0 {
			return []wire.Payload{&wire.Notify{Kind: wire.InvalidSyntax}}
		}
		return nil
	})
	w.filter = func(d *ipsec.Datagram) bool {
		h, _ := wire.ParseHeader(d.Data)
		return h.Exchange != wire.ExchangeSAInit && spoil(d) // the next attempt is at once
	}
	before, old := w.count(wire.ExchangeInformational, false), a.ikeOf().SPIi
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	w.run(100 * time.Millisecond)
	if len(a.in) != 0 || a.table.bySPI[old] != nil || w.count(wire.ExchangeInformational, false) != before {
		t.Error("the IKE SA is still there, or a Delete was sent")
	}
	wantWhy(t, "initiator", a.view()[0].Why, "the peer could not read our CREATE_CHILD_SA request (INVALID_SYNTAX)")
	w.filter = nil
	w.run(2 * time.Minute) // INITIAL_CONTACT tells b
	wantPairs(t, a, b, 1)
}

// TestRefusalsThatLeaveEverythingAsItIs: these requests get an error and change nothing.
func TestRefusalsThatLeaveEverythingAsItIs(t *testing.T) {
	nonce := &wire.Nonce{Data: make([]byte, 32)}
	ke := &wire.KE{Group: ipsec.KEX25519, Data: append(make([]byte, 31), 9)}
	tsi, tsr := &wire.TS{Selectors: selectors("10.1.0.0/16")}, &wire.TS{Responder: true, Selectors: selectors("10.2.0.0/16")}
	esp := func(s string) *wire.SA {
		return &wire.SA{Proposals: []wire.Proposal{{Number: 1, Protocol: ipsec.ProtoESP, SPI: []byte("1234"), Proposal: proposals(ipsec.ProtoESP, s)[0]}}}
	}
	ike := func(s string) *wire.SA {
		return &wire.SA{Proposals: []wire.Proposal{{Number: 1, Protocol: ipsec.ProtoIKE, SPI: []byte("12345678"), Proposal: proposals(ipsec.ProtoIKE, s)[0]}}}
	}
	for _, c := range []struct {
		name string
		ps   []wire.Payload
		want wire.NotifyType
		data []byte
	}{
		{"no such Child SA to rekey", []wire.Payload{&wire.Notify{Protocol: ipsec.ProtoESP, SPI: []byte("nope"), Kind: wire.RekeySA}, esp("aes128gcm16-x25519"), nonce, ke, tsi, tsr}, wire.ChildSANotFound, nil},
		{"rekey of AH", []wire.Payload{&wire.Notify{Protocol: ipsec.ProtoAH, SPI: []byte("nope"), Kind: wire.RekeySA}, esp("aes128gcm16-x25519"), nonce, ke, tsi, tsr}, wire.ChildSANotFound, nil},
		{"another cipher", []wire.Payload{esp("aes256gcm16-x25519"), nonce, ke, tsi, tsr}, wire.NoProposalChosen, nil},
		{"another group", []wire.Payload{esp("aes128gcm16-x25519"), nonce, &wire.KE{Group: ipsec.KEECP256, Data: make([]byte, 64)}, tsi, tsr}, wire.InvalidKEPayload, []byte{0, 31}},
		{"no group", []wire.Payload{esp("aes128gcm16-x25519"), nonce, tsi, tsr}, wire.InvalidKEPayload, []byte{0, 31}},
		{"other selectors", []wire.Payload{esp("aes128gcm16-x25519"), nonce, ke, &wire.TS{Selectors: selectors("10.7.0.0/16")}, tsr}, wire.TSUnacceptable, nil},
		{"selectors of the other family", []wire.Payload{esp("aes128gcm16-x25519"), nonce, ke, &wire.TS{Selectors: selectors("fd00::/64")}, tsr}, wire.TSUnacceptable, nil},
		{"IKE: another cipher", []wire.Payload{ike("aes256-sha256-x25519"), nonce, ke}, wire.NoProposalChosen, nil},
		{"IKE: another group", []wire.Payload{ike("aes128-sha256-x25519"), nonce, &wire.KE{Group: ipsec.KEECP256, Data: make([]byte, 64)}}, wire.InvalidKEPayload, []byte{0, 31}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, _, b, m := established(t)
			trace := len(b.trace)
			got := m.ask(wire.ExchangeCreateChild, c.ps...)
			n := wire.FindNotify(got, c.want)
			if len(got) != 1 || n == nil || !bytes.Equal(n.Data, c.data) {
				t.Fatalf("answered %v, want %v %x", got, c.want, c.data)
			}
			if c.want == wire.ChildSANotFound && string(n.SPI) != "nope" {
				t.Errorf("about SPI %q", n.SPI)
			}
			if got := b.trace[trace:]; len(got) != 1 {
				t.Errorf("did %q", got)
			}
			if got := m.ask(wire.ExchangeInformational); len(got) != 0 {
				t.Errorf("a liveness check was answered with %v", got)
			}
			_ = w
			b.noLeaks()
		})
	}
}

// counting counts the bytes read from a reader.
type counting struct{ n int }

func (c *counting) Read(b []byte) (int, error) { c.n += len(b); return zeros{}.Read(b) }

func TestRetransmittedRequestIsAnsweredFromCache(t *testing.T) {
	_, _, b, m := established(t)
	rnd := &counting{}
	b.cfg.Rand, b.env.Rand = rnd, rnd
	m.h.Exchange = wire.ExchangeCreateChild
	request := m.forge(m.h,
		&wire.SA{Proposals: []wire.Proposal{{Number: 1, Protocol: ipsec.ProtoESP, SPI: []byte("1234"), Proposal: proposals(ipsec.ProtoESP, "aes128gcm16-x25519")[0]}}},
		&wire.Nonce{Data: make([]byte, 32)}, &wire.KE{Group: ipsec.KEX25519, Data: append(make([]byte, 31), 9)},
		&wire.TS{Selectors: selectors("10.1.0.0/16")}, &wire.TS{Responder: true, Selectors: selectors("10.2.0.0/16")})
	one := m.deliver(request)
	used, trace, children := rnd.n, len(b.trace), len(b.in)
	if used == 0 || children != 2 {
		t.Fatal("no Child SA was made")
	}
	for range 3 {
		again := m.deliver(request)
		if len(again) != 1 || !bytes.Equal(again[0], one[0]) {
			t.Fatal("a retransmission got another answer")
		}
	}
	if rnd.n != used || len(b.in) != children || len(b.trace) != trace+3 {
		t.Error("a retransmission was computed again")
	}
	// Other bytes with the old message id are not a retransmission.
	if out := m.deliver(m.forge(m.h, &wire.Delete{Protocol: ipsec.ProtoIKE})); len(out) != 0 {
		t.Error("another request with an old message id was answered")
	}
}

// TestOutOfWindowMessagesAreIgnored: the window is one message.
func TestOutOfWindowMessagesAreIgnored(t *testing.T) {
	_, _, b, m := established(t)
	state, timers := b.ikeOf(), b.Deadline()
	del := &wire.Delete{Protocol: ipsec.ProtoIKE}
	for _, id := range []uint32{0, 1, 3, 4, 1 << 31, 0xffffffff} {
		h := m.h
		h.ID, h.Exchange = id, wire.ExchangeInformational
		if out := m.deliver(m.forge(h, del)); len(out) != 0 {
			t.Errorf("request %d was answered", id)
		}
		h.Flags |= wire.FlagResponse
		if out := m.deliver(m.forge(h, del)); len(out) != 0 {
			t.Errorf("response %d was answered", id)
		}
	}
	if b.ikeOf() != state || b.Deadline() != timers || len(b.in) != 1 {
		t.Error("something changed")
	}
}

// TestForgeriesChangeNothing: somebody on the path sends messages without having the keys.
func TestForgeriesChangeNothing(t *testing.T) {
	_, _, b, m := established(t)
	m.h.Exchange = wire.ExchangeInformational
	del := m.forge(m.h, &wire.Delete{Protocol: ipsec.ProtoIKE})
	clearText := func(x wire.Exchange, flags wire.Flags, ps ...wire.Payload) []byte {
		h := m.h
		h.Exchange, h.Flags = x, flags
		return (&wire.Message{Header: h, Payloads: ps}).Marshal()
	}
	state, trace := b.ikeOf(), len(b.trace)
	var forgeries [][]byte
	for i := range del {
		x := bytes.Clone(del)
		x[i] ^= 0x80
		forgeries = append(forgeries, x, del[:i])
	}
	for _, flags := range []wire.Flags{wire.FlagInitiator, wire.FlagInitiator | wire.FlagResponse, 0, wire.FlagResponse} {
		forgeries = append(forgeries,
			clearText(wire.ExchangeInformational, flags, &wire.Delete{Protocol: ipsec.ProtoIKE}),
			clearText(wire.ExchangeInformational, flags, &wire.Notify{Kind: wire.InvalidSyntax}),
			clearText(wire.ExchangeInformational, flags, &wire.Notify{Kind: wire.AuthenticationFailed}),
			clearText(wire.ExchangeInformational, flags, &wire.Notify{Kind: wire.InitialContact}),
			clearText(wire.ExchangeSAInit, flags, &wire.Notify{Kind: wire.NoProposalChosen}),
			clearText(wire.ExchangeAuth, flags, &wire.Notify{Kind: wire.AuthenticationFailed}),
			clearText(wire.ExchangeCreateChild, flags, &wire.Encrypted{Body: make([]byte, 64)}),
			clearText(wire.ExchangeCreateChild, flags, &wire.Fragment{Number: 1, Total: 2, Body: make([]byte, 64)}),
			clearText(wire.ExchangeInformational, flags, critical))
	}
	for _, x := range forgeries {
		m.deliver(x)
	}
	if got := b.ikeOf(); got != state {
		t.Errorf("%+v, was %+v", got, state)
	}
	for _, did := range b.trace[trace:] {
		if !strings.HasPrefix(did, "send ") { // INVALID_IKE_SPI, or a liveness check
			t.Errorf("a forgery made it %s", did)
		}
	}
	if got := m.ask(wire.ExchangeInformational); len(got) != 0 || len(b.in) != 1 {
		t.Error("not as before")
	}
}

// TestForgedRefusalsDoNotStopAnInitiator: "the recipient should continue trying for some time before giving up".
func TestForgedRefusalsDoNotStopAnInitiator(t *testing.T) {
	for _, kind := range []wire.NotifyType{wire.NoProposalChosen, wire.InvalidSyntax, wire.AuthenticationFailed, wire.InvalidKEPayload, wire.InvalidMajorVersion, 9999} {
		w, a, b := pairOf(t, nil)
		done := false
		w.filter = func(d *ipsec.Datagram) bool {
			h, _ := wire.ParseHeader(d.Data)
			if d.Local.Addr() == b.addr && !done {
				done = true
				h.Flags = wire.FlagResponse
				m := wire.Message{Header: h, Payloads: []wire.Payload{&wire.Notify{Kind: kind, Data: []byte{0, 77}}}}
				w.wire = slices.Insert(w.wire, 0, ipsec.Datagram{Local: d.Remote, Remote: d.Local, Data: m.Marshal()})
			}
			return true
		}
		w.run(time.Second)
		wantPairs(t, a, b, 1)
		if why := a.view()[0].Why; why != "" {
			t.Errorf("up, but why is %q", why)
		}
	}
}

// TestForgedFirstResponseDoesNotStopAnInitiator: somebody on the path answers first.
func TestForgedFirstResponseDoesNotStopAnInitiator(t *testing.T) {
	for name, change := range map[string]func(m *wire.Message){
		"another group":   func(m *wire.Message) { m.Payloads[1] = &wire.KE{Group: 19, Data: make([]byte, 64)} },
		"a bad point":     func(m *wire.Message) { m.Payloads[1] = &wire.KE{Group: 31, Data: make([]byte, 32)} },
		"another cipher":  func(m *wire.Message) { m.Payloads[0].(*wire.SA).Proposals[0].Transforms[0].KeyBits = 256 },
		"proposal 2":      func(m *wire.Message) { m.Payloads[0].(*wire.SA).Proposals[0].Number = 2 },
		"no SPI":          func(m *wire.Message) { m.SPIr = 0 },
		"a payload less":  func(m *wire.Message) { m.Payloads = m.Payloads[:2] },
		"another message": func(m *wire.Message) { m.ID = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			w, a, b := pairOf(t, nil)
			w.filter = func(d *ipsec.Datagram) bool {
				m, err := wire.Parse(d.Data)
				if err == nil && m.Exchange == wire.ExchangeSAInit && m.Flags&wire.FlagResponse != 0 {
					change(m)
					a.Handle(w.now, ipsec.Datagram{Local: d.Local, Remote: d.Remote, Data: m.Marshal()})
				}
				return true
			}
			w.run(time.Second)
			wantPairs(t, a, b, 1)
		})
	}
}

// TestRequestThatOvertakesTheIKEAuthResponseWaits: the responder may ask something as soon as it has answered.
func TestRequestThatOvertakesTheIKEAuthResponseWaits(t *testing.T) {
	w, a, b := pairOf(t, nil)
	var late []ipsec.Datagram
	w.filter = func(d *ipsec.Datagram) bool {
		h, _ := wire.ParseHeader(d.Data)
		if h.Exchange == wire.ExchangeAuth && h.Flags&wire.FlagResponse != 0 && late == nil {
			late = append(late, *d)
			b.Do(w.now, sa.RekeyIKE{Tunnel: "b"})
			return false
		}
		return true
	}
	w.run(100 * time.Millisecond)
	w.wire = append(w.wire, late...)
	w.run(30 * time.Second)
	wantPairs(t, a, b, 1)
	wantIKE(t, a, b, 1)
	if w.count(wire.ExchangeAuth, false) != 1 {
		t.Error("IKE_AUTH was sent again")
	}
}

// TestResponseOfAnotherExchangeIsIgnored: only a peer that holds the keys can send one.
func TestResponseOfAnotherExchangeIsIgnored(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.run(time.Second)
	tap := newTap(w)
	w.filter = tap.change(func(h *wire.Header, ps []wire.Payload) []wire.Payload {
		if h.Exchange == wire.ExchangeCreateChild && h.Flags&wire.FlagResponse != 0 {
			h.Exchange = wire.ExchangeInformational
			return []wire.Payload{&wire.Vendor{}}
		}
		return nil
	})
	a.Do(w.now, sa.RekeyIKE{Tunnel: "a"})
	w.run(3 * time.Second)
	w.filter = nil
	w.run(30 * time.Second)
	wantPairs(t, a, b, 1)
	wantIKE(t, a, b, 1)
}

// TestStrangersAreNotHeardOnEstablishedIKESAs: the SPIs are right, and the sender is not the peer.
func TestStrangersAreNotHeardOnEstablishedIKESAs(t *testing.T) {
	_, _, b, m := established(t)
	m.h.Exchange = wire.ExchangeInformational
	h := m.h
	h.SPIi ^= 1
	data := (&wire.Message{Header: h, Payloads: []wire.Payload{&wire.Encrypted{Body: make([]byte, 64)}}}).Marshal()
	unknown := b.Counters().UnknownSPI
	b.Handle(m.w.now, ipsec.Datagram{Local: m.path.Local, Remote: netip.MustParseAddrPort("203.0.113.9:500"), Data: data})
	if b.Counters().UnknownSPI != unknown+1 {
		t.Error("a message with one right SPI out of two was taken")
	}
}
