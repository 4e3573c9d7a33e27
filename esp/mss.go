package esp

import "encoding/binary"

const (
	tcpHeader = 20
	tcpSYN    = 0x02
)

// clampMSS lowers the MSS option of a TCP SYN so that full segments with the
// headers of f's family fit into mtu, and adjusts the checksum.
// A SYN without the option stays as it is: its receiver assumes 536 or 1220 bytes.
func (f *flow) clampMSS(b []byte, mtu int) {
	if f.protocol != protoTCP || f.transport == 0 || f.length < f.transport+tcpHeader {
		return
	}
	tcp := b[f.transport:f.length]
	if tcp[13]&tcpSYN == 0 {
		return
	}
	limit := mtu - ipv4Header - tcpHeader
	if f.v6 {
		limit = mtu - ipv6Header - tcpHeader
	}
	header := int(tcp[12]>>4) * 4
	if limit <= 0 || limit > 0xffff || header < tcpHeader || header > len(tcp) {
		return
	}
	for at := tcpHeader; at < header; {
		switch kind := tcp[at]; {
		case kind == 0: // end of options
			return
		case kind == 1: // no operation
			at++
			continue
		case at+1 >= header || tcp[at+1] < 2 || at+int(tcp[at+1]) > header:
			return
		case kind == 2 && tcp[at+1] == 4:
			lowerWord(tcp, at+2, uint16(limit))
		}
		at += int(tcp[at+1])
	}
}

// lowerWord lowers the 16 bits at tcp[at:] to limit and adjusts the TCP checksum.
func lowerWord(tcp []byte, at int, limit uint16) {
	old := binary.BigEndian.Uint16(tcp[at:])
	if old <= limit {
		return
	}
	binary.BigEndian.PutUint16(tcp[at:], limit)
	sum := binary.BigEndian.Uint16(tcp[16:])
	if at%2 == 0 {
		sum = checksumAdjust(sum, old, limit)
	} else { // the 16 bits lie in two words of the sum
		swap := func(v uint16) uint16 { return v<<8 | v>>8 }
		sum = checksumAdjust(sum, swap(old), swap(limit))
	}
	binary.BigEndian.PutUint16(tcp[16:], sum)
}
