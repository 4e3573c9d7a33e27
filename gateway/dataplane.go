package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"

	"golang.org/x/sync/errgroup"

	"vpngw/esp"
)

// dataPlane is ESP with the threads, sockets and devices that it works on. It
// belongs to the control loop; packets never pass through that.
type dataPlane struct {
	*esp.Plane
	host      Host
	log       *slog.Logger
	packets   bool // TUNs are used packet by packet
	engines   []*esp.Engine
	readers   []*esp.Engine // engines that read TUNs
	opened    int           // TUNs, ever
	installed map[uint32]*installed
	byTunnel  map[string]map[uint32]*installed
	byRemote  map[netip.Addr]map[uint32]*installed
}

// Poller is an esp.Poller that can be closed.
type Poller interface {
	esp.Poller
	Close()
}

// layout is which threads carry packets. Where the configuration does not say,
// one thread serves everything in UDP: it wakes no other thread for the
// acknowledgements that it causes, and is by far the fastest where it and its
// peers share few processors. With more processors there is one thread for each
// direction. Protocol 50 comes packet by packet, which costs a thread so much
// that receiving it has a thread of its own.
type layout struct {
	threads  int
	from, to int // the threads that read TUNs, [from, to)
	raw      int // the thread that reads protocol 50; the first one reads UDP
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

// start makes the engines, which read the sockets in run until ctx ends. threads
// is as configured.
func (d *dataPlane) start(ctx context.Context, run *errgroup.Group, s *Sockets, threads int) error {
	processors := runtime.GOMAXPROCS(0) // what this process may use, in a container too
	l := layoutOf(threads, processors)
	n := l.threads
	// The control loop and the garbage collector have a processor each beside the
	// engines, whose threads do not give way.
	runtime.GOMAXPROCS(max(processors, n+2))
	for range n {
		p, err := d.host.Poller()
		if err != nil {
			return fmt.Errorf("make a poller: %w", err)
		}
		e := d.NewEngine(p)
		d.engines = append(d.engines, e)
		run.Go(func() error {
			defer p.Close()
			return e.Run(ctx)
		})
	}
	d.readers = d.engines[l.from:l.to]
	// A socket that cannot be read any more ends the daemon.
	ended := func(so Socket) func(error) {
		return func(err error) {
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				err = errors.New("it was closed")
			}
			run.Go(func() error { return fmt.Errorf("read %v: %w", so.Local(), err) })
		}
	}
	for _, r := range []struct {
		list []Socket
		by   *esp.Engine
	}{{s.NATT, d.engines[0]}, {s.Marked, d.engines[0]}, {s.Raw, d.engines[l.raw]}} {
		for _, so := range r.list {
			if err := r.by.AddSocket(so, so.Local().Addr().Is6(), ended(so)); err != nil {
				return err
			}
		}
	}
	return nil
}

// reader is the engine that the next TUN is to be read by.
func (d *dataPlane) reader() *esp.Engine {
	d.opened++
	return d.readers[d.opened%len(d.readers)]
}

// espSocket is the socket of one kind and family to send from, or nil. Each of
// several can send from any address.
func espSocket(kind []Socket, v6 bool) esp.Socket {
	for _, so := range kind {
		if so.Local().Addr().Is6() == v6 {
			return so
		}
	}
	return nil
}
