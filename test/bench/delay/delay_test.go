package main

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"
)

// superPacket is a TCP or UDP super-packet as a TUN or a packet socket gives it, with random payload.
func superPacket(v6, tcp bool, payload, size int) []byte {
	ip, transport := 20, 8
	if v6 {
		ip = ipv6Header
	}
	if tcp {
		transport = 32
	}
	b := make([]byte, vnetHeader+ethernet+ip+transport+payload)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b[vnetHeader:])
	clear(b[:vnetHeader])
	b[0], b[1] = needsChecksum, gsoUDP
	if tcp {
		b[1] = 1
	}
	binary.NativeEndian.PutUint16(b[4:], uint16(size))
	binary.NativeEndian.PutUint16(b[6:], uint16(ethernet+ip))
	h := b[vnetHeader+ethernet:]
	t := h[ip:]
	protocol := byte(17)
	if tcp {
		protocol = protoTCP
		t[12], t[13] = 8<<4, 0x10|0x08|0x80 // ACK, PSH, CWR
	} else {
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
	}
	if v6 {
		binary.BigEndian.PutUint16(b[vnetHeader+12:], 0x86dd)
		h[0], h[6] = 0x60, protocol
		binary.BigEndian.PutUint16(h[4:], uint16(len(h)-ipv6Header))
	} else {
		binary.BigEndian.PutUint16(b[vnetHeader+12:], 0x0800)
		h[0], h[9] = 0x45, protocol
		binary.BigEndian.PutUint16(h[2:], uint16(len(h)))
	}
	binary.BigEndian.PutUint16(checksumOf(t, tcp), pseudo(h, v6, protocol, len(t)))
	return b
}

func checksumOf(t []byte, tcp bool) []byte {
	if tcp {
		return t[16:18]
	}
	return t[6:8]
}

func pseudo(h []byte, v6 bool, protocol byte, n int) uint16 {
	at := h[12:20]
	if v6 {
		at = h[8:40]
	}
	return fold(sum(at) + uint32(protocol) + uint32(n))
}

func sum(b []byte) (s uint32) {
	for i, v := range b {
		s += uint32(v) << (8 * (1 - i%2))
	}
	return s
}

// Whatever parts a super-packet is cut into, they are the same payload in order, of right lengths and sequence numbers, and
// their partial checksums are those that the kernel makes of such packets.
func TestPartsAreTheSuperPacket(t *testing.T) {
	for _, c := range []struct {
		name    string
		v6, tcp bool
	}{{"IPv4 TCP", false, true}, {"IPv6 TCP", true, true}, {"IPv4 UDP", false, false}, {"IPv6 UDP", true, false}} {
		const size, payload, count = 100, 1050, 11
		b := superPacket(c.v6, c.tcp, payload, size)
		s, ok := parse(b)
		if !ok || s.count != count {
			t.Fatalf("%s: got %d packets, want %d", c.name, s.count, count)
		}
		if got, want := s.length(count-1), s.head-vnetHeader+50; got != want {
			t.Errorf("%s: the last packet has %d bytes, want %d", c.name, got, want)
		}
		for i := range count {
			for j := i + 1; j <= count; j++ {
				to := make([]byte, maxFrame)
				p := to[:s.part(to, b, i, j)]
				if got, want := p[s.head:], b[s.head+i*size:min(len(b), s.head+j*size)]; string(got) != string(want) {
					t.Fatalf("%s %d-%d: another payload", c.name, i, j)
				}
				h := p[vnetHeader+ethernet:]
				tr := p[s.transport:]
				if c.tcp {
					if got, want := binary.BigEndian.Uint32(tr[4:]), binary.BigEndian.Uint32(b[s.transport+4:])+uint32(i*size); got != want {
						t.Errorf("%s %d-%d: sequence number %d, want %d", c.name, i, j, got, want)
					}
					if push, cwr := tr[13]&8 != 0, tr[13]&0x80 != 0; push != (j == count) || cwr != (i == 0) {
						t.Errorf("%s %d-%d: PSH %v, CWR %v", c.name, i, j, push, cwr)
					}
				}
				if got, want := binary.BigEndian.Uint16(checksumOf(tr, c.tcp)), pseudo(h, c.v6, map[bool]byte{true: protoTCP, false: 17}[c.tcp], len(tr)); got%0xffff != want%0xffff {
					t.Errorf("%s %d-%d: partial checksum %04x, want %04x", c.name, i, j, got, want)
				}
				if !c.v6 && fold(sum(h[:20])) != 0xffff {
					t.Errorf("%s %d-%d: the header's checksum is wrong", c.name, i, j)
				}
				if single := p[1] == gsoNone; single != (j == i+1) {
					t.Errorf("%s %d-%d: a single packet is %v", c.name, i, j, single)
				}
			}
		}
	}
}

// The same packets are lost in the n-th series of every link, about as many as asked for, and none before the first.
func TestLossIsOfTheSeed(t *testing.T) {
	lost := func(series uint64) (out []int) {
		l := &link{properties: properties{loss: 0.001, seed: 1}}
		l.keeping = 1 << 60
		if series > 0 {
			l.turn(series)
		}
		for i := range 1_000_000 {
			if !l.keeps(1500, 0) {
				out = append(out, i)
			}
		}
		return out
	}
	one, again, two := lost(1), lost(1), lost(2)
	if len(one) < 900 || len(one) > 1100 {
		t.Errorf("lost %d of a million packets, want a thousand", len(one))
	}
	if len(one) != len(again) || one[0] != again[0] || one[len(one)-1] != again[len(again)-1] {
		t.Error("the same series lost other packets")
	}
	if one[0] == two[0] && one[1] == two[1] {
		t.Error("two series lost the same packets")
	}
	if n := len(lost(0)); n != 0 {
		t.Errorf("lost %d packets before the first series", n)
	}
}

// A link with a rate sends one packet after the other, and drops what would wait longer than its queue.
func TestRateAndQueue(t *testing.T) {
	l := &link{properties: properties{delay: 10 * time.Millisecond, rate: 1000, queue: time.Millisecond}, keeping: 1 << 60}
	const size = 1250 - onWire // 10 µs at 1000 Mbit/s
	kept := 0
	for range 200 {
		if l.keeps(size, 0) {
			kept++
		}
	}
	if kept != 101 || l.Dropped != 99 {
		t.Errorf("kept %d packets and dropped %d of 200 at once, want 101 and 99", kept, l.Dropped)
	}
	if got, want := time.Duration(l.sent(0)), 10*time.Millisecond+101*10*time.Microsecond; got != want {
		t.Errorf("the last is due after %v, want %v", got, want)
	}
}

// Frames come out of a queue as they went in, however often its memory was gone through.
func TestQueueKeepsFrames(t *testing.T) {
	q, err := newQueue()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var sizes []int
	mark := func(i int) byte { return byte(i*31 + 1) }
	in, out := 0, 0
	for in < 20_000 {
		if b := q.room(2 * maxFrame); b != nil && r.IntN(3) > 0 {
			n := 1 + r.IntN(maxFrame)
			b[0], b[n-1] = mark(in), mark(in)
			q.add(n, int64(in))
			sizes = append(sizes, n)
			in++
			continue
		}
		if b, due := q.at(0); b != nil {
			if len(b) != sizes[out] || due != int64(out) || b[0] != mark(out) || b[len(b)-1] != mark(out) {
				t.Fatalf("frame %d came out of the queue as another one", out)
			}
			q.remove(1)
			out++
		}
	}
	if out == 0 || q.count == 0 {
		t.Errorf("%d came out and %d are in: nothing was tested", out, q.count)
	}
}
