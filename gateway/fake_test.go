package gateway

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/esp/esptest"
	"vpngw/host"
	"vpngw/ike"
	"vpngw/ike/sa"
	"vpngw/ipsec"
	"vpngw/tunnel"
)

// fakeHost is a Host in memory.
type fakeHost struct {
	pollersMu sync.Mutex
	pollers   []*esptest.Poller // of every run
	ids       atomic.Int64
	net       *fakeNet
	addresses []netip.Addr
	findings  []host.Finding
	only      string // the device that has the findings; empty: all
	examined  int    // how often it was, for one tunnel each
	rounds    int    // of examinations
	refilter  func() // tells that the packet filter has changed
	pathMTU   int

	mu        sync.Mutex
	cleaned   int
	sockets   []*fakeSocket
	tuns      map[string]*fakeTUN
	made      int // TUNs, ever
	discards  int // calls of Discard
	sets      int // calls of Set
	tunError  error
	sendError error
	setError  error
	tapError  error
	tap       *fakeTap              // the newest
	states    map[string]host.State // by owner
	foreign   map[netip.Prefix]bool // routes that block ours
	changed   func()
	asked     []host.Ask // of AskNeighbor
	fakeGuards
	fakeNetworks
}

func (h *fakeHost) Poller() (Poller, error) {
	p := esptest.NewPoller()
	h.pollersMu.Lock()
	defer h.pollersMu.Unlock()
	h.pollers = append(h.pollers, p)
	return p, nil
}

func (h *fakeHost) poke() {
	h.pollersMu.Lock()
	defer h.pollersMu.Unlock()
	for _, p := range h.pollers {
		p.Wake()
	}
}

func (h *fakeHost) newID() int { return int(h.ids.Add(1)) }

func newHost(n *fakeNet, addresses ...string) *fakeHost {
	h := &fakeHost{net: n, pathMTU: 1500, tuns: map[string]*fakeTUN{}, states: map[string]host.State{}, foreign: map[netip.Prefix]bool{}, fakeGuards: fakeGuards{guards: map[netip.Prefix]bool{}}}
	for _, a := range addresses {
		h.addresses = append(h.addresses, addr(a))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[h.addresses[0]] = h
	return h
}

func (h *fakeHost) Check() []host.Finding {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.findings
}

func (h *fakeHost) newSocket(port uint16) *fakeSocket {
	return &fakeSocket{host: h, id: h.newID(), port: port, in: make(chan ipsec.Datagram, 256), errs: make(chan error), done: make(chan struct{})}
}

func (h *fakeHost) Open([]netip.Addr) (*Sockets, error) {
	open := func(port uint16) []Socket {
		s := h.newSocket(port)
		h.mu.Lock()
		h.sockets = append(h.sockets, s)
		h.mu.Unlock()
		return []Socket{s}
	}
	s := &Sockets{IKE: open(500), NATT: open(4500), Raw: open(0)}
	s.ForIKE = func(local netip.AddrPort, remote netip.Addr) Socket {
		if remote.Is6() {
			return nil
		}
		return h.socket(local.Port())
	}
	s.ForWhole = s.ForIKE
	s.Run = func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	}
	s.Close = func() error {
		for _, so := range h.sockets {
			so.Close()
		}
		return nil
	}
	return s, nil
}

func (h *fakeHost) socket(port uint16) *fakeSocket {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.sockets) - 1; i >= 0; i-- { // the newest run's
		if h.sockets[i].port == port {
			return h.sockets[i]
		}
	}
	return nil
}

func (h *fakeHost) CreateTUN(name string, _ int) (TUN, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tunError != nil {
		return nil, h.tunError
	}
	if t := h.tuns[name]; t != nil && !t.closed() {
		return nil, fmt.Errorf("%s: %w", name, os.ErrExist)
	}
	t := &fakeTUN{host: h, id: h.newID(), name: name, from: make(chan []byte, 64), to: make(chan []byte, 64), done: make(chan struct{})}
	h.tuns[name] = t
	h.made++
	return t, nil
}

func (h *fakeHost) tun(name string) *fakeTUN {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tuns[name]
}

func (h *fakeHost) Set(owner string, s host.State) (host.Result, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sets++
	delete(h.states, owner)
	if len(s.Devices)+len(s.Peers)+len(s.Guards) > 0 {
		h.states[owner] = s
	}
	h.guard()
	var res host.Result
	for _, d := range s.Devices {
		for _, r := range d.Routes {
			if h.foreign[r.Prefix] {
				res.Blocked = append(res.Blocked, host.BlockedRoute{Device: d.Name, Route: r, Cause: diag.Cause{
					Code: diag.RouteBlocked, Prefix: r.Prefix, Err: "the route " + r.Prefix.String() + " through eth0",
				}})
			}
		}
	}
	return res, h.setError
}

// devices returns the devices in the kernel, by name.
func (h *fakeHost) devices() map[string]host.DeviceState {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]host.DeviceState{}
	for _, s := range h.states {
		for _, d := range s.Devices {
			out[d.Name] = d
		}
	}
	return out
}

// failSet makes Set return err.
func (h *fakeHost) failSet(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.setError = err
}

// routes lists the routes in the kernel, as "prefix dev device src address", by device.
func (h *fakeHost) routes() []string {
	devices := h.devices()
	out := []string{}
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		for _, r := range devices[name].Routes {
			if !h.foreign[r.Prefix] {
				out = append(out, fmt.Sprintf("%v dev %s src %v", r.Prefix, name, r.Source))
			}
		}
	}
	return out
}

// Tap shows what the test has queued.
func (h *fakeHost) Tap(sources []host.TapSource) (Tap, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tapError != nil {
		return nil, h.tapError
	}
	h.tap = &fakeTap{sources: sources}
	return h.tap, nil
}

func (h *fakeHost) mtu(device string) int { return h.devices()[device].MTU }

func (h *fakeHost) Source(netip.Addr) (netip.Addr, error) { return h.addresses[0], nil }
func (h *fakeHost) PathMTU(netip.Addr) (int, error)       { return h.pathMTU, nil }
func (h *fakeHost) Addresses() ([]netip.Addr, error)      { return h.addresses, nil }

func (h *fakeHost) Watch(ctx context.Context, changed func([]string)) error {
	h.mu.Lock()
	h.changed = func() {
		h.mu.Lock()
		owners := slices.Sorted(maps.Keys(h.states))
		h.mu.Unlock()
		changed(owners)
	}
	h.mu.Unlock()
	<-ctx.Done()
	return nil
}

func (h *fakeHost) WatchFilter(ctx context.Context, changed func()) error {
	h.mu.Lock()
	h.refilter = changed
	h.mu.Unlock()
	<-ctx.Done()
	return nil
}

func (h *fakeHost) WatchSettings(context.Context, func()) error { return nil }

// script is an IKE that performs what a test dictates. The gateway's loop owns it.
type script struct {
	config   ike.Config
	peers    []*sa.Peer // in the order in which they came
	set      int
	handled  []ipsec.Datagram
	commands []sa.Command
	actions  []sa.Action
	sas      map[uint32]*ipsec.ChildSA
	status   *ike.IKEStatus
	live     bool   // Idle answers no until Shutdown
	farewell func() // called at Shutdown
}

func (s *script) new(c ike.Config) IKE { s.config, s.sas = c, map[uint32]*ipsec.ChildSA{}; return s }

func (s *script) SetPeer(_ time.Time, old, next *sa.Peer) {
	i := slices.Index(s.peers, old)
	switch {
	case i < 0:
		s.peers = append(s.peers, next)
	case next == nil:
		s.peers = slices.Delete(s.peers, i, i+1)
	default:
		s.peers[i] = next
	}
	s.set++
}

func (s *script) Handle(_ time.Time, d ipsec.Datagram) {
	d.Data = slices.Clone(d.Data)
	s.handled = append(s.handled, d)
}

func (s *script) Do(_ time.Time, c sa.Command) {
	s.commands = append(s.commands, c)
	if c == (sa.Shutdown{}) {
		s.live = false
		if s.farewell != nil {
			s.farewell()
		}
	}
}
func (s *script) Advance(time.Time)         {}
func (s *script) Deadline() time.Time       { return time.Time{} }
func (s *script) Idle() bool                { return !s.live }
func (s *script) LogKeys(string, sa.KeyLog) {}
func (s *script) Counters() ike.Counters    { return ike.Counters{UnknownSPI: 7} }

// Next adds the Facts that an Endpoint emits with such Actions.
func (s *script) Next() sa.Action {
	if len(s.actions) == 0 {
		return nil
	}
	a := s.actions[0]
	s.actions = s.actions[1:]
	var f sa.Fact
	switch a := a.(type) {
	case sa.InstallIn:
		s.sas[a.SA.SPIIn] = a.SA
		f = sa.ChildIn(a)
	case sa.InstallOut:
		f = sa.ChildOut(a)
	case sa.Remove:
		f = sa.ChildGone{SA: s.sas[a.SPIIn], Why: a.Why}
	}
	if f != nil {
		s.actions = slices.Insert(s.actions, 0, sa.Action(f))
	}
	return a
}

func (s *script) Tunnel(string) (ike.TunnelStatus, bool) {
	return ike.TunnelStatus{IKE: s.status}, true
}

// running is a gateway that runs in a test, with a scripted IKE.
type running struct {
	*testing.T
	*Gateway
	ike  *script
	host *fakeHost
	stop func() error // ends it and returns Run's error
}

// start runs a gateway on h, or on o.Host, a host that wraps h. Call it in a synctest bubble, and stop at its end.
func start(t *testing.T, h *fakeHost, c *config.Config, o Options) *running {
	t.Helper()
	s := &script{}
	if o.Host == nil {
		o.Host = h
	}
	o.IKE = s.new
	g, err := New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	synctest.Wait()
	return &running{t, g, s, h, func() error { cancel(); return <-done }}
}

// do makes the scripted IKE emit actions in the loop.
func (r *running) do(actions ...sa.Action) {
	r.Helper()
	r.loop(func() { r.ike.actions = append(r.ike.actions, actions...) })
	r.loop(func() {}) // the loop has finished its last step
}

// loop runs f in the control loop.
func (r *running) loop(f func()) {
	r.Helper()
	if err := r.call(context.Background(), func(time.Time) error { f(); return nil }); err != nil {
		r.Fatal(err)
	}
}

// adopt makes connections the running configuration.
func (r *running) adopt(cs ...*config.Connection) Adopted {
	r.Helper()
	done, err := r.Gateway.Adopt(context.Background(), configOf(cs...))
	if err != nil {
		r.Fatal(err)
	}
	return done
}

func (r *running) tunnelStatus(name string) TunnelStatus {
	r.Helper()
	s, err := r.Status(context.Background())
	if err != nil {
		r.Fatal(err)
	}
	for _, c := range s.Connections {
		for _, t := range c.Tunnels {
			if t.Name == name {
				return t
			}
		}
	}
	r.Fatalf("there is no tunnel %s", name)
	return TunnelStatus{}
}

// wantState waits for what is due now, because a test and the control loop may wake at the same time, in either order.
func (r *running) wantState(name string, want tunnel.State) TunnelStatus {
	r.Helper()
	synctest.Wait()
	s := r.tunnelStatus(name)
	if s.State != want {
		r.Errorf("%s: got state %s (%s), want %s", name, s.State, s.Why, want)
	}
	return s
}

func (r *running) wantRoutes(want ...string) {
	r.Helper()
	if got := r.host.routes(); !slices.Equal(got, want) {
		r.Errorf("got routes %q, want %q", got, want)
	}
}

// child makes a Child SA for a tunnel, with an SPI from the plane.
func (r *running) child(tunnel, local, remote string) *ipsec.ChildSA {
	r.Helper()
	spi, err := r.ike.config.AllocSPI()
	if err != nil {
		r.Fatal(err)
	}
	return childOf(tunnel, local, remote, spi)
}

func childOf(tunnel, local, remote string, spi uint32) *ipsec.ChildSA {
	key := func(b byte) ipsec.Keys { return ipsec.Keys{Encr: slices.Repeat(ipsec.Secret{b}, 20)} }
	return &ipsec.ChildSA{
		Tunnel: tunnel, Child: tunnel, SPIIn: spi, SPIOut: 0xc0000000 | spi,
		Suite: ipsec.Suite{Encr: ipsec.ByName("aes128gcm16").Transform},
		In:    key(1), Out: key(2),
		Local: selectors(local), Remote: selectors(remote),
		Path: ipsec.Path{
			Local:  netip.AddrPortFrom(addr("203.0.113.9"), 4500),
			Remote: netip.AddrPortFrom(addr("198.51.100.1"), 4500), UDP: true,
		},
		Created: time.Now(),
	}
}

// up installs a Child SA in both directions.
func (r *running) up(tunnel, local, remote string) *ipsec.ChildSA {
	r.Helper()
	c := r.child(tunnel, local, remote)
	r.do(sa.InstallIn{SA: c}, sa.InstallOut{SA: c})
	return c
}

func (r *running) wantCommands(want ...sa.Command) {
	r.Helper()
	var got []sa.Command
	r.loop(func() { got, r.ike.commands = r.ike.commands, nil })
	if !reflect.DeepEqual(got, want) {
		r.Errorf("got commands %v, want %v", got, want)
	}
}
