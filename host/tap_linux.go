package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Tap sees packets as the kernel's own taps show them, by packet sockets: those of TUN devices, or IKE and ESP of
// peers. So the data plane does nothing for it and packets are seen as they are on the wire, but for offloads: what
// stands for several packets is seen as one.
//
// What comes from a peer is seen where IP takes it, once, whatever devices (a VLAN, bridge or bond) it came through; what goes to it, on the device
// that the route leads to. Not safe for concurrent use.
type Tap struct {
	host    *Host
	sources []tapSource
}

// TapSource is what a Tap sees: a TUN device, or the outer packets of peers.
type TapSource struct {
	Device string
	Peers  []netip.Addr
}

// Tapped is one packet that a Tap has seen.
type Tapped struct {
	Source  int
	At      time.Time
	Out     bool
	Super   [virtioHeader]byte // a virtio_net_hdr
	Network int                // where the IP header begins behind it; Data begins there
	Data    []byte             // valid until take returns
}

// TapStats counts the packets of a source.
type TapStats struct{ Seen, Dropped uint64 }

const (
	virtioHeader = 10
	// tapBuffer is more than any packet of 64 KiB with what is before it.
	tapBuffer = 1 << 17
	// tapQueue is how much waits in the kernel for a reader that is slow, for each socket. What finds no room is dropped and counted.
	tapQueue = 16 << 20
)

type tapSource struct {
	TapSource
	index   int          // of the device
	sockets []*tapSocket // of peers: incoming for each family, then outgoing for each device
	ended   TapStats     // of sockets that were closed
}

// tapSocket is one packet socket.
type tapSocket struct {
	fd     int
	v6     bool // incoming only
	index  int  // outgoing: the device
	out    bool
	stats  TapStats
	ready  bool // there may be more
	full   bool // packet is one that was read and not taken
	packet Tapped
	buffer []byte
	oob    [256]byte
}

// Tap begins to look at sources.
func (h *Host) Tap(sources []TapSource) (*Tap, error) {
	t := &Tap{host: h}
	for _, s := range sources {
		t.sources = append(t.sources, tapSource{TapSource: s})
	}
	for i, s := range sources {
		if err := t.Aim(i, s.Peers); err != nil {
			t.Close()
			return nil, err
		}
	}
	return t, nil
}

// Aim follows a source: a device that was made again, and the addresses of peers and the routes to them.
func (t *Tap) Aim(source int, peers []netip.Addr) error {
	s := &t.sources[source]
	if s.Device != "" {
		return t.aimDevice(s)
	}
	s.Peers = peers
	type of struct {
		out, v6 bool
		index   int
	}
	want := map[of][]netip.Addr{}
	for _, p := range peers {
		in := of{v6: p.Is6()}
		want[in] = append(want[in], p)
		if index := t.host.deviceTo(p); index != 0 {
			out := of{out: true, index: index}
			want[out] = append(want[out], p)
		}
	}
	var failed error
	keep := s.sockets[:0]
	for _, k := range s.sockets {
		key := of{k.out, k.v6, k.index}
		if addrs := want[key]; addrs == nil {
			s.close(k)
		} else {
			failed = errors.Join(failed, k.aim(addrs))
			keep = append(keep, k)
			delete(want, key)
		}
	}
	s.sockets = keep // also after a failure: the number of a closed one may be another file's by now
	if failed != nil {
		return failed
	}
	for w, addrs := range want {
		protocol := uint16(unix.ETH_P_ALL) // outgoing packets are seen with it only
		switch {
		case !w.out && w.v6:
			protocol = unix.ETH_P_IPV6
		case !w.out:
			protocol = unix.ETH_P_IP
		}
		k, err := openTap(protocol, w.index, func(k *tapSocket) error { k.out, k.v6 = w.out, w.v6; return k.aim(addrs) })
		if err != nil {
			return err
		}
		s.sockets = append(s.sockets, k)
	}
	return nil
}

func (t *Tap) aimDevice(s *tapSource) error {
	link, err := t.host.nl.LinkByName(s.Device)
	if err != nil {
		return fmt.Errorf("device %s: %w", s.Device, err)
	}
	if link.Attrs().Index == s.index && len(s.sockets) > 0 {
		return nil
	}
	s.index = link.Attrs().Index
	for _, k := range s.sockets {
		s.close(k)
	}
	s.sockets = nil
	k, err := openTap(unix.ETH_P_ALL, s.index, func(*tapSocket) error { return nil })
	if err == nil {
		s.sockets = []*tapSocket{k}
	}
	return err
}

// deviceTo is the device by which our packets go to a peer; 0: there is no route.
func (h *Host) deviceTo(peer netip.Addr) int {
	r, err := h.route(peer, false)
	if err != nil {
		return 0
	}
	return r.LinkIndex
}

// openTap opens a packet socket. Its filter is there before it sees anything.
func openTap(protocol uint16, index int, filter func(*tapSocket) error) (*tapSocket, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("a packet socket (CAP_NET_RAW): %w", err)
	}
	k := &tapSocket{fd: fd, index: index, buffer: make([]byte, virtioHeader+tapBuffer)}
	set := func(level, name, value int) {
		if err == nil {
			err = unix.SetsockoptInt(fd, level, name, value)
		}
	}
	set(unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)
	set(unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)
	set(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, tapQueue)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, tapQueue)
	if err == nil {
		err = filter(k)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol<<8 | protocol>>8, Ifindex: index})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("a packet socket: %w", err)
	}
	return k, nil
}

func (k *tapSocket) aim(peers []netip.Addr) error {
	f, err := peerFilter(k.out, peers)
	if err != nil {
		return err
	}
	return unix.SetsockoptSockFprog(k.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]})
}

// Read waits for packets, for so long at most, and gives take those that came, at most some hundreds, in the order of their times.
func (t *Tap) Read(wait time.Duration, take func(Tapped)) error {
	var all []*tapSocket
	var polls []unix.PollFd
	for i := range t.sources {
		for _, k := range t.sources[i].sockets {
			k.packet.Source = i
			all = append(all, k)
			polls = append(polls, unix.PollFd{Fd: int32(k.fd), Events: unix.POLLIN})
		}
	}
	for _, k := range all {
		if k.full {
			wait = 0
		}
	}
	if _, err := unix.Poll(polls, int(wait/time.Millisecond)); err != nil && err != unix.EINTR {
		return fmt.Errorf("packet sockets: %w", err)
	}
	for i, k := range all {
		k.ready = polls[i].Revents != 0
	}
	const most = 512
	for range most {
		var first *tapSocket
		for _, k := range all {
			if err := k.fill(); err != nil {
				return err
			}
			if k.full && (first == nil || k.packet.At.Before(first.packet.At)) {
				first = k
			}
		}
		if first == nil {
			return nil
		}
		first.full = false
		take(first.packet)
	}
	return nil
}

// fill reads a packet, if none waits to be taken.
func (k *tapSocket) fill() error {
	for k.ready && !k.full {
		n, oobn, _, from, err := unix.Recvmsg(k.fd, k.buffer, k.oob[:], 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			k.ready = false
		case errors.Is(err, unix.EINVAL): // the virtio_net_hdr cannot say what the packet stands for
			k.stats.Dropped++
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
		case err != nil:
			return fmt.Errorf("packet socket: %w", err)
		default:
			k.full = k.parse(k.buffer[:n], k.oob[:oobn], from)
		}
	}
	return nil
}

// parse makes a packet of what a socket has given. false: it is no IP.
func (k *tapSocket) parse(b, oob []byte, from unix.Sockaddr) bool {
	p := &k.packet
	ll, ok := from.(*unix.SockaddrLinklayer)
	if !ok || len(b) < virtioHeader {
		return false
	}
	p.At, p.Network = time.Now(), 0
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return false
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 16:
			p.Network = int(binary.NativeEndian.Uint16(m.Data[14:])) // tp_net of struct tpacket_auxdata
		case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})):
			ts := *(*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
			p.At = time.Unix(ts.Unix())
		}
	}
	p.Super = [virtioHeader]byte(b)
	b = b[virtioHeader:]
	if p.Network >= len(b) {
		return false
	}
	p.Data = b[p.Network:]
	p.Out = ll.Pkttype == unix.PACKET_OUTGOING
	return p.Data[0]>>4 == 4 || p.Data[0]>>4 == 6
}

// Stats counts the packets of each source. Those seen include those dropped.
func (t *Tap) Stats() []TapStats {
	out := make([]TapStats, len(t.sources))
	for i, s := range t.sources {
		out[i] = s.ended
		for _, k := range s.sockets {
			n := k.count()
			out[i].Seen += n.Seen
			out[i].Dropped += n.Dropped
		}
	}
	return out
}

// count asks the kernel, which begins again with each answer.
func (k *tapSocket) count() TapStats {
	if s, err := unix.GetsockoptTpacketStats(k.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		k.stats.Seen += uint64(s.Packets)
		k.stats.Dropped += uint64(s.Drops)
	}
	return k.stats
}

func (s *tapSource) close(k *tapSocket) {
	n := k.count()
	s.ended.Seen += n.Seen
	s.ended.Dropped += n.Dropped
	unix.Close(k.fd)
}

// Close closes the sockets.
func (t *Tap) Close() {
	for i := range t.sources {
		for _, k := range t.sources[i].sockets {
			t.sources[i].close(k)
		}
		t.sources[i].sockets = nil
	}
}
