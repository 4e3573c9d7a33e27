package capture

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

const tcpFlags = flagCWR | flagPSH | flagFIN | 0x10

// tcp4 is a TCP segment in IPv4 with right checksums, made by gopacket. index is of a segment of a super-packet of 100 bytes each.
func tcp4(payload, index int) []byte {
	return serialize(layers.LayerTypeIPv4, true, payload, index, 1000+100*index, tcpFlags)
}

// serialize makes a packet with right checksums.
func serialize(ip gopacket.LayerType, tcp bool, payload, index, seq int, flags byte) []byte {
	data := bytes.Repeat([]byte{byte(index + 1)}, payload)
	b := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	proto := layers.IPProtocolUDP
	if tcp {
		proto = layers.IPProtocolTCP
	}
	v4 := &layers.IPv4{Version: 4, TTL: 64, Id: uint16(65535 + index), Flags: layers.IPv4DontFragment, Protocol: proto, SrcIP: []byte{10, 0, 0, 1}, DstIP: []byte{10, 0, 0, 2}}
	v6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: bytes.Repeat([]byte{0xfd}, 16), DstIP: bytes.Repeat([]byte{0xfe}, 16)}
	var network gopacket.SerializableLayer = v4
	if ip == layers.LayerTypeIPv6 {
		network = v6
	}
	list := []gopacket.SerializableLayer{network}
	if tcp {
		l := &layers.TCP{
			SrcPort: 1, DstPort: 2, Seq: uint32(seq), Ack: 7, Window: 9, CWR: flags&flagCWR != 0, PSH: flags&flagPSH != 0, FIN: flags&flagFIN != 0, ACK: true,
			Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: make([]byte, 8)}},
		}
		list = append(list, l)
		l.SetNetworkLayerForChecksum(network.(gopacket.NetworkLayer))
	} else {
		l := &layers.UDP{SrcPort: 4500, DstPort: 4500}
		list = append(list, l)
		l.SetNetworkLayerForChecksum(network.(gopacket.NetworkLayer))
	}
	if err := gopacket.SerializeLayers(b, opts, append(list, gopacket.Payload(data))...); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// super joins packets as an offload does: the first's headers, with the length of all and a partial checksum.
func super(packets [][]byte, kind byte, segment int) ([]byte, Super) {
	at, proto, _ := transport(packets[0])
	head := at + 8
	if proto == protoTCP {
		head = at + int(packets[0][at+12]>>4)*4
	}
	all := slices.Clone(packets[0])
	for _, p := range packets[1:] {
		all = append(all, p[head:]...)
	}
	if all[0]>>4 == 4 {
		binary.BigEndian.PutUint16(all[2:], uint16(len(all)))
	} else {
		binary.BigEndian.PutUint16(all[4:], uint16(len(all)-40))
	}
	field := 6
	if proto == protoTCP {
		field = 16
		all[at+13] |= tcpFlags
	} else {
		binary.BigEndian.PutUint16(all[at+4:], uint16(len(all)-at))
	}
	binary.BigEndian.PutUint16(all[at+field:], 0xbeef) // a sum of the pseudo-header, which Cut does not need
	var h [SuperSize]byte
	h[0], h[1] = needsChecksum, kind
	binary.NativeEndian.PutUint16(h[4:], uint16(segment))
	binary.NativeEndian.PutUint16(h[6:], uint16(at+14)) // behind an Ethernet header
	binary.NativeEndian.PutUint16(h[8:], uint16(field))
	return all, ParseSuper(h, 14)
}

func cut(s Super, b []byte) (out [][]byte) {
	s.Cut(b, func(p []byte) { out = append(out, slices.Clone(p)) })
	return out
}

func TestSuperPacketsAreCutAsOnTheWire(t *testing.T) {
	for _, c := range []struct {
		name string
		ip   gopacket.LayerType
		tcp  bool
		kind byte
	}{
		{"TCP, IPv4", layers.LayerTypeIPv4, true, kindTCP4 | kindECN},
		{"TCP, IPv6", layers.LayerTypeIPv6, true, kindTCP6},
		{"UDP, IPv4", layers.LayerTypeIPv4, false, kindUDP},
		{"UDP, IPv6", layers.LayerTypeIPv6, false, kindUDP},
	} {
		var want [][]byte
		for i, f := range []struct {
			size  int
			flags byte
		}{{100, flagCWR}, {100, 0}, {33, flagPSH | flagFIN}} {
			want = append(want, serialize(c.ip, c.tcp, f.size, i, 0xffffff00+100*i, f.flags))
		}
		all, s := super(want, c.kind, 100)
		got := cut(s, all)
		if len(got) != len(want) {
			t.Errorf("%s: %d packets, want %d", c.name, len(got), len(want))
			continue
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("%s, packet %d:\n%x, want\n%x", c.name, i, got[i], want[i])
			}
		}
	}
}

func TestAPartialChecksumIsCompleted(t *testing.T) {
	for _, tcp := range []bool{true, false} {
		want := serialize(layers.LayerTypeIPv4, tcp, 99, 0, 1, 0)
		b := slices.Clone(want)
		at, proto, _ := transport(b)
		field := at + 6
		if tcp {
			field = at + 16
		}
		var pseudo [4]byte
		pseudo[1] = proto
		binary.BigEndian.PutUint16(pseudo[2:], uint16(len(b)-at))
		binary.BigEndian.PutUint16(b[field:], uint16(onesSum(onesSum(0, b[12:20]), pseudo[:])))
		b = append(b, 0, 0, 0, 0) // a device's padding, which no sum covers
		got := cut(Super{flags: needsChecksum, start: at, offset: field - at}, b)
		if len(got) != 1 || !bytes.Equal(got[0], want) {
			t.Errorf("got %x, want %x", got, want)
		}
	}
}

// Whatever comes, there is no panic, and no more comes out than a super-packet can stand for.
func FuzzCut(f *testing.F) {
	all, _ := super([][]byte{tcp4(100, 0), tcp4(100, 1)}, kindTCP4, 100)
	f.Add([]byte{1, 1, 0, 0, 100, 0, 34, 0, 16, 0}, all)
	f.Add([]byte{1, 5, 0, 0, 1, 0, 34, 0, 6, 0}, serialize(layers.LayerTypeIPv6, false, 9, 0, 0, 0))
	f.Fuzz(func(t *testing.T, header, b []byte) {
		if len(header) < SuperSize || len(b) > 1<<16 {
			return
		}
		s, n, bytes := ParseSuper([SuperSize]byte(header), 14), 0, 0
		s.Cut(b, func(p []byte) { n++; bytes += len(p) })
		if n < 1 || n > max(len(b), 1) || n == 1 && bytes > len(b) {
			t.Errorf("%d packets of %d bytes from %d", n, bytes, len(b))
		}
	})
}
