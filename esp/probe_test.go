package esp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vpngw/ipsec"
)

// icmpEcho is an echo message of a family with the data given, from src to dst.
func icmpEcho(kind echoKind, src, dst netip.Addr, id, seq uint16, data []byte) []byte {
	icmp := append(make([]byte, icmpHeader), data...)
	binary.BigEndian.PutUint16(icmp[4:], id)
	binary.BigEndian.PutUint16(icmp[6:], seq)
	protocol, header := uint8(protoICMP), ipv4Header
	if src.Is6() {
		protocol, header = protoICMPv6, ipv6Header
	}
	b := ipPacketOf(src, dst, protocol, icmp)
	finishEcho(b, header, kind)
	return b
}

// probeOf is probe seq from host 1 behind us to host 2 behind the peer.
func probeOf(v6 bool, seq uint16) Echo {
	return Echo{Source: host(v6, 1, 1), Target: host(v6, 2, 2), ID: 0x1234, Seq: seq}
}

// answered is what an end tells of answered probes.
func (e *end) answered() (seqs []uint16) {
	for _, ev := range e.told() {
		if a, ok := ev.(Answered); ok {
			if a.Tunnel != "t" || a.Via != "t" || a.ID != 0x1234 {
				e.t.Errorf("answered: %+v", a)
			}
			seqs = append(seqs, a.Seq)
		}
	}
	return seqs
}

// ask has a send a probe and returns its datagrams as they come to the peer.
func (e *end) ask(k transport, p Echo) []ipsec.Datagram {
	e.t.Helper()
	if err := e.tunnel.Probe(p); err != nil {
		e.t.Fatal(err)
	}
	return from(endAddrs[0][k], e.socks[k].take())
}

func TestAProbeIsAnsweredByThePeersDataPlane(t *testing.T) {
	for k := range numTransports {
		for _, v6 := range []bool{false, true} {
			for _, frames := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d/v6=%v/frames=%v", k, v6, frames), func(t *testing.T) {
					a, b := newEnd(t, 0), newEnd(t, 1)
					var da, db *fakeFrames
					if frames {
						da, db = a.useFramer(), b.useFramer()
					}
					sa, sb := couple(t, a, b, suite{Suite: named(t, "aes256-sha256")}, k, nil)
					b.tunnel.Answer([]netip.Addr{netip.MustParseAddr("169.254.3.1"), probeOf(v6, 0).Target})
					for seq := uint16(65530); seq != 5; seq++ {
						asked := b.in(k, a.ask(k, probeOf(v6, seq))...)
						reply := b.socks[k].take()
						got := a.in(k, from(endAddrs[1][k], reply)...)
						if len(asked)+len(got) > 0 || frames && len(da.written)+len(db.written) > 0 {
							t.Fatalf("probe %d: a TUN gets the probe or the answer", seq)
						}
						if told := a.answered(); !slices.Equal(told, []uint16{seq}) {
							t.Fatalf("probe %d: told of %d", seq, told)
						}
						a.in(k, from(endAddrs[1][k], reply)...) // a replay
						if told := a.answered(); told != nil {
							t.Fatalf("probe %d: told again", seq)
						}
					}
					if told := b.answered(); told != nil {
						t.Errorf("the end that answers is told of %d", told)
					}
					for _, c := range []Counters{a.plane.Counters(sa.SPIIn), b.plane.Counters(sb.SPIIn)} {
						if delete(c.Drops, "replay"); c.PacketsIn != 11 || c.PacketsOut != 11 || len(c.Drops) > 0 {
							t.Errorf("counted %+v", c)
						}
					}
				})
			}
		}
	}
}

// A packet that is taken out leaves the super-packet that grows around it as it is.
func TestProbesAmongASuperPacketsSegments(t *testing.T) {
	a, b := newEnd(t, 0), newEnd(t, 1)
	d := b.useFramer()
	couple(t, a, b, suite{Suite: named(t, "aes128gcm16")}, udp4, nil)
	b.tunnel.Answer([]netip.Addr{host(false, 2, 2)})
	segments := plainSegments(tcpFrame(5 * 1300))
	var ds []ipsec.Datagram
	for i, s := range segments {
		ds = append(ds, from(endAddrs[0][udp4], a.out(s))...)
		ds = append(ds, a.ask(udp4, probeOf(false, uint16(i)))...)
	}
	b.in(udp4, ds...)
	if len(d.written) != 1 {
		t.Fatalf("the TUN gets %d frames, want 1", len(d.written))
	}
	same(t, plainSegments(d.written[0]), segments)
	if n := len(a.in(udp4, from(endAddrs[1][udp4], b.socks[udp4].take())...)); n > 0 || len(a.answered()) != 5 {
		t.Errorf("of the answers, %d came to the TUN", n)
	}
}

func TestOnlyPlainProbesOfOursAreTaken(t *testing.T) {
	a4, b4 := host(false, 1, 1), host(false, 2, 2)
	a6, b6 := host(true, 1, 1), host(true, 2, 2)
	data := make([]byte, echoData)
	plain := func(kind echoKind, v6 bool) []byte {
		if v6 {
			return icmpEcho(kind, a6, b6, 7, 8, data)
		}
		return icmpEcho(kind, a4, b4, 7, 8, data)
	}
	with := func(b []byte, f func(b []byte)) []byte {
		f(b)
		if b[0]>>4 == 4 {
			b[10], b[11] = 0, 0
			binary.BigEndian.PutUint16(b[10:], checksum(0, b[:int(b[0]&15)*4]))
		}
		return b
	}
	options := append(append([]byte{0x46, 0, 0, 24}, icmpEcho(echoRequest, a4, b4, 7, 8, nil)[4:20]...), 0, 0, 0, 0)
	binary.BigEndian.PutUint16(options[2:], 32)
	options = with(append(options, icmpEcho(echoRequest, a4, b4, 7, 8, nil)[20:]...), func([]byte) {})
	extended := icmpEcho(echoRequest, a6, b6, 7, 8, data)[ipv6Header:]
	extended = ipPacketOf(a6, b6, protoDestOpts, append([]byte{protoICMPv6, 0, 1, 4, 0, 0, 0, 0}, extended...))
	for name, p := range map[string][]byte{
		"to another address":      icmpEcho(echoRequest, a4, host(false, 2, 3), 7, 8, data),
		"to another IPv6 address": icmpEcho(echoRequest, a6, host(true, 2, 3), 7, 8, data),
		"a first fragment":        with(plain(echoRequest, false), func(b []byte) { b[6] = 0x20 }),
		"a later fragment":        with(plain(echoRequest, false), func(b []byte) { b[7] = 9 }),
		"IPv4 options":            options,
		"an IPv6 extension":       extended,
		"another code":            with(plain(echoRequest, false), func(b []byte) { b[21], b[23] = 1, b[23]-1 }),
		"an ICMPv4 checksum":      with(plain(echoRequest, false), func(b []byte) { b[30] ^= 1 }),
		"an ICMPv6 checksum":      with(plain(echoRequest, true), func(b []byte) { b[50] ^= 1 }),
		"an IPv4 checksum":        append(plain(echoRequest, false)[:10:10], append([]byte{1, 2}, plain(echoRequest, false)[12:]...)...),
		"an error":                ipPacketOf(a4, b4, protoICMP, []byte{3, 1, 0xfc, 0xfe, 0, 0, 0, 0}),
		"ICMP cut short":          ipPacketOf(a4, b4, protoICMP, []byte{8, 0, 0xf7, 0xff}),
		"ICMPv4 in IPv6":          ipPacketOf(a6, b6, protoICMP, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}),
		"ICMPv6 in IPv4":          ipPacketOf(a4, b4, protoICMPv6, []byte{128, 0, 0x7f, 0xff, 0, 0, 0, 0}),
		"a large one":             icmpEcho(echoRequest, a4, b4, 7, 8, make([]byte, maxEcho-ipv4Header-icmpHeader+1)),
		"somebody's answer":       plain(echoReply, false),
		"somebody's answer, IPv6": plain(echoReply, true),
		"not ICMP":                udpPacket(false, 1, 2, 100),
	} {
		for _, frames := range []bool{false, true} {
			a, b := newEnd(t, 0), newEnd(t, 1)
			if frames {
				b.useFramer()
			}
			couple(t, a, b, suite{Suite: named(t, "aes128gcm16")}, udp4, nil)
			b.tunnel.Answer([]netip.Addr{b4, b6})
			b.ask(udp4, Echo{Source: b4, Target: a4, ID: 7, Seq: 8}) // so b waits for an answer, too
			got := b.in(udp4, from(endAddrs[0][udp4], a.out(p))...)
			if frames {
				for _, f := range b.tunnel.Frames.(*fakeFrames).written {
					got = append(got, f[vnetHeader:])
				}
			}
			if len(got) != 1 || !bytes.Equal(got[0], p) {
				t.Errorf("%s: %x reaches the TUN, want %x", name, got, p)
			}
			if n := len(b.socks[udp4].take()); n > 0 || b.answered() != nil {
				t.Errorf("%s is taken", name)
			}
		}
	}
	for _, v6 := range []bool{false, true} { // so the packets above differ from one that is taken in what their names say
		a, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
		b.tunnel.Answer([]netip.Addr{b4, b6})
		if got := b.in(udp4, from(endAddrs[0][udp4], a.out(plain(echoRequest, v6)))...); len(got) > 0 || len(b.socks[udp4].take()) != 1 {
			t.Error("the plain one is not taken")
		}
	}
}

// A probe's answer is taken only if host, identifier and data are those of the probe.
func TestAnswersOfOthersAreNotTaken(t *testing.T) {
	for name, change := range map[string]func(f *flow, b []byte) []byte{
		"another host's":   func(_ *flow, b []byte) []byte { b[15]++; return b },
		"to another":       func(_ *flow, b []byte) []byte { b[19]++; return b },
		"another id":       func(f *flow, b []byte) []byte { b[f.transport+5]++; return b },
		"another plane's":  func(f *flow, b []byte) []byte { b[f.transport+icmpHeader+3]++; return b },
		"another tunnel's": func(f *flow, b []byte) []byte { b[f.transport+icmpHeader+11]++; return b },
		"shorter data": func(f *flow, b []byte) []byte {
			b = b[:f.transport+icmpHeader+len(cookie{})-1]
			binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
			return b
		},
	} {
		a, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
		probe := b.in(udp4, a.ask(udp4, probeOf(false, 1))...)
		var f flow
		f.parse(probe[0])
		reply := change(&f, f.reply(probe[0]))
		finishEcho(reply, ipv4Header, echoReply)
		got := a.in(udp4, from(endAddrs[1][udp4], b.out(reply))...)
		if len(got) != 1 || !bytes.Equal(got[0], reply) || a.answered() != nil {
			t.Errorf("%s: %d reach the TUN", name, len(got))
		}
	}
}

func TestALateAnswerIsToldAmongTheLast64(t *testing.T) {
	a, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
	b.tunnel.Answer([]netip.Addr{probeOf(false, 0).Target})
	var late []ipsec.Datagram
	for seq := range uint16(70) {
		b.now = b.now.Add(time.Second)
		b.in(udp4, a.ask(udp4, probeOf(false, seq))...)
		late = append(late, from(endAddrs[1][udp4], b.socks[udp4].take())...)
	}
	slices.Reverse(late)
	a.in(udp4, late...)
	if told := a.answered(); len(told) != 64 || told[0] != 69 || told[63] != 6 {
		t.Errorf("told of %d", told)
	}
}

func TestAProbeThatNoSATakes(t *testing.T) {
	if err := newEnd(t, 0).tunnel.Probe(probeOf(false, 1)); err == nil || !strings.Contains(err.Error(), `tunnel "t" has no SA`) {
		t.Error(err)
	}
	e, _, _, _ := ends(t, "aes128gcm16", udp4, nil)
	for want, p := range map[string]Echo{
		"two addresses": {Source: host(false, 1, 1), Target: host(true, 2, 2)},
		"single hosts":  {Source: host(false, 1, 1), Target: netip.MustParseAddr("224.0.0.1")},
		"addresses":     {},
	} {
		if err := e.tunnel.Probe(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
	a, _, _, _ := ends(t, "aes128gcm16", udp4, nil)
	p := probeOf(false, 1)
	p.Target = host(false, 3, 1)
	err := a.tunnel.Probe(p)
	if want := "covers a ping from 10.1.0.1 to 10.3.0.1"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	if n := len(a.socks[udp4].take()); n > 0 || len(a.tunnel.Counters().Drops) > 0 {
		t.Error("something was sent or dropped")
	}
}

func TestAProbeWaitsForAHeldSA(t *testing.T) {
	a, b, sa, _ := ends(t, "aes128gcm16", udp4, nil)
	b.tunnel.Answer([]netip.Addr{probeOf(false, 0).Target})
	a.plane.Hold(sa.SPIIn)
	if n := len(a.ask(udp4, probeOf(false, 1))); n > 0 {
		t.Fatal("it does not wait")
	}
	a.plane.Resume(sa.SPIIn)
	b.in(udp4, from(endAddrs[0][udp4], a.socks[udp4].take())...)
	a.in(udp4, from(endAddrs[1][udp4], b.socks[udp4].take())...)
	if told := a.answered(); len(told) != 1 {
		t.Errorf("told of %d", told)
	}
}

// An answer takes an SA that covers it, or the request is a packet like any other.
func TestARequestWhoseAnswerNoSACovers(t *testing.T) {
	a, b, _, _ := ends(t, "aes128gcm16", udp4, func(c *ipsec.ChildSA) { // requests one way
		for i := range c.Local {
			c.Local[i].Protocol = protoICMP
			c.Remote[i].Protocol = protoICMP
			c.Local[i].StartPort, c.Local[i].EndPort = 8<<8, 8<<8
			c.Remote[i].StartPort, c.Remote[i].EndPort = 8<<8, 8<<8
		}
	})
	b.tunnel.Answer([]netip.Addr{probeOf(false, 0).Target})
	if got := b.in(udp4, a.ask(udp4, probeOf(false, 1))...); len(got) != 1 || len(b.tunnel.Counters().Drops) > 0 {
		t.Errorf("%d reach the TUN; drops %v", len(got), b.tunnel.Counters().Drops)
	}
}

func TestAFloodOfProbesCostsFewAnswers(t *testing.T) {
	a, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
	b.tunnel.Answer([]netip.Addr{probeOf(false, 0).Target})
	for second := range 3 {
		answers, passed := 0, 0
		for range 1000 {
			passed += len(b.in(udp4, a.ask(udp4, probeOf(false, 1))...))
			for _, d := range b.socks[udp4].take() {
				answers += len(split(d))
			}
		}
		if answers != answersBurst || passed != 1000-answersBurst {
			t.Errorf("second %d: %d answers, %d at the TUN", second, answers, passed)
		}
		b.now = b.now.Add(time.Second)
	}
}

// The receiver goes on while somebody else seals, and his release sends the answer.
func TestTheReceiverDoesNotWaitToAnswer(t *testing.T) {
	a, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
	b.tunnel.Answer([]netip.Addr{probeOf(false, 0).Target})
	var ds []ipsec.Datagram
	for seq := range uint16(2 * maxAnswers) {
		ds = append(ds, a.ask(udp4, probeOf(false, seq))...)
	}
	b.reader.begin()
	passed := 0
	for i, d := range ds {
		if i == maxAnswers {
			b.now = b.now.Add(time.Minute) // so the rate allows more
		}
		passed += len(b.in(udp4, d))
	}
	if n := len(b.socks[udp4].take()); n > 0 || passed != maxAnswers {
		t.Errorf("%d answers while another sends; %d at the TUN", n, passed)
	}
	b.reader.end()
	a.in(udp4, from(endAddrs[1][udp4], b.socks[udp4].take())...)
	if n := len(a.answered()); n != maxAnswers {
		t.Errorf("%d answers after that, want %d", n, maxAnswers)
	}
}

// Probes, answers, packets and holds at once: no two packets have one number, and no answer stays in the queue.
func TestOneGoroutineAtATimeSealsProbesToo(t *testing.T) {
	a, b, _, sb := ends(t, "aes128gcm16", udp4, nil)
	b.tunnel.Answer([]netip.Addr{probeOf(false, 0).Target})
	const batches = 300
	requests := make([]ipsec.Datagram, batches)
	for i := range requests {
		requests[i] = a.ask(udp4, probeOf(false, uint16(i)))[0]
	}
	b.reader.makeRoom()
	p := udpPacket(false, 1, 2, 200)
	copy(p[12:20], append(host(false, 2, 1).AsSlice(), host(false, 1, 1).AsSlice()...))
	for i := range 8 {
		b.reader.sizes[i] = copy(b.reader.bufs[i][headroom:], p)
	}
	var done atomic.Bool
	var others sync.WaitGroup
	others.Go(func() {
		for !done.Load() {
			b.plane.Hold(sb.SPIIn)
			b.plane.Resume(sb.SPIIn)
		}
	})
	probes := 0
	others.Go(func() {
		for ; !done.Load(); probes++ {
			if err := b.tunnel.Probe(Echo{Source: host(false, 2, 2), Target: host(false, 1, 1), ID: 1, Seq: uint16(probes)}); err != nil {
				t.Error(err)
			}
		}
	})
	passed := 0 // the queue was full
	others.Go(func() {
		for i := range requests {
			b.now = b.now.Add(time.Second)
			passed += len(b.in(udp4, requests[i]))
		}
		done.Store(true)
	})
	sent := 0
	for ; !done.Load(); sent++ {
		b.reader.batch(8)
	}
	others.Wait()
	b.plane.Resume(sb.SPIIn)
	seen := map[uint32]bool{}
	for _, d := range b.socks[udp4].take() {
		for _, d := range split(d) {
			if n := sequence(d.Data); seen[n] {
				t.Fatalf("two packets have sequence number %d", n)
			} else {
				seen[n] = true
			}
		}
	}
	if want := 8*sent + probes + batches - passed; len(seen) != want {
		t.Errorf("%d packets went out, want %d", len(seen), want)
	}
}

// A packet that is not for us costs no allocation, whatever ICMP message it is.
func TestPassingPingsAllocateNothing(t *testing.T) {
	_, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
	b.tunnel.Answer([]netip.Addr{host(false, 2, 2)})
	b.ask(udp4, Echo{Source: host(false, 2, 2), Target: host(false, 1, 1), ID: 7})
	r := b.receiver
	in := b.tunnel.spd.Load().outs[0].pair.in
	for name, p := range map[string][]byte{
		"request": icmpEcho(echoRequest, host(false, 1, 1), host(false, 2, 3), 7, 8, make([]byte, 56)),
		"reply":   icmpEcho(echoReply, host(false, 1, 1), host(false, 2, 2), 7, 8, make([]byte, 56)),
	} {
		r.flow.parse(p)
		if n := testing.AllocsPerRun(100, func() {
			if r.echo(in, p) {
				t.Fatal("taken")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// FuzzEcho gives the parser packets of a host behind the peer. What passes for a request has a reply that passes for
// one, with its addresses swapped and its data as they were.
func FuzzEcho(f *testing.F) {
	f.Add(icmpEcho(echoRequest, host(false, 1, 1), host(false, 2, 2), 7, 8, []byte("data")))
	f.Add(icmpEcho(echoReply, host(true, 1, 1), host(true, 2, 2), 7, 8, []byte("odd")))
	f.Add(ipPacket(false, 1, 2, protoICMP, []byte{8, 0, 0xf7, 0xff}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var q flow
		if !q.parse(b) {
			return
		}
		b = b[:q.length]
		was := bytes.Clone(b)
		if q.echo(b) != echoRequest {
			return
		}
		reply := q.reply(b)
		var a flow
		if !a.parse(reply) || a.length != len(reply) || a.echo(reply) != echoReply {
			t.Fatalf("the reply to %x is %x", b, reply)
		}
		if a.src != q.dst || a.dst != q.src || !bytes.Equal(reply[a.transport+4:], b[q.transport+4:]) || !bytes.Equal(b, was) {
			t.Errorf("the reply to %x is %x", was, reply)
		}
	})
}

// A peer that has two tunnels to us may answer a probe of one through the other: the Event says so. A tunnel that was removed
// leaves nothing behind, and its late answer is a packet like any other.
func TestAnAnswerThroughAnotherTunnel(t *testing.T) {
	a, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
	a.plane.AddTunnel(TunnelConfig{Name: "u", Device: a.tun, MTU: 1400})
	b.plane.AddTunnel(TunnelConfig{Name: "u", Device: b.tun, MTU: 1400})
	couple(t, a, b, suite{Suite: named(t, "aes128gcm16")}, udp4, func(c *ipsec.ChildSA) { c.Tunnel = "u" })
	sibling := newReader(b.plane.tunnels["u"], new(scratch))
	var f flow
	answer := func(seq uint16) [][]byte {
		t.Helper()
		probe := b.in(udp4, a.ask(udp4, probeOf(false, seq))...)
		if len(probe) != 1 || !f.parse(probe[0]) {
			t.Fatalf("probe %d is %x", seq, probe)
		}
		sibling.begin()
		sibling.packet(f.reply(probe[0]))
		sibling.end()
		return a.in(udp4, from(endAddrs[1][udp4], b.socks[udp4].take())...)
	}
	a.told()
	if got := answer(3); len(got) > 0 {
		t.Error("the TUN gets the answer")
	}
	if told := a.told(); !slices.Contains(told, Event(Answered{"t", "u", 0x1234, 3})) {
		t.Errorf("told %v", told)
	}
	probe := b.in(udp4, a.ask(udp4, probeOf(false, 4))...)
	f.parse(probe[0])
	a.plane.RemoveTunnel("t")
	sibling.begin()
	sibling.packet(f.reply(probe[0]))
	sibling.end()
	if got := a.in(udp4, from(endAddrs[1][udp4], b.socks[udp4].take())...); len(got) != 1 || a.answered() != nil {
		t.Errorf("of a tunnel that was removed: %d reach the TUN", len(got))
	}
	if err := a.tunnel.Probe(probeOf(false, 5)); err == nil || len(a.plane.probes.byCookie) > 0 {
		t.Errorf("a tunnel that was removed asks: %v, and leaves %d probes", err, len(a.plane.probes.byCookie))
	}
}
