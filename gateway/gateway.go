// Package gateway is the running daemon: it connects IKE, ESP, the decisions of
// package tunnel and the operating system, and owns every goroutine, timer and
// socket. It decides nothing itself.
//
// One goroutine, the control loop (loop.go), owns all state: the IKE endpoint,
// the groups of tunnels, the installed SAs. All other goroutines send to it
// through bounded channels: the readers of port 500 and 4500 hand over IKE
// messages, the data plane its events, the control socket its commands, the
// link monitor its wake-ups. Packets of the data plane never pass through the
// loop: engines, which are locked threads, carry them between TUNs and sockets.
//
// Facts flow up and Actions down: what IKE, the devices, the kernel and the
// operator do are Facts for the tunnel.Group that they concern (perform.go), and
// the Group's Actions are performed at once. So the work for a change is
// proportional to its group, however many tunnels there are.
package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"vpngw/bgp"
	"vpngw/config"
	"vpngw/diag"
	"vpngw/esp"
	"vpngw/ike"
	"vpngw/resolve"
)

// Options configure a Gateway. Host is required; the rest has defaults.
type Options struct {
	Host   Host
	Log    *slog.Logger // nil: none
	KeyLog io.Writer    // receives every key, for Wireshark (`run --insecure-keylog`); nil in production
	// Notify sends a state to the service manager (sd_notify(3)); nil: there is none.
	Notify func(state string)
	// Watchdog is the time without WATCHDOG=1 after which the service manager restarts the daemon; 0: it does not.
	Watchdog time.Duration
	// Holds remembers what the operator has taken down; nil: a restart forgets it.
	Holds Holds
	// Record keeps the events over restarts; nil: a restart forgets them. Recorded are those that it has, the oldest first.
	Record   Record
	Recorded [][]byte
	Version  string // of this program, for the events
	// IKE makes the IKE endpoint; nil: ike.New.
	IKE func(ike.Config) IKE
	// Lookup finds the addresses of peers that are given by name; nil: resolve.System.
	Lookup resolve.Lookup
	// BGP makes the speaker of a group of tunnels; nil: none does, and no session comes.
	BGP Speaking
}

// Holds are the tunnels that the operator has taken down.
type Holds interface {
	Held(tunnel string) bool
	Hold(tunnel string, held bool) error // an error changes nothing
}

// forgetful are Holds that keep nothing.
type forgetful struct{}

func (forgetful) Held(string) bool        { return false }
func (forgetful) Hold(string, bool) error { return nil }

const spiSlots = 1 << 16

// shutdownGrace is how long the peers have to answer our DELETEs.
const shutdownGrace = 2 * time.Second

// Gateway is the daemon. New makes one, Run runs it, once.
type Gateway struct {
	Options

	in              *inbox
	commands        chan func(now time.Time)
	lost            chan *device  // devices that another program removed
	underlayChanged chan struct{} // links, addresses or routes have changed
	stopped         chan struct{} // closed when the loop serves no more commands
	obstacles       obstacles
	look            chan struct{} // for watchHost: perhaps something else is in the way
	lookNew         chan struct{} // for watchHost: there are tunnels in obstacles.opened
	events          *events
	leaking         sync.Mutex // of leaks

	// The control loop alone uses the fields below.
	config        *config.Config
	ike           IKE
	data          *dataPlane
	under         *underlay
	fleet         fleet
	peers         peers
	met           met
	names         *names
	speakers      speakers
	exposed       exposed
	left          left
	group         *errgroup.Group
	io            context.Context // ends when sockets and TUNs are closed
	moves         time.Time       // when to ask the data plane for moved peers again; zero: at its next event
	kept          time.Time       // when packets that wait for an SA expire; zero: none waits
	settles       time.Time       // when the start of the tunnels counts as over; zero: it is
	summary       string          // as last told to the service manager
	watchdog      *watchdog       // of the service manager
	removed       []string        // tunnels that release has to look at
	heard         []byte          // space for a packet of BFD
	droppedLogged uint64          // of the inbox, as last logged
	droppedSaid   time.Time       // when that was
	attempts      attempts
	times         times
	began         time.Time     // when the control loop began
	idle          time.Duration // for which it had nothing to do since
}

// New makes a gateway of a valid configuration. It changes nothing on the host yet.
func New(c *config.Config, o Options) (*Gateway, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Notify == nil {
		o.Notify = func(string) {}
	}
	if o.Lookup == nil {
		o.Lookup = resolve.System
	}
	if o.Holds == nil {
		o.Holds = forgetful{}
	}
	if o.IKE == nil {
		o.IKE = func(c ike.Config) IKE { return ike.New(c) }
	}
	g := &Gateway{
		Options:         o,
		in:              newInbox(),
		commands:        make(chan func(time.Time)),
		lost:            make(chan *device),
		underlayChanged: make(chan struct{}, 1),
		look:            make(chan struct{}, 1),
		lookNew:         make(chan struct{}, 1),
		obstacles:       obstacles{found: map[string][]diag.Cause{}},
		stopped:         make(chan struct{}),
		events:          newEvents(),
		config:          c,
		under:           &underlay{host: o.Host, log: o.Log, listen: c.Listen.List(), seen: map[netip.Addr]bool{}},
		fleet:           fleet{byName: map[string]*entry{}, drawn: discriminators{}},
		peers:           newPeers(),
		met:             met{},
		names:           newNames(o.Lookup),
		attempts:        attempts{},
		speakers: speakers{
			running: map[string]*speaker{}, ending: map[string]chan struct{}{},
			news: news{arrived: make(chan struct{}, 1), reports: map[spokenOf]bgp.Report{}},
		},
	}
	g.events.resume(o.Recorded)
	g.data = &dataPlane{
		host: o.Host, log: o.Log, packets: c.Packets,
		installed: map[uint32]*installed{}, byTunnel: map[string][]*installed{}, byRemote: map[netip.Addr][]*installed{},
	}
	if _, err := planOf(c, &g.fleet); err != nil {
		return nil, err
	}
	return g, nil
}

// Run brings the tunnels up and keeps them up until ctx ends; then it deletes
// the IKE SAs and removes its devices, addresses and routes from the
// host. The guards of the routes stay, and the next Run takes them over.
func (g *Gateway) Run(ctx context.Context) error {
	defer close(g.stopped)
	// Sockets come before TakeOver: a start that fails must not have removed anything.
	given, err := checkHost(g.Host, g.Log, len(g.under.listen) > 0)
	if err != nil {
		return err
	}
	s, err := g.Host.Open(g.under.listen)
	if err != nil {
		return fmt.Errorf("open the underlay sockets: %w", err)
	}
	g.under.sockets = s
	if err := g.Host.TakeOver(); err != nil {
		s.Close()
		return fmt.Errorf("remove the devices and routes of an earlier run: %w", err)
	}

	recorded := g.recordEvents()
	io, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.group, g.io = errgroup.WithContext(io)
	if err = g.start(s, given); err == nil {
		err = g.loop(ctx)
	}

	if e := g.Host.Leave(); e != nil {
		err = errors.Join(err, fmt.Errorf("remove our routes and addresses: %w", e))
	}
	stop()
	var open []*device
	for _, e := range g.fleet.entries {
		open = append(open, e.open)
	}
	g.data.close(open...)
	s.Close()
	err = errors.Join(g.group.Wait(), err)
	recorded(err)
	return err
}

// checkHost looks for obstacles on the host. It logs warnings, which it returns, and returns the
// fatal findings as one error. narrow says that `listen` narrows the addresses.
func checkHost(h Host, log *slog.Logger, narrow bool) (given []string, err error) {
	var fatal []string
	for _, f := range h.Check() {
		port := f.Cause.Is(diag.PortInUse)
		switch {
		case port && narrow:
			// Another program may use the port on other addresses than ours: opening the sockets
			// tells.
		case f.Fatal, port:
			fatal = append(fatal, f.String())
		default:
			log.Warn(f.String(), "code", f.Cause.Code)
			given = append(given, f.String())
		}
	}
	if len(fatal) > 0 {
		return nil, errors.New(strings.Join(fatal, "\n"))
	}
	return given, nil
}

// start builds the data plane and the IKE endpoint, adopts the configuration, which
// makes the tunnels' devices, and starts the readers.
func (g *Gateway) start(s *Sockets, given []string) error {
	g.data.Plane = esp.New(esp.Config{
		Slots: spiSlots, Rand: rand.Reader, Notify: g.in.tell, IKE: g.in.deliver,
		UDP4: espSocket(s.NATT, false), UDP6: espSocket(s.NATT, true),
		Raw4: espSocket(s.Raw, false), Raw6: espSocket(s.Raw, true),
	})
	g.ike = g.Options.IKE(ike.Config{
		Rand: rand.Reader, Log: g.Log, KeyLog: g.keyLog, Exposing: g.exposesKeys,
		AllocSPI: g.data.AllocSPI, FreeSPI: g.data.FreeSPI, LastInbound: g.data.LastInbound,
		Source: g.under.source,
	})
	if err := g.data.start(g.io, g.group, s, g.config.Threads); err != nil {
		return err
	}
	g.under.look()
	g.under.awaited(nil, true)
	g.data.SetOwn(g.under.addresses)
	g.findLeft()
	now := time.Now()
	if _, err := g.adopt(now, g.config); err != nil {
		return err
	}
	g.group.Go(func() error { return g.names.resolver.Run(g.io) })
	for _, so := range s.IKE {
		g.group.Go(func() error { return g.under.readIKE(g.io, so, g.in.deliver) })
	}
	for _, so := range s.ICMP {
		g.group.Go(func() error {
			return g.under.readICMP(g.io, so, func(b []byte) {
				if e, ok := g.data.TooBig(so.V6(), b, time.Now()); ok {
					g.in.tell(e)
				}
			})
		})
	}
	if !g.config.NoFrames {
		g.group.Go(func() error {
			if err := s.Run(g.io); err != nil {
				g.Log.Warn("ESP is not sent as Ethernet frames any more", "err", err)
			}
			return nil
		})
	}
	if !g.config.AcceptCleartext {
		g.group.Go(func() error {
			if err := g.Host.Discard(g.io); err != nil {
				g.Log.Warn("cleartext is discarded, but not again once another program has removed the nftables rules for it", "err", err)
			}
			return nil
		})
	}
	g.group.Go(func() error {
		return g.under.watch(g.io, func() { // one pending wake-up covers any number of changes
			nudge(g.underlayChanged)
			nudge(g.look)
		})
	})
	again := func() { nudge(g.look) }
	g.group.Go(func() error { return g.Host.WatchFilter(g.io, again) })
	g.group.Go(func() error { return g.Host.WatchSettings(g.io, again) })
	g.group.Go(func() error { return g.watchHost(g.io, given) })
	g.watchdog = newWatchdog(time.Now(), g.Watchdog, g.data.watched())
	g.Notify("READY=1")
	g.Log.Info("ready", "connections", len(g.config.Connections), "tunnels", len(g.fleet.entries))
	return nil
}
