package gateway

import (
	"errors"
	"fmt"
	"runtime"

	"vpngw/esp"
)

// Poller is an esp.Poller that can be closed.
type Poller interface {
	esp.Poller
	Close()
}

// threads is how many threads carry packets where the configuration does not
// say: one, which wakes nobody else for the acknowledgements that it causes, and is
// the fastest by far where it and its peers share few processors; where there are more, one for each direction.
func threads(configured, processors int) int {
	switch {
	case configured > 0:
		return configured
	case processors < 4:
		return 1
	}
	return 2
}

// startEngines makes the engines: the first reads the sockets, and the TUNs too
// if it is the only one.
func (g *Gateway) startEngines() error {
	processors := runtime.GOMAXPROCS(0) // what this process may use, in a container too
	n := threads(g.config.Threads, processors)
	// One for the control loop and one for the garbage collector, beside each engine, whose
	// thread does not give way.
	runtime.GOMAXPROCS(max(processors, n+2))
	for range n {
		p, err := g.Host.Poller()
		if err != nil {
			return fmt.Errorf("make a poller: %w", err)
		}
		e := g.plane.NewEngine(p)
		g.engines = append(g.engines, e)
		g.group.Go(func() error {
			defer p.Close()
			return e.Run(g.io)
		})
	}
	for _, list := range [][]Socket{g.sockets.NATT, g.sockets.Marked, g.sockets.Raw} {
		for _, so := range list {
			if err := g.engines[0].AddSocket(so, so.Local().Addr().Is6(), g.socketEnded(so)); err != nil {
				return err
			}
		}
	}
	return nil
}

// socketEnded ends the daemon when a socket cannot be read any more.
func (g *Gateway) socketEnded(so Socket) func(error) {
	return func(err error) {
		if g.io.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("it was closed")
		}
		g.group.Go(func() error { return fmt.Errorf("read %v: %w", so.Local(), err) })
	}
}

// engine is the one that the next TUN is to be read by.
func (g *Gateway) engine() *esp.Engine {
	if len(g.engines) == 1 {
		return g.engines[0]
	}
	others := g.engines[1:]
	g.opened++
	return others[g.opened%len(others)]
}

// espSocket is the socket of one kind and family to send from, or nil. Of several any can send from any address.
func espSocket(kind []Socket, v6 bool) esp.Socket {
	for _, so := range kind {
		if so.Local().Addr().Is6() == v6 {
			return so
		}
	}
	return nil
}
