package sa

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"strings"
	"testing"

	"vpngw/ipsec"
)

// groups are all supported groups.
func groups() []uint16 {
	var out []uint16
	for _, a := range ipsec.Algorithms {
		if a.Type == ipsec.KE {
			out = append(out, a.ID)
		}
	}
	return out
}

func name(group uint16) string { return ipsec.Transform{Type: ipsec.KE, ID: group}.String() }

func mustDH(t *testing.T, group uint16, r io.Reader) *DH {
	t.Helper()
	d, err := NewDH(group, r)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// fixed is our half of a vector. A MODP exponent is used unchanged, even a short one.
func fixed(t *testing.T, group uint16, private []byte) *DH {
	t.Helper()
	g := modpGroups[group]
	if g == nil {
		return mustDH(t, group, bytes.NewReader(private))
	}
	return &DH{group: group, public: g.exp(g.base(), private), shared: func(peer []byte) ([]byte, error) {
		y, err := g.element(peer)
		if err != nil {
			return nil, err
		}
		return g.exp(y, private), nil
	}}
}

func TestKeyExchangeVectorsOfTheRFCs(t *testing.T) {
	for _, c := range dhVectors {
		i, r := fixed(t, c.group, fromHex(t, c.xi)), fixed(t, c.group, fromHex(t, c.xr))
		if got := hex.EncodeToString(i.Public()); got != c.yi {
			t.Errorf("%s: the initiator's public value is %s, want %s", name(c.group), got, c.yi)
		}
		if got := hex.EncodeToString(r.Public()); got != c.yr {
			t.Errorf("%s: the responder's public value is %s, want %s", name(c.group), got, c.yr)
		}
		for _, d := range []struct {
			own  *DH
			peer string
		}{{i, c.yr}, {r, c.yi}} {
			got, err := d.own.Shared(fromHex(t, d.peer))
			if err != nil || hex.EncodeToString(got) != c.shared {
				t.Errorf("%s: shared %x, %v, want %s", name(c.group), got, err, c.shared)
			}
		}
	}
}

func TestBothEndsAgreeInEveryGroup(t *testing.T) {
	for _, group := range groups() {
		a, b := mustDH(t, group, rand.Reader), mustDH(t, group, rand.Reader)
		ab, err := a.Shared(b.Public())
		if err != nil {
			t.Fatal(err)
		}
		ba, err := b.Shared(a.Public())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(ab, ba) {
			t.Errorf("%s: %x and %x", name(group), ab, ba)
		}
		if n := PublicSize(group); n == 0 || len(a.Public()) != n || len(b.Public()) != n {
			t.Errorf("%s: public values of %d and %d bytes, want %d", name(group), len(a.Public()), len(b.Public()), n)
		}
		if a.Group() != group || bytes.Equal(a.Public(), b.Public()) {
			t.Errorf("%s: group %d, same public value twice", name(group), a.Group())
		}
	}
}

// The key is made of the reader's bytes, so that tests can repeat it.
func TestKeysComeFromTheReader(t *testing.T) {
	for _, group := range groups() {
		seed := func() io.Reader { return strings.NewReader(strings.Repeat("\x17 is as good as any ", 200)) }
		if a, b := mustDH(t, group, seed()), mustDH(t, group, seed()); !bytes.Equal(a.Public(), b.Public()) {
			t.Errorf("%s: the same randomness gives different keys", name(group))
		}
		if _, err := NewDH(group, strings.NewReader("short")); err == nil {
			t.Errorf("%s: a key without enough randomness", name(group))
		}
	}
	// A P-256 scalar of all ones is above the order, so it is no key.
	if _, err := NewDH(ipsec.KEECP256, strings.NewReader(strings.Repeat("\xff", 32*100))); err == nil {
		t.Error("ecp256: a private key that is out of range")
	}
}

func TestMODPAgainstMathBig(t *testing.T) {
	for group, g := range modpGroups {
		p, base := new(big.Int).SetBytes(g.prime), new(big.Int).SetBytes(g.generator)
		for range 3 {
			x := make([]byte, exponentSize)
			rand.Read(x)
			x[0] |= 0x80
			d := mustDH(t, group, bytes.NewReader(x))
			e := new(big.Int).SetBytes(x)
			want := new(big.Int).Exp(base, e, p).FillBytes(make([]byte, len(g.prime)))
			if !bytes.Equal(d.Public(), want) {
				t.Errorf("%s: public value %x, want %x", name(group), d.Public(), want)
			}
			peer := mustDH(t, group, rand.Reader).Public()
			want = new(big.Int).Exp(new(big.Int).SetBytes(peer), e, p).FillBytes(want)
			got, err := d.Shared(peer)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: shared %x, %v, want %x", name(group), got, err, want)
			}
		}
	}
}

// A public value has the length of the prime, "prepending zero bits to the value
// if necessary" (RFC 7296 section 3.4), and g^ir has it as well (section 2.14).
// About one value in 256 is shorter.
func TestValuesKeepTheirLeadingZeros(t *testing.T) {
	const group = ipsec.KEMODP768
	g := modpGroups[group]
	for i := range 20000 {
		x := fmt.Appendf(nil, "\xff%063d", i)
		d := fixed(t, group, x)
		if d.Public()[0] != 0 {
			continue
		}
		if len(d.Public()) != len(g.prime) {
			t.Errorf("a public value of %d bytes", len(d.Public()))
		}
		if s, err := fixed(t, group, []byte{1}).Shared(d.Public()); err != nil || !bytes.Equal(s, d.Public()) {
			t.Errorf("shared %x, %v", s, err)
		}
		return
	}
	t.Error("no value began with a zero")
}

func TestPrimesAreThoseOfTheRFCs(t *testing.T) {
	one := big.NewInt(1)
	for _, c := range []struct {
		group uint16
		bits  int
		k     int64 // p = 2^n - 2^(n-64) - 1 + 2^64 * ([2^(n-130) pi] + k)
	}{
		{ipsec.KEMODP768, 768, 149686},
		{ipsec.KEMODP1024, 1024, 129093},
		{ipsec.KEMODP1536, 1536, 741804},
		{ipsec.KEMODP2048, 2048, 124476},
		{ipsec.KEMODP3072, 3072, 1690314},
		{ipsec.KEMODP4096, 4096, 240904},
	} {
		n := uint(c.bits)
		want := new(big.Int).Lsh(one, n)
		want.Sub(want, new(big.Int).Lsh(one, n-64))
		want.Sub(want, one)
		tail := new(big.Int).Add(pi(n-130), big.NewInt(c.k))
		want.Add(want, tail.Lsh(tail, 64))

		p := new(big.Int).SetBytes(modpGroups[c.group].prime)
		if p.Cmp(want) != 0 {
			t.Errorf("%s is not what the RFC's formula gives", name(c.group))
		}
		if p.BitLen() != c.bits || !p.ProbablyPrime(1) || !new(big.Int).Rsh(p, 1).ProbablyPrime(1) {
			t.Errorf("%s is not a safe prime of %d bits", name(c.group), c.bits)
		}
	}
}

// pi is [2^n pi] by Machin's formula, pi/4 = 4 arctan 1/5 - arctan 1/239.
func pi(n uint) *big.Int {
	const guard = 32
	arctan := func(x int64) *big.Int { // of 1/x, scaled
		term := new(big.Int).Lsh(big.NewInt(1), n+guard)
		term.Div(term, big.NewInt(x))
		sum := new(big.Int)
		for k := int64(1); term.Sign() != 0; k += 2 {
			part := new(big.Int).Div(term, big.NewInt(k))
			if k%4 == 3 {
				part.Neg(part)
			}
			sum.Add(sum, part)
			term.Div(term, big.NewInt(x*x))
		}
		return sum
	}
	p := arctan(5)
	p.Lsh(p, 2).Sub(p, arctan(239)).Lsh(p, 2)
	return p.Rsh(p, guard)
}

func TestGroup24HasItsSubgroup(t *testing.T) {
	g := modpGroups[ipsec.KEMODP2048SG]
	p, q := new(big.Int).SetBytes(g.prime), new(big.Int).SetBytes(g.order)
	base := new(big.Int).SetBytes(g.generator)
	if p.BitLen() != 2048 || q.BitLen() != 256 || !p.ProbablyPrime(10) || !q.ProbablyPrime(10) {
		t.Error("p and q are not primes of 2048 and 256 bits")
	}
	one := big.NewInt(1)
	if new(big.Int).Mod(new(big.Int).Sub(p, one), q).Sign() != 0 {
		t.Error("q does not divide p-1")
	}
	if base.Cmp(one) <= 0 || new(big.Int).Exp(base, q, p).Cmp(one) != 0 {
		t.Error("the generator does not have order q")
	}
}

// RFC 6989 sections 2.1 to 2.3, RFC 7748 section 6.1.
func TestBadPublicValuesAreRefused(t *testing.T) {
	for _, group := range groups() {
		d := mustDH(t, group, rand.Reader)
		bad := map[string][]byte{
			"nothing":           nil,
			"a byte short":      d.Public()[1:],
			"a byte long":       append([]byte{0}, d.Public()...),
			"a byte behind it":  append(d.Public()[:len(d.Public()):len(d.Public())], 0),
			"zero":              make([]byte, PublicSize(group)),
			"as large as it is": bytes.Repeat([]byte{0xff}, PublicSize(group)),
		}
		if group == ipsec.KEX25519 {
			delete(bad, "as large as it is") // RFC 7748 section 5: the top bit is masked, and 2^255-1 is a value
		}
		if g := modpGroups[group]; g != nil {
			p := new(big.Int).SetBytes(g.prime)
			put := func(add int64) []byte {
				return new(big.Int).Add(p, big.NewInt(add)).FillBytes(make([]byte, len(g.prime)))
			}
			bad["p-1"], bad["p"], bad["p+1"] = put(-1), put(0), put(1)
			bad["one"] = append(make([]byte, len(g.prime)-1), 1)
			if g.order != nil {
				bad["two, which is not in the subgroup"] = append(make([]byte, len(g.prime)-1), 2)
			}
		} else if group != ipsec.KEX25519 {
			off := bytes.Clone(d.Public())
			off[len(off)-1] ^= 1
			bad["a point that is not on the curve"] = off
		}
		for what, peer := range bad {
			if s, err := d.Shared(peer); err == nil {
				t.Errorf("%s takes %s and shares %x", name(group), what, s)
			}
		}
	}
}

func TestUnknownGroupIsRefused(t *testing.T) {
	for _, group := range []uint16{0, 3, 22, 1000} {
		if _, err := NewDH(group, rand.Reader); err == nil || PublicSize(group) != 0 {
			t.Errorf("group %d: %v, %d bytes", group, err, PublicSize(group))
		}
	}
}

func TestECDHOfWycheproof(t *testing.T) {
	for file, group := range map[string]uint16{
		"ecdh_secp256r1_ecpoint_test.json": ipsec.KEECP256,
		"ecdh_secp384r1_ecpoint_test.json": ipsec.KEECP384,
		"ecdh_secp521r1_ecpoint_test.json": ipsec.KEECP521,
	} {
		n := 0
		for _, c := range vectors(t, file) {
			private := new(big.Int).SetBytes(fromHex(t, c.Private)).FillBytes(make([]byte, curves[group].private))
			d := mustDH(t, group, bytes.NewReader(private))
			point := fromHex(t, c.Public)
			if len(point) == 0 || point[0] != 4 {
				continue // IKE has no compressed points
			}
			n++
			got, err := d.Shared(point[1:])
			if c.Result == "valid" && (err != nil || hex.EncodeToString(got) != c.Shared) {
				t.Errorf("%s, test %d (%s): %x, %v", file, c.ID, c.Comment, got, err)
			}
			if c.Result == "invalid" && err == nil {
				t.Errorf("%s, test %d (%s): a bad point is taken", file, c.ID, c.Comment)
			}
		}
		if n < 100 {
			t.Errorf("%s: %d tests only", file, n)
		}
	}
}

// "acceptable" are values on the twist, values not in canonical form, and values of
// small order. RFC 7748 takes the first two; the last give zero and are refused.
func TestX25519OfWycheproof(t *testing.T) {
	n := 0
	for _, c := range vectors(t, "x25519_test.json") {
		d := mustDH(t, ipsec.KEX25519, bytes.NewReader(fromHex(t, c.Private)))
		got, err := d.Shared(fromHex(t, c.Public))
		if strings.Trim(c.Shared, "0") == "" {
			if err == nil {
				t.Errorf("test %d (%s): zero is taken", c.ID, c.Comment)
			}
		} else if err != nil || hex.EncodeToString(got) != c.Shared {
			t.Errorf("test %d (%s): %x, %v", c.ID, c.Comment, got, err)
		}
		n++
	}
	if n < 100 {
		t.Errorf("%d tests only", n)
	}
}

// Go's own X25519 gives the same values, of both halves of an exchange.
func TestX25519AgreesWithCryptoECDH(t *testing.T) {
	for range 500 {
		a, b := mustDH(t, ipsec.KEX25519, rand.Reader), mustDH(t, ipsec.KEX25519, rand.Reader)
		key, err := ecdh.X25519().NewPrivateKey(a.private)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(key.PublicKey().Bytes(), a.Public()) {
			t.Fatalf("the public value of %x is %x, want %x", []byte(a.private), a.Public(), key.PublicKey().Bytes())
		}
		peer, err := ecdh.X25519().NewPublicKey(b.Public())
		if err != nil {
			t.Fatal(err)
		}
		want, err := key.ECDH(peer)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range [][2]*DH{{a, b}, {b, a}} {
			if got, err := d[0].Shared(d[1].Public()); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("the shared secret is %x, %v, want %x", got, err, want)
			}
		}
	}
}

func TestClearOverwritesThePrivateValue(t *testing.T) {
	for _, group := range []uint16{ipsec.KEMODP1024, ipsec.KEECP256, ipsec.KEX25519} {
		d, err := NewDH(group, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		private := d.private
		if d.Clear(); bytes.ContainsFunc(private, func(r rune) bool { return r != 0 }) {
			t.Errorf("group %d: something is left", group)
		}
	}
	(*DH)(nil).Clear()
}
