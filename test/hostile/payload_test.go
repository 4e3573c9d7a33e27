package hostile

import (
	"encoding/binary"
	"maps"
	"slices"

	"vpngw/ike/wire"
	"vpngw/ipsec"
)

var notifies = []wire.NotifyType{
	wire.UnsupportedCriticalPayload, wire.InvalidIKESPI, wire.InvalidMajorVersion, wire.InvalidSyntax, wire.InvalidMessageID, wire.InvalidSPI,
	wire.NoProposalChosen, wire.InvalidKEPayload, wire.AuthenticationFailed, wire.SinglePairRequired, wire.NoAdditionalSAs, wire.TSUnacceptable,
	wire.InvalidSelectors, wire.TemporaryFailure, wire.ChildSANotFound, wire.InitialContact, wire.SetWindowSize, wire.NATDetectionSourceIP,
	wire.NATDetectionDestinationIP, wire.Cookie, wire.UseTransportMode, wire.RekeySA, wire.FragmentationSupported, 8000, 50000,
}

var notifies1 = []wire.NotifyType1{
	wire.InvalidCookie1, wire.InvalidExchange1, wire.InvalidMessageID1, wire.InvalidSPI1, wire.NoProposalChosen1, wire.PayloadMalformed1,
	wire.InvalidKey1, wire.InvalidID1, wire.InvalidHash1, wire.AuthenticationFailed1, wire.Connected1, wire.ResponderLifetime, wire.ReplayStatus,
	wire.InitialContact1, wire.RUThere, wire.RUThereAck, 8000, 50000,
}

// spi is of a Child SA that there is, or of none.
func (a *aim) spi() []byte {
	var all []uint32
	for _, n := range a.st.ends[:2] {
		all = append(all, slices.Sorted(maps.Keys(n.in))...)
	}
	spi := binary.BigEndian.AppendUint32(nil, oneOf(a, append(all, 0, 0x77777777)...))
	return spi[:oneOf(a, 4, 4, 4, 4, 0, 3)]
}

// spis are what names an IKE SA.
func (a *aim) spis() []byte {
	p, ok := a.message()
	if !ok || len(p.Data) < 16 {
		return nil
	}
	return p.Data[:16]
}

// notify is some notification.
func (a *aim) notify() wire.Payload {
	data := make([]byte, oneOf(a, 0, 1, 2, 4, 8, 16, 20, 64))
	for i := range data {
		data[i] = byte(a.rand.Uint32())
	}
	if a.st.story.version == 1 {
		n := &wire.Notify1{DOI: 1, Protocol: oneOf(a, ipsec.ProtoIKE, ipsec.ProtoESP), Kind: oneOf(a, notifies1...), Data: data}
		if n.SPI = a.spi(); n.Protocol == ipsec.ProtoIKE {
			n.SPI = a.spis()
		}
		return n
	}
	n := &wire.Notify{Kind: oneOf(a, notifies...), Data: data}
	if a.coin() {
		n.Protocol, n.SPI = ipsec.ProtoESP, a.spi()
	}
	return n
}

// delete deletes SAs that there are, those that there are not, or very many.
func (a *aim) delete() wire.Payload {
	var spis [][]byte
	for range oneOf(a, 0, 1, 1, 2, 3, 1000) {
		spis = append(spis, binary.BigEndian.AppendUint32(nil, oneOf(a, append(slices.Sorted(maps.Keys(a.st.ends[a.n(2)].in)), 0x77777777)...)))
	}
	switch esp := a.coin(); {
	case a.st.story.version == 1 && esp:
		return &wire.Delete1{DOI: 1, Protocol: ipsec.ProtoESP, SPIs: spis}
	case a.st.story.version == 1:
		return &wire.Delete1{DOI: 1, Protocol: ipsec.ProtoIKE, SPIs: [][]byte{a.spis()}}
	case esp:
		return &wire.Delete{Protocol: ipsec.ProtoESP, SPIs: spis}
	}
	return &wire.Delete{Protocol: ipsec.ProtoIKE}
}

// payload is some payload.
func (a *aim) payload() wire.Payload {
	switch a.n(6) {
	case 0, 1:
		return a.notify()
	case 2:
		return a.delete()
	case 3:
		return &wire.Raw{Kind: wire.PayloadType(a.n(256)), Data: make([]byte, a.n(40)), Critical: a.coin()}
	case 4:
		return &wire.Raw{Kind: wire.PayloadType(oneOf(a, 200, 254)), Data: make([]byte, a.n(3000)), Critical: a.coin()}
	}
	if a.st.story.version == 1 {
		return &wire.Raw{Kind: wire.TypeVendor1, Data: make([]byte, 16)}
	}
	return &wire.TS{Responder: a.coin(), Selectors: slices.Repeat([]ipsec.Selector{a.st.peers[0][0].Children[0].Local[0]}, oneOf(a, 1, 2, 255))}
}
