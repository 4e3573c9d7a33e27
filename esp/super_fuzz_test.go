package esp

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// FuzzCut cuts any frame. A super-packet must become the packets of plainSegments, and the bytes that
// a trailer overwrites must be put back.
func FuzzCut(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 40 {
		f.Add(randomFrame(r, 6000))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < vnetHeader || len(frame) > maxRead {
			return
		}
		b := append(make([]byte, 0, len(frame)+maxTrailer), frame...)
		h, p := parseVnet(b), b[vnetHeader:]
		var fl flow
		var c segmenter
		if h.gso == gsoNone {
			h.complete(p)
			return
		}
		if !fl.parse(p) || !c.begin(h, &fl, p) {
			return
		}
		// What the kernel says of the checksum, it says rightly.
		p = p[:fl.length]
		n := len(p) - fl.transport
		sum := onesSum(0, append([]byte{0, fl.protocol, byte(n >> 8), byte(n)}, addressesOf(p)...))
		binary.BigEndian.PutUint16(p[int(h.start)+int(fieldOf(fl.protocol)):], sum)
		h.offset = fieldOf(fl.protocol)
		if !c.begin(h, &fl, p) {
			t.Fatal("it was a super-packet before its checksum was put right")
		}
		whole := append(make([]byte, vnetHeader), p...)
		h.put(whole)
		want := plainSegments(whole)
		if c.remaining() != len(want) {
			t.Fatalf("%d segments, want %d", c.remaining(), len(want))
		}
		for i := range want {
			seg := c.next()
			if !bytes.Equal(seg, want[i]) {
				t.Fatalf("segment %d is\n%s, want\n%s", i, brief(seg), brief(want[i]))
			}
			for j := range maxTrailer {
				seg[:cap(seg)][len(seg)+j] = 0xdd
			}
			c.done()
		}
	})
}

func fieldOf(protocol uint8) uint16 {
	if protocol == protoUDP {
		return udpChecksum
	}
	return tcpChecksum
}

// FuzzGather merges any packets, between packets that do not open. Cut by plainSegments, the
// frames must be the same packets in order.
func FuzzGather(f *testing.F) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 40 {
		var in []byte
		for _, p := range plainSegments(randomFrame(r, 3000)) {
			for _, p := range disturb(r, p) {
				in = append(binary.BigEndian.AppendUint16(in, uint16(len(p))), p...)
			}
		}
		f.Add(in)
	}
	d := &fakeFrames{t: f}
	tunnel := New(Config{Slots: 256}).AddTunnel(TunnelConfig{Name: "t", Frames: d, MTU: 1400})
	f.Fuzz(func(t *testing.T, in []byte) {
		d.written = nil
		var g coalescer
		var want [][]byte
		for len(in) > 2 {
			n := int(binary.BigEndian.Uint16(in))
			in = in[2:]
			p := in[:min(n, len(in))]
			in = in[len(p):]
			room := g.room(tunnel, len(p)+maxTrailer)
			copy(room, p)
			for i := range maxTrailer {
				room[len(p)+i] = 0xdd
			}
			var fl flow
			if !fl.parse(room[:len(p)]) {
				clear(room)
				g.restore()
				continue
			}
			want = append(want, bytes.Clone(p[:fl.length]))
			g.add(&fl, room[:fl.length])
		}
		g.flush()
		sameButIDs(t, d.written, want)
	})
}
