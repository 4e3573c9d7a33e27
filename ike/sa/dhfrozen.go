package sa

import (
	"bytes"
	"fmt"

	"vpngw/ipsec"
)

// An exchange that is frozen in the middle keeps its private value, and an IKE
// SA the place of its Cipher in the sequence of IVs. A PRF keeps nothing: NewPRF
// restores it.

// Private is a copy of the private value, for RestoreDH.
func (d *DH) Private() ipsec.Secret { return bytes.Clone(d.private) }

// RestoreDH makes the key pair again that has a private value.
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

// SkipTo makes an AEAD's next Seal use an IV, unless it is past that already: no
// IV may ever be used twice with a key.
func (c *Cipher) SkipTo(iv uint64) { c.count = max(c.count, iv) }
