package esp

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	mathrand "math/rand/v2"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"vpngw/ipsec"
)

// suite is one of all that the package has.
type suite struct {
	ipsec.Suite
	trunc96 bool
}

func (s suite) String() string {
	if s.trunc96 {
		return s.Suite.String() + "-trunc96"
	}
	return s.Suite.String()
}

// allSuites is every cipher with every hash that it goes with, with and without ESN.
func allSuites() []suite {
	var out []suite
	for _, encr := range ipsec.Algorithms {
		if encr.Type != ipsec.Encr {
			continue
		}
		for _, esn := range []bool{false, true} {
			if encr.AEAD {
				out = append(out, suite{ipsec.Suite{Encr: encr.Transform, ESN: esn}, false})
				continue
			}
			for _, integ := range ipsec.Algorithms {
				if integ.Type != ipsec.Integ {
					continue
				}
				s := ipsec.Suite{Encr: encr.Transform, Integ: integ.Transform, ESN: esn}
				out = append(out, suite{s, false})
				if integ.ID == ipsec.IntegSHA256_128 {
					out = append(out, suite{s, true})
				}
			}
		}
	}
	return out
}

// named is the suite of a proposal string.
func named(t testing.TB, proposal string) ipsec.Suite {
	t.Helper()
	p, err := ipsec.ParseProposal(ipsec.ProtoESP, proposal)
	if err != nil {
		t.Fatal(err)
	}
	s, ok := p.Choose(p, false)
	if !ok {
		t.Fatalf("%q is no suite", proposal)
	}
	return s
}

// keysFor draws keys of the lengths that s wants.
func keysFor(s ipsec.Suite) ipsec.Keys {
	var k ipsec.Keys
	k.Encr = make([]byte, ipsec.Lookup(s.Encr).Key)
	if a := ipsec.Lookup(s.Integ); a != nil {
		k.Integ = make([]byte, a.Key)
	}
	rand.Read(k.Encr)
	rand.Read(k.Integ)
	return k
}

// halves are a sealer and the opener of what it seals.
func halves(t testing.TB, s suite) (*sealer, *opener, ipsec.Keys) {
	t.Helper()
	k := keysFor(s.Suite)
	sa := &ipsec.ChildSA{SPIOut: 0x01020304, Suite: s.Suite, Trunc96: s.trunc96, In: k, Out: k}
	out, err := newSealer(sa, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	in, err := newOpener(sa)
	if err != nil {
		t.Fatal(err)
	}
	return out, in, k
}

// seal makes a whole packet, as an outbox does with many.
func (s *sealer) seal(dst, inner []byte, next uint8, seq uint64) []byte {
	out := s.stage(dst, inner, next, seq)
	if s.mac != nil {
		var g sealing
		g.add(s, out, seq)
		g.seal()
	}
	return out
}

// alone opens a packet, as a receiver does with many.
func (o *opener) alone(dst, b []byte, seq uint64) (payload []byte, next uint8, why reason) {
	if !o.whole(b) {
		return o.open(dst, b, seq, nil)
	}
	var icv []byte
	if o.mac != nil {
		icv = o.icvOf(b[:len(b)-o.icvLen], seq)
	}
	return o.open(dst, b, seq, icv)
}

// icvOf is the ICV of what is signed in a packet, whole.
func (t *transform) icvOf(signed []byte, seq uint64) []byte {
	var g together
	g.add(append(bytes.Clone(signed), make([]byte, t.icvLen)...), seq)
	t.icvs(&g)
	return bytes.Clone(g.icv(0))
}

// roomy is n random bytes with capacity for a trailer.
func roomy(n int) []byte {
	b := make([]byte, n, n+maxTrailer)
	rand.Read(b)
	return b
}

// reference opens an ESP packet by the letter of the RFCs, sharing nothing with
// the package: RFC 4303 figures 1 and 2, RFC 4106, RFC 7634, RFC 3602, RFC 2451.
func reference(s suite, k ipsec.Keys, b []byte, seq uint64) (plaintext []byte, err error) {
	head, rest := b[:8], b[8:]
	high := binary.BigEndian.AppendUint32(nil, uint32(seq>>32))
	if ipsec.Lookup(s.Encr).AEAD {
		n := len(k.Encr) - 4
		var a cipher.AEAD
		if s.Encr.ID == ipsec.EncrChaCha20Poly1305 {
			a, _ = chacha20poly1305.New(k.Encr[:n])
		} else {
			block, _ := aes.NewCipher(k.Encr[:n])
			a, _ = cipher.NewGCM(block)
		}
		nonce := append(bytes.Clone(k.Encr[n:]), rest[:8]...)
		aad := head
		if s.ESN {
			aad = append(append(bytes.Clone(head[:4]), high...), head[4:]...)
		}
		return a.Open(nil, nonce, rest[8:], aad)
	}
	type mac struct {
		hash func() hash.Hash
		n    int
	}
	m := map[uint16]mac{
		ipsec.IntegMD5_96: {md5.New, 12}, ipsec.IntegSHA1_96: {sha1.New, 12}, ipsec.IntegSHA256_128: {sha256.New, 16},
		ipsec.IntegSHA384_192: {sha512.New384, 24}, ipsec.IntegSHA512_256: {sha512.New, 32},
	}[s.Integ.ID]
	if s.trunc96 {
		m.n = 12
	}
	signed, icv := b[:len(b)-m.n], b[len(b)-m.n:]
	h := hmac.New(m.hash, k.Integ)
	h.Write(signed)
	if s.ESN {
		h.Write(high)
	}
	if !bytes.Equal(h.Sum(nil)[:m.n], icv) {
		return nil, fmt.Errorf("ICV is %x, want %x", icv, h.Sum(nil)[:m.n])
	}
	var block cipher.Block
	switch s.Encr.ID {
	case ipsec.EncrNull:
		return signed[8:], nil
	case ipsec.EncrAESCBC:
		block, err = aes.NewCipher(k.Encr)
	case ipsec.Encr3DES:
		block, err = des.NewTripleDESCipher(k.Encr)
	case ipsec.EncrDES:
		block, err = des.NewCipher(k.Encr)
	}
	if err != nil {
		return nil, err
	}
	n := block.BlockSize()
	plaintext = make([]byte, len(signed)-8-n)
	cipher.NewCBCDecrypter(block, signed[8:8+n]).CryptBlocks(plaintext, signed[8+n:])
	return plaintext, nil
}

func TestSealedPacketsReadAsTheRFCsSay(t *testing.T) {
	for _, s := range allSuites() {
		t.Run(s.String(), func(t *testing.T) {
			out, _, k := halves(t, s)
			for n := range 70 {
				inner := roomy(n)
				seq := uint64(1<<32 + 7 + n)
				dst := make([]byte, out.sealed(n))
				b := out.seal(dst, inner, protoIPv4, seq)
				if len(b) != len(dst) {
					t.Fatalf("%d bytes sealed to %d, sealed() says %d", n, len(b), len(dst))
				}
				if got := binary.BigEndian.Uint64(b); got != 0x01020304<<32|uint64(uint32(seq)) {
					t.Fatalf("header is %016x", got)
				}
				plain, err := reference(s, k, b, seq)
				if err != nil {
					t.Fatal(err)
				}
				pad := int(plain[len(plain)-2])
				if len(plain)%4 != 0 || pad > 15 || plain[len(plain)-1] != protoIPv4 || n+pad+2 != len(plain) || !bytes.Equal(plain[:n], inner) {
					t.Fatalf("%d bytes came back as %x", n, plain)
				}
				for i := range pad {
					if plain[n+i] != byte(i+1) {
						t.Fatalf("padding is %x", plain[n:])
					}
				}
			}
		})
	}
}

func TestOpenReturnsWhatWasSealed(t *testing.T) {
	for _, s := range allSuites() {
		t.Run(s.String(), func(t *testing.T) {
			out, in, _ := halves(t, s)
			for n := range 70 {
				inner := roomy(n)
				seq := uint64(1+n)<<31 + 3
				b := out.seal(make([]byte, out.sealed(n)), inner, protoIPv6, seq)
				before := bytes.Clone(b)
				got, next, why := in.alone(make([]byte, len(b)), b, seq)
				if why != carried || next != protoIPv6 || !bytes.Equal(got, inner) {
					t.Fatalf("%d bytes: %v, next header %d, %x", n, why, next, got)
				}
				if !bytes.Equal(b, before) {
					t.Fatal("open changed the packet")
				}
			}
		})
	}
}

func TestOneBitMakesAPacketForged(t *testing.T) {
	for _, s := range allSuites() {
		t.Run(s.String(), func(t *testing.T) {
			out, in, _ := halves(t, s)
			const seq = 1<<32 + 9
			b := out.seal(make([]byte, out.sealed(60)), roomy(60), protoIPv4, seq)
			dst := make([]byte, len(b))
			for bit := range len(b) * 8 {
				b[bit/8] ^= 1 << (bit % 8)
				if _, _, why := in.alone(dst, b, seq); why != dropBadICV {
					t.Fatalf("bit %d flipped: %v", bit, why)
				}
				b[bit/8] ^= 1 << (bit % 8)
			}
			for n := range len(b) {
				if _, _, why := in.alone(dst, b[:n], seq); why == carried {
					t.Fatalf("cut to %d bytes: carried", n)
				}
			}
			if _, _, why := in.alone(dst, b, seq+1<<32); (why == dropBadICV) != s.ESN {
				t.Fatalf("another high half of the sequence number: %v", why)
			}
			if _, _, why := in.alone(dst, b, seq); why != carried {
				t.Fatalf("untouched: %v", why)
			}
		})
	}
}

func TestOpenChecksPaddingAndTrailer(t *testing.T) {
	for _, s := range []string{"aes128gcm16", "aes128-sha256"} {
		out, in, _ := halves(t, suite{Suite: named(t, s)})
		for _, tt := range []struct {
			name  string
			plain []byte
			want  reason
		}{
			{"counts from one", []byte{9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 1, 2, 3, 3, 4}, carried},
			{"nothing but padding", []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 14, 4}, carried},
			{"counts from zero", []byte{9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0, 1, 2, 3, 4}, dropPadding},
			{"zeroes", []byte{9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0, 0, 0, 3, 4}, dropPadding},
			{"longer than the packet", []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 4}, dropPadding},
		} {
			b := sealPlain(out, tt.plain, 5)
			_, _, why := in.alone(make([]byte, len(b)), b, 5)
			if why != tt.want {
				t.Errorf("%s: %s: %v, want %v", s, tt.name, why, tt.want)
			}
		}
	}
}

// sealPlain makes a packet of a plaintext that has its trailer already and is
// a multiple of the alignment.
func sealPlain(s *sealer, plain []byte, seq uint64) []byte {
	b := make([]byte, espHeader+s.ivLen+len(plain)+s.icvLen)
	binary.BigEndian.PutUint32(b, s.spi)
	binary.BigEndian.PutUint32(b[4:], uint32(seq))
	body := b[espHeader+s.ivLen:]
	if s.mac == nil {
		binary.BigEndian.PutUint64(b[8:], seq)
		binary.BigEndian.PutUint64(s.nonce[4:], seq)
		s.sealsWith().Seal(body[:0], s.nonce[:], plain, s.additional(b, seq))
		return b
	}
	copy(body, plain)
	g := sealing{sealer: s}
	g.together.add(b, seq)
	g.seal()
	return b
}

func TestInitialisationVectors(t *testing.T) {
	for _, s := range allSuites() {
		if s.ESN || ipsec.Lookup(s.Encr).IV == 0 {
			continue
		}
		out, _, _ := halves(t, s)
		inner := roomy(40)
		seen := make(map[string]bool)
		ones := 0
		for seq := range uint64(1000) {
			b := out.seal(make([]byte, out.sealed(40)), inner, protoIPv4, seq+1)
			iv := b[8:][:out.ivLen]
			if seen[string(iv)] {
				t.Fatalf("%v: an IV repeats", s)
			}
			seen[string(iv)] = true
			for _, v := range iv {
				for ; v != 0; v &= v - 1 {
					ones++
				}
			}
		}
		// A counter has few bits set; what cannot be told from random has half of them.
		share := float64(ones) / float64(1000*out.ivLen*8)
		if !ipsec.Lookup(s.Encr).AEAD && (share < 0.48 || share > 0.52) {
			t.Errorf("%v: %.3f of the IVs' bits are ones: predictable", s, share)
		}
	}
}

func TestSuitesThatDoNotGoTogetherAreRefused(t *testing.T) {
	good := named(t, "aes128-sha256")
	for name, f := range map[string]func(*ipsec.ChildSA){
		"no cipher":          func(sa *ipsec.ChildSA) { sa.Suite.Encr = ipsec.Transform{} },
		"unknown cipher":     func(sa *ipsec.ChildSA) { sa.Suite.Encr.ID = 99 },
		"integrity missing":  func(sa *ipsec.ChildSA) { sa.Suite.Integ = ipsec.Transform{} },
		"a PRF for a cipher": func(sa *ipsec.ChildSA) { sa.Suite.Encr = ipsec.Transform{Type: ipsec.PRF, ID: ipsec.PRFHMACSHA1} },
		"AEAD and integrity": func(sa *ipsec.ChildSA) { sa.Suite.Encr = named(t, "aes128gcm16").Encr },
		"short key":          func(sa *ipsec.ChildSA) { sa.In.Encr = sa.In.Encr[:15] },
		"no integrity key":   func(sa *ipsec.ChildSA) { sa.In.Integ = nil },
	} {
		sa := &ipsec.ChildSA{Suite: good, In: keysFor(good)}
		f(sa)
		if _, err := newOpener(sa); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestNoAllocationPerPacket(t *testing.T) {
	for _, s := range allSuites() {
		w := newWork(t, s, 20)
		if n := testing.AllocsPerRun(20, w.seal); n != 0 {
			t.Errorf("%v: seal allocates %v times", s, n)
		}
		if n := testing.AllocsPerRun(20, w.open); n != 0 {
			t.Errorf("%v: open allocates %v times", s, n)
		}
	}
}

// work seals and opens packets of one size as an outbox and a receiver do, and nothing else of what these do.
type work struct {
	t       testing.TB
	out     *sealer
	in      *opener
	inner   []byte
	buf     []byte
	packets [][]byte
	seq     uint64
	sealing sealing
	check   together
	plain   []byte
}

const workSize = 1400

func newWork(t testing.TB, s suite, packets int) *work {
	out, in, _ := halves(t, s)
	size := out.sealed(workSize)
	return &work{
		t: t, out: out, in: in, inner: roomy(workSize), buf: make([]byte, packets*size), packets: make([][]byte, packets),
		plain: make([]byte, size),
	}
}

func (w *work) seal() {
	size := len(w.plain)
	for i := range w.packets {
		w.seq++
		w.packets[i] = w.out.stage(w.buf[i*size:], w.inner, protoIPv4, w.seq)
		if w.out.mac != nil {
			w.sealing.add(w.out, w.packets[i], w.seq)
		}
	}
	w.sealing.seal()
}

func (w *work) open() {
	first := w.seq - uint64(len(w.packets)) + 1
	g := &w.check
	for i := range w.packets {
		if w.in.mac == nil {
			w.openOne(i, first+uint64(i), nil)
			continue
		}
		g.add(w.packets[i], first+uint64(i))
		if g.full() || i == len(w.packets)-1 {
			w.in.icvs(g)
			for j := range g.n {
				w.openOne(i+1-g.n+j, g.seqs[j], g.icv(j))
			}
			g.n = 0
		}
	}
}

func (w *work) openOne(i int, seq uint64, icv []byte) {
	if _, _, why := w.in.open(w.plain, w.packets[i], seq, icv); why != carried {
		w.t.Fatal(why)
	}
}

// benchmarkSuites measures packets one by one, and 45 of them, as a super-packet has.
func benchmarkSuites(b *testing.B, f func(w *work)) {
	for _, name := range []string{"aes128gcm16", "aes256gcm16", "chacha20poly1305", "aes128-sha256", "aes256-sha256", "aes128-sha1", "aes128-md5", "aes256-sha512", "3des-md5"} {
		for _, n := range []int{1, 45} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				w := newWork(b, suite{Suite: named(b, name)}, n)
				w.seal()
				b.ReportAllocs()
				loop(b, n*workSize, func() { f(w) })
			})
		}
	}
}

// loop measures f, which works on n bytes. It reports the fastest call too, which a busy machine does not change.
func loop(b *testing.B, n int, f func()) {
	b.SetBytes(int64(n))
	best := time.Hour
	for b.Loop() {
		start := time.Now()
		f()
		best = min(best, time.Since(start))
	}
	b.ReportMetric(float64(n)*1000/float64(best), "best-MB/s")
}

func BenchmarkSeal(b *testing.B) { benchmarkSuites(b, (*work).seal) }

func BenchmarkOpen(b *testing.B) { benchmarkSuites(b, (*work).open) }

// rng is a source of test data that a failure can be repeated from.
func rng(t testing.TB) *mathrand.Rand {
	t.Helper()
	seed := mathrand.Uint64()
	t.Logf("seed %d", seed)
	return mathrand.New(mathrand.NewPCG(seed, 0))
}
