package lab

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
)

// Forged is a UDP datagram with any source address.
type Forged struct {
	From, To netip.AddrPort
	Data     []byte
}

// Flood sends forged datagrams at a rate, until Stop.
type Flood struct {
	began time.Time
	sent  atomic.Int64
	stop  chan struct{}
	done  chan struct{}
	err   error
}

const (
	floodBatch = 64 // datagrams in a system call
	floodRoom  = 2048
)

// StartFlood sends what next returns, so many a second. next is called on one goroutine, and each datagram is
// copied before the next call. It holds floodRoom bytes at most with its headers.
func (n *Namespace) StartFlood(perSecond int, next func() Forged) *Flood {
	n.lab.Helper()
	f := &Flood{began: time.Now(), stop: make(chan struct{}), done: make(chan struct{})}
	var c net.PacketConn
	var err error
	n.Do(func() { c, err = net.ListenPacket("ip4:255", "0.0.0.0") }) // IPPROTO_RAW: packets come with their header
	if err != nil {
		n.lab.Fatalf("%s: raw socket: %v", n.role, err)
	}
	n.lab.onClose(func() { c.Close() })
	go func() {
		defer close(f.done)
		defer c.Close()
		f.err = f.send(ipv4.NewPacketConn(c), perSecond, next)
	}()
	return f
}

func (f *Flood) send(c *ipv4.PacketConn, perSecond int, next func() Forged) error {
	runtime.LockOSThread()
	ms := make([]ipv4.Message, floodBatch)
	for i := range ms {
		ms[i] = ipv4.Message{Buffers: [][]byte{make([]byte, floodRoom)}, Addr: &net.IPAddr{IP: make(net.IP, 4)}}
	}
	for {
		select {
		case <-f.stop:
			return nil
		default:
		}
		due := int64(time.Since(f.began).Seconds()*float64(perSecond)) - f.sent.Load()
		if due < floodBatch {
			time.Sleep(time.Millisecond)
			continue
		}
		for i := range ms {
			d := next()
			b := ms[i].Buffers[0][:floodRoom]
			ms[i].Buffers[0] = b[:d.put(b)]
			copy(ms[i].Addr.(*net.IPAddr).IP, d.To.Addr().AsSlice())
		}
		for rest := ms; len(rest) > 0; {
			n, err := c.WriteBatch(rest, 0)
			if err != nil && !errors.Is(err, syscall.ENOBUFS) {
				return err
			}
			rest = rest[max(n, 1):]
		}
		f.sent.Add(floodBatch)
	}
}

// Packet is the datagram behind IP and UDP headers.
func (d Forged) Packet() []byte {
	b := make([]byte, 28+len(d.Data))
	d.put(b)
	return b
}

// put writes the datagram behind IP and UDP headers, and returns the length. Its UDP checksum is 0: there is none.
func (d Forged) put(b []byte) int {
	size := 28 + len(d.Data)
	clear(b[:28])
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(size))
	copy(b[12:], d.From.Addr().AsSlice())
	copy(b[16:], d.To.Addr().AsSlice())
	binary.BigEndian.PutUint16(b[20:], d.From.Port())
	binary.BigEndian.PutUint16(b[22:], d.To.Port())
	binary.BigEndian.PutUint16(b[24:], uint16(size-20))
	copy(b[28:], d.Data)
	return size
}

// Stop ends the Flood, and returns how many datagrams it has sent a second.
func (f *Flood) Stop() (float64, error) {
	close(f.stop)
	<-f.done
	return float64(f.sent.Load()) / time.Since(f.began).Seconds(), f.err
}
