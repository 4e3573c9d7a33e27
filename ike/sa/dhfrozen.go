package sa

import (
	"bytes"
	"fmt"

	"github.com/cloudflare/circl/dh/x25519"

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
	group, private := f.Group, f.Private
	d := &DH{group: group}
	if g := modpGroups[group]; g != nil {
		if len(private) != exponentSize {
			return nil, groupError(group, fmt.Errorf("a private value of %d bytes, not %d", len(private), exponentSize))
		}
		d.useMODP(g, bytes.Clone(private))
		return d, nil
	}
	if group == ipsec.KEX25519 {
		if len(private) != x25519.Size {
			return nil, groupError(group, fmt.Errorf("a private value of %d bytes, not %d", len(private), x25519.Size))
		}
		d.useX25519(bytes.Clone(private))
		return d, nil
	}
	g, ok := curves[group]
	if !ok {
		return nil, groupError(group, errUnsupported)
	}
	key, err := g.NewPrivateKey(private)
	if err != nil {
		return nil, groupError(group, err)
	}
	d.useECDH(g, key)
	return d, nil
}

// NextIV is the IV that an AEAD's next Seal uses.
func (c *Cipher) NextIV() uint64 { return c.count }

// SkipTo sets the IV of an AEAD's next Seal. It never goes back, because no IV may be
// used twice with a key.
func (c *Cipher) SkipTo(iv uint64) { c.count = max(c.count, iv) }
