package sa

import (
	"io"

	"github.com/cloudflare/circl/dh/x25519"

	"vpngw/ipsec"
)

// montgomery is X25519, the group of most handshakes, and the larger part of their work. crypto/ecdh takes twice the time of circl for both halves
// of an exchange, since it multiplies its base point like any other, and keeps copies of the private value that nobody can overwrite.
type montgomery struct{}

func (montgomery) publicSize() int { return x25519.Size }

// draw takes any 32 bytes as the private value: the function itself sets what has to be set (RFC 7748 section 5).
func (g montgomery) draw(d *DH, rand io.Reader) error {
	x := make([]byte, x25519.Size)
	if _, err := io.ReadFull(rand, x); err != nil {
		return err
	}
	return g.use(d, x)
}

func (montgomery) use(d *DH, x ipsec.Secret) error {
	if len(x) != x25519.Size {
		return privateSize(x, x25519.Size)
	}
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
	return nil
}

// check takes every value of 32 bytes: each is a coordinate of the curve or of its twist.
func (montgomery) check([]byte) error { return nil }
