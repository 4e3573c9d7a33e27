package esp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sync/atomic"
)

// A sad finds the inbound SA of an SPI. It is an array of slots, and the slot's
// number is the low bits of the SPI, since it is we who choose it; the high bits
// are random and tell a new entry's packets from an old one's.
//
// lookup may be called at any time. The rest is for the holder of the plane's lock.
type sad struct {
	slots   []atomic.Pointer[inbound]
	entries []entry  // by slot
	free    []uint32 // slots, a ring: the one that is free for longest is next
	first   int
	unused  int
}

// entry is who holds a slot.
type entry struct {
	spi  uint32 // the last one given out
	held bool
	pair *pair // nil: reserved only
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

// reserve chooses an SPI in a free slot.
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
			*t = entry{spi: spi, held: true}
			s.first = (s.first + 1) % len(s.free)
			s.unused--
			return spi, nil
		}
	}
	return 0, errors.New("esp: SPI: the source of randomness is none")
}

// entry is who holds spi, or nil.
func (s *sad) entry(spi uint32) *entry {
	if t := &s.entries[int(spi)&(len(s.slots)-1)]; t.held && t.spi == spi {
		return t
	}
	return nil
}

// install makes in the one that lookup finds.
func (s *sad) install(in *inbound) { s.slots[int(in.spi)&(len(s.slots)-1)].Store(in) }

// close makes lookup find nothing any more.
func (s *sad) close() {
	for i := range s.slots {
		s.slots[i].Store(nil)
	}
}

// take reserves the SPIs given in a sad that has given out none. An error changes nothing.
func (s *sad) take(spis []uint32) error {
	slots := make(map[uint32]bool, len(spis))
	for _, spi := range spis {
		slot := spi & uint32(len(s.slots)-1)
		if spi < minSlots || slots[slot] {
			return fmt.Errorf("esp: inbound SPI %08x finds no slot among %d", spi, len(s.slots))
		}
		slots[slot] = true
	}
	for _, spi := range spis {
		s.entries[spi&uint32(len(s.slots)-1)] = entry{spi: spi, held: true}
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

// release takes out an SPI's inbound SA, if it has one, and frees the slot.
func (s *sad) release(t *entry) {
	slot := t.spi & uint32(len(s.slots)-1)
	s.slots[slot].Store(nil)
	t.held, t.pair = false, nil
	s.free[(s.first+s.unused)%len(s.free)] = slot
	s.unused++
}
