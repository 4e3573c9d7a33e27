package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Echo describes the requests of a Ping. The zero value gives requests like ping(8)'s.
type Echo struct {
	Source string        // address; empty: the kernel chooses
	Size   int           // of the data; 0 is 56
	Cut    bool          // routers may fragment the packets
	Ident  uint16        // 0: a unique one
	Wait   time.Duration // for the last answer; 0 is 10 s
}

// Pings is the result of a run of pings.
type Pings struct {
	Sent, Received, Duplicates int
	// Queues counts the packets that full queues of the kernel dropped in the Lab during the run.
	Queues int
	// SendError is the last error of the sender's own kernel, if it refused a request.
	SendError error

	missing []string // sequence numbers without an answer, from 1 on
}

// Lost is the number of requests without an answer. It is 0 when full queues of the kernel can explain them all.
func (p Pings) Lost() int {
	if lost := p.Sent - p.Received; lost > largestRun*p.Queues {
		return lost
	}
	return 0
}

func (p Pings) String() string {
	s := fmt.Sprintf("%d of %d lost", p.Sent-p.Received, p.Sent)
	if len(p.missing) > 0 {
		s += " (" + strings.Join(p.missing, " ") + ")"
	}
	if p.Queues > 0 {
		s += fmt.Sprintf(", %d dropped by full queues of the kernel", p.Queues)
	}
	if p.SendError != nil {
		s += fmt.Sprintf(", some not sent (%v)", p.SendError)
	}
	return s
}

// runs numbers the runs of pings.
var runs atomic.Uint32

// Ping sends count echo requests, 10 ms apart, and waits for the answers. ping(8) waits too briefly:
// after the first answer, it waits for the last one only twice as long as the slowest took.
func (n *Namespace) Ping(to string, count int, how ...Echo) Pings {
	n.lab.Helper()
	e := Echo{}
	if len(how) > 0 {
		e = how[0]
	}
	if e.Size == 0 {
		e.Size = 56
	}
	if e.Ident == 0 {
		e.Ident = uint16(runs.Add(1))
	}
	if e.Wait == 0 {
		e.Wait = 10 * time.Second
	}
	network, request, reply := "ip4:icmp", byte(8), byte(0)
	if strings.Contains(to, ":") {
		network, request, reply = "ip6:ipv6-icmp", 128, 129
	}
	queues := n.lab.queueDrops()
	var c *net.IPConn
	var err error
	n.Do(func() { c, err = net.ListenIP(network, &net.IPAddr{IP: net.ParseIP(e.Source)}) })
	if err == nil && e.Cut {
		err = mayBeCut(c)
	}
	if err != nil {
		n.lab.Fatalf("%s: ping %s: %v", n.role, to, err)
	}
	defer c.Close()

	p := Pings{Sent: count}
	answers, ended := make(chan int), make(chan struct{})
	defer close(ended)
	go listen(c, reply, e.Ident, answers, ended)
	answered := make([]bool, count)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var late <-chan time.Time
	for sent := 0; p.Received < count; {
		select {
		case <-tick.C:
			if sent == count {
				continue
			}
			if _, err := c.WriteToIP(echo(request, e.Ident, sent+1, e.Size), &net.IPAddr{IP: net.ParseIP(to)}); err != nil {
				p.SendError = err
			}
			if sent++; sent == count {
				late = time.After(e.Wait)
			}
			continue
		case seq := <-answers:
			switch {
			case seq < 1 || seq > count:
			case answered[seq-1]:
				p.Duplicates++
			default:
				answered[seq-1] = true
				p.Received++
			}
			continue
		case <-late:
		}
		break
	}
	for i, ok := range answered {
		if !ok {
			p.missing = append(p.missing, fmt.Sprint(i+1))
		}
	}
	p.Queues = max(0, n.lab.queueDrops()-queues)
	return p
}

// listen sends the sequence numbers of answers with the identifier to a channel.
func listen(c *net.IPConn, reply byte, ident uint16, answers chan<- int, ended <-chan struct{}) {
	b := make([]byte, 1<<16)
	for {
		n, _, err := c.ReadFromIP(b)
		switch {
		case n >= 8 && b[0] == reply && binary.BigEndian.Uint16(b[4:]) == ident:
			select {
			case answers <- int(binary.BigEndian.Uint16(b[6:])):
			case <-ended:
				return
			}
		case err != nil:
			select {
			case <-ended:
				return
			case <-time.After(time.Millisecond): // an ICMP error about what this socket sent
			}
		}
	}
}

// echo is an echo request. The kernel fills in ICMPv6's checksum.
func echo(kind byte, ident uint16, seq, size int) []byte {
	b := make([]byte, 8+size)
	b[0] = kind
	binary.BigEndian.PutUint16(b[4:], ident)
	binary.BigEndian.PutUint16(b[6:], uint16(seq))
	for i := 8; i < len(b); i++ {
		b[i] = byte(i)
	}
	binary.BigEndian.PutUint16(b[2:], Checksum(b))
	return b
}

// Checksum is the Internet checksum of b.
func Checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// mayBeCut makes a socket send IPv4 packets without DF.
func mayBeCut(c *net.IPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_MTU_DISCOVER, syscall.IP_PMTUDISC_DONT)
	})
	if err != nil {
		return err
	}
	return failed
}

// Pings reports whether an answer comes.
func (n *Namespace) Pings(to string) bool {
	_, err := n.Try("ping", "-n", "-c", "1", "-W", "1", to)
	return err == nil
}

// Reaches waits until the host answers one ping.
func (n *Namespace) Reaches(to string) {
	n.lab.Helper()
	n.lab.Await(Patience, n.role+" reaches "+to, func() (bool, string) {
		out, err := n.Try("ping", "-n", "-c", "1", "-W", "1", to)
		return err == nil, out
	})
}
