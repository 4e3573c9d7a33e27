package ikev2

import (
	"crypto/hmac"
	"crypto/sha256"
	"net/netip"
	"testing"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// TestAuthIsOverTheIDPayloadAsItCame: we ignore RESERVED, but the peer signs it, whatever it has there:
// "RestOfInitIDPayload = IDType | RESERVED | InitIDData" (RFC 7296 section 2.15).
func TestAuthIsOverTheIDPayloadAsItCame(t *testing.T) {
	proposals, err := ipsec.ParseProposal(ipsec.ProtoIKE, "aes128-sha256-x25519")
	if err != nil {
		t.Fatal(err)
	}
	suite, _ := proposals.Choose(proposals, true)
	ni, nr := []byte("nonce of the initiator"), []byte("nonce of the responder")
	k, err := firstKeys(suite, []byte("shared"), ni, nr, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	p := &sa.Peer{
		Settings: sa.Settings{PSK: ipsec.Secret("key")},
		PeerKey:  sa.PeerKey{RemoteID: ipsec.IdentityOf(netip.MustParseAddr("192.0.2.1"))},
	}
	prf := func(key []byte, data ...[]byte) []byte {
		m := hmac.New(sha256.New, key)
		for _, d := range data {
			m.Write(d)
		}
		return m.Sum(nil)
	}
	for _, c := range []struct {
		who            string
		we             *SA // the end that checks
		kind           wire.PayloadType
		message, nonce []byte // covered by the other end's AUTH
		skp            ipsec.Secret
	}{
		{"initiator", &SA{keys: k, handshake: &handshake{initReq: []byte("message 1"), nr: nr}}, wire.TypeIDi, []byte("message 1"), nr, k.pi},
		{"responder", &SA{keys: k, handshake: &handshake{initResp: []byte("message 2"), ni: ni}, initiator: true}, wire.TypeIDr, []byte("message 2"), ni, k.pr},
	} {
		for _, body := range []string{"\x01\x00\x00\x00\xc0\x00\x02\x01", "\x01\x00\x00\x01\xc0\x00\x02\x01", "\x01\xff\xff\xff\xc0\x00\x02\x01"} {
			ps, err := wire.ParseChain(c.kind, append([]byte{0, 0, 0, byte(4 + len(body))}, body...))
			if err != nil {
				t.Fatal(err)
			}
			mac := prf(prf(p.PSK, []byte("Key Pad for IKEv2")), c.message, c.nonce, prf(c.skp, []byte(body)))
			if why := c.we.checkAuth(p, ps[0].(*wire.ID), &wire.Auth{Method: wire.AuthSharedKey, Data: mac}); !why.OK() {
				t.Errorf("%s with ID payload %x is refused: %s", c.who, body, why)
			}
			mac[0] ^= 1
			if c.we.checkAuth(p, ps[0].(*wire.ID), &wire.Auth{Method: wire.AuthSharedKey, Data: mac}).OK() {
				t.Errorf("%s with ID payload %x is accepted with a wrong proof", c.who, body)
			}
		}
	}
}
