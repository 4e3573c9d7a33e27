package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"

	"vpngw/esp"
)

// dataPlane is ESP with its threads, sockets and devices. The control loop owns
// it; packets never pass through the loop.
type dataPlane struct {
	*esp.Plane
	host      Host
	log       *slog.Logger
	packets   bool // TUNs are used packet by packet
	engines   []*esp.Engine
	readers   []*esp.Engine          // engines that read TUNs
	threads   []func() time.Duration // the processor time of each engine's thread
	opened    int                    // TUNs, ever
	installed map[uint32]*installed
	byTunnel  map[string][]*installed
	byRemote  map[netip.Addr][]*installed
}

// Poller is an esp.Poller that can be closed.
type Poller interface {
	esp.Poller
	Close()
}

// layout assigns the sockets and TUNs to threads. With few processors and no
// configured number, one thread serves all of UDP: it wakes no other thread for
// the acknowledgements that it causes, which is by far the fastest. With more
// processors each direction has one thread, and with many the TUNs are divided among two: what goes
// out of two TUNs shares nothing, while all that comes in waits for one lock (docs/performance.md). Protocol 50 arrives
// packet by packet and needs so much time that, with few processors, a separate thread receives it.
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
	case processors < 8:
		return layout{threads: 2, from: 1, to: 2}
	}
	return layout{threads: 3, from: 1, to: 3}
}

// start makes the engines, which read the sockets in run until ctx ends. threads
// is the configured number; 0: none is configured.
func (d *dataPlane) start(ctx context.Context, run *errgroup.Group, s *Sockets, threads int) error {
	processors := runtime.GOMAXPROCS(0) // what this process may use, in a container too
	l := layoutOf(threads, processors)
	n := l.threads + 1 // the last reads IKE on port 4500, where a flood must not take ESP's time
	// Engines never yield their thread: the control loop and the garbage
	// collector need a P each beside them.
	runtime.GOMAXPROCS(max(processors, n+2))
	allowGarbage(garbage)
	clock := make(chan func() time.Duration, 1)
	for range n {
		p, err := d.host.Poller()
		if err != nil {
			return fmt.Errorf("make a poller: %w", err)
		}
		e := d.NewEngine(p)
		d.engines = append(d.engines, e)
		run.Go(func() error {
			defer p.Close()
			runtime.LockOSThread() // Run does so too
			defer runtime.UnlockOSThread()
			clock <- d.host.ThreadTime()
			return e.Run(ctx)
		})
		d.threads = append(d.threads, <-clock)
	}
	d.readers = d.engines[l.from:l.to]
	// A closed socket ends the daemon.
	ended := func(so Socket) func() {
		return func() {
			if ctx.Err() == nil {
				run.Go(func() error { return fmt.Errorf("the socket %v was closed", so.Local()) })
			}
		}
	}
	for _, r := range []struct {
		list []Socket
		by   *esp.Engine
	}{{s.NATT, d.engines[0]}, {s.Marked, d.engines[l.threads]}, {s.Raw, d.engines[l.raw]}} {
		for _, so := range r.list {
			if err := r.by.AddSocket(so, so.Local().Addr().Is6(), ended(so)); err != nil {
				return err
			}
		}
	}
	return nil
}

// settleTime is how long after a configuration was adopted the start of its tunnels counts as over.
const settleTime = time.Minute

// settle bounds the garbage once the start of many tunnels is over, and gives back what it left: collecting it more often meanwhile
// would cost the start as much as the handshakes.
func (d *dataPlane) settle(tunnels int) {
	if tunnels > manyTunnels {
		go debug.FreeOSMemory()
	}
	allowGarbage(garbageOf(tunnels, false))
}

// watched are the engines, for the watchdog.
func (d *dataPlane) watched() (out []engine) {
	for _, e := range d.engines {
		out = append(out, e)
	}
	return out
}

// reader returns the engine that reads the next TUN.
func (d *dataPlane) reader() *esp.Engine {
	d.opened++
	return d.readers[d.opened%len(d.readers)]
}

// espSocket returns the first socket of the family among kind, or nil. Any of
// them can send from every address.
func espSocket(kind []Socket, v6 bool) esp.Socket {
	for _, so := range kind {
		if so.Local().Addr().Is6() == v6 {
			return so
		}
	}
	return nil
}
