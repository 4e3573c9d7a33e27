package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// Speaker is a small BGP speaker of our own, for what no real router sends. It connects or waits, opens a session, sends
// keepalives, and then whatever a test gives it.
type Speaker struct {
	ns       *Namespace
	conf     Speaking
	listener net.Listener

	mu    sync.Mutex
	conn  net.Conn
	ended chan struct{} // closed when the connection has ended
	last  []byte        // the last NOTIFICATION's code, subcode and data
	peer  []byte        // the peer's OPEN
	told  map[netip.Prefix]bool
	alive chan struct{} // a KEEPALIVE has come
}

// Speaking is the configuration of a Speaker.
type Speaking struct {
	ASN           uint32
	Local, Remote string
	Hold          uint16 // seconds; 0: 3
	Listen        bool   // wait for the peer's connection instead of connecting
}

// Speaker makes a Speaker, which has no connection yet.
func (n *Namespace) Speaker(c Speaking) *Speaker {
	n.lab.Helper()
	if c.Hold == 0 {
		c.Hold = 3
	}
	s := &Speaker{ns: n, conf: c}
	if c.Listen {
		var err error
		n.Do(func() { s.listener, err = net.Listen("tcp4", net.JoinHostPort(c.Local, "179")) })
		if err != nil {
			n.lab.Fatalf("%s: %v", n.role, err)
		}
		n.lab.onClose(func() { s.listener.Close() })
	}
	n.lab.onClose(s.Close)
	return s
}

// writeTime is how long a peer may leave what is sent unread.
const writeTime = 5 * time.Second

// Close ends the connection without a word.
func (s *Speaker) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.Close()
	}
}

// Dial makes a TCP connection, on which nothing is sent, and keeps the old one no longer. It tries until it has one.
func (s *Speaker) Dial(within time.Duration) error {
	s.ns.lab.Helper()
	s.Close()
	deadline := time.Now().Add(within)
	var conn net.Conn
	err := errors.New("no time")
	for conn == nil && time.Now().Before(deadline) {
		if s.listener != nil {
			s.listener.(*net.TCPListener).SetDeadline(deadline)
			conn, err = s.listener.Accept()
			continue
		}
		s.ns.Do(func() {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(s.conf.Local)}, Timeout: time.Second}
			d.Control = func(_, _ string, raw syscall.RawConn) error {
				return raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_TTL, 255) })
			}
			// The namespace is the thread's, so no other goroutine may make the socket.
			d.FallbackDelay = -1
			conn, err = d.DialContext(context.Background(), "tcp4", net.JoinHostPort(s.conf.Remote, "179"))
		})
		if err != nil {
			time.Sleep(50 * time.Millisecond)
		}
	}
	if conn == nil {
		return err
	}
	s.mu.Lock()
	s.conn, s.ended, s.last, s.peer = conn, make(chan struct{}), nil, nil
	s.told, s.alive = map[netip.Prefix]bool{}, make(chan struct{}, 1)
	s.mu.Unlock()
	go s.read(conn, s.ended)
	return nil
}

// Open makes a connection and a session, by an OPEN of the Speaker's, or by another. The session is established when it
// returns without an error. A peer that closes early is tried again.
func (s *Speaker) Open(within time.Duration, open ...byte) error {
	s.ns.lab.Helper()
	if open == nil {
		open = OpenBody(s.conf.ASN, s.conf.Hold, s.conf.Local)
	}
	deadline := time.Now().Add(within)
	err := errors.New("no time")
	for time.Now().Before(deadline) {
		if err = s.Dial(time.Until(deadline)); err != nil {
			return err
		}
		s.Send(BGPMessage(BGPOpen, open...))
		s.Send(BGPMessage(BGPKeepalive))
		if err = s.confirmed(time.Second); err == nil {
			go s.keep(s.conn, s.ended)
			return nil
		}
		s.Close()
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// confirmed waits for the peer's OPEN and KEEPALIVE.
func (s *Speaker) confirmed(within time.Duration) error {
	select {
	case <-s.alive:
		return nil
	case <-s.ended:
		return fmt.Errorf("the peer closed the connection: %x", s.Notification())
	case <-time.After(within):
		return errors.New("the peer does not answer OPEN")
	}
}

func (s *Speaker) keep(conn net.Conn, ended chan struct{}) {
	hold := s.conf.Hold
	if open := s.PeersOpen(); len(open) >= 5 {
		hold = min(hold, binary.BigEndian.Uint16(open[3:]))
	}
	tick := time.NewTicker(max(time.Second, time.Duration(hold)*time.Second) / 3)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			conn.SetWriteDeadline(time.Now().Add(writeTime))
			conn.Write(BGPMessage(BGPKeepalive))
		}
	}
}

func (s *Speaker) read(conn net.Conn, ended chan struct{}) {
	defer close(ended)
	defer conn.Close()
	b := make([]byte, 1<<16)
	for {
		if _, err := io.ReadFull(conn, b[:19]); err != nil {
			return
		}
		size := int(binary.BigEndian.Uint16(b[16:]))
		if size < 19 {
			return
		}
		if _, err := io.ReadFull(conn, b[19:size]); err != nil {
			return
		}
		s.heard(b[18], append([]byte(nil), b[19:size]...))
	}
}

func (s *Speaker) heard(kind byte, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch kind {
	case BGPOpen:
		s.peer = body
	case BGPNotification:
		s.last = body
	case BGPKeepalive:
		select {
		case s.alive <- struct{}{}:
		default:
		}
	case BGPUpdate:
		n := int(binary.BigEndian.Uint16(body))
		for _, p := range prefixes(body[2 : 2+n]) {
			delete(s.told, p)
		}
		rest := body[2+n:]
		for _, p := range prefixes(rest[2+int(binary.BigEndian.Uint16(rest)):]) {
			s.told[p] = true
		}
	}
}

// prefixes reads what NLRI writes.
func prefixes(b []byte) []netip.Prefix {
	var out []netip.Prefix
	for len(b) > 0 {
		bits := int(b[0])
		n := (bits + 7) / 8
		if bits > 32 || len(b) < 1+n {
			return out
		}
		var a [4]byte
		copy(a[:], b[1:1+n])
		out, b = append(out, netip.PrefixFrom(netip.AddrFrom4(a), bits)), b[1+n:]
	}
	return out
}

// Send sends bytes on the connection.
func (s *Speaker) Send(b []byte) {
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	if conn != nil {
		conn.SetWriteDeadline(time.Now().Add(writeTime))
		conn.Write(b)
	}
}

// Tell announces prefixes by the Speaker's own address and AS number, 500 in an UPDATE.
func (s *Speaker) Tell(prefixes ...string) {
	attrs := Join(Origin(), Path(s.conf.ASN), NextHop(s.conf.Local))
	for len(prefixes) > 0 {
		n := min(500, len(prefixes))
		s.Send(BGPMessage(BGPUpdate, UpdateBody(nil, attrs, NLRI(prefixes[:n]...))...))
		prefixes = prefixes[n:]
	}
}

// Withdraw takes prefixes back.
func (s *Speaker) Withdraw(prefixes ...string) {
	for len(prefixes) > 0 {
		n := min(500, len(prefixes))
		s.Send(BGPMessage(BGPUpdate, UpdateBody(NLRI(prefixes[:n]...), nil, nil)...))
		prefixes = prefixes[n:]
	}
}

// Ended reports whether the connection ends within a time.
func (s *Speaker) Ended(within time.Duration) bool {
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	if ended == nil {
		return true
	}
	select {
	case <-ended:
		return true
	case <-time.After(max(within, time.Millisecond)): // both may be ready
		return false
	}
}

// Notification is the code, the subcode and the data of the last NOTIFICATION on this connection, or nil.
func (s *Speaker) Notification() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// PeersOpen is the body of the peer's OPEN.
func (s *Speaker) PeersOpen() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peer
}

// Told are the prefixes that the peer has told on this connection.
func (s *Speaker) Told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for p := range s.told {
		out = append(out, p.String())
	}
	return out
}
