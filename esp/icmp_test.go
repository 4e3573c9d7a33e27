package esp

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

func TestTooBigAnswersIPv4(t *testing.T) {
	b := udpPacket(false, 1, 2, 1400)
	var f flow
	f.parse(b)
	got := f.tooBig(make([]byte, maxICMP), b, 1300)
	if len(got) != 576 || checksum(0, got[:20]) != 0 || checksum(0, got[20:]) != 0 {
		t.Fatalf("%x", got)
	}
	var a flow
	if !a.parse(got) || a.protocol != protoICMP || a.sport != 0x0304 || a.src != f.dst || a.dst != f.src {
		t.Errorf("answer is %+v", a)
	}
	if mtu := binary.BigEndian.Uint16(got[26:]); mtu != 1300 {
		t.Errorf("MTU %d", mtu)
	}
	if !bytes.Equal(got[28:], b[:548]) {
		t.Error("quote differs")
	}
}

func TestTooBigAnswersIPv6(t *testing.T) {
	b := udpPacket(true, 1, 2, 1400)
	var f flow
	f.parse(b)
	got := f.tooBig(make([]byte, maxICMP), b, 1290)
	var a flow
	if len(got) != 1280 || !a.parse(got) || a.protocol != protoICMPv6 || a.sport != 0x0200 || a.src != f.dst || a.dst != f.src {
		t.Fatalf("answer is %+v of %d bytes", a, len(got))
	}
	pseudo := append(bytes.Clone(got[8:40]), 0, 0, byte((len(got)-40)>>8), byte(len(got)-40), 0, 0, 0, protoICMPv6)
	if checksum(^checksum(0, pseudo), got[40:]) != 0 {
		t.Error("the checksum is wrong")
	}
	if mtu := binary.BigEndian.Uint32(got[44:]); mtu != 1290 {
		t.Errorf("MTU %d", mtu)
	}
	if !bytes.Equal(got[48:], b[:1232]) {
		t.Error("quote differs")
	}
}

func TestTooBigDoesNotAnswer(t *testing.T) {
	later := udpPacket(false, 1, 2, 1400)
	later[7] = 9
	for name, b := range map[string][]byte{
		"an ICMP error":        ipPacket(false, 1, 2, protoICMP, make([]byte, 1400)[:1380:1400]),
		"an ICMPv6 error":      ipPacket(true, 1, 2, protoICMPv6, []byte{1, 0, 0, 0}),
		"a later fragment":     later,
		"from no address":      ipPacketOf(netip.IPv4Unspecified(), host(false, 2, 2), protoUDP, make([]byte, 20)),
		"from loopback":        ipPacketOf(netip.MustParseAddr("127.0.0.1"), host(false, 2, 2), protoUDP, make([]byte, 20)),
		"to a group":           ipPacketOf(host(false, 1, 1), netip.MustParseAddr("224.0.0.5"), protoUDP, make([]byte, 20)),
		"to all":               ipPacketOf(host(false, 1, 1), netip.MustParseAddr("255.255.255.255"), protoUDP, make([]byte, 20)),
		"from no IPv6 address": ipPacketOf(netip.IPv6Unspecified(), host(true, 2, 2), protoUDP, make([]byte, 20)),
		"to an IPv6 group":     ipPacketOf(host(true, 1, 1), netip.MustParseAddr("ff02::1"), protoUDP, make([]byte, 20)),
	} {
		if name == "an ICMP error" {
			b[20] = unreachable
		}
		var f flow
		if !f.parse(b) {
			t.Fatal(name)
		}
		if got := f.tooBig(make([]byte, maxICMP), b, 68); got != nil {
			t.Errorf("%s is answered", name)
		}
	}
	ping := ipPacket(true, 1, 2, protoICMPv6, []byte{128, 0, 0, 0, 0, 0, 0, 0})
	var f flow
	f.parse(ping)
	if f.tooBig(make([]byte, maxICMP), ping, 1280) == nil {
		t.Error("a ping is not answered")
	}
}

func TestLimiter(t *testing.T) {
	var b limiter
	now := time.Unix(1000, 0)
	for i := range 5 {
		if !b.allow(now, 10, 5) {
			t.Errorf("event %d of the burst is held back", i)
		}
	}
	if b.allow(now, 10, 5) {
		t.Error("more than the burst")
	}
	if !b.allow(now.Add(100*time.Millisecond), 10, 5) || b.allow(now.Add(100*time.Millisecond), 10, 5) {
		t.Error("a tenth of a second is worth one event")
	}
}
