package gateway

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"vpngw/esp"
	"vpngw/host"
	"vpngw/ipsec"
)

// fakeNet carries datagrams between fakeHosts by their addresses.
type fakeNet struct {
	mu    sync.Mutex
	hosts map[netip.Addr]*fakeHost
	sent  []ipsec.Datagram // everything, Data cloned
}

func newNet() *fakeNet { return &fakeNet{hosts: map[netip.Addr]*fakeHost{}} }

func (n *fakeNet) send(from *fakeHost, port uint16, d ipsec.Datagram) {
	src := d.Local.Addr()
	if !src.IsValid() || src.IsUnspecified() {
		src = from.addresses[0]
	}
	d.Data = slices.Clone(d.Data)
	n.mu.Lock()
	n.sent = append(n.sent, d)
	to := n.hosts[d.Remote.Addr()]
	n.mu.Unlock()
	if to == nil {
		return
	}
	if so := to.socket(d.Remote.Port()); so != nil {
		so.put(ipsec.Datagram{
			Local: d.Remote, Remote: netip.AddrPortFrom(src, port), Data: d.Data, Segment: d.Segment, TOS: d.TOS,
		})
	}
}

// fakeSocket is one socket of a fakeHost.
type fakeSocket struct {
	host *fakeHost
	id   int
	port uint16
	in   chan ipsec.Datagram
	errs chan error // of ReadBatch
	done chan struct{}
	once sync.Once
}

func (s *fakeSocket) put(d ipsec.Datagram) {
	select {
	case s.in <- d:
		s.host.poke()
	case <-s.done:
	default:
	}
}

func (s *fakeSocket) ReadBatch(ds []ipsec.Datagram) (int, error) {
	select {
	case d := <-s.in:
		d.Data = ds[0].Data[:copy(ds[0].Data, d.Data)]
		ds[0] = d
		return 1, nil
	case err := <-s.errs:
		return 0, err
	case <-s.done:
		return 0, net.ErrClosed
	}
}

func (s *fakeSocket) FD() int { return s.id }

func (s *fakeSocket) ReadReady(ds []ipsec.Datagram) (int, error) {
	select {
	case d := <-s.in:
		d.Data = ds[0].Data[:copy(ds[0].Data, d.Data)]
		ds[0] = d
		s.host.poke() // perhaps there is more
		return 1, nil
	case <-s.done:
		return 0, net.ErrClosed
	default:
		return 0, nil
	}
}

func (s *fakeSocket) WriteBatch(ds []ipsec.Datagram) (int, error) {
	for _, d := range ds {
		if err := s.host.sendError; err != nil {
			return 0, err
		}
		s.host.net.send(s.host, s.port, d)
	}
	return len(ds), nil
}

func (s *fakeSocket) WriteFragmentable(d ipsec.Datagram) error {
	_, err := s.WriteBatch([]ipsec.Datagram{d})
	return err
}

func (s *fakeSocket) Stats() host.SocketStats { return host.SocketStats{KernelDrops: 3} }

func (s *fakeSocket) Raw() bool { return s.port == 0 }
func (s *fakeSocket) Local() netip.AddrPort {
	return netip.AddrPortFrom(netip.IPv4Unspecified(), s.port)
}

func (s *fakeSocket) Close() error {
	s.once.Do(func() { close(s.done); s.host.poke() })
	return nil
}

// fakeTUN is a TUN device whose other end is two channels of inner packets.
type fakeTUN struct {
	host     *fakeHost
	id       int
	name     string
	from, to chan []byte // from the host into the tunnel, and out of it
	done     chan struct{}
	once     sync.Once
}

// vnetHeader precedes each packet in a frame; zero: no offload.
const vnetHeader = 10

func (t *fakeTUN) FD() int { return t.id }

func (t *fakeTUN) ReadReady(b []byte, take func([]byte) bool) error {
	for {
		select {
		case p := <-t.from:
			clear(b[:vnetHeader])
			if !take(b[: vnetHeader+copy(b[vnetHeader:], p) : cap(b)]) {
				t.host.poke()
				return nil
			}
			continue
		default:
		}
		select {
		case <-t.done:
			return os.ErrClosed
		default:
			return nil
		}
	}
}

// put gives the device a packet of its host.
func (t *fakeTUN) put(p []byte) {
	t.from <- p
	t.host.poke()
}

func (t *fakeTUN) WriteFrame(b []byte) error {
	select {
	case t.to <- slices.Clone(b[vnetHeader:]):
	default:
	}
	return nil
}

func (t *fakeTUN) SegmentsUDP() bool            { return false }
func (t *fakeTUN) Packets() (esp.Device, error) { return nil, errors.ErrUnsupported }
func (t *fakeTUN) Close() error {
	t.once.Do(func() { close(t.done); t.host.poke() })
	return nil
}

func (t *fakeTUN) closed() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}
