package esp

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"vpngw/esp/esptest"
	"vpngw/ipsec"
)

// The tests and benchmarks of this file spread flows and SAs over several Engines. Sockets and TUNs are in memory: they
// copy what they take and give, as a system call does.

// memory is a stretch of buffers to copy into, for any goroutine.
var memory = sync.Pool{New: func() any { return new([sendBuffer]byte) }}

func absorb(b []byte) {
	to := memory.Get().(*[sendBuffer]byte)
	copy(to[:], b)
	memory.Put(to)
}

// memoryTUN gives its frames again and again.
type memoryTUN struct{ frames [][]byte }

func (d *memoryTUN) FD() int           { return 100 }
func (d *memoryTUN) SegmentsUDP() bool { return true }
func (d *memoryTUN) ReadReady(b []byte, take func([]byte) bool) error {
	for i, more := 0, true; more; i++ {
		f := d.frames[i%len(d.frames)]
		more = take(b[:copy(b, f):cap(b)])
	}
	return nil
}

func (d *memoryTUN) WriteFrame(f []byte) error {
	absorb(f)
	return nil
}

// memorySocket gives its datagrams again and again.
type memorySocket struct {
	*fakeSocket
	datagrams []ipsec.Datagram
	before    func() // each reading
}

func (s *memorySocket) WriteBatch(ds []ipsec.Datagram) (int, error) {
	for i := range ds {
		absorb(ds[i].Data)
	}
	return len(ds), nil
}

func (s *memorySocket) ReadReady(ds []ipsec.Datagram) (int, error) {
	s.before()
	for i := range ds[:min(len(ds), len(s.datagrams))] {
		d := s.datagrams[i]
		d.Data = ds[i].Data[:copy(ds[i].Data, d.Data)]
		ds[i] = d
	}
	return min(len(ds), len(s.datagrams)), nil
}

// site is two planes joined by several SAs, each in a tunnel of its own.
type site struct {
	a, b *end
	sas  []*ipsec.ChildSA // as a has them
	tuns [2][]*Tunnel
}

func newSite(t testing.TB, sas int, tun func(end, i int) Framer) *site {
	s := &site{a: newEnd(t, 0), b: newEnd(t, 1)}
	for i := range sas {
		name := fmt.Sprintf("t%d", i)
		for j, e := range []*end{s.a, s.b} {
			s.tuns[j] = append(s.tuns[j], e.plane.AddTunnel(TunnelConfig{Name: name, Frames: tun(j, i), MTU: 1400}))
		}
		sa, _ := couple(t, s.a, s.b, suite{Suite: named(t, "aes128gcm16")}, udp4, func(sa *ipsec.ChildSA) { sa.Tunnel = name })
		s.sas = append(s.sas, sa)
	}
	return s
}

// through has a's packets go out by a socket.
func (s *site) through(so Socket) {
	s.a.plane.sockets[udp4] = so
	for _, sa := range s.sas {
		s.a.plane.Move(sa.SPIIn, sa.Path)
	}
}

// A queue is a socket of a receiving Engine, one of several at one port: the kernel hands each the packets of some SPIs.
type queue struct {
	*fakeSocket
	into func(ipsec.Datagram) *queue // which of them gets a datagram
}

func (q *queue) WriteBatch(ds []ipsec.Datagram) (int, error) {
	for _, d := range ds {
		d.Data = slices.Clone(d.Data)
		d.Local, d.Remote = d.Remote, q.local
		to := q.into(d)
		to.queue <- d
		to.poller.Wake()
	}
	return len(ds), nil
}

// numberedTUN gives numbered packets of several flows, and checks the numbers of those it takes.
type numberedTUN struct {
	poller  *esptest.Poller
	flows   int
	left    atomic.Int64 // to give, or to take
	given   []uint32     // by flow
	taken   []uint32
	all     chan struct{} // closed when all were taken
	atOnce  int
	strange int
}

func (d *numberedTUN) FD() int           { return 100 }
func (d *numberedTUN) SegmentsUDP() bool { return true }

// frame is the next packet of a flow. Flows have different ports.
func (d *numberedTUN) frame(flow int) []byte {
	p := udpPacket(false, 1, 2, 64)
	binary.BigEndian.PutUint16(p[ipv4Header:], uint16(flow))
	d.given[flow]++
	binary.BigEndian.PutUint32(p[60:], d.given[flow])
	sum := plainSum(p, ipv4Header, protoUDP)
	binary.BigEndian.PutUint16(p[ipv4Header+udpChecksum:], nonZero(sum))
	return append(make([]byte, vnetHeader), p...)
}

func (d *numberedTUN) ReadReady(b []byte, take func([]byte) bool) error {
	for range d.atOnce {
		n := d.left.Add(-1)
		if n < 0 {
			return nil
		}
		if !take(b[:copy(b, d.frame(int(n/3)%d.flows)):cap(b)]) { // three of a flow at a time, so that some are merged
			break
		}
	}
	d.poller.Wake()
	return nil
}

func (d *numberedTUN) WriteFrame(f []byte) error {
	for _, p := range plainSegments(f) {
		flow, n := binary.BigEndian.Uint16(p[ipv4Header:]), binary.BigEndian.Uint32(p[60:])
		if n != d.taken[flow]+1 {
			d.strange++
		}
		d.taken[flow] = n
		if d.left.Add(-1) == 0 {
			close(d.all)
		}
	}
	return nil
}

// Flows of two SAs go out by two Engines and come in by two: each flow keeps its order, and nothing is lost.
func TestFlowsKeepTheirOrderOverEngines(t *testing.T) {
	const engines, flows, packets = 2, 8, 20_000
	ctx, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer end()
	var tuns [2][]*numberedTUN
	var pollers [2][]*esptest.Poller
	for j := range pollers {
		for range engines {
			pollers[j] = append(pollers[j], esptest.NewPoller())
		}
	}
	s := newSite(t, engines, func(j, i int) Framer {
		d := &numberedTUN{poller: pollers[j][i], flows: flows, given: make([]uint32, flows), taken: make([]uint32, flows), all: make(chan struct{}), atOnce: 50}
		d.left.Store(packets)
		tuns[j] = append(tuns[j], d)
		return d
	})
	queues := make([]*queue, engines)
	of := map[uint32]*queue{}
	for i := range queues {
		queues[i] = &queue{fakeSocket: newSocket(t, false, endAddrs[1][udp4])}
		queues[i].poller = pollers[1][i]
		of[s.sas[i].SPIOut] = queues[i]
	}
	s.through(&queue{newSocket(t, false, endAddrs[0][udp4]), func(d ipsec.Datagram) *queue { return of[binary.BigEndian.Uint32(d.Data)] }})
	for i := range engines {
		in, out := s.b.plane.NewEngine(pollers[1][i]), s.a.plane.NewEngine(pollers[0][i])
		if err := in.AddSocket(queues[i], false, func() {}); err != nil {
			t.Fatal(err)
		}
		if err := out.AddTunnel(s.tuns[0][i], func() {}); err != nil {
			t.Fatal(err)
		}
		running.Go(func() { in.Run(ctx) })
		running.Go(func() { out.Run(ctx) })
	}
	for i, d := range tuns[1] {
		select {
		case <-d.all:
			if d.strange > 0 {
				t.Errorf("SA %d: %d of %d packets are not the next ones of their flows", i, d.strange, packets)
			}
		case <-time.After(time.Minute):
			t.Fatalf("SA %d: %d packets are missing", i, d.left.Load())
		}
	}
}

// sideBySide has goroutines carry batches of a number of packets, on threads of their own, b.N in all. It reports the time for a packet, by
// the clock and of all processors: where the work divides well, the first is half as long with two, and the second remains.
func sideBySide(b *testing.B, packets int, steps ...func()) {
	for _, step := range steps {
		step() // makes what is made once
	}
	used := processorTime()
	b.ReportAllocs()
	b.ResetTimer()
	var all sync.WaitGroup
	for i, step := range steps {
		all.Go(func() {
			runtime.LockOSThread()
			stay(i)
			for range (b.N + i) / len(steps) {
				step()
			}
		})
	}
	all.Wait()
	total := float64(b.N * packets)
	b.ReportMetric(float64(b.Elapsed())/total, "ns/packet")
	b.ReportMetric(float64(processorTime()-used)/total, "cpu-ns/packet")
	b.ReportMetric(0, "ns/op")
}

// stay has the calling thread stay on a processor, if it may. The thread ends with its goroutine.
func stay(processor int) {
	var set [16]uint64
	set[0] = 1 << (processor % runtime.NumCPU() % 64)
	syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// loads are what a batch carries: packets of 64 bytes, or super-packets.
var loads = []struct {
	name                  string
	frames                [][]byte
	packets               int // of a frame
	batch                 int // frames that a reader takes at once
	datagrams, ofDatagram int // that a receiver reads at once, and packets of each
}{
	{"64 B", benchFrames(64), 1, batchFrames, 4, 64},
	{"super-packets", benchFrames(44 * 1300), 44, 3, 3, 44},
}

// out carries a batch from the TUN of one of the SAs to the socket.
func (s *site) out(i int) func() {
	r := newReader(s.tuns[0][i], new(scratch))
	return func() { r.step() }
}

// in carries a batch from a socket to the TUN of one of the SAs. The socket gives the same datagrams again and again,
// and each time they are new to the SA.
func (s *site) in(b *testing.B, i int, frames [][]byte, datagrams int) func() {
	so := &memorySocket{fakeSocket: s.b.socks[udp4]}
	sink := &sinkSocket{fakeSocket: s.a.socks[udp4]}
	before := s.a.plane.sockets[udp4]
	s.through(sink)
	for range datagrams {
		sink.n = 0
		r := newReader(s.tuns[0][i], new(scratch))
		for _, f := range frames {
			r.frame(append(make([]byte, 0, len(f)+maxTrailer), f...))
		}
		r.end()
		d := sink.ds[0]
		d.Data, d.Remote = slices.Clone(d.Data), s.a.socks[udp4].local
		so.datagrams = append(so.datagrams, d)
	}
	s.through(before)
	in, ring := s.b.plane.sad.lookup(s.sas[i].SPIOut), new([windowWords]uint64)
	so.before = func() {
		clear(ring[:])
		in.window = window{ring: ring}
	}
	source := &socketSource{s.b.plane.NewEngine(s.b.poller).receiver, so, udp4, datagrams}
	return func() {
		source.want = datagrams
		if n, err := source.read(); n != datagrams || err != nil {
			b.Error(n, err)
		}
		source.flush()
	}
}

func memorySite(b *testing.B, sas int, frames [][]byte) *site {
	s := newSite(b, sas, func(int, int) Framer { return &memoryTUN{frames} })
	s.through(&memorySocket{fakeSocket: s.a.socks[udp4]})
	return s
}

// BenchmarkCoresOut carries from TUNs to a socket. An SA has one lock, its tunnel's: two Engines take turns at one SA.
func BenchmarkCoresOut(b *testing.B) {
	for _, l := range loads {
		n := l.batch * l.packets
		b.Run(l.name+"/1 engine", func(b *testing.B) { sideBySide(b, n, memorySite(b, 1, l.frames).out(0)) })
		b.Run(l.name+"/2 engines, 2 SAs", func(b *testing.B) {
			s := memorySite(b, 2, l.frames)
			sideBySide(b, n, s.out(0), s.out(1))
		})
		b.Run(l.name+"/2 engines, 1 SA", func(b *testing.B) {
			s := memorySite(b, 1, l.frames)
			sideBySide(b, n, s.out(0), s.out(0))
		})
	}
}

// BenchmarkCoresIn carries from sockets to TUNs. A Plane has one lock for what comes in: two Engines take turns.
func BenchmarkCoresIn(b *testing.B) {
	for _, l := range loads {
		n := l.datagrams * l.ofDatagram
		b.Run(l.name+"/1 engine", func(b *testing.B) {
			sideBySide(b, n, memorySite(b, 1, l.frames).in(b, 0, l.frames, l.datagrams))
		})
		b.Run(l.name+"/2 engines, 2 SAs", func(b *testing.B) {
			s := memorySite(b, 2, l.frames)
			sideBySide(b, n, s.in(b, 0, l.frames, l.datagrams), s.in(b, 1, l.frames, l.datagrams))
		})
		b.Run(l.name+"/2 engines, 2 Planes", func(b *testing.B) {
			sideBySide(b, n, memorySite(b, 1, l.frames).in(b, 0, l.frames, l.datagrams), memorySite(b, 1, l.frames).in(b, 0, l.frames, l.datagrams))
		})
	}
}

// BenchmarkCoresBoth carries both ways, by one Engine or by one for each direction.
func BenchmarkCoresBoth(b *testing.B) {
	for _, l := range loads {
		n := (l.batch*l.packets + l.datagrams*l.ofDatagram) / 2
		b.Run(l.name+"/1 engine", func(b *testing.B) {
			s := memorySite(b, 1, l.frames)
			in, out := s.in(b, 0, l.frames, l.datagrams), s.out(0)
			turn := 0
			sideBySide(b, n, func() {
				if turn++; turn%2 == 0 {
					in()
				} else {
					out()
				}
			})
		})
		b.Run(l.name+"/2 engines", func(b *testing.B) {
			s := memorySite(b, 1, l.frames)
			in, out := s.in(b, 0, l.frames, l.datagrams), s.out(0)
			sideBySide(b, n, in, out)
		})
	}
}

// BenchmarkSequence seals packets of one SA with keys and buffers for each Engine. What the Engines share is the number
// of the next packet, taken for each packet or for 64 at a time, or nothing.
func BenchmarkSequence(b *testing.B) {
	const packets = 64
	var shared atomic.Uint64
	for _, size := range []int{64, 1300} {
		for _, how := range []struct {
			name  string
			every int // packets for which the counter is asked once; 0: it is not
		}{{"own numbers", 0}, {"one counter for 64 packets", packets}, {"one counter for each packet", 1}} {
			for _, n := range []int{1, 2} {
				b.Run(fmt.Sprintf("%d B/%s/%d engines", size, how.name, n), func(b *testing.B) {
					shared.Store(0)
					var steps []func()
					for range n {
						s := newSite(b, 1, func(int, int) Framer { return new(memoryTUN) }) // each its own, so that the sealers lie apart
						sealer, err := newSealer(s.sas[0], nil)
						if err != nil {
							b.Fatal(err)
						}
						all, inner, seq := make([]byte, sendBuffer), roomy(size), uint64(0)
						steps = append(steps, func() {
							buf := all
							for i := range packets {
								if how.every > 0 && i%how.every == 0 {
									seq = shared.Add(uint64(how.every)) - uint64(how.every)
								}
								seq++
								buf = buf[len(sealer.stage(buf, inner, protoIPv4, seq)):]
							}
						})
					}
					sideBySide(b, packets, steps...)
				})
			}
		}
	}
}
