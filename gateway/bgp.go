package gateway

import (
	"cmp"
	"context"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"vpngw/bgp"
	"vpngw/config"
	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/tunnel"
)

// Speaker is a *bgp.Speaker, as the gateway uses it: it speaks BGP for one group. Change, Reachable and Networks do not wait, and may
// be called before Run.
type Speaker interface {
	Run(ctx context.Context) error // until ctx ends
	Change(c bgp.Config)
	Reachable(tunnel string, is bool)
	Networks(connected, kernel []netip.Prefix)
}

// Speaking makes the Speaker of a group. report and event may be called from any goroutine, and do not wait. An event without a
// tunnel is the whole group's.
type Speaking func(c bgp.Config, report func(bgp.Report), event func(tunnel string, cause diag.Cause)) Speaker

// speaker is a Speaker that runs.
type speaker struct {
	Speaker
	group  string
	config bgp.Config
	stop   context.CancelFunc
	done   chan struct{} // closed when Run has returned
}

// speakers are the Speakers of the groups that have BGP. The control loop owns them, but for news.
type speakers struct {
	running map[string]*speaker      // by group
	ending  map[string]chan struct{} // likewise: the next one of that name waits for the last one's end
	news    news

	connected, kernel []netip.Prefix // of this host, as last listed
	listAt            time.Time      // when they are listed again; zero: after a change
	listing           bool
}

// networksDelay is how long the host's networks may change before they are listed: another program may be changing many.
const networksDelay = time.Second

// wantsNetworks reports whether a session announces what the host has beside its configuration.
func wantsNetworks(c bgp.Config) bool {
	return slices.ContainsFunc(c.Sessions, func(s bgp.Session) bool { return s.Connected || s.Kernel })
}

// speak has BGP spoken for a group: for those of its tunnels whose address is in place, because that is where it listens.
func (g *Gateway) speak(now time.Time, gr *group) {
	s := g.speakers.running[gr.name]
	c := g.sessionsOf(gr)
	switch {
	case g.BGP == nil, s == nil && len(c.Sessions) == 0:
	case len(c.Sessions) == 0:
		g.speakers.end(s)
	case s == nil:
		g.beginSpeaking(now, gr, c)
	case !reflect.DeepEqual(s.config, c):
		was := s.config
		s.config = c
		s.Change(c)
		for _, e := range gr.entries {
			if e.reachable != nil {
				s.Reachable(e.tunnel.Name, *e.reachable)
			}
		}
		if wantsNetworks(c) && !wantsNetworks(was) {
			g.listNetworks(now)
		}
	}
}

// hurry ends every pause of a group's BGP: of its process, and of sessions that wait before they begin again.
func (s *speakers) hurry(group string) {
	if sp := s.running[group]; sp != nil {
		sp.Change(sp.config)
	}
}

// sessionsOf is the BGP of a group.
func (g *Gateway) sessionsOf(gr *group) bgp.Config {
	c := bgp.Config{Group: gr.name}
	for _, e := range gr.entries {
		if t := e.tunnel; t.BGP != nil && t.Inside.IsValid() && t.Peer.IsValid() && e.addressed == t.Inside {
			b := *t.BGP
			b.BFD = nil // package tunnel has it
			c.Sessions = append(c.Sessions, bgp.Session{
				BGP: b, Tunnel: t.Name, Local: t.Inside.Addr(), Remote: t.Peer, Inside: t.Inside,
				LocalASN: t.Local.ASN, RemoteASN: t.Remote.ASN, Own: ownNetworks(t), Outer: gr.outer(),
			})
		}
	}
	if len(c.Sessions) == 0 {
		return c
	}
	c.ASN, c.RouterID = c.Sessions[0].LocalASN, c.Sessions[0].RouterID
	if a := c.Sessions[0].Local; !c.RouterID.IsValid() && a.Is4() {
		c.RouterID = a
	}
	slices.SortFunc(c.Sessions, func(a, b bgp.Session) int { return cmp.Compare(a.Tunnel, b.Tunnel) })
	return c
}

// ownNetworks are networks that are ours whatever the peer says: what the configuration has here, and has announced.
func ownNetworks(t *config.Tunnel) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range slices.Concat(t.Local.Subnets, t.BGP.Announce) {
		if p.Bits() > 0 {
			out = append(out, p.Masked())
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

// outer are the configured outer addresses of the group's peers.
func (gr *group) outer() []netip.Addr {
	var out []netip.Addr
	for _, e := range gr.entries {
		if a := e.tunnel.Remote.Address; a.IsValid() {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

func (g *Gateway) beginSpeaking(now time.Time, gr *group, c bgp.Config) {
	s := &speaker{group: gr.name, config: c, done: make(chan struct{})}
	s.Speaker = g.BGP(c, func(r bgp.Report) { g.speakers.news.report(s, r) }, func(name string, cause diag.Cause) { g.speakers.news.event(s, name, cause) })
	ctx, stop := context.WithCancel(g.io)
	s.stop = stop
	before := g.speakers.ending[gr.name]
	delete(g.speakers.ending, gr.name)
	g.speakers.running[gr.name] = s
	for _, e := range gr.entries {
		if e.tunnel.BGP != nil {
			e.report = nil
			g.note(now, e, tunnel.Session{Tunnel: e.tunnel.Name}) // another speaker's sessions are gone
			if e.reachable != nil {
				s.Reachable(e.tunnel.Name, *e.reachable)
			}
		}
	}
	if wantsNetworks(c) {
		s.Networks(g.speakers.connected, g.speakers.kernel)
		g.listNetworks(now)
	}
	g.group.Go(func() error {
		defer close(s.done)
		if before != nil {
			<-before
		}
		if err := s.Run(ctx); err != nil && ctx.Err() == nil {
			g.Log.Error("BGP is not spoken any more", "conn", s.group, "err", err)
		}
		return nil
	})
}

// end ends a speaker, and with it the sessions of its group.
func (s *speakers) end(sp *speaker) {
	if sp == nil {
		return
	}
	sp.stop()
	delete(s.running, sp.group)
	for name, done := range s.ending {
		select {
		case <-done:
			delete(s.ending, name)
		default:
		}
	}
	s.ending[sp.group] = sp.done
}

// endAll has the peers know that this gateway leaves, while packets still go through the tunnels.
func (s *speakers) endAll() {
	for _, sp := range s.running {
		s.end(sp)
	}
}

// neighbour tells the speaker whether a peer can be reached.
func (g *Gateway) neighbour(gr *group, a tunnel.Neighbour) {
	g.fleet.byName[a.Tunnel].reachable = &a.Reachable
	if s := g.speakers.running[gr.name]; s != nil {
		s.Reachable(a.Tunnel, a.Reachable)
	}
}

// hear takes the speakers' news.
func (g *Gateway) hear(now time.Time) {
	reports, events, networks := g.speakers.news.take()
	if networks != nil {
		g.listed(now, networks)
	}
	for _, r := range reports {
		e := g.fleet.byName[r.Tunnel]
		if e == nil || e.tunnel.BGP == nil || g.speakers.running[e.group.name] != r.by {
			continue // of a session that is configured no more
		}
		e.report = &r.Report
		g.noteSession(now, e)
	}
	for _, v := range events {
		if g.speakers.running[v.by.group] == v.by {
			g.bgpEvent(now, v)
		}
	}
}

// noteSession gives a tunnel's session to its group.
func (g *Gateway) noteSession(now time.Time, e *entry) {
	r := e.report
	same := func(p netip.Prefix, l bgp.Learned) bool { return p == l.Prefix }
	if !slices.EqualFunc(e.learned, r.Routes, same) {
		e.learned = make([]netip.Prefix, len(r.Routes))
		for i, l := range r.Routes {
			e.learned[i] = l.Prefix
		}
	}
	if list := g.announced(e.tunnel.BGP, e.tunnel.Local.Subnets); !slices.Equal(e.announced, list) {
		e.announced = list
	}
	s := tunnel.Session{
		Tunnel: e.tunnel.Name, Up: r.State == bgp.Established, Complete: r.Complete, Stale: r.Stale, Routes: e.learned, Announced: e.announced,
	}
	if !s.Up {
		s.Cause = r.Last
	}
	g.note(now, e, s)
	if s.Up && s.Complete {
		g.left.told(e.tunnel.Name)
	}
}

// announced is what the peer is told that may hold an address of this host.
func (g *Gateway) announced(b *config.BGP, local []netip.Prefix) []netip.Prefix {
	out := slices.Clone(b.Announce)
	if len(out) == 0 {
		out = slices.Clone(local)
	}
	exported := func(p netip.Prefix) bool {
		return len(b.Export) == 0 || slices.ContainsFunc(b.Export, func(x netip.Prefix) bool { return x.Bits() <= p.Bits() && x.Contains(p.Addr()) })
	}
	add := func(list []netip.Prefix) {
		for _, p := range list {
			if exported(p) {
				out = append(out, p)
			}
		}
	}
	if b.Connected {
		add(g.speakers.connected)
	}
	if b.Kernel {
		add(g.speakers.kernel)
	}
	return out
}

// bgpEvent tells the operator what happened to a session, or to all of a group.
func (g *Gateway) bgpEvent(now time.Time, v spokenEvent) {
	gr := g.fleet.groupNamed[v.by.group]
	if gr == nil {
		return
	}
	e := gr.entries[0]
	c := tunnel.Changed{Conn: e.conn.Name, Cause: v.cause}
	if v.tunnel != "" {
		if e = g.fleet.byName[v.tunnel]; e == nil || e.group != gr {
			return
		}
		st := e.status()
		c = tunnel.Changed{Conn: e.conn.Name, Tunnel: v.tunnel, Was: st.State, State: st.State, Cause: v.cause}
	}
	g.events.add(eventOf(now, e, c))
	log := g.Log.Warn
	if v.cause.Severity() == diag.Info {
		log = g.Log.Info
	}
	log(v.cause.String(), "conn", c.Conn, "tunnel", c.Tunnel, "code", v.cause.Code)
}

// networksChanged has the host's networks listed before long, if a session announces some.
func (g *Gateway) networksChanged(now time.Time) {
	if !g.speakers.listAt.IsZero() {
		return
	}
	for _, s := range g.speakers.running {
		if wantsNetworks(s.config) {
			g.speakers.listAt = now.Add(networksDelay)
			return
		}
	}
}

// listNetworks has the host's networks listed. The loop does not wait: there may be a million routes.
func (g *Gateway) listNetworks(now time.Time) {
	s := &g.speakers
	if s.listing {
		s.listAt = now.Add(networksDelay)
		return
	}
	s.listing, s.listAt = true, time.Time{}
	g.group.Go(func() error {
		connected, kernel, err := g.Host.Networks()
		s.news.list(&networks{connected, kernel, err})
		return nil
	})
}

// listed takes the host's networks.
func (g *Gateway) listed(now time.Time, n *networks) {
	s := &g.speakers
	s.listing = false
	switch {
	case n.err != nil:
		g.Log.Error("cannot list the host's networks for BGP", "err", n.err)
		s.listAt = now.Add(10 * networksDelay)
		return
	case slices.Equal(s.connected, n.connected) && slices.Equal(s.kernel, n.kernel):
		return
	}
	s.connected, s.kernel = n.connected, n.kernel
	for _, sp := range s.running {
		if wantsNetworks(sp.config) {
			sp.Networks(n.connected, n.kernel)
		}
	}
	for _, e := range g.fleet.entries {
		if e.report != nil && e.tunnel.BGP != nil && (e.tunnel.BGP.Connected || e.tunnel.BGP.Kernel) {
			g.noteSession(now, e)
		}
	}
}

// networksDue lists the host's networks when it is time.
func (g *Gateway) networksDue(now time.Time) {
	if sa.Due(now, g.speakers.listAt) {
		g.listNetworks(now)
	}
}

// session is the entry's part of Status; nil: it has no BGP.
func (e *entry) session(now time.Time) *SessionStatus {
	t := e.tunnel
	if t.BGP == nil {
		return nil
	}
	s := &SessionStatus{State: string(bgp.Idle), Remote: t.Peer.String(), LocalAS: t.Local.ASN, RemoteAS: t.Remote.ASN}
	if t.Inside.IsValid() {
		s.Local = t.Inside.Addr().String()
	}
	if r := e.report; r != nil {
		s.State, s.Since, s.In, s.Out, s.Refused, s.Flaps = string(r.State), ByClock(now, r.Since).UTC(), r.In, r.Out, r.RefusedN, r.Flaps
		s.Complete, s.Stale, s.Hold, s.Report = r.Complete, r.Stale, r.Hold.Seconds(), r.Last.Report()
		for _, x := range r.Refused {
			s.Reasons = append(s.Reasons, RefusedStatus{x.Prefix.String(), x.Cause.Report()})
		}
	}
	return s
}
