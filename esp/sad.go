package esp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sync/atomic"
)

// A sad finds the inbound SA of an SPI. It is an array of slots. We choose the SPIs, so the low
// bits of an SPI are the number of its slot; the high bits are random and tell
// the packets of the slot's present SA from an earlier one's.
//
// lookup and onOffer may be called at any time. All else is for the holder of Plane.mu.
type sad struct {
	slots   []atomic.Pointer[inbound]
	offered []atomic.Uint32 // by slot: an SPI that is reserved and not installed; 0: none
	entries []entry         // by slot
	free    []uint32        // a ring of slots; the slot that has been free for longest is next
	first   int             // of free
	unused  int             // slots in free
}

// entry is the use of one slot.
type entry struct {
	spi  uint32 // the last SPI given out
	used bool   // spi is reserved or installed
	pair *pair  // nil: reserved only
}

const (
	minSlots     = 1 << 8 // so that no SPI is below 256, which RFC 4303 section 2.1 reserves
	defaultSlots = 1 << 14
	maxSlots     = 1 << 20
)

func newSAD(slots int) sad {
	if slots == 0 {
		slots = defaultSlots
	}
	n := 1 << bits.Len(uint(min(max(slots, minSlots), maxSlots)-1))
	s := sad{
		slots:   make([]atomic.Pointer[inbound], n),
		offered: make([]atomic.Uint32, n),
		entries: make([]entry, n),
		free:    make([]uint32, n),
		unused:  n,
	}
	for i := range s.free {
		s.free[i] = uint32(i)
	}
	return s
}

// lookup finds an installed inbound SA, or nil.
func (s *sad) lookup(spi uint32) *inbound {
	in := s.slots[int(spi)&(len(s.slots)-1)].Load()
	if in == nil || in.spi != spi {
		return nil
	}
	return in
}

var errFull = errors.New("esp: every SPI is taken")

// reserve chooses an SPI and its slot.
func (s *sad) reserve(rand io.Reader) (uint32, error) {
	if s.unused == 0 {
		return 0, errFull
	}
	slot := s.free[s.first]
	t := &s.entries[slot]
	for range 64 {
		var b [4]byte
		if _, err := io.ReadFull(rand, b[:]); err != nil {
			return 0, fmt.Errorf("esp: SPI: %w", err)
		}
		spi := binary.BigEndian.Uint32(b[:])&^uint32(len(s.slots)-1) | slot
		if spi >= minSlots && spi != t.spi {
			*t = entry{spi: spi, used: true}
			s.offered[slot].Store(spi)
			s.first = (s.first + 1) % len(s.free)
			s.unused--
			return spi, nil
		}
	}
	return 0, errors.New("esp: found no free SPI in 64 draws: the source of randomness repeats itself")
}

// entry is spi's entry, or nil if spi is neither reserved nor installed.
func (s *sad) entry(spi uint32) *entry {
	if t := &s.entries[int(spi)&(len(s.slots)-1)]; t.used && t.spi == spi {
		return t
	}
	return nil
}

// onOffer reports whether spi is reserved, and not installed yet.
func (s *sad) onOffer(spi uint32) bool {
	return spi != 0 && s.offered[int(spi)&(len(s.slots)-1)].Load() == spi
}

// install has lookup find in.
func (s *sad) install(in *inbound) {
	slot := int(in.spi) & (len(s.slots) - 1)
	s.slots[slot].Store(in)
	s.offered[slot].Store(0)
}

// close makes lookup find no SA any more.
func (s *sad) close() {
	for i := range s.slots {
		s.slots[i].Store(nil)
	}
}

// reserveAll reserves the SPIs given, in a sad that has given out none. An error changes nothing.
func (s *sad) reserveAll(spis []uint32) error {
	slots := make(map[uint32]bool, len(spis))
	for _, spi := range spis {
		slot := spi & uint32(len(s.slots)-1)
		if spi < minSlots || slots[slot] {
			return fmt.Errorf("esp: inbound SPI %08x has no slot of its own among %d", spi, len(s.slots))
		}
		slots[slot] = true
	}
	for _, spi := range spis {
		s.entries[spi&uint32(len(s.slots)-1)] = entry{spi: spi, used: true}
		s.offered[spi&uint32(len(s.slots)-1)].Store(spi)
	}
	s.free, s.first, s.unused = s.free[:0], 0, len(s.slots)-len(spis)
	for slot := range uint32(len(s.slots)) {
		if !slots[slot] {
			s.free = append(s.free, slot)
		}
	}
	s.free = s.free[:len(s.slots)]
	return nil
}

// release frees the slot of t and takes out the inbound SA in it.
func (s *sad) release(t *entry) {
	slot := t.spi & uint32(len(s.slots)-1)
	s.slots[slot].Store(nil)
	s.offered[slot].Store(0)
	t.used, t.pair = false, nil
	s.free[(s.first+s.unused)%len(s.free)] = slot
	s.unused++
}
