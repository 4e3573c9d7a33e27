package host

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Sockets are all sockets of the underlay: in each list one for each family, or
// one for each address to listen on.
type Sockets struct {
	IKE  []*Socket // UDP port 500
	NATT []*Socket // UDP port 4500: ESP, and datagrams that do not go to Marked
	// Marked has the addresses of NATT once more, and gets the datagrams with the non-ESP marker. So IKE does
	// not wait in one queue with ESP, nor is it lost when that queue is full. A run that begins with an IKE
	// message can hold ESP too, and the reverse. Marked is empty where the kernel cannot tell the two apart.
	Marked []*Socket
	Raw    []*Socket // protocol 50
	ICMP   []*ICMPSocket

	host   *Host
	frames *frameSender // for Raw; nil: the kernel has no AF_PACKET
}

// Open opens the sockets: on the addresses given, or on all where there are
// none. A kernel without IPv6 gives no IPv6 sockets, which is no error unless
// one was asked for.
func (h *Host) Open(listen []netip.Addr) (*Sockets, error) {
	addrs := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	if len(listen) > 0 {
		addrs = nil
		for _, a := range listen {
			if a = a.Unmap().WithZone(""); !slices.Contains(addrs, a) {
				addrs = append(addrs, a)
			}
		}
	}
	s := &Sockets{host: h}
	defer func() { h.opened.note(s) }()
	for _, l := range []struct {
		to   *[]*Socket
		port uint16
	}{{&s.IKE, PortIKE}, {&s.NATT, PortNATT}, {&s.Raw, 0}} {
		for _, a := range addrs {
			sock, err := openSocket(netip.AddrPortFrom(a, l.port))
			switch {
			case err == nil:
				*l.to = append(*l.to, sock)
				if l.port == 0 && !sock.v6 {
					if err := sock.openCutter(); err != nil {
						h.log.Debug("packets of protocol 50 that may be fragmented go one by one", "err", err)
					}
				}
				if l.port != PortNATT {
					continue
				}
				if m, err := sock.marked(); err == nil {
					s.Marked = append(s.Marked, m)
					sock.cutter = m
				} else {
					h.log.Debug("IKE has no queue of its own on port 4500", "err", err)
				}
			case len(listen) == 0 && a.Is6() && errors.Is(err, unix.EAFNOSUPPORT):
				h.log.Debug("no IPv6 on this host", "err", err)
			default:
				s.Close()
				return nil, explainOpen(a, l.port, err)
			}
		}
	}
	for _, v6 := range []bool{false, true} {
		i, err := openICMP(v6)
		switch {
		case err == nil:
			s.ICMP = append(s.ICMP, i)
		case !v6 || !errors.Is(err, unix.EAFNOSUPPORT):
			s.Close()
			return nil, err
		}
	}
	var err error
	if s.frames, err = newFrameSender(); err != nil {
		h.log.Debug("ESP is not sent as Ethernet frames", "err", err)
		return s, nil
	}
	for _, r := range s.Raw {
		r.frames = s.frames
	}
	return s, nil
}

// explainOpen adds the remedy to an error of opening a socket.
func explainOpen(a netip.Addr, port uint16, err error) error {
	what := fmt.Sprintf("UDP port %d", port)
	if port == 0 {
		what = "protocol 50 (ESP)"
	}
	remedy := ""
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		remedy = fmt.Sprintf("; %s uses the port: stop that program, or leave it its addresses with `listen` (another vpngw needs a network namespace of its own)", portOwner(a.Is6(), port))
	case errors.Is(err, unix.EADDRNOTAVAIL):
		remedy = "; no interface has this address: correct `listen`"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		remedy = "; run as root or with CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE"
	}
	return fmt.Errorf("%s on %s: %w%s", what, a, err, remedy)
}

// All lists every socket.
func (s *Sockets) All() []*Socket {
	return slices.Concat(s.IKE, s.NATT, s.Marked, s.Raw)
}

// ForIKE is ForSend for an IKE message, or a keepalive.
func (s *Sockets) ForIKE(local netip.AddrPort, remote netip.Addr) *Socket {
	if local.Port() == PortNATT {
		if m := pick(s.Marked, local, remote); m != nil {
			return m
		}
	}
	return s.ForSend(local, remote)
}

// ForSend picks the socket that a datagram goes out of. local.Port says which
// kind: 500 is IKE, 4500 NAT-T, 0 raw ESP; remote says which family. It prefers
// the socket bound to local's address, then one bound to no address, then any:
// all send from Datagram.Local. Nil: there is none.
func (s *Sockets) ForSend(local netip.AddrPort, remote netip.Addr) *Socket {
	list := s.Raw
	switch local.Port() {
	case PortIKE:
		list = s.IKE
	case PortNATT:
		list = s.NATT
	}
	return pick(list, local, remote)
}

func pick(list []*Socket, local netip.AddrPort, remote netip.Addr) *Socket {
	var best *Socket
	for _, c := range list {
		switch {
		case c.v6 != remote.Unmap().Is6():
		case c.addr.Addr() == local.Addr().Unmap():
			return c
		case best == nil || c.addr.Addr().IsUnspecified():
			best = c
		}
	}
	return best
}

// Close closes every socket.
func (s *Sockets) Close() error {
	var errs []error
	for _, c := range s.All() {
		errs = append(errs, c.Close())
	}
	for _, i := range s.ICMP {
		errs = append(errs, i.Close())
	}
	if s.frames != nil {
		errs = append(errs, s.frames.fd.Close())
	}
	return errors.Join(errs...)
}

// opened are the inodes of the sockets that Open opened: who looks for others' need not ask each descriptor of each process.
type opened struct {
	mu     sync.Mutex
	inodes map[string]bool
}

func (o *opened) note(s *Sockets) {
	inodes := make(map[string]bool)
	for _, list := range [][]*Socket{s.IKE, s.NATT, s.Marked} {
		for _, so := range list {
			so.fd.do(func(fd uintptr) {
				var st unix.Stat_t
				if unix.Fstat(int(fd), &st) == nil {
					inodes[strconv.FormatUint(st.Ino, 10)] = true
				}
			})
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.inodes = inodes
}

func (o *opened) has(inode string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.inodes[inode]
}
