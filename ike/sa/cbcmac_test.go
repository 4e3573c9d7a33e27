package sa

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"runtime"
	"testing"

	"vpngw/ipsec"
)

func TestCBCAndHMACAreTheStandardLibrarys(t *testing.T) {
	random := func(n int) []byte {
		b := make([]byte, n)
		rand.Read(b)
		return b
	}
	for blocks := range 40 {
		b, err := aes.NewCipher(random(16))
		if err != nil {
			t.Fatal(err)
		}
		iv, plain := random(16), random(16*blocks)
		want, got, back := make([]byte, len(plain)), make([]byte, len(plain)), make([]byte, len(plain))
		cipher.NewCBCEncrypter(b, iv).CryptBlocks(want, plain)
		encryptCBC(b, got, plain, iv)
		if decryptCBC(b, back, got, iv); !bytes.Equal(got, want) || !bytes.Equal(back, plain) {
			t.Errorf("%d blocks: got %x and back %x, want %x and %x", blocks, got, back, want, plain)
		}
	}
	for id, h := range map[uint16]func() hash.Hash{ipsec.IntegSHA256_128: sha256.New, ipsec.IntegSHA384_192: sha512.New384, ipsec.IntegSHA512_256: sha512.New} {
		m := macSpaces[id].Get().(*macSpace)
		for n := range 300 {
			key, text := random(n), random(n)
			mac := hmac.New(h, key)
			mac.Write(text)
			if got, want := m.sum([]byte("before it"), key, text[:n/3], text[n/3:]), mac.Sum([]byte("before it")); !bytes.Equal(got, want) {
				t.Fatalf("HMAC %d of %d bytes: got %x, want %x", id, n, got, want)
			}
		}
	}
}

// A liveness check is sealed and opened by a few allocations, for its bytes and the expanded key.
func TestSealAndOpenAllocateLittle(t *testing.T) {
	s := ipsec.Suite{Encr: ipsec.Transform{Type: ipsec.Encr, ID: ipsec.EncrAESCBC, KeyBits: 128}, Integ: ipsec.Transform{Type: ipsec.Integ, ID: ipsec.IntegSHA256_128}}
	c, err := NewCipher(s, make([]byte, 16), make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	header := make([]byte, 32)
	const times = 200
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range times {
		m, err := c.Seal(header, nil, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Open(m, len(header)); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) / times; n > 2000 {
		t.Errorf("%d bytes are allocated for a message, want 2000 at most", n)
	}
}
