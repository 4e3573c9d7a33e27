package ike

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// beginMains sends b n first messages of main mode like one of a's, padded with vendor ids.
func beginMains(w *world, a, b *end, n, padding int) {
	a.Advance(w.now)
	a.drain()
	h, c, _ := wire.Parse1(w.wire[0].Data)
	w.wire = nil
	ps := c.Payloads
	for ; padding > 0; padding -= 1000 {
		ps = append(ps, &wire.Raw{Kind: wire.TypeVendor1, Data: make([]byte, 1000)})
	}
	data := (&wire.Message{Header: h, Payloads: ps}).Marshal()
	for i := range n {
		d := bytes.Clone(data)
		binary.BigEndian.PutUint64(d, uint64(i+1))
		b.Handle(w.now, ipsec.Datagram{Local: netip.AddrPortFrom(b.addr, 500), Remote: netip.AddrPortFrom(a.addr, 500), Data: d})
	}
	b.drain()
	w.wire = nil
}

// TestV1PendingMainModesAreBounded in number and in bytes, and go after a while.
func TestV1PendingMainModesAreBounded(t *testing.T) {
	for name, c := range map[string]struct{ padding, most int }{
		"many": {0, maxPending},
		"long": {16000, maxPendingBytes / 16000},
	} {
		t.Run(name, func(t *testing.T) {
			w, a, b := pairOf(t, v1)
			beginMains(w, a, b, c.most+100, c.padding)
			if n := len(b.pending.byKey); n > c.most || n < c.most*9/10 || b.pending.bytes > maxPendingBytes || len(b.table.bySPI) != 0 {
				t.Errorf("%d pending main modes of %d bytes, %d ISAKMP SAs; want at most %d of %d bytes, none", n, b.pending.bytes, len(b.table.bySPI), c.most, maxPendingBytes)
			}
			if b.Counters().Displaced < 100 {
				t.Errorf("%d displaced, want 100 and more", b.Counters().Displaced)
			}
			w.run(time.Second)
			wantPairs(t, a, b, 1)
			w.run(pendingTime)
			if b.pending.left() != 0 {
				t.Errorf("%d pending main modes are left", len(b.pending.byKey))
			}
		})
	}
}

// TestV1PendingMainModeIsTheSendersOwn: only the host that received our cookie goes on with a main mode.
func TestV1PendingMainModeIsTheSendersOwn(t *testing.T) {
	w, a, b := pairOf(t, v1)
	var third []byte
	w.filter = func(d *ipsec.Datagram) bool {
		if h, _ := wire.ParseHeader(d.Data); d.Local.Addr() == a.addr && h.SPIr != 0 {
			third = d.Data
		}
		return third == nil
	}
	w.run(100 * time.Millisecond)
	try := func(what string, port uint16, change func(d []byte)) {
		d := bytes.Clone(third)
		change(d)
		b.Handle(w.now, ipsec.Datagram{Local: netip.AddrPortFrom(b.addr, 500), Remote: netip.AddrPortFrom(a.addr, port), Data: d})
		if len(b.table.bySPI) != 0 {
			t.Errorf("%s makes an ISAKMP SA", what)
		}
	}
	try("message 3 from another port", 501, func([]byte) {})
	try("message 3 with another cookie of the initiator", 500, func(d []byte) { d[0] ^= 1 })
	try("message 3 with another cookie of the responder", 500, func(d []byte) { d[8] ^= 1 })
	try("message 3 of quick mode", 500, func(d []byte) { d[18] = byte(wire.ExchangeQuick) })
	try("message 3 that is encrypted", 500, func(d []byte) { d[19] |= byte(wire.FlagEncrypted) })
	b.drain()
	w.filter = nil
	w.run(10 * time.Second)
	wantPairs(t, a, b, 1)
}
