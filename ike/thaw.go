package ike

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"vpngw/diag"
	"vpngw/ike/ikev1"
	"vpngw/ike/ikev2"
	"vpngw/ike/sa"
)

// Thaw makes an Endpoint that goes on where another was frozen, with the same message ids, open exchanges, timers and
// held tunnels. ps are the configured peers, as for SetPeers: a peer that is the same as at Freeze keeps its IKE SAs, and one
// that was changed or removed meanwhile is deleted. The first Actions are Facts about everything that is there.
func Thaw(cfg Config, now time.Time, ps []*sa.Peer, f Frozen) (*Endpoint, error) {
	e := New(cfg)
	e.stopping, e.counters = f.Stopping, f.Counters
	var peers []*peer
	for i := range f.Peers {
		p, err := e.thawPeer(now, &f.Peers[i], i)
		if err != nil {
			return nil, err
		}
		peers = append(peers, p)
	}
	if err := e.thawMachines(f, peers); err != nil {
		return nil, err
	}
	for i, p := range peers {
		for _, spi := range f.Peers[i].Machines {
			m := e.table.bySPI[spi]
			if m == nil {
				return nil, missing(spi)
			}
			p.machines = append(p.machines, m)
		}
	}
	for _, spi := range f.Established {
		m := e.table.bySPI[spi]
		if m == nil {
			return nil, missing(spi)
		}
		e.established[m] = struct{}{}
	}
	if err := e.thawFirsts(f); err != nil {
		return nil, err
	}
	e.thawInstalled(f.Installed)
	for _, m := range e.table.bySPI {
		e.look(m)
	}
	e.rename(ps)
	e.tellAll()
	e.SetPeers(now, ps)
	return e, nil
}

func missing(spi uint64) error { return fmt.Errorf("no IKE SA has SPI %s", sa.Hex64(spi)) }

// thawPeer makes a peer as it was configured when it was frozen.
func (e *Endpoint) thawPeer(now time.Time, f *FrozenPeer, place int) (*peer, error) {
	cfg := f.Peer
	cfg.Children = slices.Clone(f.Peer.Children)
	if len(f.Children) != len(cfg.Children) {
		return nil, fmt.Errorf("peer %s has %d children and the states of %d", cfg.Name, len(cfg.Children), len(f.Children))
	}
	p := e.newPeer(now, &cfg, place)
	p.why, p.since, p.upSince, p.absent, p.failures, p.nextTry, p.dedupeAt, p.cleared = diag.Keep(f.Why), f.Since, f.UpSince, f.Absent, f.Failures, f.NextTry, f.DedupeAt, f.Cleared
	p.door, p.orphans = f.Door, f.Orphans
	for i, c := range p.children {
		g := &f.Children[i]
		c.early = early{g.Early.At, g.Early.Done}
		c.thawTried(g.Tried)
		c.initiate, c.held, c.why, c.since, c.failures, c.nextTry, c.tookAll = g.Initiate, g.Held, diag.Keep(g.Why), g.Since, g.Failures, g.NextTry, g.TookAll
	}
	e.add(p)
	return p, nil
}

// thawMachines makes the IKE SAs of both versions.
func (e *Endpoint) thawMachines(f Frozen, peers []*peer) error {
	peer := func(key string) *sa.Peer {
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(peers) {
			return peers[i].cfg
		}
		return nil
	}
	v1, err := ikev1.Thaw(&e.env, f.V1, peer)
	if err != nil {
		return err
	}
	v2, err := ikev2.Thaw(&e.env, f.V2, peer)
	if err != nil {
		return err
	}
	for _, m := range slices.Concat(v1, v2) {
		e.table.add(m)
	}
	return nil
}

// thawInstalled restores which Child SAs ESP has.
func (e *Endpoint) thawInstalled(cs []FrozenChildSA) {
	for i := range cs {
		c := cs[i].SA
		e.installed[c.SPIIn] = installed{sa: &c, peer: e.peerOfSA(&c), out: cs[i].Out}
	}
	for m := range e.table.place {
		for _, c := range m.Children() {
			if in, ok := e.installed[c.SA.SPIIn]; ok {
				in.sa = c.SA // the InstallOut will have the same
				e.installed[c.SA.SPIIn] = in
			}
		}
	}
}

// thawFirsts restores what is known about first messages.
func (e *Endpoint) thawFirsts(f Frozen) error {
	for _, a := range f.Answered {
		m := e.table.bySPI[a.SPI]
		if m == nil {
			return missing(a.SPI)
		}
		half := &e.answered.v2
		if m.Info().Version == 1 {
			half = &e.answered.v1
		}
		if e.answered.add(a.First.thaw(), m, half, e.strange(a.First.thaw().from())); !a.HalfOpen {
			e.answered.completed(m)
		}
	}
	for _, p := range f.Pending {
		e.pending.add(&pendingMain{key: p.First.thaw(), cookie: p.Cookie, first: p.Message, answer: p.Answer, at: p.At})
	}
	e.reschedule(&e.pending)
	e.cookies.version, e.cookies.made, e.cookies.old = f.Cookies.Version, f.Cookies.Made, f.Cookies.Old
	for i, s := range f.Cookies.Secret {
		copy(e.cookies.secret[i][:], s)
	}
	e.budgets = f.Budgets.thaw()
	return nil
}

// rename has Facts name the peers that are configured as the new process knows them.
func (e *Endpoint) rename(ps []*sa.Peer) {
	_, kept := e.match(ps)
	for n, p := range kept {
		if p == nil {
			continue
		}
		delete(e.peers, p.given)
		p.given = ps[n]
		e.peers[p.given] = p
		for _, c := range p.children {
			if i := slices.IndexFunc(p.given.Children, c.cfg.Same); i >= 0 {
				c.given = p.given.Children[i]
			}
		}
	}
}
