package test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vpngw/test/lab"
)

// hammer is one way to be a bad client of the control socket. It has a connection, which ends with the test at the latest.
type hammer struct {
	name string
	hit  func(c net.Conn)
}

// drip writes a text again and again until that fails.
func drip(c net.Conn, text string, pause time.Duration) {
	for {
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
		time.Sleep(pause)
	}
}

var hammers = []hammer{
	{"asks for the status", func(c net.Conn) {
		io.WriteString(c, "GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		io.Copy(io.Discard, c)
	}},
	{"says nothing", func(c net.Conn) { io.Copy(io.Discard, c) }},
	{"ends in the middle of the head", func(c net.Conn) {
		io.WriteString(c, "GET /v1/status HTTP/1.1\r\nHost: x\r\nX-A: ")
		drip(c, "b", 100*time.Millisecond)
	}},
	{"a Content-Length of 4 GB", func(c net.Conn) {
		io.WriteString(c, "POST /v1/up HTTP/1.1\r\nHost: x\r\nContent-Length: 4294967296\r\n\r\n{\"name\":\"")
		drip(c, strings.Repeat("x", 64<<10), 0)
	}},
	{"4 GB where no body belongs", func(c net.Conn) {
		io.WriteString(c, "POST /v1/plan HTTP/1.1\r\nHost: x\r\nContent-Length: 4294967296\r\n\r\n")
		drip(c, strings.Repeat("x", 64<<10), 0)
	}},
	{"chunks without end", func(c net.Conn) {
		io.WriteString(c, "POST /v1/rekey HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
		drip(c, "8\r\n        \r\n", 0)
	}},
	{"a row of requests whose answers nobody reads", func(c net.Conn) { drip(c, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n", 0) }},
	{"a stream that nobody reads", func(c net.Conn) {
		io.WriteString(c, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
		time.Sleep(time.Second)
	}},
	{"binary", func(c net.Conn) {
		b := make([]byte, 4096)
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		c.Write(b)
		io.Copy(io.Discard, c)
	}},
	{"a deep body", func(c net.Conn) {
		body := strings.Repeat("[", 1<<20-1)
		fmt.Fprintf(c, "POST /v1/down HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		io.Copy(io.Discard, c)
	}},
}

// A hundred clients that do all that is bad cost neither a packet nor a rekey, and little memory, and an operator is answered meanwhile.
func TestAHammeredControlSocket(t *testing.T) {
	n := lab.Direct(t)
	gw, _ := (mtuRow{encap: "auto", esp: "aes128gcm16"}).start(n, false)
	flow := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 200)
	before := gw.Memory("VmRSS")
	var hits [10]atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	end := sync.OnceFunc(func() {
		close(stop)
		clients.Wait()
	})
	defer end()
	for i := range 100 {
		h := hammers[i%len(hammers)]
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := net.Dial("unix", gw.Control)
				if err != nil {
					t.Errorf("%s: %v", h.name, err)
					return
				}
				ended := make(chan struct{})
				go func() { // so that none outlives the test
					select {
					case <-stop:
					case <-ended:
					}
					c.Close()
				}()
				h.hit(c)
				close(ended)
				hits[i%len(hammers)].Add(1)
				time.Sleep(5 * time.Millisecond) // the machine is the kernel's and the peer's too
			}
		})
	}
	rekeys, until := 0, time.Now().Add(time.Duration(counted(2, 60))*time.Second)
	for rekeys == 0 || time.Now().Before(until) {
		for _, ike := range []bool{false, true} {
			row := gw.AwaitUp("row")
			start := time.Now()
			n.Await(lab.Patience, "the operator's request is answered", func() (bool, string) {
				err := gw.Rekey("row", ike)
				return err == nil, fmt.Sprint(err)
			})
			gw.AwaitRekey(row, ike)
			if took := time.Since(start); took > within(3*time.Second) {
				t.Errorf("a rekey took %v", took)
			}
			rekeys++
		}
	}
	during := gw.Memory("VmRSS")
	end()
	ab, ba := flow.Stop()
	lossless(t, ab, ba)
	for i, h := range hammers {
		t.Logf("%s: %d times", h.name, hits[i].Load())
	}
	t.Logf("%d rekeys; %.0f MB before, %.0f MB meanwhile", rekeys, before/1e6, during/1e6)
	if during-before > 200e6 {
		t.Errorf("the daemon has %.0f MB, and had %.0f MB before", during/1e6, before/1e6)
	}
	if row := gw.Tunnel("row"); row.State != "up" {
		t.Errorf("the tunnel is %s: %s", row.State, row.Why)
	}
}
