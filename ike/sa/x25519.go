package sa

import (
	"io"

	"github.com/cloudflare/circl/dh/x25519"

	"vpngw/ipsec"
)

// X25519 is the group of most handshakes, and the larger part of their work. crypto/ecdh takes twice the time of circl for both halves
// of an exchange, since it multiplies its base point like any other, and keeps copies of the private value that nobody can overwrite.

// newX25519 takes any 32 bytes as the private value: the function itself sets what has to be set (RFC 7748 section 5).
func (d *DH) newX25519(rand io.Reader) error {
	x := make([]byte, x25519.Size)
	if _, err := io.ReadFull(rand, x); err != nil {
		return err
	}
	d.useX25519(x)
	return nil
}

// useX25519 makes x the private value.
func (d *DH) useX25519(x ipsec.Secret) {
	private, public := (*x25519.Key)(x), new(x25519.Key)
	x25519.KeyGen(public, private)
	d.private, d.public = x, public[:]
	d.shared = func(peer []byte) ([]byte, error) {
		shared := new(x25519.Key)
		if !x25519.Shared(shared, private, (*x25519.Key)(peer)) {
			return nil, errOutOfRange // the result is all zero
		}
		return shared[:], nil
	}
}
