package ike

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// newestOnly is what a peer such as strongSwan sends on: the Child SA that it has installed last. It takes that one for a rekey of
// the one before, which stays mute for good, even when the newest is deleted. It installs its own with message 2 of
// quick mode and ours with message 3, whatever came before them.
type newestOnly struct {
	tap     *tap1
	ours    map[uint32]bool   // the quick modes by message id: whether we have begun it
	spis    map[uint32]uint32 // and our SPI
	order   []uint32          // our SPIs, as the peer has installed them
	deleted map[uint32]bool
	never   map[uint32]bool // quick modes that strongSwan would not have begun
}

// takes sees a message on its way from us to the peer.
func (p *newestOnly) takes(data []byte) {
	h, c, ok := p.tap.open(data)
	if !ok {
		return
	}
	if h.Exchange == wire.ExchangeInfo1 {
		for _, pl := range c.Payloads {
			if d, ok := pl.(*wire.Delete1); ok && d.Protocol == ipsec.ProtoESP {
				p.deleted[binary.BigEndian.Uint32(d.SPIs[0])] = true
			}
		}
		return
	}
	offer, ok := wire.Find[*wire.SA1](c.Payloads)
	if ok {
		p.spis[h.ID] = binary.BigEndian.Uint32(offer.Proposals[0].SPI)
	}
	if spi := p.spis[h.ID]; ok != p.ours[h.ID] && spi != 0 && !slices.Contains(p.order, spi) {
		p.order = append(p.order, spi)
	}
}

// sends sees a message on its way from the peer to us. It is false if strongSwan would not send it, which deletes nothing here,
// and does not begin again when it is done.
func (p *newestOnly) sends(data []byte, done bool) bool {
	h, c, ok := p.tap.open(data)
	if !ok {
		return true
	}
	if h.Exchange == wire.ExchangeInfo1 {
		return !slices.ContainsFunc(c.Payloads, func(pl wire.Payload) bool { _, ok := pl.(*wire.Delete1); return ok })
	}
	if _, known := p.ours[h.ID]; !known {
		p.ours[h.ID], p.never[h.ID] = false, done
	}
	return !p.never[h.ID]
}

// carries is our SPI of the Child SA that the peer sends on; 0: none.
func (p *newestOnly) carries() uint32 {
	if spi := p.order[len(p.order)-1]; !p.deleted[spi] {
		return spi
	}
	return 0
}

// unknownVendor takes vpngw's vendor id out of the first messages.
func unknownVendor(d *ipsec.Datagram) {
	h, c, err := wire.Parse1(d.Data)
	if err != nil || h.Flags&wire.FlagEncrypted != 0 {
		return
	}
	ps := slices.DeleteFunc(c.Payloads, func(p wire.Payload) bool {
		r, ok := p.(*wire.Raw)
		return ok && r.Kind == wire.TypeVendor1 && fmt.Sprintf("%x", r.Data) == "61c54949cad50aa165fc3490f5b4f8bb"
	})
	d.Data = (&wire.Message{Header: h, Payloads: ps}).Marshal()
}

// Both ends ask for the same Child SA at once. Whatever the nonces say, and in whatever order the peer takes our messages, it keeps one to send on.
func TestV1CrossedQuickModesWithAPeerThatSendsOnTheNewest(t *testing.T) {
	for name, order := range map[string]struct{ swap, loseMessage2 bool }{
		"in order": {}, "message 3 overtakes message 2": {swap: true}, "message 2 is lost": {loseMessage2: true},
	} {
		for _, began := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, phase 1 is ours: %v", name, began), func(t *testing.T) {
				for seed := range byte(8) {
					w, a, b := pairWith(t, seed, v1)
					us, peer := a, b
					if !began {
						us, peer = b, a
					}
					p := &newestOnly{tap: newTap1(w), ours: map[uint32]bool{}, spis: map[uint32]uint32{}, deleted: map[uint32]bool{}, never: map[uint32]bool{}}
					crossed, met := false, 0
					var kept []ipsec.Datagram // message 2 of theirs, until message 3 of ours is by
					pass := func(d *ipsec.Datagram) bool {
						if d.Local.Addr() != peer.addr {
							return p.sends(d.Data, crossed && len(p.ours) >= 3)
						}
						h, c, ok := p.tap.open(d.Data)
						if !ok || h.Exchange != wire.ExchangeQuick {
							return true
						}
						if _, known := p.ours[h.ID]; !known {
							p.ours[h.ID] = true
						}
						_, early := wire.Find[*wire.SA1](c.Payloads) // no message 3
						switch {
						case crossed && !p.ours[h.ID] && early:
							if met++; met == 1 && order.swap {
								x := *d
								x.Data = slices.Clone(d.Data)
								kept = append(kept, x)
							}
							return met > 1 || !order.swap && !order.loseMessage2
						case crossed && p.ours[h.ID] && !early:
							w.wire = append(kept, w.wire...)
							kept = nil
						}
						return true
					}
					w.filter = func(d *ipsec.Datagram) bool {
						unknownVendor(d)
						p.tap.see(d.Data)
						passes := pass(d)
						if passes {
							if d.Local.Addr() == peer.addr {
								p.takes(d.Data)
							}
							p.tap.passed(d.Data)
						}
						return passes
					}
					w.run(10 * time.Second)
					crossed = true
					a.Do(w.now, sa.Rekey{Tunnel: "a"})
					b.Do(w.now, sa.Rekey{Tunnel: "b"})
					w.run(10 * time.Second)
					if len(p.order) < 3 {
						t.Fatalf("seed %d: the peer has installed %x: the quick modes have not crossed", seed, p.order)
					}
					if len(us.in) != 1 || us.in[p.carries()] == nil {
						t.Errorf("seed %d: we have %d Child SAs; the peer has installed %x, we have deleted %v: it sends on %x", seed, len(us.in), p.order, p.deleted, p.carries())
					}
				}
			})
		}
	}
}
