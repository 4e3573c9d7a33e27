package ikev1

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"
	"strings"
	"testing"

	"vpngw/ipsec"
)

// rfc computes the key schedule a second time, from RFC 2409's formulas and the
// standard library alone: a formula is a list of what stands between the bars.
type rfc struct {
	h func() hash.Hash
}

func (r rfc) prf(key []byte, parts ...any) []byte {
	m := hmac.New(r.h, key)
	for _, p := range parts {
		switch p := p.(type) {
		case []byte:
			m.Write(p)
		case int: // "0, 1 and 2 [...] are represented by a single octet"
			m.Write([]byte{byte(p)})
		case uint32:
			binary.Write(m, binary.BigEndian, p)
		}
	}
	return m.Sum(nil)
}

func (r rfc) hash(parts ...[]byte) []byte {
	h := r.h()
	h.Write(bytes.Join(parts, nil))
	return h.Sum(nil)
}

func TestKeyScheduleIsThatOfTheRFC(t *testing.T) {
	hashes := map[string]func() hash.Hash{"md5": md5.New, "sha1": sha1.New, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New}
	keySizes := map[string]int{"des": 8, "3des": 24, "aes128": 16, "aes192": 24, "aes256": 32}
	blocks := map[string]int{"des": 8, "3des": 8}
	psk, gxy := []byte("0gjGhTDzyGvXm9tR"), bytes.Repeat([]byte{7, 3}, 64)
	gxi, gxr := bytes.Repeat([]byte{1, 2}, 64), bytes.Repeat([]byte{3, 4}, 64)
	ni, nr := bytes.Repeat([]byte{5}, 16), bytes.Repeat([]byte{6}, 20)
	sai, id := []byte("SAi_b"), []byte("IDii_b")
	const ckyI, ckyR = 0x0102030405060708, 0x1112131415161718
	cI, cR := []byte{1, 2, 3, 4, 5, 6, 7, 8}, []byte{0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18}
	const mid, spi = uint32(0xdeadbeef), uint32(0xc0ffee42)

	for hashName, h := range hashes {
		for encr, size := range keySizes {
			name := encr + "-" + hashName + "-modp1024"
			p, err := ipsec.ParseProposal(ipsec.ProtoIKE, name)
			if err != nil {
				t.Fatal(err)
			}
			suite, _ := p.Choose(p, true)
			k, err := deriveKeys(suite, psk, gxy, ni, nr, ckyI, ckyR)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			r := rfc{h}
			skeyid := r.prf(psk, ni, nr)
			d := r.prf(skeyid, gxy, cI, cR, 0)
			a := r.prf(skeyid, d, gxy, cI, cR, 1)
			e := r.prf(skeyid, a, gxy, cI, cR, 2)
			key := e
			if len(e) < size {
				k1 := r.prf(e, 0)
				k2 := r.prf(e, k1)
				key = append(append([]byte{}, k1...), k2...)
			}
			block := 16
			if b := blocks[encr]; b != 0 {
				block = b
			}
			same := func(what string, got, want []byte) {
				if !bytes.Equal(got, want) {
					t.Errorf("%s: %s is %x, the RFC's formula gives %x", name, what, got, want)
				}
			}
			same("SKEYID", k.skeyid, skeyid)
			same("SKEYID_d", k.d, d)
			same("SKEYID_a", k.a, a)
			same("SKEYID_e", k.e, e)
			same("the cipher's key", k.key, key[:size])
			same("the first IV", k.firstIV(gxi, gxr), r.hash(gxi, gxr)[:block])
			same("a later IV", k.nextIV(gxi[:block], mid), r.hash(gxi[:block], []byte{0xde, 0xad, 0xbe, 0xef})[:block])
			same("HASH_I", k.hashI(gxi, gxr, ckyI, ckyR, sai, id), r.prf(skeyid, gxi, gxr, cI, cR, sai, id))
			same("HASH_R", k.hashR(gxi, gxr, ckyI, ckyR, sai, id), r.prf(skeyid, gxr, gxi, cR, cI, sai, id))
			same("HASH(1)", k.hash1(mid, sai, ni), r.prf(a, mid, sai, ni))
			same("HASH(2)", k.hash2(mid, ni, sai, nr), r.prf(a, mid, ni, sai, nr))
			same("HASH(3)", k.hash3(mid, ni, nr), r.prf(a, 0, mid, ni, nr))
			for _, qm := range [][]byte{nil, gxi} { // without PFS, and with
				for _, esp := range []string{"aes128gcm16", "aes256-sha512", "des-md5", "null-sha1"} {
					q, _ := ipsec.ParseProposal(ipsec.ProtoESP, esp)
					child, _ := q.Choose(q, true)
					got := k.childKeys(child, qm, spi, ni, nr)
					k1 := r.prf(d, qm, 3, spi, ni, nr)
					k2 := r.prf(d, k1, qm, 3, spi, ni, nr)
					k3 := r.prf(d, k2, qm, 3, spi, ni, nr)
					k4 := r.prf(d, k3, qm, 3, spi, ni, nr)
					k5 := r.prf(d, k4, qm, 3, spi, ni, nr)
					k6 := r.prf(d, k5, qm, 3, spi, ni, nr)
					mat := bytes.Join([][]byte{k1, k2, k3, k4, k5, k6}, nil)
					all := append(append([]byte{}, got.Encr...), got.Integ...)
					same("KEYMAT of "+esp, all, mat[:len(all)])
					if want := ipsec.Lookup(child.Encr).Key; len(got.Encr) != want {
						t.Errorf("%s: %d bytes of key for %s, want %d", name, len(got.Encr), esp, want)
					}
				}
			}
		}
	}
}

func TestAEADDoesNotProtectIKEv1(t *testing.T) {
	p, _ := ipsec.ParseProposal(ipsec.ProtoIKE, "aes128gcm16-prfsha256-modp2048")
	suite, _ := p.Choose(p, true)
	if _, err := deriveKeys(suite, []byte("k"), nil, nil, nil, 1, 2); err == nil || !strings.Contains(err.Error(), "aes128gcm16") {
		t.Errorf("got %v", err)
	}
}
