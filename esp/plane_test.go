package esp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vpngw/ipsec"
)

func TestInstallRefuses(t *testing.T) {
	good := func() (*end, *ipsec.ChildSA) {
		a, _, sa, _ := ends(t, "aes128gcm16", udp4, nil)
		again := *sa
		var err error
		if again.SPIIn, err = a.plane.AllocSPI(); err != nil {
			t.Fatal(err)
		}
		return a, &again
	}
	a, sa := good()
	if err := a.plane.InstallOut(sa); err == nil {
		t.Error("the outbound half before the inbound one")
	}
	if a.plane.InstallIn(sa) != nil || a.plane.InstallOut(sa) != nil {
		t.Fatal("a good one is refused")
	}
	if a.plane.InstallIn(sa) == nil || a.plane.InstallOut(sa) == nil {
		t.Error("twice")
	}
	for name, f := range map[string]func(*end, *ipsec.ChildSA){
		"freed SPI":        func(e *end, sa *ipsec.ChildSA) { e.plane.FreeSPI(sa.SPIIn) },
		"SPI never given":  func(e *end, sa *ipsec.ChildSA) { sa.SPIIn ^= 1 << 31 },
		"unknown tunnel":   func(e *end, sa *ipsec.ChildSA) { sa.Tunnel = "x" },
		"no selectors":     func(e *end, sa *ipsec.ChildSA) { sa.Local = nil },
		"broken selectors": func(e *end, sa *ipsec.ChildSA) { sa.Remote = []ipsec.Selector{{}} },
		"short key":        func(e *end, sa *ipsec.ChildSA) { sa.In.Encr = sa.In.Encr[1:] },
	} {
		e, sa := good()
		f(e, sa)
		err := e.plane.InstallIn(sa)
		if err == nil || !strings.HasPrefix(err.Error(), "esp: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFreeSPILeavesWhatIsInstalled(t *testing.T) {
	a, _, sa, _ := ends(t, "aes128gcm16", udp4, nil)
	a.plane.FreeSPI(sa.SPIIn)
	if len(a.out(udpPacket(false, 1, 2, 100))) != 1 {
		t.Error("gone")
	}
}

func TestUnknownSPIsAreIgnored(t *testing.T) {
	p := New(Config{})
	p.FreeSPI(0x1234567)
	p.Remove(0x1234567)
	p.RemoveOut(0x1234567)
	p.Move(0x1234567, ipsec.Path{})
	if c := p.Counters(0x1234567); !reflect.DeepEqual(c, Counters{}) {
		t.Errorf("%+v", c)
	}
}

func TestRemoveTunnelTakesItsSAs(t *testing.T) {
	a, b, sa, sb := ends(t, "aes128gcm16", udp4, nil)
	ds := from(endAddrs[0][udp4], a.out(udpPacket(false, 1, 2, 100)))
	b.plane.RemoveTunnel("t")
	b.plane.RemoveTunnel("t")
	if len(b.in(udp4, ds...)) != 0 || b.plane.PlaneCounters().Drops["no-sa"] != 1 {
		t.Error("still received")
	}
	a.plane.AddTunnel(TunnelConfig{Name: "t", Device: newTUN(), MTU: 1400}) // instead of the old one
	if len(a.out(udpPacket(false, 1, 2, 100))) != 0 {
		t.Error("still sent")
	}
	for e, spi := range map[*end]uint32{a: sa.SPIIn, b: sb.SPIIn} {
		if e.plane.sad.unused != 256 {
			t.Errorf("%d slots are free", e.plane.sad.unused)
		}
		e.plane.Remove(spi)
	}
}

func TestLoopsEndWhenWhatTheyReadIsClosed(t *testing.T) {
	e := newEnd(t, 0)
	done := make(chan error, 3)
	go func() { done <- e.tunnel.Run(context.Background()) }()
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- e.engine.Run(ctx) }()
	e.addSocket(udp4, func() { done <- nil })
	eventually(t, func() bool { return e.tunnel.running.Load() })
	if e.tunnel.Run(context.Background()) == nil {
		t.Error("a second loop is allowed")
	}
	e.tun.Close()
	e.socks[udp4].Close()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestLoopsEndWithTheirContext(t *testing.T) {
	e := newEnd(t, 0)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := errors.Join(e.tunnel.Run(ctx), e.engine.Run(ctx)); err != nil {
		t.Error(err)
	}
}

// eventually waits until ok, with ten times the time that a busy machine takes.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen in a minute")
		}
	}
}

func TestKeysOfARemovedSAAreWiped(t *testing.T) {
	for _, proposal := range []string{"aes128gcm16", "aes128-sha256"} {
		for name, remove := range map[string]func(*Plane, uint32){
			"the SA": (*Plane).Remove, "the tunnel": func(p *Plane, _ uint32) { p.RemoveTunnel("t") },
		} {
			a, _, sa, _ := ends(t, proposal, udp4, nil)
			a.out(udpPacket(false, 1, 2, 100))
			pr := a.plane.pair(sa.SPIIn)
			o := a.tunnel.spd.Load().outs[0]
			remove(a.plane, sa.SPIIn)
			for _, key := range [][]byte{
				o.sealer.ivKey, o.sealer.nonce[:], pr.in.opener.nonce[:],
			} {
				if slices.ContainsFunc(key, func(b byte) bool { return b != 0 }) {
					t.Errorf("%s, %s was removed: %x remains", proposal, name, key)
				}
			}
			if slices.Max(sa.In.Encr) == 0 {
				t.Error("the keys of whoever installed the SA are his own")
			}
		}
	}
}

// What Thaw installs is the plane's own.
func TestKeysOfAThawedSAAreWiped(t *testing.T) {
	a, _, sa, _ := ends(t, "aes128-sha256", udp4, nil)
	p := thawed(t, 0, a.freeze())
	pr := p.plane.pair(sa.SPIIn)
	p.plane.Remove(sa.SPIIn)
	for _, key := range []ipsec.Secret{pr.sa.In.Encr, pr.sa.In.Integ, pr.sa.Out.Encr, pr.sa.Out.Integ} {
		if slices.ContainsFunc(key, func(b byte) bool { return b != 0 }) {
			t.Error("a key remains")
		}
	}
}

// brokenTUN fails every read until it is closed.
type brokenTUN struct{ *fakeTUN }

func (d brokenTUN) Read([][]byte, []int, int) (int, error) {
	select {
	case <-d.closed:
		return 0, os.ErrClosed
	default:
		return 0, errors.New("broken")
	}
}

// Hosts behind us can send what the device cannot cut: that must not end the
// loop, nor make it spin.
func TestADeviceThatOnlyFailsIsReadSlowly(t *testing.T) {
	p, d := New(Config{}), brokenTUN{newTUN()}
	tun := p.AddTunnel(TunnelConfig{Name: "x", Device: d, MTU: 1400})
	done := make(chan error)
	start := time.Now()
	go func() { done <- tun.Run(context.Background()) }()
	failures := func() uint64 { return tun.Counters().Drops["read"] }
	eventually(t, func() bool { return failures() >= maxFailures+5 })
	n := failures() // before the clock is read
	if most := maxFailures + 1 + uint64(time.Since(start)/failurePause); n > most {
		t.Errorf("%d failures in %v", n, time.Since(start))
	}
	d.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestReadErrorsAreSurvived(t *testing.T) {
	a, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
	a.socks[udp4].peer = b.socks[udp4]
	done := make(chan error)
	go func() { done <- a.tunnel.Run(context.Background()) }()
	p := udpPacket(false, 1, 2, 100)
	a.tun.kernel <- [][]byte{p, p, make([]byte, 5000), p} // the device says so of the third
	a.tun.kernel <- make([][]byte, 129)                   // and panics over this
	a.tun.kernel <- [][]byte{p}
	eventually(t, func() bool { return a.tunnel.Counters().PacketsOut == 3 })
	a.tun.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if d := a.tunnel.Counters().Drops["read"]; d != 2 {
		t.Errorf("%d failures counted", d)
	}
}

// brokenSocket fails some reads, as for want of memory.
type brokenSocket struct {
	*fakeSocket
	failures int
}

func (s *brokenSocket) ReadReady(ds []ipsec.Datagram) (int, error) {
	if s.failures > 0 {
		s.failures--
		return 0, syscall.ENOMEM
	}
	return s.fakeSocket.ReadReady(ds)
}

func TestASocketThatFailsIsReadAgain(t *testing.T) {
	a, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
	s := &brokenSocket{b.socks[udp4], maxFailures + 3}
	if err := b.engine.AddSocket(s, false, func() { t.Error("the engine reads it no more") }); err != nil {
		t.Fatal(err)
	}
	for _, d := range from(endAddrs[0][udp4], a.out(udpPacket(false, 1, 2, 100))) {
		s.queue <- d
	}
	for range maxFailures + 4 {
		b.engine.serve([]uint32{1})
	}
	if got := b.tun.take(); len(got) != 1 {
		t.Errorf("%d packets get through after the failures", len(got))
	}
	if n := b.plane.PlaneCounters().Drops["read"]; n != maxFailures+3 {
		t.Errorf("%d failures counted", n)
	}
}

func TestARaisedMTUGetsItsBuffers(t *testing.T) {
	a, b, _, _ := ends(t, "aes128gcm16", raw4, nil)
	a.tunnel.SetMTU(9000)
	if got := b.in(raw4, from(endAddrs[0][raw4], a.out(udpPacket(false, 1, 2, 9000)))...); len(got) != 1 || len(got[0]) != 9000 {
		t.Errorf("%d packets", len(got))
	}
}

func TestTenThousandTunnels(t *testing.T) {
	const n = 10000
	p := New(Config{Slots: 2 * n})
	tun := newTUN()
	sa := ipsec.ChildSA{
		Suite: named(t, "aes128gcm16"), Local: sels(t, "10.1.0.0/16"), Remote: sels(t, "10.2.0.0/16"),
		Path: ipsec.Path{Remote: newSocket(t, true, "192.0.2.1:0").local},
	}
	sa.In, sa.Out = keysFor(sa.Suite), keysFor(sa.Suite)
	install := func(from, to int) time.Duration {
		start := time.Now()
		for i := from; i < to; i++ {
			c := sa
			c.Tunnel = fmt.Sprint(i)
			p.AddTunnel(TunnelConfig{Name: c.Tunnel, Device: tun, MTU: 1400})
			var err error
			if c.SPIIn, err = p.AllocSPI(); err == nil {
				err = errors.Join(p.InstallIn(&c), p.InstallOut(&c))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return time.Since(start)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	first := install(0, 1000)
	install(1000, n-5000)
	last := time.Hour
	for from := n - 5000; from < n; from += 1000 { // the fastest: another program may hold one up
		last = min(last, install(from, from+1000))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(p)
	t.Logf("the first 1000 took %v, the fastest of the last %v; %d bytes each", first, last, (after.HeapAlloc-before.HeapAlloc)/n)
	if last > 10*first+time.Second {
		t.Errorf("installing grows with what is there: the first 1000 took %v, the fastest of the last %v", first, last)
	}
}

// Neither direction allocates.
func TestPacketPathDoesNotAllocate(t *testing.T) {
	for _, k := range []transport{udp4, raw6} {
		for _, proposal := range []string{"aes128gcm16", "aes256gcm16-esn", "chacha20poly1305", "aes128-sha256", "3des-md5"} {
			a, b, _, _ := ends(t, proposal, k, nil)
			sink := &sinkSocket{fakeSocket: a.socks[k]}
			a.plane.sockets[k] = sink
			a.plane.Move(a.tunnel.spd.Load().outs[0].pair.spi, a.tunnel.spd.Load().outs[0].route.Load().Path)
			b.tunnel.Device = sinkTUN{}
			p := udpPacket(false, 1, 2, 1000)
			a.reader.makeRoom()
			r := b.receiver
			way := func() {
				for i := range 10 {
					a.reader.sizes[i] = copy(a.reader.bufs[i][headroom:], p)
				}
				sink.n = 0
				a.reader.batch(10)
				for i, d := range sink.ds[:sink.n] {
					d.Remote = a.socks[k].local
					d.Data = r.bufs[i][:copy(r.bufs[i], d.Data)]
					r.ds[i] = d
				}
				r.batch(k, r.ds[:sink.n], b.now)
				r.flush()
			}
			way()
			before := b.plane.PlaneCounters().PacketsIn
			if n := testing.AllocsPerRun(50, way); n != 0 {
				t.Errorf("%s on %d: %v allocations for 10 packets out and in", proposal, k, n)
			}
			if got := b.plane.PlaneCounters().PacketsIn - before; got != 510 {
				t.Errorf("%s on %d: %d packets came through", proposal, k, got)
			}
		}
	}
}

// The same with frames: super-packets and single packets.
func TestFramePathDoesNotAllocate(t *testing.T) {
	for _, k := range []transport{udp4, raw6} {
		for _, proposal := range []string{"aes128gcm16", "aes256gcm16-esn", "chacha20poly1305", "aes128-sha256", "3des-md5"} {
			w := newFramePath(t, proposal, k)
			w.carry()
			before := w.b.plane.PlaneCounters().PacketsIn
			if n := testing.AllocsPerRun(50, w.carry); n != 0 {
				t.Errorf("%s on %d: %v allocations for 12 packets out and in", proposal, k, n)
			}
			if got := w.b.plane.PlaneCounters().PacketsIn - before; got != 51*12 {
				t.Errorf("%s on %d: %d packets came through", proposal, k, got)
			}
		}
	}
}

// framePath carries frames from a to b: a super-packet of 11 segments and a single packet.
type framePath struct {
	a, b   *end
	k      transport
	sink   *sinkSocket
	frames [][]byte
	buf    []byte
}

func newFramePath(t testing.TB, proposal string, k transport) *framePath {
	w := &framePath{a: newEnd(t, 0), b: newEnd(t, 1), k: k, buf: make([]byte, maxRead+maxTrailer)}
	w.a.useFramer()
	w.b.useFramer().arrived = func([]byte) {}
	couple(t, w.a, w.b, suite{Suite: named(t, proposal)}, k, nil)
	w.sink = &sinkSocket{fakeSocket: w.a.socks[k]}
	w.a.plane.sockets[k] = w.sink
	w.a.plane.Move(w.a.tunnel.spd.Load().outs[0].pair.spi, w.a.tunnel.spd.Load().outs[0].route.Load().Path)
	w.frames = [][]byte{tcpFrame(11*1300 - 7), append(make([]byte, vnetHeader), udpPacket(false, 1, 2, 700)...)}
	return w
}

func (w *framePath) carry() {
	w.out()
	r := w.b.receiver
	for i, d := range w.sink.ds[:w.sink.n] {
		d.Remote = w.a.socks[w.k].local
		d.Data = r.bufs[i][:copy(r.bufs[i], d.Data)]
		r.ds[i] = d
	}
	r.batch(w.k, r.ds[:w.sink.n], w.b.now)
	r.flush()
}

func (w *framePath) out() {
	w.sink.n = 0
	r := w.a.reader
	for _, f := range w.frames {
		r.frame(w.buf[:copy(w.buf, f):len(w.buf)])
	}
	r.end()
}

// tcpFrame is a super-packet of n bytes of payload, 1300 in a segment.
func tcpFrame(n int) []byte {
	tcp := make([]byte, tcpHeader+n)
	binary.BigEndian.PutUint16(tcp, 1000)
	binary.BigEndian.PutUint16(tcp[2:], 2000)
	tcp[12], tcp[13] = tcpHeader/4<<4, tcpACK
	b := ipPacket(false, 1, 2, protoTCP, tcp)
	binary.BigEndian.PutUint16(b[ipv4Header+tcpChecksum:], pseudoSum(b, protoTCP, len(tcp)))
	frame := make([]byte, vnetHeader)
	vnet{flags: needsChecksum, gso: gsoTCP4, segment: 1300, start: ipv4Header, offset: tcpChecksum, head: 40}.put(frame)
	return append(frame, b...)
}

// BenchmarkFramesOut carries frames of the TUN, of 44 segments or one packet each, to the socket;
// BenchmarkFramesIn carries datagrams to frames for the other TUN.
func BenchmarkFramesOut(b *testing.B) {
	benchmarkFrames(b, func(b *testing.B, w *framePath, n int) { loop(b, n, w.out) })
}

func benchmarkFrames(b *testing.B, f func(b *testing.B, w *framePath, n int)) {
	for _, proposal := range []string{"aes128gcm16", "aes128-sha256", "aes128-sha1", "aes128-md5"} {
		for _, size := range []int{64, 44 * 1300} {
			b.Run(fmt.Sprintf("%s/%d", proposal, size), func(b *testing.B) {
				w := newFramePath(b, proposal, udp4)
				w.frames = benchFrames(size)
				b.ReportAllocs()
				f(b, w, size*len(w.frames))
			})
		}
	}
}

func benchFrames(size int) (frames [][]byte) {
	if size > 1300 {
		return [][]byte{tcpFrame(size)}
	}
	for range 64 {
		frames = append(frames, append(make([]byte, vnetHeader), udpPacket(false, 1, 2, size)...))
	}
	return frames
}

func BenchmarkFramesIn(b *testing.B) {
	benchmarkFrames(b, func(b *testing.B, w *framePath, n int) {
		w.carry()
		d := w.sink.ds[0]
		d.Remote = w.a.socks[w.k].local
		sealed := bytes.Clone(d.Data)
		in := w.b.plane.sad.slots[binary.BigEndian.Uint32(sealed)&255].Load()
		r := w.b.receiver
		loop(b, n, func() {
			in.window = window{}
			d.Data = sealed
			r.ds[0] = d
			r.batch(w.k, r.ds[:1], w.b.now)
			r.flush()
		})
	})
}

func BenchmarkSegment(b *testing.B) {
	frame := append(tcpFrame(44*1300), make([]byte, maxTrailer)...)
	frame = frame[:len(frame)-maxTrailer]
	h, p := parseVnet(frame), frame[vnetHeader:]
	head := bytes.Clone(p[:40])
	var fl flow
	var c segmenter
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		copy(p, head)
		fl.parse(p)
		c.begin(h, &fl, p)
		for c.remaining() > 0 {
			c.next()
			c.done()
		}
	}
}

func BenchmarkCoalesce(b *testing.B) {
	segments := plainSegments(tcpFrame(44 * 1300))
	d := &fakeFrames{t: b, arrived: func([]byte) {}}
	tunnel := New(Config{Slots: 256}).AddTunnel(TunnelConfig{Name: "t", Frames: d, MTU: 1400})
	var g coalescer
	var fl flow
	b.SetBytes(44 * 1300)
	b.ReportAllocs()
	for b.Loop() {
		for _, s := range segments {
			room := g.room(tunnel, len(s)+maxTrailer)[:len(s)]
			copy(room, s) // in place of opening
			fl.parse(room)
			g.add(&fl, room)
		}
		g.flush()
	}
}

// sinkSocket keeps what was written last without allocating.
type sinkSocket struct {
	*fakeSocket
	ds [16]ipsec.Datagram
	n  int
}

func (s *sinkSocket) WriteBatch(ds []ipsec.Datagram) (int, error) {
	s.n += copy(s.ds[s.n:], ds)
	return len(ds), nil
}

type sinkTUN struct{}

func (sinkTUN) Read([][]byte, []int, int) (int, error)  { select {} }
func (sinkTUN) Write(bufs [][]byte, _ int) (int, error) { return len(bufs), nil }
func (sinkTUN) BatchSize() int                          { return 128 }

func BenchmarkOutbox(b *testing.B) {
	a, _, _, _ := ends(b, "aes128gcm16", udp4, nil)
	sink := &sinkSocket{fakeSocket: a.socks[udp4]}
	a.plane.sockets[udp4] = sink
	a.plane.Move(a.tunnel.spd.Load().outs[0].pair.spi, a.tunnel.spd.Load().outs[0].route.Load().Path)
	for _, size := range []int{64, 1400} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			p := udpPacket(false, 1, 2, size)
			a.reader.makeRoom()
			for i := range 128 {
				a.reader.sizes[i] = copy(a.reader.bufs[i][headroom:], p)
			}
			b.SetBytes(int64(128 * size))
			b.ReportAllocs()
			for b.Loop() {
				sink.n = 0
				a.reader.batch(128)
			}
		})
	}
}
