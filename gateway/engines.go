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

// layout is which threads carry packets. Where the configuration does not say: one
// for everything in UDP, which wakes nobody else for the acknowledgements that it causes, and is
// the fastest by far where it and its peers share few processors; where there are more, one for each
// direction. Protocol 50 comes packet by packet, and costs a thread so much that it
// has one of its own for what comes in.
type layout struct {
	threads  int
	from, to int // those that read TUNs, [from, to)
	raw      int // the one that reads protocol 50; UDP is the first's
}

func layoutOf(configured, processors int) layout {
	switch {
	case configured == 1:
		return layout{threads: 1, to: 1}
	case configured > 1:
		return layout{threads: configured, from: 1, to: configured}
	case processors < 4:
		return layout{threads: 2, to: 1, raw: 1}
	}
	return layout{threads: 2, from: 1, to: 2}
}

// startEngines makes the engines.
func (g *Gateway) startEngines() error {
	processors := runtime.GOMAXPROCS(0) // what this process may use, in a container too
	l := layoutOf(g.config.Threads, processors)
	n := l.threads
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
	g.readers = g.engines[l.from:l.to]
	for _, r := range []struct {
		list []Socket
		by   *esp.Engine
	}{{g.sockets.NATT, g.engines[0]}, {g.sockets.Marked, g.engines[0]}, {g.sockets.Raw, g.engines[l.raw]}} {
		for _, so := range r.list {
			if err := r.by.AddSocket(so, so.Local().Addr().Is6(), g.socketEnded(so)); err != nil {
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
	g.opened++
	return g.readers[g.opened%len(g.readers)]
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
