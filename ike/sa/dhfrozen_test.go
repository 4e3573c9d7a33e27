package sa

import (
	"bytes"
	"crypto/rand"
	"slices"
	"testing"

	"vpngw/ipsec"
)

// TestRestoredDHIsTheSame checks for every group that a restored half has the same public value and shared secret.
func TestRestoredDHIsTheSame(t *testing.T) {
	for group := range uint16(40) {
		if PublicSize(group) == 0 {
			if _, err := (FrozenDH{group, make([]byte, exponentSize)}).Thaw(); err == nil {
				t.Errorf("group %d is restored, and is not supported", group)
			}
			continue
		}
		d, peer := mustDH(t, group, rand.Reader), mustDH(t, group, rand.Reader)
		r, err := FreezeDH(d).Thaw()
		if err != nil {
			t.Errorf("%s: %v", name(group), err)
			continue
		}
		want, _ := d.Shared(peer.Public())
		got, err := r.Shared(peer.Public())
		if err != nil || !bytes.Equal(got, want) || !bytes.Equal(r.Public(), d.Public()) || r.Group() != group || !FreezeDH(r).Private.Equal(FreezeDH(d).Private) {
			t.Errorf("%s: the restored half differs, %v", name(group), err)
		}
		if _, err := (FrozenDH{group, FreezeDH(d).Private[1:]}).Thaw(); err == nil {
			t.Errorf("%s: a private value that is too short is restored", name(group))
		}
	}
}

// TestCipherSkipsForwardOnly: an IV that is used twice with one key reveals both plaintexts.
func TestCipherSkipsForwardOnly(t *testing.T) {
	ps, err := ipsec.ParseProposal(ipsec.ProtoIKE, "aes128gcm16-prfsha256-x25519")
	if err != nil {
		t.Fatal(err)
	}
	s, _ := ps.Choose(ps, true)
	c, err := NewCipher(s, make([]byte, 20), nil)
	if err != nil {
		t.Fatal(err)
	}
	var ivs []uint64
	for _, skip := range []uint64{0, 7, 3} {
		c.SkipTo(skip)
		ivs = append(ivs, c.NextIV())
		if _, err := c.Seal(make([]byte, 32), []byte("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	if want := []uint64{0, 7, 8}; !slices.Equal(ivs, want) {
		t.Errorf("IVs %v, want %v", ivs, want)
	}
}
