package sa

import (
	"bytes"
	"fmt"

	"vpngw/ipsec"
)

// What a frozen IKE SA keeps of the primitives: the private value of an open
// Diffie-Hellman exchange, and the next IV of a Cipher. A PRF has no state: NewPRF
// restores it.

// Private returns a copy of the private value, for RestoreDH.
func (d *DH) Private() ipsec.Secret { return bytes.Clone(d.private) }

// RestoreDH makes the key pair of a private value.
func RestoreDH(group uint16, private ipsec.Secret) (*DH, error) {
	d := &DH{group: group}
	if g := modpGroups[group]; g != nil {
		if len(private) != exponentSize {
			return nil, groupError(group, fmt.Errorf("a private value of %d bytes, not %d", len(private), exponentSize))
		}
		d.useMODP(g, bytes.Clone(private))
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
