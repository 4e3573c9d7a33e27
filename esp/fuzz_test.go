package esp

import (
	"encoding/binary"
	"testing"
	"time"

	"vpngw/ipsec"
)

// fuzzSuites are one of each kind of transform.
var fuzzSuites = []string{"aes128gcm16", "aes256gcm16-esn", "chacha20poly1305", "aes128-sha256", "3des-md5", "aes256-sha512-esn", "null-sha1"}

// FuzzOpen gives a socket's reader packets of an attacker, and packets of a peer
// that has the keys. No packet of the attacker may reach the TUN, and of the peer's only
// valid packets within the selectors.
func FuzzOpen(f *testing.F) {
	type link struct {
		a, b *end
		sa   *ipsec.ChildSA
	}
	var links []link
	for _, s := range fuzzSuites {
		a, b, sa, _ := ends(f, s, udp4, nil)
		links = append(links, link{a, b, sa})
	}
	tcp := syn(true, tcpSYN, []byte{1, 2, 4, 5, 0xb4})
	later := udpPacket(false, 1, 2, 60)
	later[7] = 3
	for i := range links {
		n := uint8(i)
		f.Add(n, uint8(0), uint8(0), uint16(0), make([]byte, 100))
		f.Add(n, uint8(0), uint8(0), uint16(5), []byte{0, 0, 0, 0, 1, 0xff, 3})
		f.Add(n, uint8(1), uint8(0), uint16(60), make([]byte, 140))
		f.Add(n, uint8(2), uint8(3), uint16(0), append(udpPacket(false, 1, 2, 100), 1, 2, 2, 4))
		f.Add(n, uint8(3), uint8(protoIPv4), uint16(0), udpPacket(false, 1, 2, 100))
		f.Add(n, uint8(3), uint8(protoIPv4), uint16(0), later)
		f.Add(n, uint8(3), uint8(protoIPv6), uint16(0), tcp)
		f.Add(n, uint8(3), uint8(protoIPv6), uint16(0), ipPacket(true, 1, 2, protoHopByHop, []byte{protoFragment, 0, 0, 0, 0, 0, 0, 0, protoTCP, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4}))
		f.Add(n, uint8(3), uint8(protoNone), uint16(0), []byte{})
	}
	f.Fuzz(func(t *testing.T, which, mode, extra uint8, segment uint16, data []byte) {
		if len(data) > 60000 {
			return
		}
		l := links[int(which)%len(links)]
		l.a.under(t)
		l.b.under(t)
		o := l.a.tunnel.spd.Load().outs[0]
		d := ipsec.Datagram{Local: l.sa.Path.Remote, Remote: l.sa.Path.Local, TOS: extra, Segment: int(segment)}
		keys := false
		switch mode % 4 {
		case 0: // anything
			d.Data = data
		case 1: // anything, with the SPI and a sequence number ahead
			d.Data = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, l.sa.SPIOut), uint32(o.seq+1))
			d.Data = append(d.Data, data...)
		case 2: // any plaintext, trailer included, well sealed
			keys = true
			for len(data) < o.sealer.align || len(data)%o.sealer.align != 0 {
				data = append(data, 0)
			}
			o.seq++
			d.Segment, d.Data = 0, sealPlain(o.sealer, data, o.seq)
		case 3: // any inner packet and next header, well sealed
			keys = true
			o.seq++
			inner := append(make([]byte, 0, len(data)+maxTrailer), data...)
			d.Segment, d.TOS = 0, uint8(segment)
			d.Data = o.sealer.seal(make([]byte, o.sealer.sealed(len(inner))), inner, extra, o.seq)
		}
		l.b.now = l.b.now.Add(time.Millisecond)
		got := l.b.in(udp4, d)
		l.b.told()
		l.b.ike = nil
		if len(got) > 0 && !keys || len(got) > 1 {
			t.Fatalf("%d packets reached the TUN", len(got))
		}
		for _, p := range got {
			var fl flow
			in := l.b.plane.sad.lookup(l.sa.SPIOut)
			if !fl.parse(p) || fl.length != len(p) || sourceIn(in.remote, &fl) == nil || destinationIn(in.local, &fl) == nil {
				t.Fatalf("reached the TUN: %x", p)
			}
		}
	})
}

// FuzzTunnel gives a tunnel packets that a host behind us could send. What is
// sent must arrive at the peer; an answer must be a packet, too.
func FuzzTunnel(f *testing.F) {
	a, b, _, _ := ends(f, "aes128-sha256", udp4, nil)
	a.tunnel.SetMTU(600)
	df := udpPacket(false, 1, 2, 1000)
	df[6] = 0x40
	for _, p := range [][]byte{
		{},
		udpPacket(false, 1, 2, 100), udpPacket(true, 1, 2, 1400), df, udpPacket(false, 1, 2, 2000),
		syn(false, tcpSYN, []byte{2, 4, 5, 0xb4, 4, 2, 3, 3, 7}), ipPacket(false, 1, 2, protoICMP, []byte{3, 4, 0, 0}),
	} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) > 2000 {
			return
		}
		a.under(t)
		b.under(t)
		ds := a.out(p)
		for _, answer := range a.tun.take() {
			var fl flow
			if !fl.parse(answer) || fl.length != len(answer) {
				t.Fatalf("answered %x", answer)
			}
		}
		sent := 0
		for _, d := range ds {
			sent += len(split(d))
		}
		got := b.in(udp4, from(endAddrs[0][udp4], ds)...)
		a.told()
		b.told()
		if len(got) != sent {
			t.Fatalf("%d sent, %d arrived; drops %v", sent, len(got), b.plane.PlaneCounters().Drops)
		}
	})
}
