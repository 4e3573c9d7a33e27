package ikev1

import (
	"bytes"
	"encoding/hex"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
)

// natt is one form of NAT traversal.
type natt struct {
	name string
	vid  []byte
	natd wire.PayloadType
	mode uint16 // encapsulation mode
}

// natts are the forms of NAT traversal that vpngw speaks, best first. A vendor id is the MD5 of
// the document's name; some implementations of draft 02 hash a newline with it.
var natts = []*natt{
	{"RFC 3947", unhex("4a131c81070358455c5728f20e95452f"), wire.TypeNATD1, modeUDP},
	{"draft-ietf-ipsec-nat-t-ike-03", unhex("7d9419a65310ca6f2c179d9215529d56"), wire.TypeNATD1Draft, modeUDPDraft},
	{"draft-ietf-ipsec-nat-t-ike-02n", unhex("90cb80913ebb696e086381b5ec427b1f"), wire.TypeNATD1Draft, modeUDPDraft},
	{"draft-ietf-ipsec-nat-t-ike-02", unhex("cd60464335df21f87cfdb2fc68b6a448"), wire.TypeNATD1Draft, modeUDPDraft},
}

var (
	// "AFCAD71368A1F1C96B8696FC7757" and the version, 1.0 (RFC 3706 section 5.1).
	vidDPD  = unhex("afcad71368a1f1c96b8696fc77570100")
	vidFrag = unhex("4048b7d56ebce88525e7de7f00d6c2d3") // MD5 of "FRAGMENTATION"; flags may follow
	vidOwn  = unhex("61c54949cad50aa165fc3490f5b4f8bb") // MD5 of "vpngw"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// vendors holds the abilities that a peer's vendor ids claim.
type vendors struct {
	natt             *natt
	dpd, frag, vpngw bool
}

// text names the form of NAT traversal that both ends speak.
func (v *vendors) text() string {
	if v.natt == nil {
		return "none"
	}
	return v.natt.name
}

func readVendors(ps []wire.Payload) vendors {
	var v vendors
	for _, p := range ps {
		r, ok := p.(*wire.Raw)
		if !ok || r.Kind != wire.TypeVendor1 {
			continue
		}
		v.dpd = v.dpd || bytes.HasPrefix(r.Data, vidDPD[:14])
		v.frag = v.frag || bytes.HasPrefix(r.Data, vidFrag)
	}
	v.vpngw = hasVendor(ps, vidOwn)
	for _, n := range natts {
		if v.natt == nil && hasVendor(ps, n.vid) {
			v.natt = n
		}
	}
	return v
}

func hasVendor(ps []wire.Payload, id []byte) bool {
	for _, p := range ps {
		if r, ok := p.(*wire.Raw); ok && r.Kind == wire.TypeVendor1 && bytes.Equal(r.Data, id) {
			return true
		}
	}
	return false
}

func vendor(id []byte) wire.Payload { return &wire.Raw{Kind: wire.TypeVendor1, Data: id} }

// allVendors are the vendor ids of an initiator.
func allVendors(p *sa.Peer) []wire.Payload {
	ps := []wire.Payload{vendor(vidDPD), vendor(vidFrag), vendor(vidOwn)}
	if p.NATT {
		for _, n := range natts {
			ps = append(ps, vendor(n.vid))
		}
	}
	return ps
}

// answer is the vendor ids of a responder: only the ids that the peer sent too, so that
// message 2 is not longer than message 1.
func (v *vendors) answer() []wire.Payload {
	var ps []wire.Payload
	if v.dpd {
		ps = append(ps, vendor(vidDPD))
	}
	if v.frag {
		ps = append(ps, vendor(vidFrag))
	}
	if v.vpngw {
		ps = append(ps, vendor(vidOwn))
	}
	if v.natt != nil {
		ps = append(ps, vendor(v.natt.vid))
	}
	return ps
}
