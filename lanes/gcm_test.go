package lanes

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"vpngw/ipsec/wycheproof"
)

// stdGCM is AES-GCM by the standard library.
func stdGCM(t testing.TB, key []byte) cipher.AEAD {
	t.Helper()
	b, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	a, err := cipher.NewGCM(b)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// gcms is a key of AES-GCM in all ways.
type gcms struct {
	std    cipher.AEAD
	salt   []byte
	sealer *GCMSealer
	opener *GCMOpener
	iv     uint64
}

func newGCMs(t testing.TB, key, salt []byte) *gcms {
	t.Helper()
	s, err := NewGCMSealer(key, salt)
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewGCMOpener(key, salt)
	if err != nil {
		t.Fatal(err)
	}
	return &gcms{std: stdGCM(t, key), salt: salt, sealer: s, opener: o}
}

// check seals text with the next IV and opens it, beside the standard library: into another buffer and in place, with guards around, and
// with the bit flip of the packet changed.
func (g *gcms) check(t testing.TB, r *rand.ChaCha8, text, aad []byte, offset int, flip int) {
	t.Helper()
	if g.iv++; g.iv%8 == 0 {
		g.iv += r.Uint64() >> (8 + r.Uint64()%56)
	}
	n := len(text) + GCMOverhead
	nonce := binary.BigEndian.AppendUint64(bytes.Clone(g.salt), g.iv)
	want := g.std.Seal(bytes.Clone(nonce[GCMSalt:]), nonce, text, aad)

	// Into another buffer.
	out := place(r, n, offset)
	if !g.sealer.Seal(out.b, text, aad, g.iv) {
		t.Fatalf("counter %d is refused after %d", g.iv, g.sealer.last)
	}
	if !bytes.Equal(out.b, want) {
		t.Fatalf("%d bytes, aad of %d, offset %d: sealed to %x, want %x", len(text), len(aad), offset, out.b, want)
	}
	guards(t, out)
	plain := place(r, len(text), 63-offset)
	if !g.opener.Open(plain.b, out.b, aad) || !bytes.Equal(plain.b, text) {
		t.Fatalf("%d bytes, aad of %d, offset %d: opened to %x, want %x", len(text), len(aad), offset, plain.b, text)
	}
	guards(t, plain)
	if !bytes.Equal(out.b, want) {
		t.Fatal("opening has changed the packet")
	}

	// In place.
	g.iv++
	binary.BigEndian.PutUint64(nonce[GCMSalt:], g.iv)
	want = g.std.Seal(bytes.Clone(nonce[GCMSalt:]), nonce, text, aad)
	in := out.b[GCMIV:][:len(text):len(text)]
	copy(in, text)
	if g.sealer.Seal(out.b, in, aad, g.iv); !bytes.Equal(out.b, want) {
		t.Fatalf("%d bytes, aad of %d, offset %d: sealed in place to %x, want %x", len(text), len(aad), offset, out.b, want)
	}
	if !g.opener.Open(in, out.b, aad) || !bytes.Equal(in, text) {
		t.Fatalf("%d bytes, aad of %d, offset %d: opened in place to %x, want %x", len(text), len(aad), offset, in, text)
	}
	guards(t, out)

	// Forged.
	copy(out.b, want)
	out.b[flip/8%n] ^= 1 << (flip % 8)
	if g.opener.Open(plain.b, out.b, aad) || !bytes.Equal(plain.b, make([]byte, len(text))) {
		t.Fatalf("%d bytes with bit %d wrong: opened to %x", len(text), flip%(8*n), plain.b)
	}
	guards(t, plain)
	if len(aad) > 0 {
		copy(out.b, want)
		aad = bytes.Clone(aad)
		aad[flip%len(aad)] ^= 0x10
		if g.opener.Open(plain.b, out.b, aad) || !bytes.Equal(plain.b, make([]byte, len(text))) {
			t.Fatalf("%d bytes with other additional data: opened to %x", len(text), plain.b)
		}
	}
}

func guards(t testing.TB, p placed) {
	t.Helper()
	if !p.intact() {
		t.Fatalf("a byte beside %d bytes has changed", len(p.b))
	}
}

func TestGCMAtEveryLengthAndAlignment(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rng(t)
		text := random(r, 2048)
		for _, size := range []int{16, 24, 32} {
			g := newGCMs(t, random(r, size), random(r, GCMSalt))
			for n := range 2049 {
				g.check(t, r, text[:n], random(r, 8+n%2*4), n%64, int(r.Uint64()>>33))
			}
			for offset := range 64 {
				for _, n := range []int{1, 47, 49, 240, 241, 255, 256, 511, 1404} {
					g.check(t, r, text[:n], random(r, 12-offset%2*4), offset, int(r.Uint64()>>33))
				}
			}
			for n := range maxAAD + 1 {
				g.check(t, r, text[:64], random(r, n), n, n)
			}
			g.check(t, r, random(r, 1<<16+5), random(r, 8), 3, 99)
		}
	})
}

// Each of Wycheproof's vectors that ESP could have.
func TestWycheproofGCM(t *testing.T) {
	var f struct {
		TestGroups []struct {
			IVSize, TagSize int
			Tests           []struct {
				TcID                               int
				Key, IV, AAD, Msg, CT, Tag, Result string
			}
		}
	}
	wycheproof.Read(t, "aes_gcm_test.json", &f)
	everyLevel(t, func(t *testing.T) {
		ran := 0
		for _, g := range f.TestGroups {
			if g.IVSize != 96 || g.TagSize != 128 {
				continue
			}
			for _, tt := range g.Tests {
				iv, aad, msg := unhex(t, tt.IV), unhex(t, tt.AAD), unhex(t, tt.Msg)
				if len(aad) > maxAAD {
					continue
				}
				ran++
				sealed := append(iv[GCMSalt:len(iv):len(iv)], unhex(t, tt.CT+tt.Tag)...)
				o, err := NewGCMOpener(unhex(t, tt.Key), iv[:GCMSalt])
				if err != nil {
					t.Fatal(err)
				}
				got := make([]byte, len(msg))
				if ok := o.Open(got, sealed, aad); ok != (tt.Result == "valid") || ok && !bytes.Equal(got, msg) {
					t.Errorf("%d: opened is %v, want %s: %x", tt.TcID, ok, tt.Result, got)
				}
				s, err := NewGCMSealer(unhex(t, tt.Key), iv[:GCMSalt])
				if err != nil {
					t.Fatal(err)
				}
				counter := binary.BigEndian.Uint64(iv[GCMSalt:])
				if tt.Result != "valid" || counter == 0 {
					continue
				}
				b := make([]byte, len(sealed))
				if !s.Seal(b, msg, aad, counter) || !bytes.Equal(b, sealed) {
					t.Errorf("%d: sealed to %x, want %x", tt.TcID, b, sealed)
				}
			}
		}
		if ran < 100 {
			t.Errorf("only %d vectors ran", ran)
		}
	})
}

func TestGCMRefusesACounterThatIsNotHigher(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		s, err := NewGCMSealer(make([]byte, 16), make([]byte, 4))
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []struct {
			counter uint64
			want    bool
		}{
			{0, false},
			{1, true},
			{1, false},
			{0, false},
			{2, true},
			{1 << 32, true},
			{2, false},
			{1<<32 - 1, false},
			{1 << 32, false},
			{1<<32 + 1, true},
			{math.MaxUint64 - 1, true},
			{math.MaxUint64, true},
			{math.MaxUint64, false},
			{0, false},
			{1, false},
		} {
			b := make([]byte, 40+GCMOverhead)
			if got := s.Seal(b, make([]byte, 40), nil, x.counter); got != x.want {
				t.Errorf("counter %d: %v, want %v", x.counter, got, x.want)
			}
			if written := !bytes.Equal(b, make([]byte, len(b))); written != x.want {
				t.Errorf("counter %d: written is %v, want %v", x.counter, written, x.want)
			}
		}
	})
}

func TestGCMOfWrongLengths(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		for _, x := range [][2]int{{15, 4}, {0, 4}, {33, 4}, {16, 3}, {16, 5}, {16, 12}} {
			if _, err := NewGCMSealer(make([]byte, x[0]), make([]byte, x[1])); err == nil {
				t.Errorf("a sealer takes a key of %d bytes and a salt of %d", x[0], x[1])
			}
			if _, err := NewGCMOpener(make([]byte, x[0]), make([]byte, x[1])); err == nil {
				t.Errorf("an opener takes a key of %d bytes and a salt of %d", x[0], x[1])
			}
		}
		s, _ := NewGCMSealer(make([]byte, 16), make([]byte, 4))
		o, _ := NewGCMOpener(make([]byte, 16), make([]byte, 4))
		for name, f := range map[string]func(){
			"dst too short":      func() { s.Seal(make([]byte, 43), make([]byte, 20), nil, 1) },
			"dst too long":       func() { s.Seal(make([]byte, 45), make([]byte, 20), nil, 1) },
			"much to add":        func() { s.Seal(make([]byte, 44), make([]byte, 20), make([]byte, 17), 1) },
			"no IV and no tag":   func() { o.Open(nil, make([]byte, 23), nil) },
			"sealed too short":   func() { o.Open(make([]byte, 20), make([]byte, 43), nil) },
			"much to add, open":  func() { o.Open(make([]byte, 20), make([]byte, 44), make([]byte, 17)) },
			"sealed is too long": func() { o.Open(make([]byte, 20), make([]byte, 45), nil) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s: no panic", name)
					}
				}()
				f()
			}()
		}
	})
}

func TestGCMAllocatesNothing(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		s, _ := NewGCMSealer(make([]byte, 16), make([]byte, 4))
		o, _ := NewGCMOpener(make([]byte, 16), make([]byte, 4))
		text, b, aad, counter := make([]byte, 1404), make([]byte, 1404+GCMOverhead), make([]byte, 12), uint64(0)
		if n := testing.AllocsPerRun(20, func() {
			counter++
			if !s.Seal(b, text, aad, counter) || !o.Open(text, b, aad) {
				t.Fatal("not sealed, or not opened")
			}
			b[9] ^= 1
			o.Open(text, b, aad)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestClearedGCMKeysAreGone(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		for _, used := range []bool{false, true} { // the first packet expands the key
			s, _ := NewGCMSealer([]byte("a key of AES-128"), []byte{1, 2, 3, 4})
			raw := s.raw
			if used {
				s.Seal(make([]byte, GCMOverhead), nil, nil, 1)
			}
			s.Clear()
			if !bytes.Equal(raw, make([]byte, 16)) || s.nonce != [12]byte{} || s.key != nil && *s.key != (gcmKey{}) {
				t.Errorf("used %v: a key or a salt is there still", used)
			}
		}
	})
}

func FuzzGCM(f *testing.F) {
	f.Add(uint64(1), uint16(84), uint8(8), uint8(0), uint32(100), make([]byte, 20))
	f.Add(uint64(2), uint16(1404), uint8(12), uint8(33), uint32(8), []byte("a key of AES-256 that has 32 byt"))
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, aad, offset uint8, flip uint32, key []byte) {
		var s [32]byte
		binary.LittleEndian.PutUint64(s[:], seed)
		r := rand.NewChaCha8(s)
		k := make([]byte, 16+seed%3*8)
		copy(k, key)
		g := newGCMs(t, k, random(r, GCMSalt))
		g.iv = r.Uint64() >> (1 + seed%60)
		g.check(t, r, random(r, int(n)), random(r, int(aad)%(maxAAD+1)), int(offset)%64, int(flip))
	})
}

func ExampleGCMSealer_Seal() {
	s, _ := NewGCMSealer(make([]byte, 16), make([]byte, GCMSalt))
	text := []byte("a packet")
	b := make([]byte, len(text)+GCMOverhead)
	fmt.Println(s.Seal(b, text, nil, 1), s.Seal(b, text, nil, 1))
	// Output: true false
}
