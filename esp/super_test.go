package esp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"vpngw/ipsec"
)

// fakeFrames is a Framer that behaves: it keeps no buffer that it was lent.
type fakeFrames struct {
	t       testing.TB
	noUSO   bool
	frames  [][]byte // for ReadFrames
	written [][]byte
	arrived func([]byte) // instead of written
}

func (d *fakeFrames) FD() int { return 100 }

func (d *fakeFrames) ReadReady(b []byte, take func([]byte) bool) error {
	for len(d.frames) > 0 {
		f := d.frames[0]
		d.frames = d.frames[1:]
		if !take(b[:copy(b, f):cap(b)]) {
			return nil
		}
	}
	return nil
}

func (d *fakeFrames) WriteFrame(f []byte) error {
	if d.arrived != nil {
		d.arrived(f)
		return nil
	}
	d.written = append(d.written, bytes.Clone(f))
	return nil
}

func (d *fakeFrames) SegmentsUDP() bool { return !d.noUSO }

// useFramer gives e's tunnel a Framer, before any SA is installed.
func (e *end) useFramer() *fakeFrames {
	d := &fakeFrames{t: e.t}
	e.tunnel = e.plane.AddTunnel(TunnelConfig{Name: "t", Frames: d, MTU: 1400, CopyDSCP: true})
	e.reader = newReader(e.tunnel, new(scratch))
	return d
}

// sum16 is the Internet checksum as RFC 1071 spells it, for comparison.
func sum16(parts ...[]byte) uint16 {
	var s uint32
	for _, b := range parts {
		for i, v := range b {
			if i%2 == 0 {
				s += uint32(v) << 8
			} else {
				s += uint32(v)
			}
		}
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}

// plainSum is the transport checksum of the packet b.
func plainSum(b []byte, transport int, protocol uint8) uint16 {
	n := len(b) - transport
	addresses := b[12:20]
	if b[0]>>4 == 6 {
		addresses = b[8:40]
	}
	return sum16(addresses, []byte{0, protocol, byte(n >> 8), byte(n)}, b[transport:])
}

// plainSegments is a plain way to cut a frame, for comparison. It trusts the header.
func plainSegments(frame []byte) [][]byte {
	h, b := parseVnet(frame), bytes.Clone(frame[vnetHeader:])
	start := int(h.start)
	if h.gso == gsoNone {
		if h.flags&needsChecksum != 0 {
			at := start + int(h.offset)
			sum := sum16(b[start:])
			if sum == 0 && h.offset == udpChecksum {
				sum = 0xffff
			}
			binary.BigEndian.PutUint16(b[at:], sum)
		}
		return [][]byte{b}
	}
	protocol, head := uint8(protoUDP), start+8
	if h.gso != gsoUDP {
		protocol, head = protoTCP, start+int(b[start+12]>>4)*4
	}
	var out [][]byte
	for payload := b[head:]; len(payload) > 0; {
		part := payload[:min(len(payload), int(h.segment))]
		payload = payload[len(part):]
		i := len(out)
		s := append(bytes.Clone(b[:head]), part...)
		if s[0]>>4 == 4 {
			binary.BigEndian.PutUint16(s[2:], uint16(len(s)))
			binary.BigEndian.PutUint16(s[4:], binary.BigEndian.Uint16(b[4:])+uint16(i))
			s[10], s[11] = 0, 0
			binary.BigEndian.PutUint16(s[10:], sum16(s[:int(s[0]&15)*4]))
		} else {
			binary.BigEndian.PutUint16(s[4:], uint16(len(s)-40))
		}
		t := s[start:]
		if protocol == protoTCP {
			binary.BigEndian.PutUint32(t[4:], binary.BigEndian.Uint32(b[start+4:])+uint32(i*int(h.segment)))
			if len(payload) > 0 {
				t[13] &^= tcpFIN | tcpPSH
			}
			if i > 0 {
				t[13] &^= tcpCWR
			}
			t[16], t[17] = 0, 0
			binary.BigEndian.PutUint16(t[16:], plainSum(s, start, protocol))
		} else {
			binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
			t[6], t[7] = 0, 0
			sum := plainSum(s, start, protocol)
			if sum == 0 {
				sum = 0xffff
			}
			binary.BigEndian.PutUint16(t[6:], sum)
		}
		out = append(out, s)
	}
	return out
}

// randomFrame is a packet or super-packet as a kernel could give it, of up to
// limit bytes of payload.
func randomFrame(r *rand.Rand, limit int) []byte {
	v6, udp := r.IntN(2) == 0, r.IntN(3) == 0
	protocol := uint8(protoTCP)
	t := make([]byte, tcpHeader+4*r.IntN(11))
	for i := range t {
		t[i] = byte(r.Uint32())
	}
	t[12] = byte(len(t)/4)<<4 | byte(r.IntN(2)) // with the bit that was NS
	t[13] = tcpACK | byte(r.IntN(256))&(tcpFIN|tcpPSH|tcpECE|tcpCWR|tcpURG)
	if r.IntN(4) > 0 {
		t[13] = tcpACK | t[13]&tcpPSH
	}
	if udp {
		protocol, t = protoUDP, t[:8]
	}
	payload := make([]byte, 1+r.IntN(1+r.IntN(limit)))
	for i := 0; i < len(payload); i += 8 {
		var w [8]byte
		binary.LittleEndian.PutUint64(w[:], r.Uint64())
		copy(payload[i:], w[:])
	}
	var extensions []byte
	next := protocol
	if v6 && r.IntN(16) == 0 {
		extensions = append([]byte{protocol, byte(r.IntN(3))}, make([]byte, 6)...)
		extensions = append(extensions, make([]byte, 8*int(extensions[1]))...)
		next = []byte{protoHopByHop, protoDestOpts}[r.IntN(2)]
	}
	b := ipPacket(v6, byte(1+r.IntN(3)), byte(1+r.IntN(3)), next, bytes.Join([][]byte{extensions, t, payload}, nil))
	start := len(b) - len(t) - len(payload)
	tos := byte(r.IntN(256))
	if v6 {
		b[0], b[1] = 0x60|tos>>4, tos<<4|byte(r.IntN(16))
		b[7] = byte(1 + r.IntN(255))
	} else {
		if options := 4 * max(0, r.IntN(100)-90); options > 0 {
			list := make([]byte, options)
			for i := range list {
				list[i] = 1 // no operation
			}
			b = append(append(bytes.Clone(b[:20]), list...), b[20:]...)
			start += options
			b[0] = 0x40 | byte(start/4)
			binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		}
		b[1] = tos
		b[4], b[5] = byte(r.IntN(256)), byte(r.IntN(256))
		b[6] = byte(r.IntN(2)) << 6
		b[8] = byte(1 + r.IntN(255))
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], sum16(b[:start]))
	}
	h := vnet{flags: needsChecksum, start: uint16(start), offset: tcpChecksum, head: uint16(start + len(t))}
	if udp {
		h.offset = udpChecksum
		binary.BigEndian.PutUint16(b[start+4:], uint16(len(b)-start))
	}
	room := 1400 - start - len(t)
	if udp {
		h.gso = gsoUDP
	} else if h.gso = gsoTCP4; v6 {
		h.gso = gsoTCP6
	}
	h.segment = uint16(1 + r.IntN(room))
	if r.IntN(2) == 0 {
		h.segment = uint16(room) // the usual thing
	}
	if len(payload) <= int(h.segment) {
		h.gso, h.segment = gsoNone, 0
	} else if !udp && t[13]&tcpCWR != 0 {
		h.gso |= gsoECN
	}
	n := len(b) - start
	pseudo := sum16(append([]byte{0, protocol, byte(n >> 8), byte(n)}, addressesOf(b)...))
	binary.BigEndian.PutUint16(b[start+int(h.offset):], ^pseudo)
	frame := make([]byte, vnetHeader, vnetHeader+len(b))
	h.put(frame)
	return append(frame, b...)
}

func addressesOf(b []byte) []byte {
	if b[0]>>4 == 6 {
		return b[8:40]
	}
	return b[12:20]
}

// TestCutIsTheGeneralPath sends random super-packets by the frame path and receives them
// by the packet path: the packets that arrive are those of plainSegments, bit for bit.
func TestCutIsTheGeneralPath(t *testing.T) {
	for _, proposal := range []string{"aes128gcm16", "aes256-sha256"} {
		t.Run(proposal, func(t *testing.T) {
			a, b := newEnd(t, 0), newEnd(t, 1)
			d := a.useFramer()
			couple(t, a, b, suite{Suite: named(t, proposal)}, udp4, nil)
			r := rand.New(rand.NewPCG(1, 2))
			for left := *supers / 2; left > 0; {
				var want [][]byte
				d.frames = nil
				for range min(left, 1+r.IntN(4)) {
					f := randomFrame(r, 1<<r.IntN(16))
					d.frames = append(d.frames, f)
					want = append(want, plainSegments(f)...)
					left--
				}
				same(t, b.in(udp4, from(endAddrs[0][udp4], a.outFrames())...), want)
				if t.Failed() {
					return
				}
			}
			wantDrops(t, a, 0, nil)
		})
	}
}

// outFrames carries the frames of e's device and returns what goes out.
func (e *end) outFrames() []ipsec.Datagram {
	d := e.tunnel.Frames.(*fakeFrames)
	var out []ipsec.Datagram
	for len(d.frames) > 0 {
		if err := e.reader.step(); err != nil {
			e.t.Fatal(err)
		}
		for _, s := range e.socks {
			out = append(out, s.take()...)
		}
	}
	return out
}

func same(t *testing.T, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d packets, want %d", len(got), len(want))
		return
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("packet %d of %d is\n%s, want\n%s", i, len(got), brief(got[i]), brief(want[i]))
			return
		}
	}
}

func brief(b []byte) string { return fmt.Sprintf("%d bytes % x", len(b), b[:min(len(b), 80)]) }

// TestGatherIsTheGeneralPath sends by the packet path and receives by the frame
// path: cut by plainSegments, the frames are the packets that were sent, in order.
func TestGatherIsTheGeneralPath(t *testing.T) {
	for _, proposal := range []string{"aes128gcm16", "aes256-sha256"} {
		t.Run(proposal, func(t *testing.T) {
			a, b := newEnd(t, 0), newEnd(t, 1)
			d := b.useFramer()
			couple(t, a, b, suite{Suite: named(t, proposal)}, udp4, nil)
			r := rand.New(rand.NewPCG(3, 4))
			packets, frames := 0, 0
			for left := *supers / 2; left > 0; {
				var sent [][]byte
				for range min(left, 1+r.IntN(4)) {
					for _, p := range plainSegments(randomFrame(r, 1<<(6+r.IntN(10)))) {
						sent = append(sent, disturb(r, p)...)
					}
					left--
				}
				d.written = nil
				for batch := sent; len(batch) > 0; {
					n := min(len(batch), 128)
					b.in(udp4, from(endAddrs[0][udp4], a.out(batch[:n]...))...)
					batch = batch[n:]
				}
				got := sameButIDs(t, d.written, sent)
				if t.Failed() {
					return
				}
				packets += got
				frames += len(d.written)
			}
			t.Logf("%d packets in %d frames", packets, frames)
			if frames*2 > packets {
				t.Error("hardly anything was merged")
			}
		})
	}
}

// sameButIDs compares the packets of the frames with want, and returns their number.
func sameButIDs(t *testing.T, frames, want [][]byte) int {
	t.Helper()
	var got [][]byte
	for _, f := range frames {
		got = append(got, plainSegments(f)...)
	}
	if len(got) == len(want) {
		forgetIDs(got)
		forgetIDs(want)
	}
	same(t, got, want)
	return len(got)
}

// forgetIDs clears the identification of packets that may not be fragmented,
// where it means nothing (RFC 6864 section 4.1).
func forgetIDs(packets [][]byte) {
	for _, b := range packets {
		if b[0]>>4 == 4 && b[6]&0x40 != 0 {
			b[4], b[5], b[10], b[11] = 0, 0, 0, 0
		}
	}
}

// disturb now and then changes a packet so that it cannot be merged with its neighbours, or removes it.
func disturb(r *rand.Rand, p []byte) [][]byte {
	header := 40
	if p[0]>>4 == 4 {
		header = int(p[0]&15) * 4
	}
	fix := func() {
		if p[0]>>4 == 4 {
			p[10], p[11] = 0, 0
			binary.BigEndian.PutUint16(p[10:], sum16(p[:header]))
		}
	}
	switch r.IntN(300) {
	case 0:
		return nil
	case 1:
		return [][]byte{p, p}
	case 2:
		p[len(p)-1] ^= 1 // its checksum is wrong, and has to stay so
	case 3:
		p[8-p[0]>>4/6] ^= 3 // TTL or hop limit
		fix()
	case 4:
		if p[0]>>4 == 4 {
			p[6] |= 0x20 // a first fragment
			fix()
		}
	case 5:
		if p[0]>>4 == 4 {
			p[4] ^= 1
			fix()
		}
	case 6:
		return [][]byte{p, udpPacket(p[0]>>4 == 6, 1, 2, 60+r.IntN(100))}
	case 7, 8, 9, 10: // a field of the transport header; its checksum is mended
		at := header + r.IntN(min(len(p)-header, 20))
		if header == 40 && p[6] != protoTCP && p[6] != protoUDP {
			break
		}
		protocol, field := p[6], 0
		if header != 40 || p[0]>>4 == 4 {
			protocol = p[9]
		}
		if field = header + 6; protocol == protoTCP {
			field = header + 16
		}
		if at == field || at == field+1 || protocol == protoUDP && at >= header+4 || protocol == protoTCP && at == header+12 {
			break
		}
		p[at] ^= byte(1 + r.IntN(255))
		p[field], p[field+1] = 0, 0
		sum := plainSum(p, header, protocol)
		if sum == 0 && protocol == protoUDP {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(p[field:], sum)
	}
	return [][]byte{p}
}
