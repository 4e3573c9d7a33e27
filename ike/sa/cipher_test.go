package sa

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"vpngw/ipsec"
)

// suites are all pairs of a cipher and an integrity algorithm that can protect IKE.
func suites() []ipsec.Suite {
	var out []ipsec.Suite
	for _, e := range ipsec.Algorithms {
		switch {
		case e.Type != ipsec.Encr || e.ID == ipsec.EncrNull:
		case e.AEAD:
			out = append(out, ipsec.Suite{Encr: e.Transform})
		default:
			for _, i := range ipsec.Algorithms {
				if i.Type == ipsec.Integ {
					out = append(out, ipsec.Suite{Encr: e.Transform, Integ: i.Transform})
				}
			}
		}
	}
	return out
}

// keys makes keys of the lengths that a suite needs, different for each seed.
func keys(s ipsec.Suite, seed byte) (encr, integ ipsec.Secret) {
	fill := func(t ipsec.Transform) ipsec.Secret {
		a := ipsec.Lookup(t)
		if a == nil {
			return nil
		}
		k := make(ipsec.Secret, a.Key)
		for i := range k {
			k[i] = seed ^ byte(i*7)
		}
		return k
	}
	return fill(s.Encr), fill(s.Integ)
}

func mustCipher(t *testing.T, s ipsec.Suite, seed byte) *Cipher {
	t.Helper()
	encr, integ := keys(s, seed)
	c, err := NewCipher(s, encr, integ)
	if err != nil {
		t.Fatalf("%v: %v", s, err)
	}
	return c
}

// RFC 7634 appendix B: an INFORMATIONAL with a Notify of SET_WINDOW_SIZE.
func TestMessageOfRFC7634(t *testing.T) {
	key := fromHex(t, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"+"a0a1a2a3")
	header := fromHex(t, "c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e20250000000009000000452900"+"0029")
	plain := fromHex(t, "0000000c000040010000000a")
	want := hex.EncodeToString(header) + "1011121314151617" + "610394701f8d017f7c12924889" + "6b71bfe25236efd7cdc67066906315b2"

	c, err := NewCipher(ipsec.Suite{Encr: ipsec.Transform{Type: ipsec.Encr, ID: ipsec.EncrChaCha20Poly1305}}, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.count = 0x1011121314151617
	got, err := c.Seal(header, plain, nil)
	if err != nil || hex.EncodeToString(got) != want {
		t.Errorf("sealed %x, %v, want %s", got, err, want)
	}
	if got, err := c.Open(fromHex(t, want), len(header)); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("opened %x, %v", got, err)
	}
}

// The construction of RFC 7296 section 3.14, by hand.
func TestCBCIsAsRFC7296Says(t *testing.T) {
	s := ipsec.Suite{
		Encr:  ipsec.Transform{Type: ipsec.Encr, ID: ipsec.EncrAESCBC, KeyBits: 256},
		Integ: ipsec.Transform{Type: ipsec.Integ, ID: ipsec.IntegSHA256_128},
	}
	encr, integ := keys(s, 1)
	msg, iv, plain := []byte("header, and payload header"), []byte("an IV of 16 byte"), []byte("twenty bytes to hide")
	got, err := mustCipher(t, s, 1).Seal(msg, plain, bytes.NewReader(iv))
	if err != nil {
		t.Fatal(err)
	}

	padded := slices.Concat(plain, make([]byte, 11), []byte{11}) // 20 + 11 + 1 = 2 blocks
	block, _ := aes.NewCipher(encr)
	sealed := make([]byte, len(padded))
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(sealed, padded)
	want := slices.Concat(msg, iv, sealed)
	mac := hmac.New(sha256.New, integ)
	mac.Write(want)
	want = append(want, mac.Sum(nil)[:16]...)
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%x, want\n%x", got, want)
	}
}

// The construction of RFC 5282, by hand.
func TestGCMIsAsRFC5282Says(t *testing.T) {
	s := ipsec.Suite{Encr: ipsec.Transform{Type: ipsec.Encr, ID: ipsec.EncrAESGCM16, KeyBits: 256}}
	encr, _ := keys(s, 1)
	msg, plain := []byte("header, and payload header"), []byte("twenty bytes to hide")
	c := mustCipher(t, s, 1)
	block, _ := aes.NewCipher(encr[:32])
	gcm, _ := cipher.NewGCM(block)
	for n := range byte(3) {
		got, err := c.Seal(msg, plain, nil)
		if err != nil {
			t.Fatal(err)
		}
		iv := []byte{0, 0, 0, 0, 0, 0, 0, n}
		want := slices.Concat(msg, iv)
		want = gcm.Seal(want, slices.Concat(encr[32:], iv), slices.Concat(plain, []byte{0}), msg)
		if !bytes.Equal(got, want) {
			t.Errorf("got\n%x, want\n%x", got, want)
		}
	}
}

func TestWhatIsSealedOpens(t *testing.T) {
	for _, s := range suites() {
		tx, rx := mustCipher(t, s, 1), mustCipher(t, s, 1)
		msg := []byte("header, and payload header")
		for n := range 70 {
			plain := bytes.Repeat([]byte{0xee}, n)
			b, err := tx.Seal(msg, plain, rand.Reader)
			if err != nil {
				t.Fatal(s, err)
			}
			if len(b) != len(msg)+tx.Size(n) {
				t.Errorf("%v: %d bytes take %d, Size says %d", s, n, len(b)-len(msg), tx.Size(n))
			}
			before := bytes.Clone(b)
			got, err := rx.Open(b, len(msg))
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%v: %d bytes come out as %x, %v", s, n, got, err)
			}
			if !bytes.Equal(b, before) {
				t.Errorf("%v: Open changed the message", s)
			}
		}
	}
}

func TestNoChangedByteIsTaken(t *testing.T) {
	for _, s := range suites() {
		msg := []byte("header, and payload header")
		c := mustCipher(t, s, 1)
		b, err := c.Seal(msg, []byte("a payload"), rand.Reader)
		if err != nil {
			t.Fatal(s, err)
		}
		for i := range b {
			b[i] ^= 0x40
			if _, err := c.Open(b, len(msg)); err != ErrIntegrity {
				t.Errorf("%v: byte %d of %d changed: %v", s, i, len(b), err)
			}
			b[i] ^= 0x40
		}
		for n := range b {
			if _, err := c.Open(b[:n], min(n, len(msg))); err != ErrIntegrity {
				t.Errorf("%v: cut to %d of %d: %v", s, n, len(b), err)
			}
		}
		for _, off := range []int{-1, 0, len(msg) - 1, len(msg) + 1, len(b), len(b) + 1} {
			if _, err := c.Open(b, off); err == nil {
				t.Errorf("%v: IV looked for at %d", s, off)
			}
		}
		if _, err := mustCipher(t, s, 2).Open(b, len(msg)); err != ErrIntegrity {
			t.Errorf("%v: another key: %v", s, err)
		}
		if _, err := c.Open(b, len(msg)); err != nil {
			t.Errorf("%v: and unchanged: %v", s, err)
		}
	}
}

// Padding may be longer than needed, up to 255 bytes, but not longer than the plaintext.
func TestPaddingOfThePeer(t *testing.T) {
	for _, s := range suites() {
		c := mustCipher(t, s, 1)
		msg := []byte("header, and payload header")
		for _, k := range []struct {
			padding, length int // the real length, and the Pad Length field
			err             error
		}{
			{255, 255, nil}, {239, 239, nil}, {239, 3, nil}, {15, 16, ErrPadding}, {15, 255, ErrPadding},
		} {
			inner := bytes.Repeat([]byte{byte(k.length)}, k.padding+1)
			b := sealRaw(t, c, msg, inner)
			got, err := c.Open(b, len(msg))
			if err != k.err || len(got) != max(0, k.padding-k.length) {
				t.Errorf("%v: Pad Length %d of %d: %d bytes, %v", s, k.length, k.padding, len(got), err)
			}
		}
	}
}

// sealRaw seals whole blocks that include their padding.
func sealRaw(t *testing.T, c *Cipher, msg, inner []byte) []byte {
	t.Helper()
	if c.alg.AEAD {
		aead, _ := c.aead()
		iv := []byte("8 bytes.")
		return aead.Seal(slices.Concat(msg, iv), c.nonce(iv), inner, msg)
	}
	iv := make([]byte, c.alg.IV)
	sealed := make([]byte, len(inner))
	cbc, _ := c.cbc()
	cipher.NewCBCEncrypter(cbc, iv).CryptBlocks(sealed, inner)
	b := slices.Concat(msg, iv, sealed)
	return append(b, c.checksum(b)...)
}

func TestIVsDoNotRepeat(t *testing.T) {
	for _, s := range suites() {
		c := mustCipher(t, s, 1)
		seen := map[string]bool{}
		for range 1000 {
			b, err := c.Seal(nil, nil, rand.Reader)
			if err != nil {
				t.Fatal(s, err)
			}
			iv := string(b[:c.alg.IV])
			if seen[iv] {
				t.Errorf("%v: IV %x twice", s, iv)
			}
			seen[iv] = true
		}
	}
	c := mustCipher(t, ipsec.Suite{Encr: ipsec.Transform{Type: ipsec.Encr, ID: ipsec.EncrAESGCM16, KeyBits: 128}}, 1)
	c.count = ^uint64(0)
	if _, err := c.Seal(nil, nil, nil); err == nil {
		t.Error("the counter wraps")
	}
}

// Seal appends as append does: behind the message in its memory if that has room, and nowhere else.
func TestSealAppends(t *testing.T) {
	for _, s := range suites() {
		c := mustCipher(t, s, 1)
		buf := bytes.Repeat([]byte("header"), 20)
		n := 6 + c.Size(len("payload"))
		out, err := c.Seal(buf[:6:6], []byte("payload"), rand.Reader)
		if err != nil || len(out) != n || !bytes.Equal(buf, bytes.Repeat([]byte("header"), 20)) {
			t.Errorf("%v: %q, %v", s, buf, err)
		}
		out, err = c.Seal(buf[:6:n], []byte("payload"), rand.Reader)
		if err != nil || len(out) != n || &out[0] != &buf[0] || !bytes.Equal(buf[n:], bytes.Repeat([]byte("header"), 20)[n:]) {
			t.Errorf("%v: %q, %v", s, buf, err)
		}
	}
}

func TestUnfitSuitesAndKeysAreRefused(t *testing.T) {
	encr := func(id, bits uint16) ipsec.Transform {
		return ipsec.Transform{Type: ipsec.Encr, ID: id, KeyBits: bits}
	}
	sha1 := ipsec.Transform{Type: ipsec.Integ, ID: ipsec.IntegSHA1_96}
	for _, c := range []struct {
		what        string
		suite       ipsec.Suite
		encr, integ int
	}{
		{"nothing", ipsec.Suite{}, 0, 0},
		{"NULL", ipsec.Suite{Encr: encr(ipsec.EncrNull, 0), Integ: sha1}, 0, 20},
		{"unknown cipher", ipsec.Suite{Encr: encr(999, 0), Integ: sha1}, 16, 20},
		{"AES without a key length", ipsec.Suite{Encr: encr(ipsec.EncrAESCBC, 0), Integ: sha1}, 16, 20},
		{"CBC without integrity", ipsec.Suite{Encr: encr(ipsec.EncrAESCBC, 128)}, 16, 0},
		{"CBC with unknown integrity", ipsec.Suite{Encr: encr(ipsec.EncrAESCBC, 128), Integ: ipsec.Transform{Type: ipsec.Integ, ID: 5}}, 16, 16},
		{"CBC with a PRF for integrity", ipsec.Suite{Encr: encr(ipsec.EncrAESCBC, 128), Integ: ipsec.Transform{Type: ipsec.PRF, ID: ipsec.PRFHMACSHA1}}, 16, 20},
		{"AEAD with integrity", ipsec.Suite{Encr: encr(ipsec.EncrAESGCM16, 128), Integ: sha1}, 20, 20},
		{"AEAD with an integrity key", ipsec.Suite{Encr: encr(ipsec.EncrAESGCM16, 128)}, 20, 20},
		{"AEAD key without salt", ipsec.Suite{Encr: encr(ipsec.EncrAESGCM16, 128)}, 16, 0},
		{"AES-256 with a short key", ipsec.Suite{Encr: encr(ipsec.EncrAESCBC, 256), Integ: sha1}, 16, 20},
		{"short integrity key", ipsec.Suite{Encr: encr(ipsec.EncrAESCBC, 128), Integ: sha1}, 16, 16},
	} {
		_, err := NewCipher(c.suite, make(ipsec.Secret, c.encr), make(ipsec.Secret, c.integ))
		if err == nil {
			t.Errorf("%s is taken", c.what)
		} else if strings.Contains(err.Error(), "%!") {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}
