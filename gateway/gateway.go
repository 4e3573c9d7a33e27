// Package gateway is the running daemon: it connects IKE, ESP and the operating
// system, and owns every goroutine, timer and socket.
//
// One goroutine, the control loop (loop.go), owns all state: the IKE endpoint,
// the table of tunnels, what is installed where. Everybody else talks to it
// through bounded channels: the readers of port 500 and 4500 hand over IKE
// messages, the data plane its events, the control socket its commands, the
// link monitor its wake-ups. Packets of the data plane never pass through the
// loop: one goroutine for each TUN device seals, one for each ESP socket opens.
//
// What leaves a host in clear is a security decision, so routes into a tunnel
// are put in when the tunnel first comes up and then stay for as long as it is
// wanted: while its SAs are gone, packets for the remote subnets are dropped
// and counted, and do not fall through to the default route. `vpngw down`, a
// reload without the tunnel, and the daemon's end take them out.
package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/esp"
	"vpngw/host"
	"vpngw/ike"
	"vpngw/ipsec"
)

// Options are what a Gateway works with. Host is needed, the rest has defaults.
type Options struct {
	Host   Host
	Log    *slog.Logger // nil: none
	KeyLog io.Writer    // receives every key, for Wireshark; nil in earnest
	// Load reads the configuration anew, for Reload; nil: there is no reload.
	Load func() (*config.Config, config.Problems)
	// Hangup asks for a reload with each value; nil: nobody does.
	Hangup <-chan os.Signal
	// Notify tells the service manager how it stands (sd_notify(3)); nil: there is none.
	Notify func(state string)
	// IKE makes the IKE endpoint; nil: ike.New.
	IKE func(ike.Config) IKE
}

// Bounds on what can wait for the control loop.
const (
	maxDatagrams = 256  // IKE messages
	maxEvents    = 1024 // events of the data plane, which tells again what was not taken
	spiSlots     = 1 << 16
)

// shutdownGrace is how long the peers have to answer our DELETEs.
const shutdownGrace = 2 * time.Second

// Gateway is the daemon. New makes one, Run runs it, once.
type Gateway struct {
	Options

	commands  chan func(now time.Time)
	datagrams chan ipsec.Datagram
	events    chan esp.Event
	ended     chan ended    // TUN readers that have stopped
	underlay  chan struct{} // links, addresses or routes have changed
	reloading chan struct{} // holds one token while a reload is under way
	stopped   chan struct{} // closed when the loop serves no more commands

	dropped atomic.Uint64 // IKE messages that found the loop's queue full

	// All below is the control loop's alone.
	config  *config.Config
	ike     IKE
	plane   *esp.Plane
	sockets *Sockets
	engines []*esp.Engine
	readers []*esp.Engine // of these, those that read TUNs
	opened  int           // TUNs, ever
	group   *errgroup.Group
	io      context.Context // ends when sockets and TUNs are closed

	tunnels   []*tunnel // in the order of the file
	byName    map[string]*tunnel
	installed map[uint32]*installed // by SPIIn
	seen      map[netip.Addr]bool   // configured addresses that this host has had
	addresses []netip.Addr          // the host's, now
	remotes   map[netip.Addr]string // configured peers, and why the last send to each failed
	paths     map[netip.Addr]pathMTU
	applied   host.State
	unset     string            // why the last attempt to set it failed; empty: it has not
	hostErr   string            // what of that concerns every tunnel
	trouble   map[string]string // device → what of that, or which foreign route, concerns it alone
	dirty     bool              // status or host state may have changed
	again     time.Time         // when settle wants to run again; zero: not by itself
	settled   time.Time         // settle does not run before
	summary   string            // as last told to the service manager
	lost      uint64            // dropped, as last logged
}

// New makes a gateway of a valid configuration. It touches nothing yet.
func New(c *config.Config, o Options) (*Gateway, error) {
	if err := conflict(c); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Notify == nil {
		o.Notify = func(string) {}
	}
	if o.IKE == nil {
		o.IKE = func(c ike.Config) IKE { return ike.New(c) }
	}
	g := &Gateway{
		Options:   o,
		commands:  make(chan func(time.Time)),
		datagrams: make(chan ipsec.Datagram, maxDatagrams),
		events:    make(chan esp.Event, maxEvents),
		ended:     make(chan ended),
		underlay:  make(chan struct{}, 1),
		reloading: make(chan struct{}, 1),
		stopped:   make(chan struct{}),
		config:    c,
		byName:    map[string]*tunnel{},
		installed: map[uint32]*installed{},
		seen:      map[netip.Addr]bool{},
		remotes:   map[netip.Addr]string{},
		paths:     map[netip.Addr]pathMTU{},
	}
	wanted := wantedOf(c)
	names, err := deviceNames(wanted, nil)
	if err != nil {
		return nil, err
	}
	for _, w := range wanted {
		g.add(newTunnel(w, names[w.tunnel.Name]))
	}
	return g, nil
}

func (g *Gateway) add(t *tunnel) {
	g.tunnels = append(g.tunnels, t)
	g.byName[t.tunnel.Name] = t
}

// Run brings the tunnels up and keeps them up until ctx ends; then it says
// goodbye to the peers and puts everything on the host back.
func (g *Gateway) Run(ctx context.Context) error {
	defer close(g.stopped)
	// Sockets come before Clean: who holds port 500 is the only daemon here,
	// so what Clean removes belongs to none that still runs.
	if err := g.check(); err != nil {
		return err
	}
	var err error
	if g.sockets, err = g.Host.Open(g.config.Listen); err != nil {
		return fmt.Errorf("open the underlay sockets: %w", err)
	}
	if err := g.Host.Clean(); err != nil {
		g.sockets.Close()
		return fmt.Errorf("remove what an earlier run left: %w", err)
	}

	io, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.group, g.io = errgroup.WithContext(io)
	if err = g.start(); err == nil {
		err = g.loop(ctx)
	}

	if _, e := g.Host.Set(hostOwner, host.State{}); e != nil {
		err = errors.Join(err, fmt.Errorf("put routes and addresses back: %w", e))
	}
	stop()
	for _, t := range g.tunnels {
		g.close(t)
	}
	g.sockets.Close()
	return errors.Join(g.group.Wait(), err)
}

// check asks the host what stands in the way. Warnings are logged, fatal
// findings make the error.
func (g *Gateway) check() error {
	var fatal []string
	for _, f := range g.Host.Check() {
		switch {
		case f.Cause.Is(diag.PortInUse) && len(g.config.Listen) > 0:
			// Perhaps not on the addresses that we want: opening them will tell.
		case f.Fatal, f.Cause.Is(diag.PortInUse):
			fatal = append(fatal, f.String())
		default:
			g.Log.Warn(f.String())
		}
	}
	if len(fatal) > 0 {
		return errors.New(strings.Join(fatal, "\n"))
	}
	return nil
}

// start builds the data plane and the IKE endpoint, opens the TUN devices and
// starts the readers.
func (g *Gateway) start() error {
	s := g.sockets
	c := esp.Config{
		Slots: spiSlots, Rand: rand.Reader, Notify: g.tell, IKE: g.deliver,
		UDP4: espSocket(s.NATT, false), UDP6: espSocket(s.NATT, true),
		Raw4: espSocket(s.Raw, false), Raw6: espSocket(s.Raw, true),
	}
	g.plane = esp.New(c)
	g.ike = g.Options.IKE(ike.Config{
		Rand: rand.Reader, Log: g.Log, KeyLog: g.KeyLog,
		AllocSPI: g.plane.AllocSPI, FreeSPI: g.plane.FreeSPI, LastInbound: g.plane.LastInbound,
		Source: g.source,
	})
	if err := g.startEngines(); err != nil {
		return err
	}
	g.lookAround()
	now := time.Now()
	for _, t := range g.tunnels {
		g.open(t, now)
	}
	for _, so := range s.IKE {
		g.group.Go(func() error { return g.readIKE(g.io, so) })
	}
	if !g.config.NoFrames {
		g.group.Go(func() error {
			if err := s.Run(g.io); err != nil {
				g.Log.Warn("ESP is not sent as Ethernet frames any more", "err", err)
			}
			return nil
		})
	}
	g.group.Go(g.watch)
	if g.Hangup != nil {
		g.group.Go(g.reloadOnHangup)
	}
	g.setPeers(now)
	g.tellUnserved()
	g.Notify("READY=1")
	g.Log.Info("ready", "connections", len(g.config.Connections), "tunnels", len(g.tunnels))
	return nil
}
