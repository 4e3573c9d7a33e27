package lanes

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"math/rand/v2"
	"testing"
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
