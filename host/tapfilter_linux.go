package host

import (
	"encoding/binary"
	"net/netip"

	netbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// networkHeader is where a filter of the kernel finds the IP header, whatever is before it (SKF_NET_OFF).
const networkHeader = 0xfff00000

// peerFilter takes ESP, UDP and fragments that come from one of the peers, or with out go to one. Ports are looked at
// by Underlay.
func peerFilter(out bool, peers []netip.Addr) ([]unix.SockFilter, error) {
	var program []netbpf.Instruction
	direction := uint32(unix.PACKET_HOST)
	if out {
		direction = unix.PACKET_OUTGOING
	}
	for _, p := range peers {
		ether, next, address := uint32(unix.ETH_P_IP), uint32(9), uint32(12)
		if p.Is6() {
			ether, next, address = unix.ETH_P_IPV6, 6, 8
		}
		raw := p.AsSlice()
		if out {
			address += uint32(len(raw))
		}
		for _, protocol := range []uint32{protoESP, unix.IPPROTO_UDP, unix.IPPROTO_FRAGMENT} {
			tests := []netbpf.Instruction{
				netbpf.LoadExtension{Num: netbpf.ExtType},
				netbpf.JumpIf{Cond: netbpf.JumpNotEqual, Val: direction},
				netbpf.LoadExtension{Num: netbpf.ExtProto},
				netbpf.JumpIf{Cond: netbpf.JumpNotEqual, Val: ether},
				netbpf.LoadAbsolute{Off: networkHeader + next, Size: 1},
				netbpf.JumpIf{Cond: netbpf.JumpNotEqual, Val: protocol},
			}
			for i := 0; i < len(raw); i += 4 {
				tests = append(tests,
					netbpf.LoadAbsolute{Off: networkHeader + address + uint32(i), Size: 4},
					netbpf.JumpIf{Cond: netbpf.JumpNotEqual, Val: binary.BigEndian.Uint32(raw[i:])})
			}
			for i, t := range tests { // one that fails leads behind the RetConstant
				if j, ok := t.(netbpf.JumpIf); ok {
					j.SkipTrue = uint8(len(tests) - i)
					tests[i] = j
				}
			}
			program = append(append(program, tests...), netbpf.RetConstant{Val: tapBuffer})
		}
	}
	raw, err := netbpf.Assemble(append(program, netbpf.RetConstant{Val: 0}))
	var f []unix.SockFilter
	for _, i := range raw {
		f = append(f, unix.SockFilter{Code: i.Op, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	return f, err
}

// Underlay reports whether a packet is IKE or ESP: protocol 50, UDP with port 500 or 4500 at either end, or a
// fragment of one of both other than the first.
func Underlay(b []byte) bool {
	var protocol byte
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		protocol = b[9]
		at := int(b[0]&15) * 4
		if binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
			return protocol == protoESP || protocol == unix.IPPROTO_UDP
		}
		b = b[min(at, len(b)):]
	case len(b) >= 40 && b[0]>>4 == 6:
		protocol, b = b[6], b[40:]
		if protocol == unix.IPPROTO_FRAGMENT && len(b) >= 8 {
			protocol = b[0]
			if binary.BigEndian.Uint16(b[2:])&^7 != 0 {
				return protocol == protoESP || protocol == unix.IPPROTO_UDP
			}
			b = b[8:]
		}
	}
	if protocol == protoESP {
		return true
	}
	if protocol != unix.IPPROTO_UDP || len(b) < 8 {
		return false
	}
	from, to := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	ours := func(port uint16) bool { return port == PortIKE || port == PortNATT }
	return ours(from) || ours(to)
}
