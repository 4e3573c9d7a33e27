package sa

import (
	"crypto/ecdh"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cloudflare/circl/dh/x25519"

	"vpngw/ipsec"
)

// DH is our half of one Diffie-Hellman exchange. Each has a fresh private value,
// which is used with one public value of the peer only.
type DH struct {
	group   uint16
	private ipsec.Secret
	public  []byte
	shared  func(peer []byte) ([]byte, error)
}

// NewDH makes a key pair of a group, by its transform id, from rand.
func NewDH(group uint16, rand io.Reader) (*DH, error) {
	d := &DH{group: group}
	err := errUnsupported
	if g := modpGroups[group]; g != nil {
		err = d.newMODP(g, rand)
	} else if group == ipsec.KEX25519 {
		err = d.newX25519(rand)
	} else if g, ok := curves[group]; ok {
		err = d.newECDH(g, rand)
	}
	if err != nil {
		return nil, groupError(group, err)
	}
	return d, nil
}

var errUnsupported = errors.New("not supported")

func groupError(group uint16, err error) error {
	return fmt.Errorf("key exchange %v: %w", ipsec.Transform{Type: ipsec.KE, ID: group}, err)
}

// PublicSize is the length of a group's public value in bytes; 0: the group is not
// supported.
func PublicSize(group uint16) int {
	if g := modpGroups[group]; g != nil {
		return len(g.prime)
	}
	if group == ipsec.KEX25519 {
		return x25519.Size
	}
	return curves[group].public
}

// Group is the transform id.
func (d *DH) Group() uint16 { return d.group }

// Public is the value for the KE payload. MODP: as long as the prime, with
// leading zeros (RFC 7296 section 3.4). ECP: x and y (RFC 5903 section 7).
// X25519: 32 bytes (RFC 8031 section 3.1).
func (d *DH) Public() []byte { return d.public }

// Shared checks the peer's public value (RFC 6989, RFC 7748 section 6.1) and
// returns g^ir: for MODP as long as the prime, for ECP the x coordinate
// (RFC 5903 section 7). An error is the peer's fault.
func (d *DH) Shared(peer []byte) ([]byte, error) {
	if want := PublicSize(d.group); len(peer) != want {
		return nil, groupError(d.group, fmt.Errorf("the peer's public value has %d bytes, not %d", len(peer), want))
	}
	s, err := d.shared(peer)
	if err != nil {
		return nil, groupError(d.group, err)
	}
	return s, nil
}

// Clear overwrites the private value. The DH is of no use any more. What crypto/ecdh keeps of a key is out of reach.
func (d *DH) Clear() {
	if d != nil {
		d.private.Clear()
	}
}

// CheckPublic refuses a peer's public value that is not in its group, or whose shared secret anybody can tell. It
// costs no exponentiation, so it comes before the work for a sender who has proven nothing.
func CheckPublic(group uint16, peer []byte) error {
	var err error
	switch g, c := modpGroups[group], curves[group]; {
	case PublicSize(group) == 0:
		err = errUnsupported
	case len(peer) != PublicSize(group):
		err = fmt.Errorf("the peer's public value has %d bytes, not %d", len(peer), PublicSize(group))
	case g != nil:
		_, err = g.number(peer)
	case group != ipsec.KEX25519: // every value of 32 bytes is in that group
		_, err = c.point(peer)
	}
	if err != nil {
		return groupError(group, err)
	}
	return nil
}

// Effort is about how long one exponentiation in a group takes, on a slow core of today.
func Effort(group uint16) time.Duration {
	if us, ok := efforts[group]; ok {
		return us * time.Microsecond
	}
	return 10 * time.Millisecond
}

var efforts = map[uint16]time.Duration{
	ipsec.KEMODP768: 300, ipsec.KEMODP1024: 300, ipsec.KEMODP1536: 500, ipsec.KEMODP2048: 800, ipsec.KEMODP2048SG: 1200,
	ipsec.KEMODP3072: 5000, ipsec.KEMODP4096: 8000,
	ipsec.KEECP256: 60, ipsec.KEECP384: 500, ipsec.KEECP521: 2000, ipsec.KEX25519: 60,
}

// exponentSize is the length of private exponents in bytes, more than twice the
// strength of any group here (RFC 3526 section 8: at most 480 bits for group 16).
const exponentSize = 64

func (d *DH) newMODP(g *modp, rand io.Reader) error {
	x := make([]byte, exponentSize)
	if _, err := io.ReadFull(rand, x); err != nil {
		return err
	}
	x[0] |= 0x80 // full length, never zero
	d.useMODP(g, x)
	return nil
}

// useMODP makes x the private value.
func (d *DH) useMODP(g *modp, x ipsec.Secret) {
	d.private = x
	d.public = g.exp(g.base(), x)
	d.shared = func(peer []byte) ([]byte, error) {
		y, err := g.element(peer)
		if err != nil {
			return nil, err
		}
		return g.exp(y, x), nil
	}
}

// curve is a group of crypto/ecdh, which checks that points are on the curve.
type curve struct {
	ecdh.Curve
	public  int    // bytes of a public value in a KE payload
	private int    // bytes of a private key
	mask    byte   // of the private key's first byte, so that few are too large
	prefix  []byte // SEC 1's "uncompressed", which crypto/ecdh expects before the public value
}

var curves = map[uint16]curve{
	ipsec.KEECP256: {ecdh.P256(), 64, 32, 0xff, []byte{4}},
	ipsec.KEECP384: {ecdh.P384(), 96, 48, 0xff, []byte{4}},
	ipsec.KEECP521: {ecdh.P521(), 132, 66, 0x01, []byte{4}},
}

// newECDH draws the key itself, because ecdh.GenerateKey ignores the reader that it
// is given.
func (d *DH) newECDH(g curve, rand io.Reader) error {
	key, err := g.privateKey(rand)
	if err != nil {
		return err
	}
	d.useECDH(g, key)
	return nil
}

// useECDH makes key the private value.
func (d *DH) useECDH(g curve, key *ecdh.PrivateKey) {
	d.private = key.Bytes()
	d.public = key.PublicKey().Bytes()[len(g.prefix):]
	d.shared = func(peer []byte) ([]byte, error) {
		public, err := g.point(peer)
		if err != nil {
			return nil, err
		}
		s, err := key.ECDH(public)
		if err != nil {
			return nil, errOutOfRange
		}
		return s, nil
	}
}

// point reads a peer's public value, which must be on the curve.
func (g curve) point(peer []byte) (*ecdh.PublicKey, error) {
	public, err := g.NewPublicKey(append(g.prefix[:len(g.prefix):len(g.prefix)], peer...))
	if err != nil {
		return nil, errOutOfRange
	}
	return public, nil
}

// privateKey draws keys until one is in range (FIPS 186-5 appendix A.2.2). The first
// is out of range once in 2^32 for P-256, and half of the time for P-521 without the
// mask.
func (g curve) privateKey(rand io.Reader) (*ecdh.PrivateKey, error) {
	b := make([]byte, g.private)
	defer clear(b)
	for range 64 {
		if _, err := io.ReadFull(rand, b); err != nil {
			return nil, err
		}
		b[0] &= g.mask
		if key, err := g.NewPrivateKey(b); err == nil {
			return key, nil
		}
	}
	return nil, errors.New("no random number is in range: the source of randomness is broken")
}
