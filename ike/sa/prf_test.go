package sa

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"vpngw/ipsec"
)

var prfs = map[string]uint16{
	"md5": ipsec.PRFHMACMD5, "sha1": ipsec.PRFHMACSHA1, "sha256": ipsec.PRFHMACSHA256,
	"sha384": ipsec.PRFHMACSHA384, "sha512": ipsec.PRFHMACSHA512,
}

func mustPRF(t *testing.T, name string) *PRF {
	t.Helper()
	p, err := NewPRF(ipsec.Transform{Type: ipsec.PRF, ID: prfs[name]})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func fromHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// RFC 2104 appendix, RFC 4868 section 2.7.1.
func TestPRFVectorsOfTheRFCs(t *testing.T) {
	of := strings.Repeat
	const big = "Test Using Larger Than Block-Size Key - Hash Key First"
	for _, c := range []struct {
		hash, key, data, want string
	}{
		{"md5", of("\x0b", 16), "Hi There", "9294727a3638bb1c13f48ef8158bfc9d"},
		{"md5", "Jefe", "what do ya want for nothing?", "750c783e6ab0b503eaa86e310a5db738"},
		{"md5", of("\xaa", 16), of("\xdd", 50), "56be34521d144c88dbb8c733f0e8b3f6"},

		{"sha256", of("\x0b", 20), "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
		{"sha256", "Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		{"sha256", of("\xaa", 131), big, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},

		{"sha384", of("\x0b", 20), "Hi There", "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6"},
		{"sha384", "Jefe", "what do ya want for nothing?", "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649"},
		{"sha384", of("\xaa", 131), big, "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952"},

		{"sha512", of("\x0b", 20), "Hi There", "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"},
		{"sha512", "Jefe", "what do ya want for nothing?", "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"},
		{"sha512", of("\xaa", 131), big, "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598"},
	} {
		p := mustPRF(t, c.hash)
		half := len(c.data) / 2
		got := p.Sum([]byte(c.key), []byte(c.data[:half]), nil, []byte(c.data[half:]))
		if hex.EncodeToString(got) != c.want {
			t.Errorf("%s of %q: got %x, want %s", c.hash, c.data, got, c.want)
		}
		if p.Size() != len(got) || p.KeySize() != len(got) {
			t.Errorf("%s: size %d, key size %d, output %d", c.hash, p.Size(), p.KeySize(), len(got))
		}
	}
}

func TestPRFOfWycheproof(t *testing.T) {
	for _, hash := range []string{"sha1", "sha256", "sha384", "sha512"} {
		p := mustPRF(t, hash)
		n := 0
		for _, c := range vectors(t, "hmac_"+hash+"_test.json") {
			want := fromHex(t, c.Tag)
			got := p.Sum(fromHex(t, c.Key), fromHex(t, c.Msg))[:len(want)]
			if bytes.Equal(got, want) != (c.Result == "valid") {
				t.Errorf("%s, test %d (%s): got %x", hash, c.ID, c.Comment, got)
			}
			n++
		}
		if n == 0 {
			t.Errorf("%s: no tests", hash)
		}
	}
}

// The definition of RFC 7296 section 2.13, in another form.
func TestPlusIsTheConcatenationOfRFC7296(t *testing.T) {
	key, seed := []byte("a key"), []byte("a seed")
	for hash := range prfs {
		p := mustPRF(t, hash)
		t1 := p.Sum(key, slices.Concat(seed, []byte{1}))
		t2 := p.Sum(key, slices.Concat(t1, seed, []byte{2}))
		t3 := p.Sum(key, slices.Concat(t2, seed, []byte{3}))
		want := slices.Concat(t1, t2, t3)
		for n := range len(want) + 1 {
			if got := p.Plus(key, seed, n); !bytes.Equal(got, want[:n]) {
				t.Errorf("%s, %d bytes: got %x, want %x", hash, n, got, want[:n])
			}
		}
		if got := p.Plus(key, seed, 255*p.Size()); len(got) != 255*p.Size() {
			t.Errorf("%s: no more than %d bytes", hash, len(got))
		}
	}
}

func TestUnknownPRFIsRefused(t *testing.T) {
	for _, tr := range []ipsec.Transform{
		{},
		{Type: ipsec.PRF, ID: 4},
		{Type: ipsec.Integ, ID: ipsec.PRFHMACSHA256},
		{Type: ipsec.PRF, ID: ipsec.PRFHMACSHA256, KeyBits: 128},
	} {
		if _, err := NewPRF(tr); err == nil {
			t.Errorf("%v is taken", tr)
		}
	}
}
