package esp

import (
	"bytes"
	"crypto/rand"
	"io"
	"testing"
)

func TestSPIsCarryTheirSlot(t *testing.T) {
	s := newSAD(1000)
	if len(s.slots) != 1024 {
		t.Fatalf("%d slots", len(s.slots))
	}
	seen := make(map[uint32]bool)
	for range 1024 {
		spi, err := s.reserve(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if spi < 256 || seen[spi&1023] {
			t.Fatalf("SPI %08x", spi)
		}
		seen[spi&1023] = true
	}
	if _, err := s.reserve(rand.Reader); err != errFull {
		t.Errorf("the 1025th: %v", err)
	}
}

func TestSlotCounts(t *testing.T) {
	for n, want := range map[int]int{0: 16384, 1: 256, 256: 256, 257: 512, 20000: 32768, 1 << 30: 1 << 20} {
		if s := newSAD(n); len(s.slots) != want {
			t.Errorf("%d: %d slots, want %d", n, len(s.slots), want)
		}
	}
}

func TestAnOldTenantsPacketsDoNotReachTheNewOne(t *testing.T) {
	s := newSAD(256)
	first, _ := s.reserve(rand.Reader)
	s.install(&inbound{spi: first})
	if s.lookup(first) == nil {
		t.Fatal("not found")
	}
	s.release(s.entry(first))
	if s.lookup(first) != nil || s.entry(first) != nil {
		t.Error("still there")
	}
	for { // until the slot comes round again: it is the last of the queue
		spi, _ := s.reserve(rand.Reader)
		if spi&255 != first&255 {
			continue
		}
		if spi == first {
			t.Error("the same SPI again")
		}
		s.install(&inbound{spi: spi})
		break
	}
	if s.unused != 0 || s.lookup(first) != nil {
		t.Error("the old SPI finds the new SA")
	}
}

func TestASourceThatIsNotRandomIsAnError(t *testing.T) {
	s := newSAD(256)
	if _, err := s.reserve(bytes.NewReader(nil)); err == nil {
		t.Error("an empty source: no error")
	}
	if _, err := s.reserve(zeroes{}); err == nil {
		t.Error("only zeroes: no error")
	}
	if s.unused != 256 {
		t.Errorf("%d slots are left", s.unused)
	}
}

type zeroes struct{}

func (zeroes) Read(b []byte) (int, error) { clear(b); return len(b), nil }

var _ io.Reader = zeroes{}

func BenchmarkSADLookup(b *testing.B) {
	s := newSAD(1 << 15)
	var spis []uint32
	for range 20000 {
		spi, _ := s.reserve(rand.Reader)
		s.install(&inbound{spi: spi})
		spis = append(spis, spi)
	}
	i := 0
	for b.Loop() {
		s.lookup(spis[i%len(spis)])
		i += 7919
	}
}
