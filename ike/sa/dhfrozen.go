package sa

import (
	"bytes"

	"vpngw/ipsec"
)

// A frozen IKE SA keeps two things of the primitives: the private value of an open
// Diffie-Hellman exchange, and the next IV of a Cipher. A PRF has no state, so NewPRF
// makes it again.

// FrozenDH is our half of a Diffie-Hellman exchange; Private is nil while there is none.
type FrozenDH struct {
	Group   uint16
	Private ipsec.Secret
}

// FreezeDH lists the state of d, which may be nil.
func FreezeDH(d *DH) FrozenDH {
	if d == nil {
		return FrozenDH{}
	}
	return FrozenDH{Group: d.group, Private: bytes.Clone(d.private)}
}

// Thaw makes the key pair of the private value; nil: there is none.
func (f FrozenDH) Thaw() (*DH, error) {
	if f.Private == nil {
		return nil, nil
	}
	g := groupOf(f.Group)
	if g == nil {
		return nil, groupError(f.Group, errUnsupported)
	}
	d := &DH{group: f.Group}
	if err := g.use(d, bytes.Clone(f.Private)); err != nil {
		return nil, groupError(f.Group, err)
	}
	return d, nil
}

// NextIV is the IV that an AEAD's next Seal uses.
func (c *Cipher) NextIV() uint64 { return c.count }

// SkipTo sets the IV of an AEAD's next Seal. It never goes back, because no IV may be
// used twice with a key.
func (c *Cipher) SkipTo(iv uint64) { c.count = max(c.count, iv) }
