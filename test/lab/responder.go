package lab

import (
	"net"
	"sync"
	"time"
)

// A Responder answers the pings to one address of a namespace in the place of its kernel, late or not at all
// as the test says.
type Responder struct {
	mu     sync.Mutex
	lose   func(n int) bool
	after  time.Duration
	asked  int
	missed int // of asked
}

// Respond starts a Responder. Other pings to the namespace are answered no more.
func (n *Namespace) Respond(addr string) *Responder {
	n.lab.Helper()
	n.Sysctl("net.ipv4.icmp_echo_ignore_all", "1")
	r := &Responder{}
	var c *net.IPConn
	var err error
	n.Do(func() { c, err = net.ListenIP("ip4:icmp", &net.IPAddr{IP: net.ParseIP(addr)}) })
	if err != nil {
		n.lab.Fatalf("%s: answer pings to %s: %v", n.role, addr, err)
	}
	n.lab.onClose(func() { c.Close() })
	go r.run(c)
	return r
}

// Answer has the Responder lose the requests for which lose returns true, and answer the others after a while.
// n counts the requests from 0 on since this call. A nil lose loses none.
func (r *Responder) Answer(lose func(n int) bool, after time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lose, r.after, r.asked, r.missed = lose, after, 0, 0
}

// Asked is how many requests came since the last Answer, and how many of them were lost.
func (r *Responder) Asked() (asked, lost int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked, r.missed
}

func (r *Responder) run(c *net.IPConn) {
	b := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFromIP(b)
		if err != nil {
			return
		}
		if n < 8 || b[0] != 8 {
			continue
		}
		r.mu.Lock()
		lost := r.lose != nil && r.lose(r.asked)
		r.asked++
		if lost {
			r.missed++
		}
		after := r.after
		r.mu.Unlock()
		if lost {
			continue
		}
		reply := append([]byte(nil), b[:n]...)
		reply[0], reply[2], reply[3] = 0, 0, 0
		sum := Checksum(reply)
		reply[2], reply[3] = byte(sum>>8), byte(sum)
		time.AfterFunc(after, func() { c.WriteToIP(reply, from) })
	}
}
