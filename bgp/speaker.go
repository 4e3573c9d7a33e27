package bgp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"vpngw/diag"
)

// maxRSS is how much memory a child may hold, in bytes; heapLimit is what its collector aims at.
const (
	maxRSS    = 512 << 20
	heapLimit = 192 << 20
)

// Starter starts child processes, as host.Host does.
type Starter interface {
	Start(Spec) (Process, error)
}

// Spec describes a child to start.
type Spec struct {
	Args   []string  // of this program
	Dir    string    // to be made for the child and nobody else
	Stderr io.Writer // takes its log
	Memory int64     // bytes that its collector aims to stay within
}

// Process is a child.
type Process interface {
	Wait() error // returns when it has ended
	Stop()       // asks it to end
	Kill() error // ends it at once
	RSS() int64  // bytes; 0: not known
	Dial(ctx context.Context, path string) (net.Conn, error)
	Remove(path string) error // a file in its directory
}

// Options are what a Speaker works with.
type Options struct {
	Starter Starter
	Dir     string // of the children's sockets
	Log     *slog.Logger
	// Report takes each change of a session, and Event what an operator should hear; an empty tunnel means the
	// group. Both are called by the Speaker's goroutine, and must not wait.
	Report func(Report)
	Event  func(tunnel string, cause diag.Cause)
}

// decider decides, on facts and time: a *keeper.
type decider interface {
	note(now time.Time, f fact)
	advance(now time.Time)
	deadline() time.Time
	next() action
	change(now time.Time, c Config)
}

// Speaker speaks BGP for one group of tunnels. Its methods never wait, and are safe for concurrent use.
type Speaker struct {
	Options
	keeper decider
	config Config // the newest, in Run's goroutine
	child  *attached
	// restarting holds the tunnels whose peers may still keep our routes from before the child died.
	restarting map[string]time.Time // until when

	mu      sync.Mutex
	changes pending
	wake    chan struct{} // holds one: something is pending
	facts   chan tagged   // from the child's goroutines
	done    chan struct{} // closed when Run takes no more facts
}

// pending is what callers have said since Run last looked: of each thing the newest.
type pending struct {
	config    *Config
	reachable map[string]bool
	networks  *networks
}

// tagged is a fact of a child. One of a child that is no more is out of date.
type tagged struct {
	of   *attached
	fact fact
}

// New returns a Speaker. It starts nothing before Run.
func New(o Options, c Config) *Speaker { return speak(o, c, nil) }

func speak(o Options, c Config, k decider) *Speaker {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if k == nil {
		k = newKeeper(time.Now(), c, rand.Float64)
	}
	return &Speaker{
		Options: o, keeper: k, config: c,
		restarting: make(map[string]time.Time), wake: make(chan struct{}, 1), facts: make(chan tagged, 64),
		done: make(chan struct{}),
	}
}

// Change gives the Speaker another Config.
func (s *Speaker) Change(c Config) { s.say(func(p *pending) { p.config = &c }) }

// Reachable says whether a tunnel carries packets to its peer.
func (s *Speaker) Reachable(tunnel string, is bool) {
	s.say(func(p *pending) {
		if p.reachable == nil {
			p.reachable = make(map[string]bool)
		}
		p.reachable[tunnel] = is
	})
}

// Networks says which networks the host is connected to, and which routes its other programs have made.
func (s *Speaker) Networks(connected, kernel []netip.Prefix) {
	s.say(func(p *pending) { p.networks = &networks{connected, kernel} })
}

func (s *Speaker) say(f func(*pending)) {
	s.mu.Lock()
	f(&s.changes)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run speaks until ctx ends. The child has ended when it returns.
func (s *Speaker) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer s.end()
	for {
		s.perform(ctx)
		timer.Stop()
		if d := s.keeper.deadline(); !d.IsZero() {
			timer.Reset(time.Until(d))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
			s.hear()
		case t := <-s.facts:
			s.note(t)
		case <-timer.C:
		}
		s.keeper.advance(time.Now())
	}
}

// hear notes what callers have said.
func (s *Speaker) hear() {
	s.mu.Lock()
	p := s.changes
	s.changes = pending{}
	s.mu.Unlock()
	if p.config != nil {
		s.config = *p.config
		s.keeper.change(time.Now(), s.config)
		if s.child != nil {
			s.child.learn(s.config.Sessions)
		}
	}
	for tunnel, is := range p.reachable {
		s.keeper.note(time.Now(), reachable{tunnel, is})
	}
	if p.networks != nil {
		s.keeper.note(time.Now(), *p.networks)
	}
}

// note notes a fact of the child's.
func (s *Speaker) note(t tagged) {
	if t.of != s.child {
		return
	}
	switch f := t.fact.(type) {
	case died:
		s.Log.Warn("the BGP process has ended", "group", s.config.Group, "why", f.cause.String())
		until := time.Now().Add(restartTime * time.Second)
		for _, tunnel := range t.of.established() {
			s.restarting[tunnel] = until
		}
		s.child = nil
	case started:
		s.Log.Debug("the BGP process runs", "group", s.config.Group)
	}
	s.keeper.note(time.Now(), t.fact)
}

// perform does what the keeper wants.
func (s *Speaker) perform(ctx context.Context) {
	for {
		a := s.keeper.next()
		if a == nil {
			return
		}
		switch a := a.(type) {
		case start:
			if s.child != nil {
				continue // one child at a time
			}
			s.child = s.begin(ctx, a.config)
		case kill:
			if s.child != nil {
				s.child.kill(a.cause)
			}
		case ask:
			if s.child != nil {
				s.child.ask()
			}
		case addPeer:
			s.addPeer(a)
		case deletePeer:
			s.call(func(ctx context.Context, cl *client) error { return cl.deletePeer(ctx, a.session) })
		case export:
			s.call(func(ctx context.Context, cl *client) error { return cl.export(ctx, a.session, a.except) })
		case tell:
			s.call(func(ctx context.Context, cl *client) error { return cl.tell(ctx, a.add, a.withdraw) })
		case report:
			s.Report(a.Report)
		case event:
			s.Event(a.tunnel, a.cause)
		}
	}
}

// call has the child carry a job out.
func (s *Speaker) call(job func(context.Context, *client) error) {
	if s.child != nil {
		s.child.do(job)
	}
}

func (s *Speaker) addPeer(a addPeer) {
	until, ok := s.restarting[a.session.Tunnel]
	delete(s.restarting, a.session.Tunnel)
	restarting := ok && time.Now().Before(until)
	s.call(func(ctx context.Context, cl *client) error { return cl.addPeer(ctx, a.session, a.except, restarting) })
}

// end ends the child, so that its peers are told, and returns when it has ended.
func (s *Speaker) end() {
	close(s.done)
	if s.child != nil {
		s.child.stop()
	}
}

// socket is where the child of a group listens.
func socket(dir, group string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '_'
	}, group)
	const limit = 40 // the whole path may have 107 bytes
	if name != group || name == "" || len(name) > limit || strings.HasPrefix(name, ".") {
		sum := sha256.Sum256([]byte(group))
		name = strings.TrimLeft(name[:min(len(name), limit)], ".") + "-" + hex.EncodeToString(sum[:4])
	}
	return filepath.Join(dir, name+".sock")
}
