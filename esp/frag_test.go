package esp

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func TestFragmentsReassemble(t *testing.T) {
	r := rng(t)
	buf := make([]byte, 2000)
	for range 2000 {
		payload := make([]byte, 1+r.IntN(9000))
		for i := range payload {
			payload[i] = byte(r.Uint32())
		}
		b := ipPacket(false, 1, 2, protoUDP, payload)
		word := uint16(0)
		if r.IntN(2) == 0 { // a fragment itself
			word = uint16(r.IntN(1000)) | uint16(r.IntN(2))<<13
		}
		binary.BigEndian.PutUint16(b[4:], 0x1234)
		binary.BigEndian.PutUint16(b[6:], word)
		mtu := 68 + r.IntN(1500)
		var got []byte
		last := false
		ok := fragments(buf, b, mtu, func(f []byte) {
			var fl flow
			if len(f) > mtu || !fl.parse(f) || fl.length != len(f) || checksum(0, f[:20]) != 0 || f[4] != 0x12 || f[5] != 0x34 {
				t.Fatalf("bad fragment %x", f)
			}
			w := binary.BigEndian.Uint16(f[6:])
			if int(w&fragmentOffset) != int(word&fragmentOffset)+len(got)/8 || len(got)%8 != 0 || last {
				t.Fatalf("offset %d after %d bytes", w&fragmentOffset, len(got))
			}
			got = append(got, f[20:]...)
			last = w&moreFragments == word&moreFragments && len(got) == len(payload)
			if !last && w&moreFragments == 0 {
				t.Fatal("no more fragments, but there are")
			}
		})
		if !ok || !bytes.Equal(got, payload) || !last {
			t.Fatalf("%d bytes at MTU %d: ok %v, %d bytes came back", len(payload), mtu, ok, len(got))
		}
	}
}

func TestOptionsThatAreNotCopiedStandInTheFirstFragmentOnly(t *testing.T) {
	b := ipPacket(false, 1, 2, protoUDP, make([]byte, 100))
	options := []byte{7, 3, 4, 1, 0x83, 3, 4, 0} // record route; no operation; loose source route, which is copied
	b = append(append(bytes.Clone(b[:20]), options...), b[20:]...)
	b[0] = 0x47
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	var heads [][]byte
	if !fragments(make([]byte, 200), b, 84, func(f []byte) { heads = append(heads, bytes.Clone(f[:int(f[0]&15)*4])) }) {
		t.Fatal("not fragmented")
	}
	if len(heads) != 2 || !bytes.Equal(heads[0][20:], options) || !bytes.Equal(heads[1][20:], []byte{0x83, 3, 4, 0}) {
		t.Errorf("options: %x", heads)
	}
}

func TestFragmentsRefuse(t *testing.T) {
	b := ipPacket(false, 1, 2, protoUDP, make([]byte, 100))
	never := func(f []byte) { t.Errorf("emitted %x", f) }
	if fragments(make([]byte, 200), b, 27, never) {
		t.Error("an MTU that leaves no room")
	}
	binary.BigEndian.PutUint16(b[6:], 8190)
	if fragments(make([]byte, 200), b, 68, never) {
		t.Error("a fragment that reaches beyond 65535")
	}
}
