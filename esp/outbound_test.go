package esp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"vpngw/ipsec"
)

func TestOuterTOS(t *testing.T) {
	a, _, _, _ := ends(t, "aes128gcm16", udp4, nil)
	p := udpPacket(false, 1, 2, 100)
	setTOS(p, 46<<2|ect0)
	if got := a.out(p)[0].TOS; got != 46<<2|ect0 {
		t.Errorf("copied: %02x", got)
	}
	a.tunnel.SetCopyDSCP(false)
	if got := a.out(p)[0].TOS; got != ect0 {
		t.Errorf("not copied: %02x", got)
	}
}

// The rules of UDP_SEGMENT themselves are held by fakeSocket.
func TestRunsOfOneSizeGoOutTogether(t *testing.T) {
	sized := func(sizes ...int) (out [][]byte) {
		for _, n := range sizes {
			out = append(out, udpPacket(false, 1, 2, n))
		}
		return out
	}
	many := func(n, size int) (out [][]byte) {
		for range n {
			out = append(out, udpPacket(false, 1, 2, size))
		}
		return out
	}
	marked := sized(200, 200, 200)
	setTOS(marked[1], 8)
	for _, tt := range []struct {
		name    string
		packets [][]byte
		want    []int // packets in each datagram
	}{
		{"one", sized(200), []int{1}},
		{"equal", sized(200, 200, 200), []int{3}},
		{"a shorter one ends a run", sized(200, 200, 100, 100, 100), []int{3, 2}},
		{"a longer one begins a run", sized(100, 200, 200), []int{1, 2}},
		{"another TOS", marked, []int{1, 1, 1}},
		{"64 segments at most", many(100, 100), []int{64, 36}},
		{"65000 bytes at most", many(60, 1400), []int{45, 15}}, // 1400 + 34 sealed to 1436
	} {
		a, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
		a.socks[udp4].batches = 0
		ds := a.out(tt.packets...)
		var got []int
		for _, d := range ds {
			got = append(got, len(split(d)))
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
		if n := a.socks[udp4].batches; n != 1 {
			t.Errorf("%s: %d writes", tt.name, n)
		}
		if in := b.in(udp4, from(endAddrs[0][udp4], ds)...); len(in) != len(tt.packets) {
			t.Errorf("%s: %d of %d packets came through", tt.name, len(in), len(tt.packets))
		}
	}
	a, _, _, _ := ends(t, "aes128gcm16", raw4, nil)
	if ds := a.out(many(100, 100)...); len(ds) != 100 || a.socks[raw4].batches != 1 {
		t.Errorf("raw: %d datagrams in %d writes", len(ds), a.socks[raw4].batches)
	}
}

// What a kernel sends by itself into each device is no sign that subnets differ, which vpngw doctor finds in no-policy.
func TestPacketsToNeighboursAreNoPacketsOutsideOfThePolicy(t *testing.T) {
	a := newEnd(t, 0)
	couple(t, a, newEnd(t, 1), suite{Suite: named(t, "aes128gcm16")}, udp4, nil)
	listener := ipPacketOf(netip.MustParseAddr("fe80::1"), netip.MustParseAddr("ff02::16"), protoUDP, make([]byte, 30))
	member := ipPacketOf(host(false, 1, 1), netip.MustParseAddr("224.0.0.22"), protoUDP, make([]byte, 30))
	if ds := a.out(listener, member, listener); len(ds) != 0 {
		t.Error("sent")
	}
	a.dropped(map[string]uint64{"neighbour": 3})
}

func TestPacketsThatNoSACovers(t *testing.T) {
	a := newEnd(t, 0)
	outside := ipPacketOf(host(false, 1, 1), host(false, 9, 1), protoUDP, make([]byte, 30))
	if ds := a.out(udpPacket(false, 1, 2, 100)); len(ds) != 0 {
		t.Error("sent without an SA")
	}
	couple(t, a, newEnd(t, 1), suite{Suite: named(t, "aes128gcm16")}, udp4, nil)
	if ds := a.out(outside, []byte{0x45, 0, 0}, outside); len(ds) != 0 {
		t.Error("sent what no SA covers")
	}
	want := map[string]uint64{"no-sa": 1, "no-policy": 2, "malformed": 1}
	if got := a.tunnel.Counters().Drops; !reflect.DeepEqual(got, want) {
		t.Errorf("tunnel: %v, want %v", got, want)
	}
	if got := a.plane.PlaneCounters().Drops; !reflect.DeepEqual(got, want) {
		t.Errorf("plane: %v, want %v", got, want)
	}
}

func TestTooBigPacketsAreAnsweredIntoTheTUN(t *testing.T) {
	a, _, sa, _ := ends(t, "aes128gcm16", udp4, nil)
	df := udpPacket(false, 1, 2, 1401)
	df[6] = 0x40
	v6 := udpPacket(true, 1, 2, 1401)
	if ds := a.out(df, v6); len(ds) != 0 {
		t.Error("sent")
	}
	answers := a.tun.take()
	if len(answers) != 2 {
		t.Fatalf("%d answers", len(answers))
	}
	if mtu := binary.BigEndian.Uint16(answers[0][26:]); mtu != 1400 || answers[0][20] != unreachable {
		t.Errorf("IPv4: %x", answers[0][:28])
	}
	if mtu := binary.BigEndian.Uint32(answers[1][44:]); mtu != 1400 || answers[1][40] != packetTooBig {
		t.Errorf("IPv6: %x", answers[1][:48])
	}
	if len(a.out(udpPacket(false, 1, 2, 1400), udpPacket(true, 1, 2, 1400))) == 0 {
		t.Error("a packet of exactly the MTU is not sent")
	}
	wantDrops(t, a, sa.SPIIn, map[string]uint64{"too-big": 2})

	flood := make([][]byte, 100)
	for i := range flood {
		flood[i] = df
	}
	start := time.Now()
	a.out(flood...)
	// The burst, and what the rate has let through on a slow machine meanwhile.
	limit := icmpBurst + int(time.Since(start).Seconds()*icmpPerSecond) + 1
	if n := len(a.tun.take()); n > limit {
		t.Errorf("%d answers at once, want at most %d", n, limit)
	}
	outside := ipPacketOf(host(false, 1, 1), host(false, 9, 1), protoUDP, make([]byte, 1400))
	outside[6] = 0x40
	a.out(outside)
	if len(a.tun.take()) != 0 {
		t.Error("a packet that no SA covers is answered")
	}
}

// IPv6 may always send 1280 bytes: there is no answer that would make it send
// less. A packet of that size may be fragmented by the underlay; no other packet may.
func TestIPv6PacketsOf1280AreSentWhateverTheMTU(t *testing.T) {
	a, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
	a.tunnel.SetMTU(1000)
	ds := a.out(udpPacket(true, 1, 2, 1000), udpPacket(true, 1, 2, 1280), udpPacket(true, 1, 2, 1001), udpPacket(true, 1, 2, 900))
	if cut := a.socks[udp4].cut; len(ds) != 4 || cut != 2 {
		t.Errorf("%d of 4 are sent, %d so that they may be cut, want 2", len(ds), cut)
	}
	var sizes []int
	for _, p := range b.in(udp4, from(endAddrs[0][udp4], ds)...) {
		sizes = append(sizes, len(p))
	}
	if want := []int{1000, 1280, 1001, 900}; !slices.Equal(sizes, want) {
		t.Errorf("sizes %v arrive, want %v", sizes, want)
	}
	if ds := a.out(udpPacket(true, 1, 2, 1281)); len(ds) != 0 {
		t.Error("1281 bytes are sent")
	}
	if answer := a.tun.take(); len(answer) != 1 || binary.BigEndian.Uint32(answer[0][44:]) != 1280 {
		t.Errorf("answer %x", answer)
	}
}

func TestBigPacketsThatMayBeFragmentedAre(t *testing.T) {
	a, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
	a.tunnel.SetMTU(600)
	p := udpPacket(false, 1, 2, 1900)
	for i := range p[28:] {
		p[28+i] = byte(i * 7)
	}
	got := b.in(udp4, from(endAddrs[0][udp4], a.out(p))...)
	var payload []byte
	for _, f := range got {
		if len(f) > 600 {
			t.Errorf("a fragment of %d bytes", len(f))
		}
		payload = append(payload, f[20:]...)
	}
	if len(got) != 4 || !bytes.Equal(payload, p[20:]) {
		t.Errorf("%d fragments of %d bytes", len(got), len(payload))
	}
}

// RFC 4301 section 7.3: later fragments must not go over an SA that wants ports.
func TestLaterFragmentsDoNotGoOverAnSAThatWantsPorts(t *testing.T) {
	a, _, sa, _ := ends(t, "aes128gcm16", udp4, func(sa *ipsec.ChildSA) { sa.Remote = sels(t, "10.2.0.0/16 /17/2000") })
	a.tunnel.SetMTU(600)
	if ds := a.out(udpPacket(false, 1, 2, 1400)); len(ds) != 1 || len(split(ds[0])) != 1 {
		t.Errorf("sent %+v", ds)
	}
	if n := a.tunnel.Counters().Drops["no-policy"]; n != 2 {
		t.Errorf("%d later fragments dropped", n)
	}
	if c := a.plane.Counters(sa.SPIIn); c.PacketsOut != 1 {
		t.Errorf("%+v", c)
	}
}

func TestNewSATakesOverAndOldOneStillReceives(t *testing.T) {
	a, b, old, oldB := ends(t, "aes128gcm16", udp4, nil)
	underway := from(endAddrs[0][udp4], a.out(udpPacket(false, 1, 2, 100)))
	sa, sb := couple(t, a, b, suite{Suite: named(t, "aes256gcm16")}, udp4, nil)
	ds := a.out(udpPacket(false, 1, 2, 100))
	if spi := binary.BigEndian.Uint32(ds[0].Data); spi != sa.SPIOut {
		t.Errorf("packets go out with SPI %08x, not the new %08x", spi, sa.SPIOut)
	}
	if len(b.in(udp4, append(underway, from(endAddrs[0][udp4], ds)...)...)) != 2 {
		t.Error("not both are received")
	}
	a.plane.Remove(old.SPIIn)
	b.plane.Remove(oldB.SPIIn)
	if len(b.in(udp4, from(endAddrs[0][udp4], a.out(udpPacket(false, 1, 2, 100)))...)) != 1 {
		t.Error("the new SA does not carry once the old one is gone")
	}
	if c := b.plane.Counters(sb.SPIIn); c.PacketsIn != 2 {
		t.Errorf("new: %+v", c)
	}
	a.plane.Remove(sa.SPIIn)
	if len(a.out(udpPacket(false, 1, 2, 100))) != 0 {
		t.Error("sent with no SA left")
	}
	a.plane.Remove(sa.SPIIn) // again: nothing
}

// An older SA takes the packets of one whose outbound half goes, and what the peer still sends on that one is received.
func TestAnSAWithoutItsOutboundHalfReceives(t *testing.T) {
	for _, proposal := range []string{"aes128gcm16", "aes128-sha256"} {
		a, b, old, _ := ends(t, proposal, udp4, nil)
		sa, _ := couple(t, a, b, suite{Suite: named(t, proposal)}, udp4, nil)
		underway := a.out(udpPacket(false, 1, 2, 100))
		o := a.tunnel.spd.Load().outs[1]
		a.plane.RemoveOut(sa.SPIIn)
		a.plane.RemoveOut(sa.SPIIn) // again: nothing
		if slices.ContainsFunc(slices.Concat(o.sealer.ivKey, o.sealer.nonce[:]), func(b byte) bool { return b != 0 }) {
			t.Errorf("%s: keys remain", proposal)
		}
		ds := a.out(udpPacket(false, 1, 2, 100))
		if len(underway) != 1 || len(ds) != 1 || spiOf(underway[0]) != sa.SPIOut || spiOf(ds[0]) != old.SPIOut {
			t.Fatalf("%s: sent %v, then %v", proposal, underway, ds)
		}
		if len(b.in(udp4, from(endAddrs[0][udp4], append(underway, ds...))...)) != 2 {
			t.Errorf("%s: not both are received", proposal)
		}
		for range 2 {
			ds = b.out(reply())
			if len(ds) != 1 || spiOf(ds[0]) != sa.SPIIn || len(a.in(udp4, from(endAddrs[1][udp4], ds)...)) != 1 {
				t.Errorf("%s: what the peer sends on it is not received", proposal)
			}
		}
		a.plane.Remove(sa.SPIIn)
		if len(a.in(udp4, from(endAddrs[1][udp4], b.out(reply()))...)) != 0 || len(a.out(udpPacket(false, 1, 2, 100))) != 1 {
			t.Errorf("%s: once it is removed, it receives, or the other does not send", proposal)
		}
	}
}

// A reader ends a batch with the snapshot with which it began, although the SA was removed.
func TestRemovedSACanBeUsedToTheEndOfABatch(t *testing.T) {
	a, _, sa, _ := ends(t, "aes128-sha256", udp4, nil)
	snapshot := a.tunnel.spd.Load()
	a.plane.Remove(sa.SPIIn)
	sa.Out.Clear()
	f := lookupFlow()
	o := snapshot.lookup(&f)
	x := a.plane.outboxes.take()
	if why := x.add(o, append(make([]byte, 0, 200), udpPacket(false, 1, 2, 100)...), 0); why != carried {
		t.Error(why)
	}
	x.flush()
}

// The packets of a tunnel that may be fragmented go so, and no others.
func TestATunnelMaySendCut(t *testing.T) {
	a, _, _, _ := ends(t, "aes128gcm16", udp4, nil)
	p := udpPacket(false, 1, 2, 100)
	for want, cut := range []bool{false, true, false} {
		a.tunnel.SetCut(cut)
		a.out(p)
		if got := a.socks[udp4].cut; got != (want+1)/2 {
			t.Errorf("after cut=%v: %d sent so", cut, got)
		}
	}
}

func TestSequenceNumbersNeverWrap(t *testing.T) {
	for _, tt := range []struct {
		proposal string
		last     uint64
	}{{"aes128gcm16", math.MaxUint32}, {"aes128gcm16-esn", math.MaxUint64}} {
		a, b, sa, sb := ends(t, tt.proposal, udp4, nil)
		o := a.tunnel.spd.Load().outs[0]
		o.seq = tt.last - 2
		b.plane.sad.lookup(sb.SPIIn).window.top = tt.last - 2
		p := udpPacket(false, 1, 2, 100)
		got := b.in(udp4, from(endAddrs[0][udp4], a.out(p, p, p, p))...)
		if len(got) != 2 || o.seq != tt.last {
			t.Errorf("%s: %d carried, sequence number %d", tt.proposal, len(got), o.seq)
		}
		wantDrops(t, a, sa.SPIIn, map[string]uint64{"sequence": 2})
		if got := a.told(); !reflect.DeepEqual(got, []Event{Expired{sa.SPIIn, ipsec.LimitSequence}}) {
			t.Errorf("told %+v", got)
		}
	}
}

func TestSequenceNumbersAreToldToEndLongBefore(t *testing.T) {
	a, _, sa, _ := ends(t, "aes128gcm16", udp4, nil)
	o := a.tunnel.spd.Load().outs[0]
	o.seq = math.MaxUint32 - 1<<28 - 2
	p := udpPacket(false, 1, 2, 100)
	a.out(p)
	if got := a.told(); len(got) != 0 {
		t.Errorf("told %+v", got)
	}
	a.deaf = true
	a.out(p)
	a.deaf = false
	a.out(p, p)
	if got := a.told(); !reflect.DeepEqual(got, []Event{Expired{sa.SPIIn, ipsec.LimitSequence}}) {
		t.Errorf("told %+v", got)
	}
}

// Each direction counts alone: at 80 to 90 % it is told, at 100 % it ends.
func TestLifetimes(t *testing.T) {
	for _, tt := range []struct {
		limit    ipsec.Limit
		lifetime ipsec.Lifetime
	}{
		{ipsec.LimitPackets, ipsec.Lifetime{Packets: 100}},
		{ipsec.LimitBytes, ipsec.Lifetime{Bytes: 100 * 100}},
	} {
		a, b, sa, sb := ends(t, "aes128gcm16", udp4, func(sa *ipsec.ChildSA) { sa.Lifetime = tt.lifetime })
		carried, toldOut, toldIn := 0, 0, 0
		for n := 1; n <= 110; n++ {
			ds := a.out(udpPacket(false, 1, 2, 100))
			if len(a.told()) > 0 {
				toldOut = n
			}
			carried += len(b.in(udp4, from(endAddrs[0][udp4], ds)...))
			for _, ev := range b.told() {
				if ev == (Expired{sb.SPIIn, tt.limit}) {
					toldIn = n
				}
			}
		}
		if carried != 100 || toldOut < 80 || toldOut > 91 || toldIn < 80 || toldIn > 91 {
			t.Errorf("%s: %d carried, told out at %d, in at %d", tt.limit, carried, toldOut, toldIn)
		}
		wantDrops(t, a, sa.SPIIn, map[string]uint64{"lifetime": 10})

		// A peer who goes on is not heard.
		o := a.tunnel.spd.Load().outs[0]
		o.quota = quota{softBytes: math.MaxUint64, softPackets: math.MaxUint64, hardBytes: math.MaxUint64, hardPackets: math.MaxUint64}
		if got := b.in(udp4, from(endAddrs[0][udp4], a.out(udpPacket(false, 1, 2, 100)))...); len(got) != 0 {
			t.Errorf("%s: carried beyond the inbound limit", tt.limit)
		}
		wantDrops(t, b, sb.SPIIn, map[string]uint64{"lifetime": 1})
	}
}

func TestSoftLimitsAreDrawnBetween80And90Percent(t *testing.T) {
	low, high := uint64(math.MaxUint64), uint64(0)
	for i := range 256 {
		q, err := newQuota(ipsec.Lifetime{Bytes: 1000000}, bytes.NewReader([]byte{byte(i), 0xff}))
		if err != nil {
			t.Fatal(err)
		}
		low, high = min(low, q.softBytes), max(high, q.softBytes)
	}
	if low < 800000 || low > 801000 || high > 900000 || high < 899000 {
		t.Errorf("drawn between %d and %d", low, high)
	}
}

func TestARefusedDatagramDoesNotHoldUpTheRest(t *testing.T) {
	for _, tt := range []struct {
		err  error
		drop string
		told []Event
	}{
		{errors.New("network is down"), "send", nil},
		{narrow{}, "send", nil},
		{
			fmt.Errorf("send: %w", narrow{netip.MustParseAddrPort("192.0.2.2:4500")}), "underlay-too-big",
			[]Event{PathMTU{Remote: netip.MustParseAddr("192.0.2.2")}},
		},
	} {
		a, _, sa, _ := ends(t, "aes128gcm16", udp4, nil)
		n := 0
		a.socks[udp4].refuse = func(ipsec.Datagram) error {
			if n++; n == 2 {
				return tt.err
			}
			return nil
		}
		var packets [][]byte
		for i := range 5 {
			packets = append(packets, udpPacket(false, 1, 2, 200+10*i), udpPacket(false, 1, 2, 200+10*i)) // five runs of two
		}
		if ds := a.out(packets...); len(ds) != 4 {
			t.Errorf("%v: %d datagrams went out, want 4", tt.err, len(ds))
		}
		wantDrops(t, a, sa.SPIIn, map[string]uint64{tt.drop: 1})
		if got := a.told(); !reflect.DeepEqual(got, tt.told) {
			t.Errorf("%v: told %+v", tt.err, got)
		}
	}
}

func TestAPathWithoutASocketIsCounted(t *testing.T) {
	a, _, sa, _ := ends(t, "aes128gcm16", udp4, nil)
	a.plane.sockets[udp6] = nil
	path := sa.Path
	path.Remote = netip.MustParseAddrPort("[2001:db8::2]:4500")
	a.plane.Move(sa.SPIIn, path)
	if ds := a.out(udpPacket(false, 1, 2, 100)); len(ds) != 0 {
		t.Error("sent")
	}
	wantDrops(t, a, sa.SPIIn, map[string]uint64{"no-socket": 1})
}

func TestMoveToAnotherTransportSwitchesSockets(t *testing.T) {
	a, _, sa, _ := ends(t, "aes128gcm16", udp4, nil)
	p := udpPacket(false, 1, 2, 100)
	path := ipsec.Path{Remote: netip.MustParseAddrPort("192.0.2.2:0")}
	a.out(p)
	a.plane.Move(sa.SPIIn, path)
	if ds := a.out(p); len(ds) != 1 || ds[0].Remote != path.Remote {
		t.Errorf("sent %+v", ds)
	}
}

// AES-GCM must not use a nonce twice, whatever mistake the code above it makes.
func TestANumberThatWasUsedSealsNothing(t *testing.T) {
	a, _, sa, _ := ends(t, "aes128gcm16", udp4, nil)
	p := udpPacket(false, 1, 2, 100)
	if n := len(a.out(p, p, p)); n == 0 {
		t.Fatal("nothing is sent")
	}
	a.tunnel.spd.Load().outs[0].seq = 1
	if ds := a.out(p, p); len(ds) > 0 {
		t.Errorf("numbers 2 and 3 are used again: %d datagrams", len(ds))
	}
	wantDrops(t, a, sa.SPIIn, map[string]uint64{"sequence": 2})
	if ds := a.out(p); len(ds) != 1 || sequence(ds[0].Data) != 4 {
		t.Errorf("number 4: %d datagrams", len(ds))
	}
}
