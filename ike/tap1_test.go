package ike

import (
	"vpngw/ike/iketest"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// tap1 is an iketest.Tap1 that has the key logs of a world.
type tap1 struct{ *iketest.Tap1 }

func newTap1(w *world) *tap1 {
	read := map[*end]int{}
	return &tap1{iketest.NewTap1(func() string {
		text := ""
		for _, n := range w.order {
			all := n.keys.String()
			text += all[read[n]:]
			read[n] = len(all)
		}
		return text
	})}
}

func (t *tap1) see(data []byte)    { t.See(data) }
func (t *tap1) passed(data []byte) { t.Passed(data) }

// open decrypts a quick mode's or informational message.
func (t *tap1) open(data []byte) (wire.Header, *wire.Chain1, bool) {
	h, c, ok := t.Open(data)
	return h, c, ok && h.ID != 0
}

func (t *tap1) forge(h wire.Header, ps []wire.Payload, end []byte) []byte { return t.Forge(h, ps, end) }

func (t *tap1) encrypt(h wire.Header, ps []wire.Payload, end []byte) []byte {
	return t.Encrypt(h, ps, end)
}

// toOf is the header of a message to an end on the ISAKMP SA that it uses.
func toOf(n *end, x wire.Exchange, id uint32) wire.Header {
	in := n.ikeOf()
	return wire.Header{SPIi: in.SPIi, SPIr: in.SPIr, Major: 1, Exchange: x, ID: id}
}

func notify1(kind wire.NotifyType1, data ...byte) wire.Payload {
	return &wire.Notify1{DOI: 1, Protocol: ipsec.ProtoIKE, Kind: kind, Data: data}
}
