package esp

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vpngw/ipsec"
)

// keeper is an end whose tunnel has a policy and no SA.
func keeper(t *testing.T) *end {
	t.Helper()
	a := newEnd(t, 0)
	if err := a.tunnel.Keep(Policy{sels(t, "10.1.0.0/16", "fd01::/16"), sels(t, "10.2.0.0/16", "fd02::/16")}); err != nil {
		t.Fatal(err)
	}
	return a
}

// dropped compares what a tunnel has dropped.
func (e *end) dropped(want map[string]uint64) {
	e.t.Helper()
	if got := e.tunnel.Counters().Drops; !reflect.DeepEqual(got, want) {
		e.t.Errorf("dropped %v, want %v", got, want)
	}
}

// settled couples a with b, and lets time pass until what has waited at a goes out.
func settled(t *testing.T, a, b *end, k transport, f func(*ipsec.ChildSA)) (sa, sb *ipsec.ChildSA) {
	t.Helper()
	sa, sb = couple(t, a, b, suite{Suite: named(t, "aes128gcm16")}, k, f)
	a.plane.ExpireKept(time.Now().Add(settleTime))
	return sa, sb
}

func TestPacketsWaitForAnSA(t *testing.T) {
	for _, k := range []transport{udp4, raw4} {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d v6=%v", k, v6), func(t *testing.T) {
				a, b := keeper(t), newEnd(t, 1)
				var kept [][]byte
				for n := range uint32(5) {
					kept = append(kept, numbered(v6, 1, n+1, 200+int(n)))
				}
				if ds := append(a.out(kept[:3]...), a.out(kept[3:]...)...); len(ds) != 0 {
					t.Fatalf("%d datagrams without an SA", len(ds))
				}
				want := Acquire{"t", netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.2.0.1")}
				if v6 {
					want.Source, want.Target = netip.MustParseAddr("fd01::1"), netip.MustParseAddr("fd02::1")
				}
				if got := a.told(); !reflect.DeepEqual(got, []Event{want}) {
					t.Errorf("told %v, want %v once", got, want)
				}
				a.dropped(map[string]uint64{})
				sa, _ := settled(t, a, b, k, nil)
				next := numbered(v6, 1, 6, 200)
				ds := append(a.socks[k].take(), a.out(next)...)
				same(t, b.in(k, from(endAddrs[0][k], ds)...), append(kept, next))
				if got := a.plane.Counters(sa.SPIIn).PacketsOut; got != 6 {
					t.Errorf("the SA counts %d packets", got)
				}
				a.dropped(map[string]uint64{})
				if a.plane.keeping.bytes != 0 || a.tunnel.waiting.bytes != 0 {
					t.Errorf("%d bytes are left in the tunnel, %d in all", a.tunnel.waiting.bytes, a.plane.keeping.bytes)
				}
			})
		}
	}
}

// A super-packet waits as the packets that it is cut into.
func TestSuperPacketsWaitForAnSA(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 100 {
		a, b := keeper(t), newEnd(t, 1)
		d := a.useFramer()
		if err := a.tunnel.Keep(Policy{sels(t, "0.0.0.0/0", "::/0"), sels(t, "0.0.0.0/0", "::/0")}); err != nil {
			t.Fatal(err)
		}
		var want [][]byte
		for size := 0; len(d.frames) < 3; {
			f := randomFrame(r, 1<<r.IntN(16))
			cut := plainSegments(f)
			if size += len(f) + len(cut)*(maxTrailer+60); size > maxKeptBytes || len(want)+len(cut) > maxKept {
				break
			}
			d.frames, want = append(d.frames, f), append(want, cut...)
		}
		if ds := a.outFrames(); len(ds) != 0 {
			t.Fatalf("%d datagrams without an SA", len(ds))
		}
		settled(t, a, b, udp4, nil)
		same(t, b.in(udp4, from(endAddrs[0][udp4], a.socks[udp4].take())...), want)
		if t.Failed() {
			return
		}
	}
}

func TestWhatDoesNotWait(t *testing.T) {
	a := keeper(t)
	if err := a.tunnel.Keep(Policy{sels(t, "0.0.0.0/0", "::/0"), sels(t, "10.2.0.0/16", "224.0.0.0/3", "fe80::/10", "ff00::/8")}); err != nil {
		t.Fatal(err)
	}
	to := func(v6 bool, dst string) []byte {
		b := udpPacket(v6, 1, 1, 100)
		a := netip.MustParseAddr(dst)
		copy(b[map[bool]int{false: 16, true: 24}[v6]:], a.AsSlice())
		return b
	}
	a.out(to(false, "10.3.0.1"), to(false, "224.0.0.22"), to(false, "255.255.255.255"), to(true, "fe80::1"), to(true, "ff02::16"), to(true, "fd02::1"))
	a.dropped(map[string]uint64{"no-sa": 6})
	if got := a.told(); len(got) != 0 {
		t.Errorf("told %v", got)
	}
	a.out(to(false, "10.2.0.1"))
	if got := a.told(); len(got) != 1 {
		t.Errorf("told %v", got)
	}
	a.dropped(map[string]uint64{"no-sa": 6})
}

func TestNoMoreWaitThanThereIsRoom(t *testing.T) {
	a := keeper(t)
	for n := range uint32(maxKept + 7) {
		a.out(numbered(false, 1, n, 100))
	}
	a.dropped(map[string]uint64{"no-sa": 7})

	a = keeper(t)
	a.tunnel.SetMTU(9000)
	for n := range uint32(maxKept) {
		a.out(numbered(false, 1, n, 9000))
	}
	if n := len(a.tunnel.waiting.packets); n != maxKeptBytes/(9000+maxTrailer) {
		t.Errorf("%d packets of 9000 bytes wait", n)
	}

	// All tunnels together.
	a = keeper(t)
	b := numbered(false, 1, 1, 9000)
	now, room := time.Now(), 0
	for range 100 {
		r := newReader(a.plane.AddTunnel(TunnelConfig{Name: fmt.Sprint(room), Device: a.tun, MTU: 9000}), new(scratch))
		for r.keep(b, now) {
			room += len(b) + maxTrailer
		}
	}
	if room > maxKeptAll || room < maxKeptAll-len(b)-maxTrailer {
		t.Errorf("%d bytes wait in all, and %d may", room, maxKeptAll)
	}
	if next := a.plane.ExpireKept(now.Add(keptFor)); !next.IsZero() || a.plane.keeping.bytes != 0 {
		t.Errorf("%d bytes are left; next %v", a.plane.keeping.bytes, next)
	}
	if !newReader(a.plane.AddTunnel(TunnelConfig{Name: "new", Device: a.tun, MTU: 9000}), new(scratch)).keep(b, now) {
		t.Error("there is no room after all have expired")
	}
}

func TestAPacketWaitsForTenSeconds(t *testing.T) {
	a := keeper(t)
	start := time.Now()
	if next := a.plane.ExpireKept(start); !next.IsZero() {
		t.Errorf("something waits until %v", next)
	}
	for n := range uint32(2) {
		b := numbered(false, 1, n, 100)
		if a.reader.flow.parse(b); !a.reader.keep(b, start.Add(time.Duration(n)*4*time.Second)) {
			t.Fatal("no room")
		}
	}
	if next := a.plane.ExpireKept(start.Add(9 * time.Second)); !next.Equal(start.Add(keptFor)) {
		t.Errorf("next after %v", next.Sub(start))
	}
	a.dropped(map[string]uint64{})
	if next := a.plane.ExpireKept(start.Add(keptFor)); !next.Equal(start.Add(4*time.Second + keptFor)) {
		t.Errorf("next after %v", next.Sub(start))
	}
	a.dropped(map[string]uint64{"no-sa": 1})
	if next := a.plane.ExpireKept(start.Add(4*time.Second + keptFor)); !next.IsZero() {
		t.Errorf("next after %v", next.Sub(start))
	}
	a.dropped(map[string]uint64{"no-sa": 2})

	// Where nobody called ExpireKept in time, the packet is too old all the same.
	b := newEnd(t, 1)
	p := numbered(false, 1, 9, 100)
	if a.reader.flow.parse(p); !a.reader.keep(p, start.Add(-keptFor)) {
		t.Fatal("no room")
	}
	settled(t, a, b, udp4, nil)
	if ds := a.socks[udp4].take(); len(ds) != 0 {
		t.Error("a packet was sent that has waited for too long")
	}
	a.dropped(map[string]uint64{"no-sa": 2, "no-policy": 1})
}

func TestAcquireIsToldOnceASecond(t *testing.T) {
	a := keeper(t)
	b := numbered(false, 1, 1, 100)
	now := time.Now()
	a.deaf = true
	a.reader.keep(b, now)
	a.deaf = false
	for _, tt := range []struct {
		after time.Duration
		told  int
	}{{0, 1}, {0, 0}, {999 * time.Millisecond, 0}, {1001 * time.Millisecond, 1}, {1500 * time.Millisecond, 0}, {time.Minute, 1}} {
		a.reader.keep(b, now.Add(tt.after))
		if got := a.told(); len(got) != tt.told {
			t.Errorf("after %v: told %v", tt.after, got)
		}
	}
	for range maxKept {
		a.reader.keep(b, now.Add(time.Minute))
	}
	if a.reader.keep(b, now.Add(2*time.Minute)); len(a.told()) != 1 {
		t.Error("a packet that finds no room does not ask")
	}

	// The SA goes, and the first packet without it must not wait for a second one.
	a = keeper(t)
	a.reader.keep(b, now)
	sa, _ := settled(t, a, newEnd(t, 1), udp4, nil)
	a.plane.Remove(sa.SPIIn)
	a.told()
	if a.reader.keep(b, now); len(a.told()) != 1 {
		t.Error("nothing is told when the SA has gone")
	}
}

// A new SA sends what has waited, and what comes meanwhile, a moment later and in order.
func TestWhatHasWaitedWaitsForThePeerToo(t *testing.T) {
	a, b := keeper(t), newEnd(t, 1)
	var sent [][]byte
	for n := range uint32(4) {
		sent = append(sent, numbered(false, 1, n, 100))
	}
	a.out(sent[0], sent[1])
	before := time.Now()
	couple(t, a, b, suite{Suite: named(t, "aes128gcm16")}, udp4, nil)
	if ds := a.out(sent[2], sent[3]); len(ds) != 0 {
		t.Errorf("%d datagrams went out at once", len(ds))
	}
	next := a.plane.ExpireKept(before)
	if next.Before(before.Add(settleTime)) || next.After(time.Now().Add(settleTime)) {
		t.Errorf("the peer is ready %v later", next.Sub(before))
	}
	if a.plane.ExpireKept(next.Add(-1)); len(a.socks[udp4].sent) != 0 {
		t.Error("packets went out before the peer was ready")
	}
	a.plane.ExpireKept(next)
	same(t, b.in(udp4, from(endAddrs[0][udp4], a.socks[udp4].take())...), sent)
	if ds := a.out(sent[0]); len(ds) != 1 || len(a.tunnel.backlog.held) != 0 || len(a.plane.keeping.settle) != 0 {
		t.Error("something is still on hold")
	}

	// The wait ends with the plane, and is no hold that goes on after a thaw. A hold during the wait outlasts it.
	for _, hold := range []bool{false, true} {
		a, b := keeper(t), newEnd(t, 1)
		a.out(sent[0])
		sa, _ := couple(t, a, b, suite{Suite: named(t, "aes128gcm16")}, udp4, nil)
		if hold {
			a.plane.Hold(sa.SPIIn)
			a.plane.ExpireKept(time.Now().Add(settleTime))
			if ds := a.out(sent[1]); len(ds) != 0 {
				t.Error("the end of the wait has ended a hold")
			}
		}
		if f := a.freeze(); len(f.SAs) != 1 || f.SAs[0].Held != hold || len(a.plane.keeping.settle) != 0 {
			t.Errorf("hold %v: frozen on hold: %v", hold, f.SAs[0].Held)
		}
	}

	// Where none waits, nothing is held up.
	c, d := keeper(t), newEnd(t, 1)
	couple(t, c, d, suite{Suite: named(t, "aes128gcm16")}, udp4, nil)
	if ds := c.out(sent[0]); len(ds) != 1 {
		t.Errorf("%d datagrams", len(ds))
	}

	// An SA that goes meanwhile leaves its packets waiting.
	e, f := keeper(t), newEnd(t, 1)
	e.out(sent[0])
	sa, _ := couple(t, e, f, suite{Suite: named(t, "aes128gcm16")}, udp4, nil)
	e.plane.Remove(sa.SPIIn)
	e.plane.ExpireKept(time.Now().Add(settleTime))
	f = newEnd(t, 1)
	settled(t, e, f, udp4, nil)
	same(t, f.in(udp4, from(endAddrs[0][udp4], e.socks[udp4].take())...), sent[:1])
}

// An SA for some of the packets leaves the others waiting.
func TestEachWaitsForItsOwnSA(t *testing.T) {
	a, b := keeper(t), newEnd(t, 1)
	p1, p2, p3 := udpPacket(false, 1, 2, 100), udpPacket(false, 1, 9, 100), udpPacket(false, 1, 2, 101)
	a.out(p1, p2, p3)
	settled(t, a, b, udp4, func(c *ipsec.ChildSA) { c.Remote = sels(t, "10.2.0.2/32") })
	same(t, b.in(udp4, from(endAddrs[0][udp4], a.socks[udp4].take())...), [][]byte{p1, p3})
	settled(t, a, b, udp4, func(c *ipsec.ChildSA) { c.Remote = sels(t, "10.2.0.9/32") })
	same(t, b.in(udp4, from(endAddrs[0][udp4], a.socks[udp4].take())...), [][]byte{p2})
	a.dropped(map[string]uint64{})
}

// A packet that is too big once there is an SA is fragmented, or refused, as if it had come then.
func TestWhatIsTooBigByThen(t *testing.T) {
	a, b := keeper(t), newEnd(t, 1)
	whole := udpPacket(false, 1, 2, 1400)
	cut := slices.Clone(whole)
	binary.BigEndian.PutUint16(whole[6:], dontFragment)
	binary.BigEndian.PutUint16(cut[6:], 0)
	for _, p := range [][]byte{whole, cut} {
		binary.BigEndian.PutUint16(p[10:], 0)
		binary.BigEndian.PutUint16(p[10:], checksum(0, p[:20]))
	}
	a.out(whole, cut)
	a.tunnel.SetMTU(1000)
	settled(t, a, b, udp4, nil)
	if got := b.in(udp4, from(endAddrs[0][udp4], a.socks[udp4].take())...); len(got) != 2 || len(got[0]) > 1000 {
		t.Errorf("%d packets came", len(got))
	}
	if got := a.tun.take(); len(got) != 1 || got[0][20] != 3 || got[0][21] != 4 {
		t.Errorf("answered %x, want fragmentation needed", got)
	}
	a.dropped(map[string]uint64{"too-big": 1})
}

func TestNothingWaitsForWhatIsGone(t *testing.T) {
	for why, end := range map[string]func(a *end){
		"no-sa":  func(a *end) { a.plane.RemoveTunnel("t") },
		"frozen": func(a *end) { a.plane.Freeze() },
	} {
		a := keeper(t)
		a.out(numbered(false, 1, 1, 100), numbered(false, 1, 2, 100))
		end(a)
		a.dropped(map[string]uint64{why: 2})
		if a.plane.keeping.bytes != 0 {
			t.Errorf("%s: %d bytes are left", why, a.plane.keeping.bytes)
		}
		a.out(numbered(false, 1, 3, 100))
		if n := len(a.tunnel.waiting.packets); n != 0 {
			t.Errorf("%s: %d packets wait", why, n)
		}
	}
	a := keeper(t)
	a.out(numbered(false, 1, 1, 100))
	if err := a.tunnel.Keep(); err != nil {
		t.Fatal(err)
	}
	a.out(numbered(false, 1, 2, 100))
	a.dropped(map[string]uint64{"no-sa": 2})
	if err := a.tunnel.Keep(Policy{}); err == nil {
		t.Error("a policy without selectors is taken")
	}
}

// While the SA goes and comes, packets go on: each is sent or waits, and their order stays.
func TestOrderStaysWhileTheSAGoesAndComes(t *testing.T) {
	a, b := keeper(t), newEnd(t, 1)
	n := uint32(0)
	var sent [][]byte
	more := func(count int) {
		for range count {
			n++
			sent = append(sent, numbered(false, 1, n, 100))
			if ds := a.out(sent[len(sent)-1]); len(ds) > 0 {
				same(t, b.in(udp4, from(endAddrs[0][udp4], ds)...), sent)
				sent = nil
			}
		}
	}
	for range 20 {
		more(3)
		sa, sb := settled(t, a, b, udp4, nil)
		same(t, b.in(udp4, from(endAddrs[0][udp4], a.socks[udp4].take())...), sent)
		sent = nil
		more(3)
		a.plane.Remove(sa.SPIIn)
		b.plane.Remove(sb.SPIIn)
	}
	a.dropped(map[string]uint64{})
}

// A reader keeps packets while SAs come and go: each packet is sent once, dropped or still waiting.
func TestPacketsWaitBesideChangesOfSAs(t *testing.T) {
	a, b := keeper(t), newEnd(t, 1)
	a.reader.makeRoom()
	for i := range 8 {
		a.reader.sizes[i] = copy(a.reader.bufs[i][headroom:], udpPacket(false, 1, 2, 200))
	}
	batches := 0
	var done atomic.Bool
	var changes sync.WaitGroup
	changes.Go(func() {
		for !done.Load() {
			sa, sb := settled(t, a, b, udp4, nil)
			a.plane.Remove(sa.SPIIn)
			b.plane.Remove(sb.SPIIn)
			a.plane.ExpireKept(time.Now().Add(keptFor / 2))
		}
	})
	// A busy machine may have had no SA meanwhile.
	for until := time.Now().Add(10 * time.Second); batches < 2000 || a.tunnel.Counters().PacketsOut == 0 && time.Now().Before(until); batches++ {
		a.reader.batch(8)
	}
	done.Store(true)
	changes.Wait()
	n := a.tunnel.Counters()
	waiting := uint64(len(a.tunnel.waiting.packets))
	if n.PacketsOut == 0 || n.PacketsOut+n.Drops["no-sa"]+waiting != 8*uint64(batches) {
		t.Errorf("%d packets were sent, %v dropped, %d wait: want %d in all", n.PacketsOut, n.Drops, waiting, 8*batches)
	}
	a.plane.ExpireKept(time.Now().Add(keptFor))
	if a.plane.keeping.bytes != 0 || len(a.plane.keeping.tunnels) != 0 || len(a.plane.keeping.settle) != 0 {
		t.Errorf("left: %d bytes, %d tunnels, %d SAs", a.plane.keeping.bytes, len(a.plane.keeping.tunnels), len(a.plane.keeping.settle))
	}
}
