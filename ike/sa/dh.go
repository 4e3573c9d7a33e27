package sa

import (
	"crypto/ecdh"
	"errors"
	"fmt"
	"io"
	"time"

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

// dhGroup is a group: MODP, of crypto/ecdh, or X25519.
type dhGroup interface {
	publicSize() int // bytes of a public value
	// draw makes a key pair for d from rand; use makes private, which d keeps, its private value.
	draw(d *DH, rand io.Reader) error
	use(d *DH, private ipsec.Secret) error
	// check refuses what is no public value of the group, of the right length.
	check(peer []byte) error
}

// groupOf is the group of a transform id; nil: it is not supported.
func groupOf(id uint16) dhGroup {
	if g := modpGroups[id]; g != nil {
		return g
	}
	if g, ok := curves[id]; ok {
		return g
	}
	if id == ipsec.KEX25519 {
		return montgomery{}
	}
	return nil
}

// NewDH makes a key pair of a group, by its transform id, from rand.
func NewDH(group uint16, rand io.Reader) (*DH, error) {
	g := groupOf(group)
	if g == nil {
		return nil, groupError(group, errUnsupported)
	}
	d := &DH{group: group}
	if err := g.draw(d, rand); err != nil {
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
	if g := groupOf(group); g != nil {
		return g.publicSize()
	}
	return 0
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
	if err := sized(groupOf(d.group), peer); err != nil {
		return nil, groupError(d.group, err)
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
	g := groupOf(group)
	if g == nil {
		return groupError(group, errUnsupported)
	}
	if err := sized(g, peer); err != nil {
		return groupError(group, err)
	}
	if err := g.check(peer); err != nil {
		return groupError(group, err)
	}
	return nil
}

func sized(g dhGroup, peer []byte) error {
	if len(peer) != g.publicSize() {
		return fmt.Errorf("the peer's public value has %d bytes, not %d", len(peer), g.publicSize())
	}
	return nil
}

// privateSize is the error of a private value whose length is not its group's.
func privateSize(private ipsec.Secret, want int) error {
	return fmt.Errorf("a private value of %d bytes, not %d", len(private), want)
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

func (g curve) publicSize() int { return g.public }

// draw draws keys until one is in range (FIPS 186-5 appendix A.2.2), because ecdh.GenerateKey ignores the reader that it is
// given. The first is out of range once in 2^32 for P-256, and half of the time for P-521 without the mask.
func (g curve) draw(d *DH, rand io.Reader) error {
	b := make([]byte, g.private)
	for range 64 {
		if _, err := io.ReadFull(rand, b); err != nil {
			return err
		}
		b[0] &= g.mask
		if g.use(d, b) == nil {
			return nil
		}
	}
	return errors.New("no random number is in range: the source of randomness is broken")
}

func (g curve) use(d *DH, private ipsec.Secret) error {
	key, err := g.NewPrivateKey(private)
	if err != nil {
		return err
	}
	d.private, d.public = private, key.PublicKey().Bytes()[len(g.prefix):]
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
	return nil
}

func (g curve) check(peer []byte) error {
	_, err := g.point(peer)
	return err
}

// point reads a peer's public value, which must be on the curve.
func (g curve) point(peer []byte) (*ecdh.PublicKey, error) {
	public, err := g.NewPublicKey(append(g.prefix[:len(g.prefix):len(g.prefix)], peer...))
	if err != nil {
		return nil, errOutOfRange
	}
	return public, nil
}
