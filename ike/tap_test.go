package ike

import (
	"math/rand/v2"

	"vpngw/ike/iketest"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// tap is an iketest.Tap that has the key logs of a world.
type tap struct {
	*iketest.Tap
	w *world
}

func newTap(w *world) *tap {
	return &tap{iketest.NewTap(rand.NewChaCha8([32]byte{1}), func() string {
		text := ""
		for _, n := range w.order {
			text += n.keys.String()
			n.keys.Reset()
		}
		return text
	}), w}
}

func (t *tap) cipher(h wire.Header) *sa.Cipher { return t.Cipher(h) }

func (t *tap) open(data []byte) (wire.Header, wire.PayloadType, []byte, bool) { return t.Open(data) }

func (t *tap) payloads(data []byte) (wire.Header, []wire.Payload, bool) { return t.Payloads(data) }

func (t *tap) seal(h wire.Header, first wire.PayloadType, plain []byte) []byte {
	return t.Seal(h, first, plain)
}

func (t *tap) forge(h wire.Header, ps ...wire.Payload) []byte { return t.Forge(h, ps...) }

// change replaces the payloads of every message for which f returns others.
func (t *tap) change(f func(h *wire.Header, ps []wire.Payload) []wire.Payload) func(*ipsec.Datagram) bool {
	return func(d *ipsec.Datagram) bool {
		if h, ps, ok := t.payloads(d.Data); ok {
			if ps = f(&h, ps); ps != nil {
				d.Data = t.forge(h, ps...)
			}
		}
		return true
	}
}
