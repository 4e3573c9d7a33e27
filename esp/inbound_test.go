package esp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"vpngw/ipsec"
)

// wantDrops holds an SA pair's drop counters to what is expected, by name.
func wantDrops(t *testing.T, e *end, spi uint32, want map[string]uint64) {
	t.Helper()
	if got := e.plane.Counters(spi).Drops; !reflect.DeepEqual(got, want) {
		t.Errorf("drops: got %v, want %v", got, want)
	}
}

func TestAPacketIsCarriedOnce(t *testing.T) {
	for _, esn := range []string{"", "-esn"} {
		for k := range numTransports {
			a, b, _, sb := ends(t, "aes128gcm16"+esn, k, nil)
			p := udpPacket(false, 1, 2, 300)
			ds := from(endAddrs[0][k], a.out(p))
			if got := b.in(k, ds...); len(got) != 1 || !bytes.Equal(got[0], p) {
				t.Fatalf("got %x", got)
			}
			if got := b.in(k, ds...); len(got) != 0 {
				t.Errorf("a replayed packet is carried: %x", got)
			}
			wantDrops(t, b, sb.SPIIn, map[string]uint64{"replay": 1})
			if c := b.plane.Counters(sb.SPIIn); c.PacketsIn != 1 || c.BytesIn != 300 {
				t.Errorf("counters %+v", c)
			}
		}
	}
}

func TestPacketsOutOfOrderAreCarriedWithinTheWindow(t *testing.T) {
	// With ESN a number behind the window means one 2^32 later, which the ICV refutes.
	for proposal, drop := range map[string]string{"aes128gcm16": "replay", "aes128gcm16-esn": "bad-icv"} {
		a, b, _, sb := ends(t, proposal, udp4, nil)
		var ds []ipsec.Datagram
		for range windowSize/100 + 2 {
			var batch [][]byte
			for range 100 {
				batch = append(batch, udpPacket(false, 1, 2, 60))
			}
			for _, d := range a.out(batch...) {
				ds = append(ds, split(d)...)
			}
		}
		ds = from(endAddrs[0][udp4], ds)
		slices.Reverse(ds)
		got := 0
		for part := range slices.Chunk(ds, 16) {
			got += len(b.in(udp4, part...))
		}
		if got != windowSize {
			t.Errorf("%s: %d of %d came through, want %d", proposal, got, len(ds), windowSize)
		}
		wantDrops(t, b, sb.SPIIn, map[string]uint64{drop: uint64(len(ds) - windowSize)})
	}
}

// Nothing that an attacker sends changes an SA: not its window, not where it
// sends to, not the proof that the peer lives.
func TestForgedPacketsChangeNothing(t *testing.T) {
	a, b, _, sb := ends(t, "aes128gcm16", udp4, nil)
	first := from(endAddrs[0][udp4], a.out(udpPacket(false, 1, 2, 100)))
	for range 200 {
		a.out(udpPacket(false, 1, 2, 100))
	}
	forged := from("203.0.113.66:1234", a.out(udpPacket(false, 1, 2, 100)))
	for i := range forged[0].Data[8:] {
		d := forged[0]
		d.Data = bytes.Clone(d.Data)
		d.Data[8+i] ^= 1
		if got := b.in(udp4, d); len(got) != 0 {
			t.Fatal("carried")
		}
	}
	high := forged[0]
	high.Data = bytes.Clone(high.Data)
	copy(high.Data[4:], []byte{0xff, 0xff, 0xff, 0xff})
	b.in(udp4, high)
	if got := b.told(); len(got) != 0 {
		t.Errorf("told %+v", got)
	}
	if got := b.plane.LastInbound(sb.SPIIn); !got.IsZero() {
		t.Errorf("heard at %v", got)
	}
	wantDrops(t, b, sb.SPIIn, map[string]uint64{"bad-icv": uint64(len(forged[0].Data) - 8 + 1)})
	if got := b.in(udp4, first...); len(got) != 1 {
		t.Error("the first packet is not carried any more")
	}
}

func TestFirstPacketIsToldUntilItIsTaken(t *testing.T) {
	a, b, _, sb := ends(t, "aes128gcm16", raw4, nil)
	send := func() { b.in(raw4, from(endAddrs[0][raw4], a.out(udpPacket(false, 1, 2, 100)))...) }
	b.deaf = true
	send()
	b.deaf = false
	send()
	send()
	if got := b.told(); !reflect.DeepEqual(got, []Event{SeenInbound{sb.SPIIn}}) {
		t.Errorf("told %+v", got)
	}
}

func TestLastInboundIsWhenTheBatchCame(t *testing.T) {
	a, b, _, sb := ends(t, "aes128gcm16", udp4, nil)
	if got := b.plane.LastInbound(sb.SPIIn); !got.IsZero() {
		t.Errorf("before any packet: %v", got)
	}
	b.now = b.now.Add(time.Minute)
	b.in(udp4, from(endAddrs[0][udp4], a.out(udpPacket(false, 1, 2, 100)))...)
	if got := b.plane.LastInbound(sb.SPIIn); !got.Equal(b.now) {
		t.Errorf("got %v, want %v", got, b.now)
	}
	if got := b.plane.LastInbound(0x12345678); !got.IsZero() {
		t.Errorf("unknown SPI: %v", got)
	}
}

func TestUnknownSPIsAreToldAtALimitedRate(t *testing.T) {
	b := newEnd(t, 1)
	d := ipsec.Datagram{Remote: netip.MustParseAddrPort("203.0.113.5:4500"), Data: make([]byte, 60)}
	d.Data[0] = 0x77
	for range 1000 {
		b.in(udp4, d)
	}
	got := b.told()
	if len(got) != 10 || got[0] != (InvalidSPI{d.Remote, 0x77000000}) {
		t.Errorf("told %d events, the first %+v", len(got), got[0])
	}
	if n := b.plane.PlaneCounters().Drops["no-sa"]; n != 1000 {
		t.Errorf("%d counted", n)
	}
}

// RFC 3948 section 2.
func TestPort4500IsShared(t *testing.T) {
	b := newEnd(t, 1)
	remote := netip.MustParseAddrPort("[::ffff:203.0.113.5]:4500")
	packet := func(b ...byte) ipsec.Datagram { return ipsec.Datagram{Remote: remote, Data: b} }
	b.in(udp4,
		packet(0xff), packet(0, 0, 0, 0, 1, 2, 3), packet(), packet(0xff, 0xff), packet(0, 0, 0), packet(1, 2, 3, 4, 5, 6, 7),
		ipsec.Datagram{Remote: remote, Data: []byte{0, 0, 0, 0, 4, 5, 0, 0, 0, 0, 6}, Segment: 6})
	var ike []string
	for _, d := range b.ike {
		ike = append(ike, fmt.Sprintf("%v %x", d.Remote, d.Data))
	}
	want := []string{"203.0.113.5:4500 010203", "203.0.113.5:4500 0405", "203.0.113.5:4500 06"}
	if !slices.Equal(ike, want) {
		t.Errorf("IKE got %q, want %q", ike, want)
	}
	if got, want := b.plane.PlaneCounters().Drops, map[string]uint64{"keepalive": 1, "malformed": 4}; !reflect.DeepEqual(got, want) {
		t.Errorf("drops %v, want %v", got, want)
	}
	// On a raw socket there is nothing but ESP.
	b.in(raw4, packet(0, 0, 0, 0, 0, 0, 0, 1), packet(0xff))
	if len(b.ike) != 3 || b.plane.PlaneCounters().Drops["no-sa"] != 1 {
		t.Error("a raw packet is taken for IKE")
	}
}

// "All devices MUST be able to receive and process both UDP-encapsulated ESP
// and non-UDP-encapsulated ESP packets at any time" (RFC 7296 section 2.23).
func TestAnSATakesEveryTransport(t *testing.T) {
	for k := range numTransports {
		a, b, _, sb := ends(t, "aes128gcm16", k, nil)
		for other := range numTransports {
			got := b.in(other, from(endAddrs[0][other], a.out(udpPacket(false, 1, 2, 100)))...)
			if len(got) != 1 {
				t.Errorf("SA on %d, packet on %d: %d carried", k, other, len(got))
			}
		}
		wantDrops(t, b, sb.SPIIn, map[string]uint64{})
	}
}

// TestTwoSocketsShareOneWindow feeds the same packets through two sockets at
// once: each is carried once.
func TestTwoSocketsShareOneWindow(t *testing.T) {
	a, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
	var packets [][]byte
	for range 2000 {
		for _, d := range a.out(udpPacket(false, 1, 2, 100)) {
			packets = append(packets, slices.Clone(d.Data))
		}
	}
	var got [2]int
	r := b.receiver
	for n, p := range packets {
		for i := range 2 {
			k := [...]transport{udp4, raw4}[(i+n/10)%2]
			r.transport, r.remote = k, netip.MustParseAddrPort(endAddrs[0][k])
			in := b.plane.sad.lookup(binary.BigEndian.Uint32(p))
			if seq, why := in.number(p); why == carried && r.packet(in, p, seq, 0, nil) == carried {
				got[(i+n/10)%2]++
			}
			r.flush()
		}
	}
	if got != [2]int{len(packets) / 2, len(packets) / 2} {
		t.Errorf("%d and %d carried of %d", got[0], got[1], len(packets))
	}
}

// What the peer itself may send, with the right keys, and must not be carried.
func TestInnerPacketsAreChecked(t *testing.T) {
	tcp := make([]byte, 20)
	good := udpPacket(false, 1, 2, 100)
	cut := func(b []byte, n int) []byte { return b[:n] }
	for _, tt := range []struct {
		name  string
		inner []byte
		next  uint8
		want  string // a drop; "": carried
	}{
		{"right", good, protoIPv4, ""},
		{"IPv6", udpPacket(true, 1, 2, 100), protoIPv6, ""},
		{"traffic flow confidentiality padding", append(bytes.Clone(good), make([]byte, 500)...), protoIPv4, ""},
		{"dummy", bytes.Repeat([]byte{7}, 50), protoNone, "dummy"},
		{"empty dummy", nil, protoNone, "dummy"},
		{"transport mode", tcp, protoTCP, "next-header"},
		{"hop-by-hop", tcp, protoHopByHop, "next-header"},
		{"empty", nil, protoIPv4, "inner"},
		{"cut", cut(udpPacket(false, 1, 2, 100), 99), protoIPv4, "inner"},
		{"IPv6 said to be IPv4", udpPacket(true, 1, 2, 100), protoIPv4, "inner"},
		{"IPv4 said to be IPv6", udpPacket(false, 1, 2, 100), protoIPv6, "inner"},
		{"source outside", ipPacketOf(host(false, 9, 1), host(false, 2, 1), protoUDP, tcp), protoIPv4, "selector"},
		{"destination outside", ipPacketOf(host(false, 1, 1), host(false, 9, 1), protoUDP, tcp), protoIPv4, "selector"},
		{"the other way round", ipPacketOf(host(false, 2, 1), host(false, 1, 1), protoUDP, tcp), protoIPv4, "selector"},
		{"IPv6 outside", ipPacketOf(host(true, 1, 1), host(true, 9, 1), protoUDP, tcp), protoIPv6, "selector"},
	} {
		for _, proposal := range []string{"aes128gcm16", "aes128-sha1"} {
			a, b, _, sb := ends(t, proposal, udp4, nil)
			o := a.tunnel.spd.Load().outs[0]
			inner := append(make([]byte, 0, len(tt.inner)+maxTrailer), tt.inner...)
			sealed := o.sealer.seal(make([]byte, o.sealer.sealed(len(inner))), inner, tt.next, 1)
			got := b.in(udp4, from(endAddrs[0][udp4], []ipsec.Datagram{{Data: sealed}})...)
			if carried := len(got) == 1; carried != (tt.want == "") {
				t.Errorf("%s: carried is %v", tt.name, carried)
			}
			if len(got) == 1 && !bytes.Equal(got[0], tt.inner[:100]) {
				t.Errorf("%s: got %x", tt.name, got[0])
			}
			want := map[string]uint64{}
			if tt.want != "" {
				want[tt.want] = 1
			}
			wantDrops(t, b, sb.SPIIn, want)
			if b.plane.LastInbound(sb.SPIIn).IsZero() {
				t.Errorf("%s: an authentic packet does not prove that the peer lives", tt.name)
			}
		}
	}
}

func TestPortSelectorsHoldInbound(t *testing.T) {
	limit := func(sa *ipsec.ChildSA) {
		sa.Local, sa.Remote = sels(t, "10.1.0.0/16 /17/1000"), sels(t, "10.2.0.0/16 /17")
	}
	a, b, _, sb := ends(t, "aes128gcm16", udp4, limit)
	o := a.tunnel.spd.Load().outs[0]
	send := func(p []byte) int {
		seq := o.seq + 1
		o.seq++
		sealed := o.sealer.seal(make([]byte, 2000), p, protoIPv4, seq)
		return len(b.in(udp4, from(endAddrs[0][udp4], []ipsec.Datagram{{Data: sealed}})...))
	}
	if send(udpPacket(false, 1, 2, 100)) != 1 {
		t.Error("the right port is not carried")
	}
	other := udpPacket(false, 1, 2, 100)
	other[20] ^= 1
	if send(other) != 0 {
		t.Error("another port is carried")
	}
	later := udpPacket(false, 1, 2, 100)
	later[7] = 5 // RFC 4301 section 7.3: discarded, its ports are not known
	if send(later) != 0 {
		t.Error("a later fragment is carried")
	}
	wantDrops(t, b, sb.SPIIn, map[string]uint64{"selector": 2})
}

func TestCongestionMarksComeInside(t *testing.T) {
	a, b, _, sb := ends(t, "aes128gcm16", udp4, nil)
	for _, v6 := range []bool{false, true} {
		for _, inner := range []uint8{notECT, ect0} {
			p := udpPacket(v6, 1, 2, 100)
			setTOS(p, inner)
			ds := from(endAddrs[0][udp4], a.out(p))
			ds[0].TOS |= ce
			got := b.in(udp4, ds...)
			if inner == notECT {
				if len(got) != 0 {
					t.Error("a congestion mark is lost on a packet that cannot carry it")
				}
				continue
			}
			setTOS(p, ce)
			if len(got) != 1 || !bytes.Equal(got[0], p) {
				t.Errorf("got %x, want %x", got, p)
			}
		}
	}
	wantDrops(t, b, sb.SPIIn, map[string]uint64{"ecn": 2})
}

func TestMSSIsClampedBothWays(t *testing.T) {
	a, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
	b.tunnel.SetMTU(1300)
	p := syn(false, tcpSYN, []byte{2, 4, 0x05, 0xb4})
	got := b.in(udp4, from(endAddrs[0][udp4], a.out(p))...)
	want := syn(false, tcpSYN, []byte{2, 4, 0x04, 0xec}) // 1300 - 40
	if len(got) != 1 || !bytes.Equal(got[0], want) {
		t.Errorf("got %x\nwant %x", got, want)
	}
	a.tunnel.SetMTU(1290)
	b.tunnel.SetMTU(1500)
	got = b.in(udp4, from(endAddrs[0][udp4], a.out(p))...)
	want = syn(false, tcpSYN, []byte{2, 4, 0x04, 0xe2}) // 1290 - 40
	if len(got) != 1 || !bytes.Equal(got[0], want) {
		t.Errorf("got %x\nwant %x", got, want)
	}
}

func TestPacketsOfSeveralTunnelsKeepApart(t *testing.T) {
	a, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
	other := newTUN()
	b.plane.AddTunnel(TunnelConfig{Name: "u", Device: other, MTU: 1400})
	a.plane.AddTunnel(TunnelConfig{Name: "u", Device: newTUN(), MTU: 1400})
	c := newEnd(t, 0) // a second peer, for the other tunnel
	c.plane.AddTunnel(TunnelConfig{Name: "u", Device: newTUN(), MTU: 1400})
	couple(t, c, b, suite{Suite: named(t, "aes128gcm16")}, udp4, func(sa *ipsec.ChildSA) { sa.Tunnel = "u" })
	c.reader.Tunnel = c.plane.tunnels["u"]
	var ds []ipsec.Datagram
	for i := range 9 {
		from := a
		if i%3 == 2 {
			from = c
		}
		ds = append(ds, from.out(udpPacket(false, byte(i+1), 2, 100))...)
	}
	got := b.in(udp4, from(endAddrs[0][udp4], ds)...)
	sources := func(ps [][]byte) (out []byte) {
		for _, p := range ps {
			out = append(out, p[15])
		}
		return out
	}
	if !bytes.Equal(sources(got), []byte{1, 2, 4, 5, 7, 8}) || !bytes.Equal(sources(other.take()), []byte{3, 6, 9}) {
		t.Errorf("the first tunnel got packets from %v", sources(got))
	}
	if b.tun.writes != 3 || other.writes != 3 {
		t.Errorf("%d and %d writes, want 3 each", b.tun.writes, other.writes)
	}
}

func TestARefusedWriteIsCounted(t *testing.T) {
	a, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
	b.tun.err = fmt.Errorf("no")
	b.in(udp4, from(endAddrs[0][udp4], a.out(udpPacket(false, 1, 2, 100)))...)
	if n := b.tunnel.Counters().Drops["tun-write"]; n != 1 {
		t.Errorf("%d counted", n)
	}
}
