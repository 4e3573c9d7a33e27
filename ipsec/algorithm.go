package ipsec

import (
	"fmt"
	"maps"
	"slices"
)

// TransformType is an IKEv2 transform type (RFC 7296 section 3.3.2).
type TransformType uint8

const (
	Encr  TransformType = 1
	PRF   TransformType = 2
	Integ TransformType = 3
	KE    TransformType = 4 // Diffie-Hellman group
	ESN   TransformType = 5
)

func (t TransformType) String() string {
	if int(t) < len(transformTypes) && transformTypes[t] != "" {
		return transformTypes[t]
	}
	return fmt.Sprintf("transform type %d", uint8(t))
}

var transformTypes = [...]string{Encr: "encryption", PRF: "PRF", Integ: "integrity", KE: "key exchange", ESN: "ESN"}

// Transform ids (IANA "IKEv2 Parameters").
const (
	EncrDES              = 2
	Encr3DES             = 3
	EncrNull             = 11
	EncrAESCBC           = 12
	EncrAESGCM16         = 20
	EncrChaCha20Poly1305 = 28

	PRFHMACMD5    = 1
	PRFHMACSHA1   = 2
	PRFHMACSHA256 = 5
	PRFHMACSHA384 = 6
	PRFHMACSHA512 = 7

	IntegNone       = 0
	IntegMD5_96     = 1
	IntegSHA1_96    = 2
	IntegSHA256_128 = 12
	IntegSHA384_192 = 13
	IntegSHA512_256 = 14

	KENone       = 0
	KEMODP768    = 1
	KEMODP1024   = 2
	KEMODP1536   = 5
	KEMODP2048   = 14
	KEMODP3072   = 15
	KEMODP4096   = 16
	KEECP256     = 19
	KEECP384     = 20
	KEECP521     = 21
	KEMODP2048SG = 24 // 2048-bit MODP with a 256-bit prime order subgroup (RFC 5114)
	KEX25519     = 31

	ESNNo  = 0
	ESNYes = 1
)

// Transform names one algorithm as a proposal does.
type Transform struct {
	Type    TransformType
	ID      uint16
	KeyBits uint16 // the Key Length attribute; 0: the algorithm has a single key length
}

// Algorithm describes the algorithm of a Transform. Lengths are in bytes.
type Algorithm struct {
	Transform
	Name  string // as in a proposal string: "aes256gcm16", "sha256", "prfsha384", "ecp384"
	Key   int    // key material taken from KEYMAT, salt included; for a PRF its preferred key length; for KE 0
	Salt  int    // how many bytes at the end of Key are the nonce's salt
	IV    int    // explicit IV in each packet
	Block int    // the plaintext is padded to a multiple of it (1 for AEADs; ESP itself needs 4)
	ICV   int    // of an AEAD or of an integrity algorithm; for a PRF its output length
	AEAD  bool
	Weak  string // why RFC 8247 or RFC 8221 advises against it; empty: they do not
}

const (
	weakDES   = "DES has a 56-bit key and can be broken by search (RFC 8247: MUST NOT)"
	weak3DES  = "3DES has a 64-bit block and is slow (RFC 8247: MAY)"
	weakMD5   = "MD5 is broken (RFC 8247: MUST NOT)"
	weakSHA1  = "SHA-1 is on its way out (RFC 8247: MUST-)"
	weakNull  = "NULL does not encrypt at all"
	weakGroup = "the group can be broken by a well-funded attacker (RFC 8247: MUST NOT or SHOULD NOT)"
)

// Algorithms is the one table of the algorithms that vpngw implements, in order of preference
// within each type.
var Algorithms = []Algorithm{
	{Transform: Transform{Encr, EncrAESGCM16, 256}, Name: "aes256gcm16", Key: 36, Salt: 4, IV: 8, Block: 1, ICV: 16, AEAD: true},
	{Transform: Transform{Encr, EncrAESGCM16, 192}, Name: "aes192gcm16", Key: 28, Salt: 4, IV: 8, Block: 1, ICV: 16, AEAD: true},
	{Transform: Transform{Encr, EncrAESGCM16, 128}, Name: "aes128gcm16", Key: 20, Salt: 4, IV: 8, Block: 1, ICV: 16, AEAD: true},
	{Transform: Transform{Encr, EncrChaCha20Poly1305, 0}, Name: "chacha20poly1305", Key: 36, Salt: 4, IV: 8, Block: 1, ICV: 16, AEAD: true},
	{Transform: Transform{Encr, EncrAESCBC, 256}, Name: "aes256", Key: 32, IV: 16, Block: 16},
	{Transform: Transform{Encr, EncrAESCBC, 192}, Name: "aes192", Key: 24, IV: 16, Block: 16},
	{Transform: Transform{Encr, EncrAESCBC, 128}, Name: "aes128", Key: 16, IV: 16, Block: 16},
	{Transform: Transform{Encr, Encr3DES, 0}, Name: "3des", Key: 24, IV: 8, Block: 8, Weak: weak3DES},
	{Transform: Transform{Encr, EncrDES, 0}, Name: "des", Key: 8, IV: 8, Block: 8, Weak: weakDES},
	{Transform: Transform{Encr, EncrNull, 0}, Name: "null", Block: 1, Weak: weakNull},

	{Transform: Transform{PRF, PRFHMACSHA256, 0}, Name: "prfsha256", Key: 32, ICV: 32},
	{Transform: Transform{PRF, PRFHMACSHA384, 0}, Name: "prfsha384", Key: 48, ICV: 48},
	{Transform: Transform{PRF, PRFHMACSHA512, 0}, Name: "prfsha512", Key: 64, ICV: 64},
	{Transform: Transform{PRF, PRFHMACSHA1, 0}, Name: "prfsha1", Key: 20, ICV: 20, Weak: weakSHA1},
	{Transform: Transform{PRF, PRFHMACMD5, 0}, Name: "prfmd5", Key: 16, ICV: 16, Weak: weakMD5},

	{Transform: Transform{Integ, IntegSHA256_128, 0}, Name: "sha256", Key: 32, ICV: 16},
	{Transform: Transform{Integ, IntegSHA384_192, 0}, Name: "sha384", Key: 48, ICV: 24},
	{Transform: Transform{Integ, IntegSHA512_256, 0}, Name: "sha512", Key: 64, ICV: 32},
	{Transform: Transform{Integ, IntegSHA1_96, 0}, Name: "sha1", Key: 20, ICV: 12, Weak: weakSHA1},
	{Transform: Transform{Integ, IntegMD5_96, 0}, Name: "md5", Key: 16, ICV: 12, Weak: weakMD5},

	{Transform: Transform{KE, KEX25519, 0}, Name: "x25519"},
	{Transform: Transform{KE, KEECP256, 0}, Name: "ecp256"},
	{Transform: Transform{KE, KEECP384, 0}, Name: "ecp384"},
	{Transform: Transform{KE, KEECP521, 0}, Name: "ecp521"},
	{Transform: Transform{KE, KEMODP2048, 0}, Name: "modp2048"},
	{Transform: Transform{KE, KEMODP3072, 0}, Name: "modp3072"},
	{Transform: Transform{KE, KEMODP4096, 0}, Name: "modp4096"},
	{Transform: Transform{KE, KEMODP2048SG, 0}, Name: "modp2048s256", Weak: weakGroup},
	{Transform: Transform{KE, KEMODP1536, 0}, Name: "modp1536", Weak: weakGroup},
	{Transform: Transform{KE, KEMODP1024, 0}, Name: "modp1024", Weak: weakGroup},
	{Transform: Transform{KE, KEMODP768, 0}, Name: "modp768", Weak: weakGroup},

	{Transform: Transform{ESN, ESNNo, 0}, Name: "noesn"},
	{Transform: Transform{ESN, ESNYes, 0}, Name: "esn"},
}

// Lookup finds the algorithm of a transform, or nil if vpngw does not implement it.
func Lookup(t Transform) *Algorithm {
	for i := range Algorithms {
		if Algorithms[i].Transform == t {
			return &Algorithms[i]
		}
	}
	return nil
}

// ByName finds an algorithm by its name in a proposal string, or nil.
func ByName(name string) *Algorithm {
	if full, ok := aliases[name]; ok {
		name = full
	}
	for i := range Algorithms {
		if Algorithms[i].Name == name {
			return &Algorithms[i]
		}
	}
	return nil
}

// aliases are other names for algorithms that people write, strongSwan's among them.
var aliases = map[string]string{
	"aes": "aes128", "aes128gcm": "aes128gcm16", "aes192gcm": "aes192gcm16", "aes256gcm": "aes256gcm16",
	"aes128gcm128": "aes128gcm16", "aes192gcm128": "aes192gcm16", "aes256gcm128": "aes256gcm16",
	"sha": "sha1", "sha2_256": "sha256", "sha2_384": "sha384", "sha2_512": "sha512",
	"curve25519": "x25519", "ecp-256": "ecp256", "chacha20": "chacha20poly1305",
}

// Names are all names that ByName knows, aliases included, sorted.
func Names() []string {
	out := slices.Collect(maps.Keys(aliases))
	for i := range Algorithms {
		out = append(out, Algorithms[i].Name)
	}
	slices.Sort(out)
	return out
}

// Weak is why t is weak; empty: it is not.
func (t Transform) Weak() string {
	if a := Lookup(t); a != nil {
		return a.Weak
	}
	return ""
}

func (t Transform) String() string {
	if t == (Transform{Type: Integ}) {
		return "none"
	}
	if a := Lookup(t); a != nil {
		return a.Name
	}
	if t.KeyBits != 0 {
		return fmt.Sprintf("%v %d/%d bits", t.Type, t.ID, t.KeyBits)
	}
	return fmt.Sprintf("%v %d", t.Type, t.ID)
}
