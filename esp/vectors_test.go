package esp

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"vpngw/ipsec"
	"vpngw/ipsec/wycheproof"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Its IV is not the sequence number, so it is only opened; sealed packets are
// held to the RFC by TestSealedPacketsReadAsTheRFCsSay.
func TestRFC7634AppendixA(t *testing.T) {
	packet := unhex(t, `01020304 00000005 1011121314151617
		24 03 94 28 b9 7f 41 7e 3c 13 75 3a 4f 05 08 7b 67 c3 52 e6 a7 fa b1 b9 82 d4 66 ef 40 7a e5 c6
		14 ee 80 99 d5 28 44 eb 61 aa 95 df ab 4c 02 f7 2a a7 1e 7c 4c 4f 64 c9 be fe 2f ac c6 38 e8 f3
		cb ec 16 3f ac 46 9b 50 27 73 f6 fb 94 e6 64 da 91 65 b8 28 29 f6 41 e0
		76 aa a8 26 6b 7f b0 f7 b1 1b 36 99 07 e1 ad 43`)
	want := unhex(t, `45 00 00 54 a6 f2 00 00 40 01 e7 78 c6 33 64 05 c0 00 02 05 08 00 5b 7a 3a 08 00 00 55 3b ec 10
		00 07 36 27 08 09 0a 0b 0c 0d 0e 0f 10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f 20 21 22 23
		24 25 26 27 28 29 2a 2b 2c 2d 2e 2f 30 31 32 33 34 35 36 37`)
	k := ipsec.Keys{Encr: unhex(t, `808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3`)}
	in, err := newOpener(&ipsec.ChildSA{Suite: named(t, "chacha20poly1305"), In: k})
	if err != nil {
		t.Fatal(err)
	}
	got, next, why := in.alone(make([]byte, len(packet)), packet, 5)
	if why != carried || next != protoIPv4 || !bytes.Equal(got, want) {
		t.Errorf("open: %v, next header %d, %x", why, next, got)
	}
}

// RFC 3602 section 4, cases 5 to 8: packets without an ICV, to which one is put here.
func TestRFC3602Packets(t *testing.T) {
	for name, v := range map[string]struct {
		key, packet, plain string
		next               uint8
	}{
		"case 5": {
			"90d382b4 10eeba7a d938c46c ec1a82bf", `00004321 00000001 e96e8c08 ab465763 fd098d45 dd3ff893
			f663c25d 325c18c6 a9453e19 4e120849 a4870b66 cc6b9965 330013b4 898dc856
			a4699e52 3a55db08 0b59ec3a 8e4b7e52 775b07d1 db34ed9c 538ab50c 551b874a a269add0 47ad2d59 13ac19b7 cfbad4a6`,
			`08000ebd a70a0000 8e9c083d b95b0700 08090a0b 0c0d0e0f 10111213 14151617
			18191a1b 1c1d1e1f 20212223 24252627 28292a2b 2c2d2e2f 30313233 34353637`, 1,
		},
		"case 6": {
			"90d382b4 10eeba7a d938c46c ec1a82bf", `00004321 00000008 69d08df7 d203329d b093fc49 24e5bd80
			f5199588 1ec4e0c4 488987ce 742e8109 689bb379 d2d750c0 d915dca3 46a89f75`,
			`0800b5e8 a80a0500 a69c083d 0b660e00 77777777 77777777 77777777`, 1,
		},
		"case 7": {
			"01234567 89abcdef 01234567 89abcdef", `00008765 00000002 f4e76524 4f6407ad f13dc138 0f673f37
			773b5241 a4c44922 5e4f3ce5 ed611b0c 237ca96c f74a9301 3c1b0ea1 a0cf70f8 e4ecaec7 8ac53aad 7a0f022b 859243c6
			47752e94 a859352b 8a4d4d2d ecd136e5 c177f132 ad3fbfb2 201ac990 4c74ee0a 109e0ca1 e4dfe9d5 a100b842 f1c22f0d`,
			`45000054 09040000 4001f988 c0a87b03 c0a87bc8 08009f76 a90a0100 b49c083d 02a20400 08090a0b 0c0d0e0f 10111213
			14151617 18191a1b 1c1d1e1f 20212223 24252627 28292a2b 2c2d2e2f 30313233 34353637`, protoIPv4,
		},
		"case 8": {
			"01234567 89abcdef 01234567 89abcdef", `00008765 00000005 85d47224 b5f3dd5d 2101d4ea 8dffab22
			15b92683 819596a8 047232cc 00f7048f e45318e1 1f8a0f62 ede3c3fc 61203bb5
			0f980a08 c9843fd3 a1b06d5c 07ff9639 b7eb7dfb 3512e5de 435e7207 ed971ef3 d2726d9b 5ef6affc 6d17a0de cbb13892`,
			`45000044 090c0000 4001f990 c0a87b03 c0a87bc8 0800d63c aa0a0200 c69c083d a3de0300 ffffffff ffffffff ffffffff
			ffffffff ffffffff ffffffff ffffffff ffffffff`, protoIPv4,
		},
	} {
		s := named(t, "aes128-sha256")
		k := ipsec.Keys{Encr: unhex(t, v.key), Integ: make([]byte, 32)}
		in, err := newOpener(&ipsec.ChildSA{Suite: s, In: k})
		if err != nil {
			t.Fatal(err)
		}
		packet := unhex(t, v.packet)
		packet = append(packet, in.icvOf(packet, 0)[:in.icvLen]...)
		got, next, why := in.alone(make([]byte, len(packet)), packet, 0)
		if why != carried || next != v.next || !bytes.Equal(got, unhex(t, v.plain)) {
			t.Errorf("%s: %v, next header %d, %x", name, why, next, got)
		}
	}
}

// Package lanes has the vectors of AES-GCM.
func TestWycheproofChaCha20Poly1305(t *testing.T) {
	const file = "chacha20_poly1305_test.json"
	var f struct {
		TestGroups []struct {
			IVSize, TagSize int
			Tests           []struct {
				TcID                       int
				Key, IV, AAD, Msg, CT, Tag string
				Result                     string
			}
		}
	}
	wycheproof.Read(t, file, &f)
	s := named(t, "chacha20poly1305")
	ran := 0
	for _, g := range f.TestGroups {
		if g.IVSize != 96 || g.TagSize != 128 { // ESP has no other
			continue
		}
		for _, tt := range g.Tests {
			tr, err := newTransform(s, false, ipsec.Keys{Encr: append(unhex(t, tt.Key), make([]byte, 4)...)})
			if err != nil {
				t.Fatal(err)
			}
			ran++
			iv, aad, msg, sealed := unhex(t, tt.IV), unhex(t, tt.AAD), unhex(t, tt.Msg), unhex(t, tt.CT+tt.Tag)
			got, err := tr.aead.Open(nil, iv, sealed, aad)
			if valid := tt.Result == "valid"; (err == nil) != valid || valid && !bytes.Equal(got, msg) {
				t.Errorf("%s %d: open: %v, want %s", file, tt.TcID, err, tt.Result)
			}
			if tt.Result == "valid" && !bytes.Equal(tr.aead.Seal(nil, iv, msg, aad), sealed) {
				t.Errorf("%s %d: seal differs", file, tt.TcID)
			}
		}
	}
	if ran < 100 {
		t.Errorf("%s: only %d vectors ran", file, ran)
	}
}

func TestWycheproofHMACs(t *testing.T) {
	for file, id := range map[string]uint16{
		"hmac_sha1_test.json":   ipsec.IntegSHA1_96,
		"hmac_sha256_test.json": ipsec.IntegSHA256_128,
		"hmac_sha384_test.json": ipsec.IntegSHA384_192,
		"hmac_sha512_test.json": ipsec.IntegSHA512_256,
	} {
		var f struct {
			TestGroups []struct {
				TagSize int
				Tests   []struct {
					TcID          int
					Key, Msg, Tag string
					Result        string
				}
			}
		}
		wycheproof.Read(t, file, &f)
		ran := 0
		for _, g := range f.TestGroups {
			for _, tt := range g.Tests {
				integ := ipsec.Lookup(ipsec.Transform{Type: ipsec.Integ, ID: id})
				key, tag := unhex(t, tt.Key), unhex(t, tt.Tag)
				if len(key) != integ.Key || len(tag) < integ.ICV { // ESP has no other
					continue
				}
				ran++
				tr, err := newTransform(ipsec.Suite{Encr: named(t, "null-sha1").Encr, Integ: integ.Transform}, false, ipsec.Keys{Integ: key})
				if err != nil {
					t.Fatal(err)
				}
				for range 2 { // the second time from the saved state
					same := bytes.Equal(tr.icvOf(unhex(t, tt.Msg), 0)[:integ.ICV], tag[:integ.ICV])
					if same != (tt.Result == "valid") && len(tag) == integ.ICV || tt.Result == "valid" && !same {
						t.Errorf("%s %d: same is %v, want %s", file, tt.TcID, same, tt.Result)
					}
				}
			}
		}
		if ran < 50 {
			t.Errorf("%s: only %d vectors ran", file, ran)
		}
	}
}
