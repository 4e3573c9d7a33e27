// Package numbered sends numbered UDP packets at a steady rate and notes which numbers come from the other end. It runs in
// tests and in their guests, so that both ends of a flow count in the same way.
package numbered

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// size is the UDP payload of a packet.
const size = 64

// most is the largest number of a packet.
const most = 1 << 24

// End is one end of a flow, which sends to the other end and listens to it.
type End struct {
	conn *net.UDPConn
	to   netip.AddrPort
	stop chan struct{}
	sent atomic.Int64
	done sync.WaitGroup

	mu   sync.Mutex
	came []bool
	r    Report
}

// Report is what an End has seen.
type Report struct {
	Sent, Received, Duplicated int
	// Missing are the numbers below the highest received that have not come.
	Missing []int
	// Next is the number behind the highest received.
	Next    int
	Refused string // the last error of the sender's kernel
}

// Lost are the numbers of packets that an end with Report from has sent and an end with Report to has not received.
func Lost(from, to Report) []int {
	lost := to.Missing
	for n := to.Next; n < from.Sent; n++ {
		lost = append(lost, n)
	}
	return lost
}

// Ranges writes numbers in ascending order as ranges.
func Ranges(numbers []int) string {
	var out []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if j == i {
			out = append(out, strconv.Itoa(numbers[i]))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", numbers[i], numbers[j]))
		}
		i = j + 1
	}
	return strings.Join(out, " ")
}

// Open opens an end, in the network namespace of the calling thread.
func Open(local, remote netip.AddrPort) (*End, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(local))
	if err != nil {
		return nil, err
	}
	if raw, err := conn.SyscallConn(); err == nil { // a busy machine may not run this program for seconds
		raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, 32<<20) })
	}
	e := &End{conn: conn, to: remote, stop: make(chan struct{})}
	go e.receive()
	return e, nil
}

// Start begins to send so many packets a second.
func (e *End) Start(perSecond int) {
	e.done.Go(func() { e.send(perSecond) })
}

// Sent is how many packets have been sent so far.
func (e *End) Sent() int { return int(e.sent.Load()) }

// Halt ends the sending.
func (e *End) Halt() {
	select {
	case <-e.stop:
	default:
		close(e.stop)
	}
	e.done.Wait()
}

// Report tells what has been seen so far.
func (e *End) Report() Report {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.r
	r.Sent, r.Next = e.Sent(), len(e.came)
	for n, came := range e.came {
		if !came {
			r.Missing = append(r.Missing, n)
		}
	}
	return r
}

// Close ends the end.
func (e *End) Close() {
	e.Halt()
	e.conn.Close()
}

func (e *End) send(perSecond int) {
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	start := time.Now()
	var b [size]byte
	for {
		select {
		case <-e.stop:
			return
		case <-tick.C:
		}
		// Late ticks are made good, by a tenth of a second's packets at most.
		due := int64(time.Since(start).Seconds() * float64(perSecond))
		for burst := max(2, perSecond/10); burst > 0 && e.sent.Load() < min(due, most); burst-- {
			binary.BigEndian.PutUint64(b[:], uint64(e.sent.Load()))
			if _, err := e.conn.WriteToUDPAddrPort(b[:], e.to); err != nil {
				e.mu.Lock()
				e.r.Refused = err.Error()
				e.mu.Unlock()
			}
			e.sent.Add(1)
		}
	}
}

func (e *End) receive() {
	var b [size + 1]byte
	for {
		n, err := e.conn.Read(b[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		number := binary.BigEndian.Uint64(b[:])
		if err != nil || n != size || number >= most {
			continue // an ICMP error about what this socket sent, or a stranger's packet
		}
		e.mu.Lock()
		for uint64(len(e.came)) <= number {
			e.came = append(e.came, false)
		}
		if e.came[number] {
			e.r.Duplicated++
		} else {
			e.r.Received++
		}
		e.came[number] = true
		e.mu.Unlock()
	}
}
