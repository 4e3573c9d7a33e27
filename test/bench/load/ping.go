package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Pings is the result of a run of pings.
type Pings struct {
	Sent  int
	Times []time.Duration // round trips, in the order of the answers
}

// Lost is the part that was not answered.
func (p Pings) Lost() float64 { return float64(p.Sent-len(p.Times)) / float64(max(p.Sent, 1)) }

const (
	echoRequest, echoReply = 8, 0
	echoLen                = 64          // as ping(8) sends: 8 bytes of ICMP, 56 of payload
	lastAnswer             = time.Second // how long the last answer may take
)

// runs numbers the runs of pings. The number gives the identifier, so that a
// late answer does not count for the next run.
var runs atomic.Uint32

// Ping sends count echo requests at a fixed interval, answered or not. in calls
// a function where the sender is. Answers are waited for without a spin, so
// that the processor sleeps where it would.
func Ping(in func(func()), source, to netip.Addr, count int, interval time.Duration) (Pings, error) {
	var fd int
	var err error
	in(func() {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMP)
	})
	if err != nil {
		return Pings{}, fmt.Errorf("ICMP socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: source.As4()}); err != nil {
		return Pings{}, fmt.Errorf("bind %v: %w", source, err)
	}
	type result struct {
		Pings
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread()
		p, err := ping(fd, to, count, interval)
		done <- result{p, err}
	}()
	r := <-done
	return r.Pings, r.err
}

func ping(fd int, to netip.Addr, count int, interval time.Duration) (Pings, error) {
	sent := make([]time.Time, 0, count)
	out := Pings{Times: make([]time.Duration, 0, count)}
	ident := uint16(runs.Add(1))
	answered := make([]bool, count)
	start := time.Now()
	addr := &unix.SockaddrInet4{Addr: to.As4()}
	var b [256]byte
	for {
		wake := start.Add(time.Duration(len(sent)) * interval)
		if len(sent) == count {
			wake = sent[count-1].Add(lastAnswer)
			if len(out.Times) == count || time.Now().After(wake) {
				out.Sent = count
				return out, nil
			}
		} else if wait := time.Until(wake); wait <= 0 {
			sent = append(sent, time.Now())
			if err := unix.Sendto(fd, echo(ident, uint16(len(sent)-1)), 0, addr); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return out, fmt.Errorf("ping %v: %w", to, err)
			}
			continue
		}
		ts := unix.NsecToTimespec(int64(max(0, time.Until(wake))))
		_, err := unix.Ppoll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, &ts, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return out, fmt.Errorf("ppoll: %w", err)
		}
		n, _, err := unix.Recvfrom(fd, b[:], 0)
		if err != nil {
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				continue
			}
			return out, fmt.Errorf("ping %v: %w", to, err)
		}
		now := time.Now()
		seq, ok := reply(b[:n], ident)
		if ok && int(seq) < len(sent) && !answered[seq] {
			answered[seq] = true
			out.Times = append(out.Times, now.Sub(sent[seq]))
		}
	}
}

// echo is an echo request.
func echo(ident, seq uint16) []byte {
	b := make([]byte, echoLen)
	b[0] = echoRequest
	binary.BigEndian.PutUint16(b[4:], ident)
	binary.BigEndian.PutUint16(b[6:], seq)
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(b[2:], ^uint16(sum+sum>>16))
	return b
}

// reply returns the number of an answer to this run; b begins with the IP header.
func reply(b []byte, ident uint16) (seq uint16, ok bool) {
	header := int(b[0]&0xf) * 4
	if len(b) < header+8 || b[header] != echoReply || binary.BigEndian.Uint16(b[header+4:]) != ident {
		return 0, false
	}
	return binary.BigEndian.Uint16(b[header+6:]), true
}
