package lanes

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"encoding/binary"
	"fmt"
	"hash"
	"math/rand/v2"
	"os"
	"testing"
)

var hashNames = [...]string{"md5", "sha1", "sha256", "sha384", "sha512"}

// rng is a source of test data that a failure can be repeated from.
func rng(t testing.TB) *rand.ChaCha8 {
	t.Helper()
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], rand.Uint64())
	t.Logf("seed %x", seed[:8])
	return rand.NewChaCha8(seed)
}

func random(r *rand.ChaCha8, n int) []byte {
	b := make([]byte, n)
	r.Read(b)
	return b
}

// checkCBC encrypts plain, a plaintext for each IV, and decrypts the result, both beside the standard library.
func checkCBC(t testing.TB, key []byte, bufs [][]byte) {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEncrypter(key)
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDecrypter(key)
	if err != nil {
		t.Fatal(err)
	}
	var want, plain [][]byte
	for _, b := range bufs {
		w := bytes.Clone(b)
		cipher.NewCBCEncrypter(block, b[:16]).CryptBlocks(w[16:], b[16:])
		want, plain = append(want, w), append(plain, bytes.Clone(b))
	}
	e.CBC(bufs)
	for i, b := range bufs {
		if !bytes.Equal(b, want[i]) {
			t.Fatalf("buffer %d of %d, %d bytes, key of %d: encrypted to %x, want %x", i, len(bufs), len(b), len(key), b, want[i])
		}
	}
	for i, b := range bufs {
		out := make([]byte, len(b)-16+32)
		d.CBC(out[16:len(b)], b)
		if !bytes.Equal(out[16:len(b)], plain[i][16:]) || !bytes.Equal(out[:16], make([]byte, 16)) || !bytes.Equal(out[len(b):], make([]byte, 16)) {
			t.Fatalf("%d bytes, key of %d: decrypted to %x, want %x", len(b), len(key), out, plain[i][16:])
		}
		d.CBC(b[16:], b) // in place
		if !bytes.Equal(b, plain[i]) {
			t.Fatalf("%d bytes, key of %d: decrypted in place to %x, want %x", len(b), len(key), b, plain[i])
		}
	}
}

// placed is n random bytes at an offset from an address of 64 bytes' alignment, with guards around them that intact looks at.
type placed struct {
	was, all, b []byte
	offset      int
}

func place(r *rand.ChaCha8, n, offset int) placed {
	all := random(r, n+256)
	return placed{bytes.Clone(all), all, all[64+offset:][:n:n], 64 + offset}
}

// intact reports whether no byte beside b has changed.
func (p placed) intact() bool {
	end := p.offset + len(p.b)
	return bytes.Equal(p.all[:p.offset], p.was[:p.offset]) && bytes.Equal(p.all[end:], p.was[end:])
}

func TestCBCAtEveryLengthAndAlignment(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rng(t)
		for _, size := range []int{16, 24, 32} {
			key := random(r, size)
			for n := 16; n <= 2048+16; n += 16 {
				checkCBC(t, key, [][]byte{place(r, n, n/16%64).b})
			}
			for offset := range 64 {
				checkCBC(t, key, [][]byte{place(r, 400, offset).b, place(r, 400, 63-offset).b})
			}
		}
	})
}

// Buffers lie beside each other, as packets do in a send buffer, with bytes between them that must not change.
func TestCBCOfManyBuffersOfMixedLengths(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		src := rng(t)
		r := rand.New(src)
		for round := range 300 {
			key := random(src, 16+8*r.IntN(3))
			n := 1 + round%(Max+5)
			most := 1 << r.IntN(8)
			all := random(src, 40000)
			spots := bytes.Clone(all)
			var bufs [][]byte
			at := r.IntN(64)
			for range n {
				k := 16 * (1 + r.IntN(most+1))
				if round%3 == 0 {
					k = 16 * (1 + most)
				}
				bufs = append(bufs, all[at:at+k:at+k])
				at += k + r.IntN(40)
			}
			checkCBC(t, key, bufs) // which decrypts in place in the end
			if !bytes.Equal(all, spots) {
				t.Fatal("a byte beside the buffers has changed")
			}
		}
	})
}

func TestBlocksAreEncryptedByThemselves(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rng(t)
		for _, size := range []int{16, 24, 32} {
			key := random(r, size)
			e, err := NewEncrypter(key)
			if err != nil {
				t.Fatal(err)
			}
			var b, want [256]byte
			r.Read(b[:])
			block, _ := aes.NewCipher(key)
			for i := 0; i < 256; i += 16 {
				block.Encrypt(want[i:], b[i:])
			}
			for n := range Max + 1 {
				got := b
				if e.Blocks(&got, n); !bytes.Equal(got[:16*n], want[:16*n]) {
					t.Errorf("key of %d bytes: %x, want %x", size, got[:16*n], want[:16*n])
				}
			}
		}
	})
}

func TestWhatIsNoWholeBlocksPanics(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		e, _ := NewEncrypter(make([]byte, 16))
		d, _ := NewDecrypter(make([]byte, 16))
		for name, f := range map[string]func(){
			"empty":           func() { e.CBC([][]byte{{}}) },
			"no IV":           func() { e.CBC([][]byte{make([]byte, 15)}) },
			"part of a block": func() { e.CBC([][]byte{make([]byte, 32), make([]byte, 40)}) },
			"decrypt part":    func() { d.CBC(make([]byte, 24), make([]byte, 40)) },
			"short dst":       func() { d.CBC(make([]byte, 16), make([]byte, 48)) },
			"no IV, decrypt":  func() { d.CBC(nil, make([]byte, 8)) },
			"17 messages":     func() { NewHMAC(SHA1, nil).Sum(new(Scratch), make([][]byte, Max+1), nil) },
			"few tails":       func() { NewHMAC(SHA1, nil).Sum(new(Scratch), make([][]byte, 3), make([]uint32, 2)) },
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
		if _, err := NewEncrypter(make([]byte, 15)); err == nil {
			t.Error("a key of 15 bytes is taken")
		}
		if _, err := NewDecrypter(make([]byte, 33)); err == nil {
			t.Error("a key of 33 bytes is taken")
		}
	})
}

// checkHMAC holds the sums of messages against the standard library.
func checkHMAC(t testing.TB, s *Scratch, h Hash, key []byte, messages [][]byte, tails []uint32) {
	t.Helper()
	checkSums(t, s, NewHMAC(h, key), hmac.New(functions[h].std, key), messages, tails)
}

func checkSums(t testing.TB, s *Scratch, m *HMAC, std hash.Hash, messages [][]byte, tails []uint32) {
	t.Helper()
	h := m.hash
	m.Sum(s, messages, tails)
	for i, b := range messages {
		std.Reset()
		std.Write(b)
		if tails != nil {
			std.Write(binary.BigEndian.AppendUint32(nil, tails[i]))
		}
		if want := std.Sum(nil); !bytes.Equal(s.Sums[i][:h.Size()], want) {
			t.Fatalf("%s: message %d of %d, %d bytes, tails %v: %x, want %x", hashNames[h], i, len(messages), len(b), tails != nil, s.Sums[i][:h.Size()], want)
		}
	}
}

// Sixteen messages of a length, so that the lanes pay, but a few; and one by itself.
func TestHMACAtEveryLengthAndAlignment(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rng(t)
		var s Scratch
		data := random(r, 1<<14)
		var messages [Max][]byte
		for h := range SHA512 + 1 {
			key := random(r, h.Size())
			m, std := NewHMAC(h, key), hmac.New(functions[h].std, key)
			for n := 0; n <= 2048; n++ {
				at := n % 64
				checkSums(t, &s, m, std, [][]byte{data[at : at+n]}, nil)
				if n > 300 && n%13 != 0 && !soak {
					continue
				}
				for i := range messages {
					at = at%12000 + 577 // any alignment comes
					messages[i] = data[at:][:max(0, n-i%3*(n%5))]
				}
				var tails []uint32
				if n%2 == 0 {
					tails = make([]uint32, Max)
					for i := range tails {
						tails[i] = rand.Uint32()
					}
				}
				checkSums(t, &s, m, std, messages[:], tails)
			}
		}
	})
}

var soak = os.Getenv("SOAK") != ""

func TestHMACOfManyMessagesOfMixedLengths(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		src := rng(t)
		r := rand.New(src)
		var s Scratch
		for round := range 300 {
			h := Hash(round) % (SHA512 + 1)
			n := r.IntN(Max + 1)
			most := 1 << r.IntN(12)
			var messages [][]byte
			var tails []uint32
			for range n {
				messages = append(messages, place(src, r.IntN(most), r.IntN(64)).b)
			}
			if r.IntN(2) == 0 {
				for range n {
					tails = append(tails, r.Uint32())
				}
			}
			checkHMAC(t, &s, h, random(src, r.IntN(200)), messages, tails)
		}
	})
}

func TestNoAllocation(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		e, _ := NewEncrypter(make([]byte, 16))
		d, _ := NewDecrypter(make([]byte, 16))
		bufs := make([][]byte, Max)
		tails := make([]uint32, Max)
		for i := range bufs {
			bufs[i] = make([]byte, 1424-i%3*16)
		}
		var s Scratch
		var ivs [256]byte
		for h := range SHA512 + 1 {
			m := NewHMAC(h, make([]byte, 20))
			if n := testing.AllocsPerRun(20, func() {
				e.Blocks(&ivs, Max)
				e.CBC(bufs)
				m.Sum(&s, bufs, tails)
				m.Sum(&s, bufs[:3], nil)
				d.CBC(bufs[0][16:], bufs[0])
			}); n != 0 {
				t.Errorf("%s: %v allocations", hashNames[h], n)
			}
		}
	})
}

func TestClearedKeysAreGone(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		key := bytes.Repeat([]byte{0xa5}, 32)
		e, _ := NewEncrypter(key)
		d, _ := NewDecrypter(key)
		e.Clear()
		d.Clear()
		if e.keys != (roundKeys{}) || d.keys != (roundKeys{}) {
			t.Error("round keys are there still")
		}
		for h := range SHA512 + 1 {
			m := NewHMAC(h, key)
			m.Clear()
			if m.inner != [16]uint64{} || m.outer != [16]uint64{} {
				t.Errorf("%s: a state is there still", hashNames[h])
			}
		}
	})
}

func FuzzLanes(f *testing.F) {
	f.Add(uint8(0), uint8(16), uint64(1), []byte("key"), []byte("lengths of messages"))
	f.Add(uint8(2), uint8(7), uint64(9), make([]byte, 32), []byte{0, 1, 55, 56, 63, 64, 65, 119, 120, 200, 255})
	f.Fuzz(func(t *testing.T, hash, n uint8, seed uint64, key, lengths []byte) {
		var s [32]byte
		binary.LittleEndian.PutUint64(s[:], seed)
		r := rand.NewChaCha8(s)
		var messages, bufs [][]byte
		var tails []uint32
		for i := range int(n) % (Max + 1) {
			k := i
			if len(lengths) > 0 {
				k = int(lengths[i%len(lengths)]) * (1 + i/len(lengths))
			}
			messages = append(messages, place(r, k, k%64).b)
			bufs = append(bufs, place(r, k/16*16+16, k%64).b)
			tails = append(tails, uint32(r.Uint64()))
		}
		var sc Scratch
		checkHMAC(t, &sc, Hash(hash)%(SHA512+1), key, messages, tails)
		aesKey := make([]byte, 16+seed%3*8)
		copy(aesKey, key)
		checkCBC(t, aesKey, bufs)
	})
}

func ExampleEncrypter_CBC() {
	e, _ := NewEncrypter(make([]byte, 16))
	a, b := make([]byte, 16+32), make([]byte, 16+16)
	e.CBC([][]byte{a, b})
	fmt.Printf("%x\n", b[16:])
	// Output: 66e94bd4ef8a2c3b884cfa59ca342b2e
}
