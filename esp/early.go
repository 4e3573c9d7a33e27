package esp

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"vpngw/ipsec"
)

// early keeps what comes for an SPI that is on offer: the peer may send on the new SA as soon as its answer is out (RFC 7296
// section 2.8), and the answer may be the later one to arrive, or wait for its turn. InstallIn opens what was kept. Anybody who
// saw the SPI may send to it, so little is kept, and not for long. For the holder of Plane.receiving.
type early struct {
	packets  map[uint32][]earlyPacket // by SPI, in the order of their arrival
	bytes    int
	receiver *receiver // that opens them
}

type earlyPacket struct {
	at        time.Time
	transport transport
	remote    netip.AddrPort
	tos       uint8
	data      []byte
}

const (
	earlyOf    = 64      // packets kept for one SPI
	earlyBytes = 1 << 20 // for all
	earlyTime  = 100 * time.Millisecond
)

// keep keeps a packet for an SPI on offer; false: it is to be dropped.
func (e *early) keep(r *receiver, spi uint32, b []byte, tos uint8) bool {
	kept := e.packets[spi]
	old := slices.IndexFunc(kept, func(p earlyPacket) bool { return r.now.Sub(p.at) < earlyTime })
	if len(kept) > 0 && old != 0 {
		if old < 0 {
			old = len(kept)
		}
		r.plane.meter.drops.add(dropNoSA, e.forget(spi, old))
		kept = e.packets[spi]
	}
	if len(kept) >= earlyOf || e.bytes+len(b) > earlyBytes {
		return false
	}
	if e.packets == nil {
		e.packets = map[uint32][]earlyPacket{}
	}
	e.packets[spi] = append(kept, earlyPacket{r.now, r.transport, r.remote, tos, slices.Clone(b)})
	e.bytes += len(b)
	return true
}

// forget drops the first n packets of an SPI, and returns how many that were.
func (e *early) forget(spi uint32, n int) int {
	kept := e.packets[spi]
	n = min(n, len(kept))
	for _, p := range kept[:n] {
		e.bytes -= len(p.data)
	}
	if n == len(kept) {
		delete(e.packets, spi)
	} else {
		e.packets[spi] = kept[n:]
	}
	return n
}

// installEarly makes in receive, and opens what has come for it before anything else. The holder of mu calls it.
func (p *Plane) installEarly(in *inbound, now time.Time) {
	p.receiving.Lock()
	kept := p.early.packets[in.spi]
	p.early.forget(in.spi, len(kept))
	if p.early.receiver == nil && len(kept) > 0 {
		p.early.receiver = &receiver{plane: p, received: tally{direction: func(m *meter) *traffic { return &m.in }}}
	}
	p.sad.install(in)
	r := p.early.receiver
	for i := range kept {
		e := &kept[i]
		if now.Sub(e.at) >= earlyTime {
			p.meter.drops.add(dropNoSA, 1)
			continue
		}
		r.transport, r.remote, r.now = e.transport, e.remote, e.at
		r.heard = max(1, int64(e.at.Sub(p.epoch)))
		r.demux(&ipsec.Datagram{TOS: e.tos}, e.data)
		r.check()
	}
	if len(kept) > 0 {
		r.received.publish()
	}
	p.receiving.Unlock()
	if len(kept) > 0 {
		r.flush()
	}
}

// releaseEarly drops what came for an SPI that will not be installed. The holder of mu calls it.
func (p *Plane) releaseEarly(spi uint32) {
	p.receiving.Lock()
	defer p.receiving.Unlock()
	p.meter.drops.add(dropNoSA, p.early.forget(spi, earlyOf))
}

// unknown takes a packet whose SPI has no SA.
func (r *receiver) unknown(d *ipsec.Datagram, b []byte) {
	spi := binary.BigEndian.Uint32(b)
	offered := r.plane.sad.onOffer(spi)
	switch {
	case r.plane.frozen.Load():
		r.drop(dropFrozen)
	case offered && r.plane.early.keep(r, spi, b, d.TOS):
	default:
		r.drop(dropNoSA)
		if !offered && r.invalidSPIs.allow(r.now, 10, 10) {
			r.plane.cfg.Notify(InvalidSPI{r.remote, spi})
		}
	}
}
