package lanes

import (
	"bytes"
	"encoding/hex"
	"testing"

	"vpngw/ipsec/wycheproof"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The vectors are of CBC with PKCS #5 padding, which the test adds and looks at. Each is in every lane.
func TestWycheproofCBC(t *testing.T) {
	var f struct {
		TestGroups []struct {
			Tests []struct {
				TcID                     int
				Key, IV, Msg, CT, Result string
			}
		}
	}
	wycheproof.Read(t, "aes_cbc_pkcs5_test.json", &f)
	everyLevel(t, func(t *testing.T) {
		ran := 0
		for _, g := range f.TestGroups {
			for _, tt := range g.Tests {
				iv, msg, ct := unhex(t, tt.IV), unhex(t, tt.Msg), unhex(t, tt.CT)
				if len(ct) == 0 || len(ct)%16 != 0 {
					continue
				}
				ran++
				d, err := NewDecrypter(unhex(t, tt.Key))
				if err != nil {
					t.Fatal(err)
				}
				plain := make([]byte, len(ct))
				d.CBC(plain, append(iv, ct...))
				pad := int(plain[len(plain)-1])
				good := pad > 0 && pad <= 16 && bytes.HasSuffix(plain, bytes.Repeat([]byte{byte(pad)}, pad))
				if good = good && bytes.Equal(plain[:len(plain)-pad], msg); good != (tt.Result == "valid") {
					t.Errorf("%d: decrypted to %x, want %s", tt.TcID, plain, tt.Result)
				}
				e, err := NewEncrypter(unhex(t, tt.Key))
				if err != nil {
					t.Fatal(err)
				}
				var bufs [][]byte
				for range Max {
					bufs = append(bufs, append(bytes.Clone(iv), plain...))
				}
				e.CBC(bufs)
				for i, b := range bufs {
					if !bytes.Equal(b[16:], ct) {
						t.Errorf("%d: buffer %d encrypted to %x, want %x", tt.TcID, i, b[16:], ct)
					}
				}
			}
		}
		if ran < 150 {
			t.Errorf("only %d vectors ran", ran)
		}
	})
}

// Each vector is in every lane, and by itself.
func TestWycheproofHMACs(t *testing.T) {
	type file struct {
		TestGroups []struct {
			Tests []struct {
				TcID                  int
				Key, Msg, Tag, Result string
			}
		}
	}
	files := map[Hash]*file{}
	for h, name := range map[Hash]string{
		SHA1: "hmac_sha1_test.json", SHA256: "hmac_sha256_test.json", SHA384: "hmac_sha384_test.json", SHA512: "hmac_sha512_test.json",
	} {
		files[h] = &file{}
		wycheproof.Read(t, name, files[h])
	}
	everyLevel(t, func(t *testing.T) {
		var s Scratch
		for h, f := range files {
			ran := 0
			for _, g := range f.TestGroups {
				for _, tt := range g.Tests {
					ran++
					msg, tag := unhex(t, tt.Msg), unhex(t, tt.Tag)
					m := NewHMAC(h, unhex(t, tt.Key))
					for _, n := range []int{1, Max} {
						messages := make([][]byte, n)
						for i := range messages {
							messages[i] = msg
						}
						m.Sum(&s, messages, nil)
						for i := range n {
							if same := bytes.Equal(s.Sums[i][:len(tag)], tag); same != (tt.Result == "valid") {
								t.Errorf("%s %d, message %d of %d: same is %v, want %s", hashNames[h], tt.TcID, i, n, same, tt.Result)
							}
						}
					}
				}
			}
			if ran < 100 {
				t.Errorf("%s: only %d vectors ran", hashNames[h], ran)
			}
		}
	})
}

// RFC 2202 section 2: HMAC-MD5, which Wycheproof has not.
func TestRFC2202(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		var s Scratch
		for _, v := range []struct {
			key, data []byte
			want      string
		}{
			{bytes.Repeat([]byte{0x0b}, 16), []byte("Hi There"), "9294727a3638bb1c13f48ef8158bfc9d"},
			{[]byte("Jefe"), []byte("what do ya want for nothing?"), "750c783e6ab0b503eaa86e310a5db738"},
			{bytes.Repeat([]byte{0xaa}, 16), bytes.Repeat([]byte{0xdd}, 50), "56be34521d144c88dbb8c733f0e8b3f6"},
			{bytes.Repeat([]byte{0xaa}, 80), []byte("Test Using Larger Than Block-Size Key - Hash Key First"), "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd"},
			{bytes.Repeat([]byte{0xaa}, 80), []byte("Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data"), "6f630fad67cda0ee1fb1f562db3aa53e"},
		} {
			messages := make([][]byte, Max)
			for i := range messages {
				messages[i] = v.data
			}
			NewHMAC(MD5, v.key).Sum(&s, messages, nil)
			for i := range messages {
				if got := hex.EncodeToString(s.Sums[i][:16]); got != v.want {
					t.Errorf("%q, message %d: %s, want %s", v.data, i, got, v.want)
				}
			}
		}
	})
}
