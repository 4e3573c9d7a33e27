package esp

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/ipsec"
)

// An icmpTooBig is a router's message about a packet of ESP.
type icmpTooBig struct {
	code          uint8
	mtu           uint16
	protocol      uint8
	local, remote netip.AddrPort
	spi, seq      uint32
	quotes        int // bytes behind the quoted IP header
}

// aboutPacket is the message about d, which one of our SAs has sent.
func aboutPacket(d ipsec.Datagram, mtu uint16) icmpTooBig {
	m := icmpTooBig{
		code: fragNeeded, mtu: mtu, protocol: protoESP, local: d.Local, remote: d.Remote,
		spi: binary.BigEndian.Uint32(d.Data), seq: sequence(d.Data), quotes: espHeader,
	}
	if m.local.Port() != 0 {
		m.protocol, m.quotes = protoUDP, udpHeader+espHeader
	}
	if m.local.Addr().Is6() {
		m.code = 0
	}
	return m
}

func (m icmpTooBig) bytes() []byte {
	var payload []byte
	if m.protocol == protoUDP {
		payload = binary.BigEndian.AppendUint16(payload, m.local.Port())
		payload = binary.BigEndian.AppendUint16(payload, m.remote.Port())
		payload = append(payload, 5, 0, 0, 0)
	}
	payload = binary.BigEndian.AppendUint32(payload, m.spi)
	payload = binary.BigEndian.AppendUint32(payload, m.seq)
	quote := ipPacketOf(m.local.Addr(), m.remote.Addr(), m.protocol, payload)
	quote = quote[:len(quote)-len(payload)+m.quotes]
	kind := uint8(unreachable)
	if m.local.Addr().Is6() {
		kind = packetTooBig
	}
	icmp := append([]byte{kind, m.code, 0, 0, 0, 0, byte(m.mtu >> 8), byte(m.mtu)}, quote...)
	if m.local.Addr().Is6() {
		return icmp
	}
	binary.BigEndian.PutUint16(icmp[2:], checksum(0, icmp))
	return ipPacketOf(host(false, 9, 9), m.local.Addr(), protoICMP, icmp)
}

func TestOnlyAPacketSentLatelyLowersThePathMTU(t *testing.T) {
	elsewhere := func(a *netip.AddrPort) { *a = netip.AddrPortFrom(a.Addr().Next().Next(), a.Port()) }
	for k, name := range map[transport]string{udp4: "UDP over IPv4", udp6: "UDP over IPv6", raw4: "raw over IPv4", raw6: "raw over IPv6"} {
		for _, tt := range []struct {
			name   string
			before uint64 // packets that were sent before
			change func(*icmpTooBig)
			want   int // 0: nothing
		}{
			{"as it was", 0, func(*icmpTooBig) {}, 1350},
			{"a second ago", lately + 5, func(m *icmpTooBig) { m.seq = 7 }, 1350},
			{"earlier", lately + 5, func(m *icmpTooBig) { m.seq = 6 }, 0},
			{"another SPI", 0, func(m *icmpTooBig) { m.spi++ }, 0},
			{"not sent yet", 0, func(m *icmpTooBig) { m.seq++ }, 0},
			{"never sent", 0, func(m *icmpTooBig) { m.seq = 0 }, 0},
			{"from elsewhere", 0, func(m *icmpTooBig) { elsewhere(&m.local) }, 0},
			{"to elsewhere", 0, func(m *icmpTooBig) { elsewhere(&m.remote) }, 0},
			{"from another port", 0, func(m *icmpTooBig) { m.local = netip.AddrPortFrom(m.local.Addr(), 500) }, 0},
			{"of TCP", 0, func(m *icmpTooBig) { m.protocol = protoTCP }, 0},
			{"another code", 0, func(m *icmpTooBig) { m.code = 13 }, 0},
			{"hardly anything", 0, func(m *icmpTooBig) { m.mtu = 68 }, leastPath4},
		} {
			v6 := k == udp6 || k == raw6
			switch {
			case k >= raw4 && tt.name == "from another port":
				continue
			case v6 && tt.want == leastPath4:
				tt.want = 0
			case v6 && tt.name == "another code": // any will do
				continue
			}
			a, _, _, _ := ends(t, "aes128gcm16", k, nil)
			a.tunnel.spd.Load().outs[0].seq = tt.before
			d := a.out(udpPacket(false, 1, 2, 1300))[0]
			m := aboutPacket(d, 1350)
			tt.change(&m)
			got, ok := a.plane.TooBig(v6, m.bytes(), a.now)
			if want := (PathMTU{d.Remote.Addr(), tt.want}); ok != (tt.want != 0) || ok && got != want {
				t.Errorf("%s, %s: %v, %v", name, tt.name, got, ok)
			}
		}
	}
}

// A router that quotes the UDP header alone is believed, as far as inner packets of 1280 bytes, or 552
// without IPv6, still pass whole.
func TestAGuessLeavesRoom(t *testing.T) {
	for _, tt := range []struct {
		k         transport
		selectors string
		mtu       uint16
		want      int
	}{
		{udp4, "10.2.0.0/16", 1400, 1400},
		{udp4, "10.2.0.0/16", 68, 554 + 2 + 16 + 8 + 8 + 8 + 20},
		{udp4, "0.0.0.0/0 ::/0", 68, 1282 + 2 + 16 + 8 + 8 + 8 + 20},
		{udp6, "0.0.0.0/0 ::/0", 1280, 1282 + 2 + 16 + 8 + 8 + 8 + 40},
	} {
		a, b := newEnd(t, 0), newEnd(t, 1)
		couple(t, a, b, suite{Suite: named(t, "aes128gcm16")}, tt.k, func(c *ipsec.ChildSA) {
			c.Remote = sels(t, strings.Fields(tt.selectors)...)
		})
		m := aboutPacket(a.out(udpPacket(false, 1, 2, 1300))[0], tt.mtu)
		m.quotes = udpHeader
		for i := range 12 { // the last two are over the limit
			got, ok := a.plane.TooBig(tt.k == udp6, m.bytes(), a.now)
			if ok != (i < 10) || ok && got != (PathMTU{m.remote.Addr(), tt.want}) {
				t.Errorf("%v, message %d: %v, %v", tt, i, got, ok)
			}
		}
		m.remote = netip.AddrPortFrom(m.remote.Addr(), 4501)
		if got, ok := a.plane.TooBig(tt.k == udp6, m.bytes(), a.now.Add(time.Hour)); ok {
			t.Errorf("another port: %v", got)
		}
	}
}

func TestTooBigOfAnyBytes(t *testing.T) {
	for k := range numTransports {
		a, _, _, _ := ends(t, "aes128gcm16", k, nil)
		m := aboutPacket(a.out(udpPacket(false, 1, 2, 1300))[0], 1350)
		whole := m.bytes()
		v6 := k == udp6 || k == raw6
		need := len(whole)
		if m.protocol == protoUDP {
			need -= espHeader // a guess
		}
		for n := range whole {
			b := slices.Clone(whole[:n])
			if !v6 && n > 28 {
				binary.BigEndian.PutUint16(b[22:], 0)
				binary.BigEndian.PutUint16(b[22:], checksum(0, b[20:]))
			}
			now := a.now.Add(time.Duration(n) * time.Minute)
			if got, ok := a.plane.TooBig(v6, b, now); ok != (n >= need) {
				t.Errorf("%d: the first %d of %d bytes: %v, %v", k, n, len(whole), got, ok)
			}
			for i := range b {
				for _, x := range []byte{0, 0xff, b[i] ^ 0x40} {
					c := slices.Clone(b)
					c[i] = x
					a.plane.TooBig(v6, c, now)
				}
			}
		}
		if !v6 {
			whole[25]++ // not the checksum's
			if got, ok := a.plane.TooBig(v6, whole, a.now.Add(time.Hour)); ok {
				t.Errorf("a wrong checksum: %v", got)
			}
		}
	}
}

// An IPv4 packet of 552 bytes passes whatever the path, in fragments of the underlay if need be.
func TestIPv4Has552BytesOverAnyPath(t *testing.T) {
	a, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
	a.tunnel.SetMTU(498)
	for _, df := range []bool{false, true} {
		p := udpPacket(false, 1, 2, 552)
		if df {
			p[6] |= 0x40
		}
		ds := a.out(p)
		if got := b.in(udp4, from(endAddrs[0][udp4], ds)...); len(got) != 1 || len(got[0]) != 552 {
			t.Errorf("DF %v: %d packets arrive", df, len(got))
		}
		if a.socks[udp4].cut == 0 {
			t.Error("the underlay must not fragment it")
		}
	}
	p := udpPacket(false, 1, 2, 553)
	p[6] |= 0x40
	if ds := a.out(p); len(ds) != 0 {
		t.Errorf("553 bytes: %v", ds)
	}
	answers := a.tun.take()
	if len(answers) != 1 || binary.BigEndian.Uint16(answers[0][26:]) != 552 {
		t.Errorf("553 bytes are answered by %x", answers)
	}
}
