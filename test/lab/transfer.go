package lab

import (
	"io"
	"net"
	"time"
)

// Transfer sends bytes over one TCP connection to an address of the other host,
// and returns how many arrived within Patience.
func (n *Namespace) Transfer(to *Namespace, address string, bytes int) int64 {
	n.lab.Helper()
	deadline := time.Now().Add(Patience)
	var l net.Listener
	var c net.Conn
	var err error
	to.Do(func() { l, err = net.Listen("tcp", net.JoinHostPort(address, "0")) })
	if err != nil {
		n.lab.Fatalf("%s: %v", to.role, err)
	}
	defer l.Close()
	arrived := make(chan int64, 1)
	go func() {
		var got int64
		if in, err := l.Accept(); err == nil {
			in.SetDeadline(deadline)
			got, _ = io.Copy(io.Discard, in)
			in.Close()
		}
		arrived <- got
	}()
	n.Do(func() { c, err = net.DialTimeout("tcp", l.Addr().String(), Patience) })
	if err != nil {
		n.lab.Errorf("%s: %v", n.role, err)
		l.Close()
		return <-arrived
	}
	c.SetDeadline(deadline)
	if _, err := c.Write(make([]byte, bytes)); err != nil {
		n.lab.Logf("%s: %v", n.role, err)
	}
	c.Close()
	return <-arrived
}
