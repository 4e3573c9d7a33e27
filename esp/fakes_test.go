package esp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"vpngw/esp/esptest"
	"vpngw/ipsec"
)

// fakeTUN is a device that behaves: it uses the headroom and spoils the spare
// capacity that Write may use, and keeps nothing that it was lent.
type fakeTUN struct {
	kernel chan [][]byte // batches for Read
	closed chan struct{}

	mu      sync.Mutex
	written [][]byte
	writes  int
	err     error // of Write
	arrived func([]byte)
}

func newTUN() *fakeTUN {
	return &fakeTUN{kernel: make(chan [][]byte, 4), closed: make(chan struct{})}
}

func (d *fakeTUN) BatchSize() int { return 128 }

func (d *fakeTUN) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	select {
	case packets := <-d.kernel:
		for i, p := range packets {
			sizes[i] = copy(bufs[i][offset:], p)
			if sizes[i] < len(p) {
				return i, fmt.Errorf("read of %d bytes overflows", len(p))
			}
		}
		return len(packets), nil
	case <-d.closed:
		return 0, os.ErrClosed
	}
}

func (d *fakeTUN) Write(bufs [][]byte, offset int) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes++
	if offset < 10 {
		return 0, fmt.Errorf("no headroom: %d", offset)
	}
	for i, b := range bufs {
		p := bytes.Clone(b[offset:])
		d.written = append(d.written, p)
		if d.arrived != nil {
			d.arrived(p)
		}
		for j := range offset {
			b[j] = 0xee
		}
		spare := b[len(b):cap(b)]
		for j := range min(len(spare), 3000) {
			spare[j] = 0xdd
		}
		bufs[i] = nil
	}
	return len(bufs), d.err
}

func (d *fakeTUN) Close() error { close(d.closed); return nil }

// take returns what was written and forgets it.
func (d *fakeTUN) take() [][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.written
	d.written = nil
	return out
}

// fakeSocket is a socket that checks the rules of UDP_SEGMENT. It hands datagrams
// to the reader of peer, or keeps them if there is no peer.
type fakeSocket struct {
	t     testing.TB
	raw   bool
	local netip.AddrPort
	gro   bool // runs arrive whole

	id     int
	poller *esptest.Poller
	peer   *fakeSocket
	queue  chan ipsec.Datagram
	closed chan struct{}

	mu      sync.Mutex
	sent    []ipsec.Datagram
	batches int
	cut     int                        // sent by WriteFragmentable
	refuse  func(ipsec.Datagram) error // of WriteBatch
}

func newSocket(t testing.TB, raw bool, local string) *fakeSocket {
	return &fakeSocket{
		t: t, raw: raw, local: netip.MustParseAddrPort(local), gro: true,
		queue: make(chan ipsec.Datagram, 64), closed: make(chan struct{}),
	}
}

func (s *fakeSocket) Raw() bool { return s.raw }
func (s *fakeSocket) Close() error {
	close(s.closed)
	if s.poller != nil {
		s.poller.Wake()
	}
	return nil
}

func (s *fakeSocket) FD() int { return s.id }

func (s *fakeSocket) ReadReady(ds []ipsec.Datagram) (int, error) {
	for n := range ds {
		select {
		case d := <-s.queue:
			d.Data = ds[n].Data[:copy(ds[n].Data, d.Data)]
			ds[n] = d
			continue
		default:
		}
		select {
		case <-s.closed:
			return n, net.ErrClosed
		default:
			return n, nil
		}
	}
	if s.poller != nil {
		s.poller.Wake() // perhaps there is more
	}
	return len(ds), nil
}

func (s *fakeSocket) WriteBatch(ds []ipsec.Datagram) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches++
	var failed error
	sent := len(ds)
	for _, d := range ds {
		s.check(d)
		if s.refuse != nil {
			if err := s.refuse(d); err != nil {
				failed = errors.Join(failed, err)
				sent--
				continue
			}
		}
		d.Data = bytes.Clone(d.Data)
		if s.peer == nil {
			s.sent = append(s.sent, d)
			continue
		}
		for _, d := range s.runs(d) {
			d.Local, d.Remote = s.peer.local, s.local
			s.peer.queue <- d
			s.peer.poller.Wake()
		}
	}
	return sent, failed
}

func (s *fakeSocket) WriteFragmentable(d ipsec.Datagram) error {
	s.mu.Lock()
	s.cut++
	s.mu.Unlock()
	_, err := s.WriteBatch([]ipsec.Datagram{d})
	return err
}

func (s *fakeSocket) WriteCut(ds []ipsec.Datagram) (int, error) {
	s.mu.Lock()
	s.cut += len(ds)
	s.mu.Unlock()
	return s.WriteBatch(ds)
}

// narrow is the error of a path that is too narrow.
type narrow struct{ remote netip.AddrPort }

func (narrow) Error() string                    { return "message too long" }
func (e narrow) TooBig() (netip.AddrPort, bool) { return e.remote, e.remote.IsValid() }

// check holds a datagram to the kernel's rules.
func (s *fakeSocket) check(d ipsec.Datagram) {
	n := (len(d.Data) + max(d.Segment, 1) - 1) / max(d.Segment, 1)
	switch {
	case d.Segment == 0:
	case s.raw:
		s.t.Error("a run on a raw socket")
	case n < 2 || n > 64:
		s.t.Errorf("a run of %d segments", n)
	case len(d.Data) > 65000:
		s.t.Errorf("a run of %d bytes", len(d.Data))
	}
	if (d.Remote.Port() == 0) != s.raw {
		s.t.Errorf("raw is %v, but the packet goes to %v", s.raw, d.Remote)
	}
}

func (s *fakeSocket) runs(d ipsec.Datagram) []ipsec.Datagram {
	if s.gro {
		return []ipsec.Datagram{d}
	}
	return split(d)
}

// split takes a run apart.
func split(d ipsec.Datagram) []ipsec.Datagram {
	if d.Segment == 0 {
		return []ipsec.Datagram{d}
	}
	var out []ipsec.Datagram
	for b := d.Data; len(b) > 0; {
		one := d
		one.Segment, one.Data = 0, b[:min(d.Segment, len(b))]
		b = b[len(one.Data):]
		out = append(out, one)
	}
	return out
}

func (s *fakeSocket) take() []ipsec.Datagram {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.sent
	s.sent = nil
	return out
}

// end is a plane with one tunnel, worked step by step without goroutines.
type end struct {
	t      testing.TB
	plane  *Plane
	tunnel *Tunnel
	tun    *fakeTUN
	socks  [numTransports]*fakeSocket

	reader   *reader
	receiver *receiver
	engine   *Engine
	poller   *esptest.Poller
	now      time.Time

	mu     sync.Mutex
	events []Event
	deaf   bool // Notify takes nothing
	ike    []ipsec.Datagram
}

var endAddrs = [2][numTransports]string{
	{"192.0.2.1:4500", "[2001:db8::1]:4500", "192.0.2.1:0", "[2001:db8::1]:0"},
	{"192.0.2.2:4500", "[2001:db8::2]:4500", "192.0.2.2:0", "[2001:db8::2]:0"},
}

func newEnd(t testing.TB, which int) *end {
	e := &end{t: t, tun: newTUN(), now: time.Now(), poller: esptest.NewPoller()}
	for k := range numTransports {
		e.socks[k] = newSocket(t, k >= raw4, endAddrs[which][k])
		e.socks[k].id, e.socks[k].poller = int(k), e.poller
	}
	e.plane = New(Config{
		Slots: 256,
		Notify: func(ev Event) bool {
			e.mu.Lock()
			defer e.mu.Unlock()
			if !e.deaf {
				e.events = append(e.events, ev)
			}
			return !e.deaf
		},
		IKE:  func(d ipsec.Datagram) { d.Data = bytes.Clone(d.Data); e.ike = append(e.ike, d) },
		UDP4: e.socks[udp4], UDP6: e.socks[udp6], Raw4: e.socks[raw4], Raw6: e.socks[raw6],
	})
	e.tunnel = e.plane.AddTunnel(TunnelConfig{Name: "t", Device: e.tun, MTU: 1400, CopyDSCP: true})
	e.reader = newReader(e.tunnel, new(scratch))
	e.engine = e.plane.NewEngine(e.poller)
	e.receiver = e.engine.receiver
	return e
}

// under makes t the test that fails.
func (e *end) under(t testing.TB) {
	e.t = t
	for _, s := range e.socks {
		s.t = t
	}
}

// addSocket has e's engine read one of its sockets.
func (e *end) addSocket(k transport, ended func()) {
	if err := e.engine.AddSocket(e.socks[k], k == udp6 || k == raw6, ended); err != nil {
		e.t.Error(err)
	}
}

// out gives packets to the TUN's reader and returns what goes out.
func (e *end) out(packets ...[]byte) []ipsec.Datagram {
	e.t.Helper()
	e.reader.makeRoom()
	for i, p := range packets {
		e.reader.sizes[i] = copy(e.reader.bufs[i][headroom:], p)
		if e.reader.sizes[i] < len(p) {
			e.t.Fatalf("a packet of %d bytes does not fit the buffer", len(p))
		}
	}
	e.reader.batch(len(packets))
	var ds []ipsec.Datagram
	for _, s := range e.socks {
		ds = append(ds, s.take()...)
	}
	return ds
}

// in gives datagrams, addressed as the peer sent them, to a socket's reader and
// returns what reaches the TUN.
func (e *end) in(k transport, ds ...ipsec.Datagram) [][]byte {
	e.t.Helper()
	r := e.receiver
	for len(ds) > 0 {
		n := min(len(ds), 16)
		for i, d := range ds[:n] {
			d.Data = bytes.Clone(d.Data)
			r.ds[i] = d
		}
		ds = ds[n:]
		r.batch(k, r.ds[:n], e.now)
		r.flush()
	}
	return e.tun.take()
}

// told returns the events so far and forgets them.
func (e *end) told() []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := e.events
	e.events = nil
	return out
}

// from readdresses datagrams as they arrive from the address given.
func from(addr string, ds []ipsec.Datagram) []ipsec.Datagram {
	out := make([]ipsec.Datagram, len(ds))
	for i, d := range ds {
		d.Local, d.Remote = d.Remote, netip.MustParseAddrPort(addr)
		out[i] = d
	}
	return out
}

// couple installs a Child SA between two ends and returns each one's view of it.
func couple(t testing.TB, a, b *end, s suite, k transport, f func(*ipsec.ChildSA)) (sa, sb *ipsec.ChildSA) {
	t.Helper()
	sa, sb = agree(t, a, b, s, k, f)
	for _, err := range []error{
		a.plane.InstallIn(sa), b.plane.InstallIn(sb), a.plane.InstallOut(sa), b.plane.InstallOut(sb),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return sa, sb
}

// agree makes a Child SA that is to be installed.
func agree(t testing.TB, a, b *end, s suite, k transport, f func(*ipsec.ChildSA)) (sa, sb *ipsec.ChildSA) {
	t.Helper()
	ab, ba := keysFor(s.Suite), keysFor(s.Suite)
	sa = &ipsec.ChildSA{
		Tunnel: "t", Suite: s.Suite, Trunc96: s.trunc96, In: ba, Out: ab,
		Local:  sels(t, "10.1.0.0/16", "fd01::/16"),
		Remote: sels(t, "10.2.0.0/16", "fd02::/16"),
		Path: ipsec.Path{
			Local:  netip.MustParseAddrPort(endAddrs[0][k]),
			Remote: netip.MustParseAddrPort(endAddrs[1][k]), UDP: k < raw4,
		},
	}
	for _, x := range []struct {
		p   *Plane
		spi *uint32
	}{{a.plane, &sa.SPIIn}, {b.plane, &sa.SPIOut}} {
		var err error
		if *x.spi, err = x.p.AllocSPI(); err != nil {
			t.Fatal(err)
		}
	}
	if f != nil {
		f(sa)
	}
	m := *sa
	sb = &m
	sb.SPIIn, sb.SPIOut, sb.In, sb.Out = sa.SPIOut, sa.SPIIn, sa.Out, sa.In
	sb.Local, sb.Remote = sa.Remote, sa.Local
	sb.Path.Local, sb.Path.Remote = sa.Path.Remote, sa.Path.Local
	return sa, sb
}

// ends are two planes with one Child SA between them.
func ends(t testing.TB, proposal string, k transport, f func(*ipsec.ChildSA)) (a, b *end, sa, sb *ipsec.ChildSA) {
	t.Helper()
	a, b = newEnd(t, 0), newEnd(t, 1)
	sa, sb = couple(t, a, b, suite{Suite: named(t, proposal)}, k, f)
	return a, b, sa, sb
}
