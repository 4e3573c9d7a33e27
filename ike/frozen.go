package ike

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"vpngw/diag"
	"vpngw/ike/ikev1"
	"vpngw/ike/ikev2"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// Frozen is an Endpoint as plain data, in the middle of whatever it was doing: a restart without
// loss hands it to the next process. Its secrets are ipsec.Secret, which prints itself as
// "[redacted]", and are written nowhere.
//
// An IKE SA is named by the SPI of this end.
type Frozen struct {
	Peers       []FrozenPeer // in the order of Status
	V1          ikev1.Frozen
	V2          ikev2.Frozen
	Established []uint64 // what a Fact has called established
	Installed   []FrozenChildSA

	Answered []FrozenAnswered
	Pending  []FrozenMain // oldest first
	Cookies  FrozenCookies
	Budgets  FrozenBudgets
	Counters Counters
	Stopping bool
}

// FrozenPeer is one configured peer.
type FrozenPeer struct {
	Peer     sa.Peer
	Machines []uint64
	Children []FrozenChild // as Peer.Children

	Why      diag.Cause
	Since    time.Time
	UpSince  time.Time
	Absent   time.Time
	Failures int
	NextTry  time.Time
	DedupeAt time.Time
	Cleared  bool
	Door     uint16
	Orphans  time.Time
}

// FrozenChild is how one configured child fares.
type FrozenChild struct {
	Initiate bool
	Held     bool
	Why      diag.Cause
	Since    time.Time
	Failures int
	NextTry  time.Time
	TookAll  bool
	Tried    []FrozenAttempt
	Early    FrozenEarly
}

// FrozenAttempt is what a child was asked for in vain: one pair of selectors, or all of it without any.
type FrozenAttempt struct {
	Local, Remote ipsec.Selector
	Failures      int
	Next          time.Time
}

// FrozenEarly is the early rekey of a child.
type FrozenEarly struct {
	At   time.Time
	Done bool
}

// FrozenChildSA is a Child SA that ESP has, without its keys.
type FrozenChildSA struct {
	SA  ipsec.ChildSA
	Out bool
}

// FrozenAnswered is an IKE SA that the peer began, by its first message.
type FrozenAnswered struct {
	First    FrozenFirst
	SPI      uint64
	HalfOpen bool
}

// FrozenFirst tells first messages apart.
type FrozenFirst struct {
	Remote netip.AddrPort
	SPIi   uint64
	Hash   [32]byte
}

// FrozenMain is a pending main mode.
type FrozenMain struct {
	First   FrozenFirst
	Cookie  uint64
	Message ipsec.Datagram
	Answer  [][]byte
	At      time.Time
}

// FrozenCookies are the secrets of IKEv2's cookies.
type FrozenCookies struct {
	Version byte
	Secret  [2]ipsec.Secret
	Made    time.Time
	Old     bool
}

// Freeze lists the state of the Endpoint, which forgets it and does nothing any more: were it to go on beside
// a thawed one, both would use the same keys with the same message ids. Every Action must have been performed before.
func (e *Endpoint) Freeze() Frozen {
	var f Frozen
	keys := map[*sa.Peer]string{}
	for i, p := range e.inOrder() {
		keys[p.cfg] = strconv.Itoa(i)
		f.Peers = append(f.Peers, e.freezePeer(p))
	}
	for _, spi := range slices.Sorted(maps.Keys(e.installed)) {
		in := e.installed[spi]
		c := FrozenChildSA{*in.sa, in.out}
		c.SA.In, c.SA.Out = ipsec.Keys{}, ipsec.Keys{}
		f.Installed = append(f.Installed, c)
	}
	for m := range e.established {
		f.Established = append(f.Established, e.table.place[m].spi)
	}
	slices.Sort(f.Established)
	for m, a := range e.answered.of {
		f.Answered = append(f.Answered, FrozenAnswered{a.key.freeze(), e.table.place[m].spi, e.answered.isHalfOpen(m)})
	}
	slices.SortFunc(f.Answered, func(a, b FrozenAnswered) int { return cmp.Compare(a.SPI, b.SPI) })
	for p := range e.pending.all() {
		f.Pending = append(f.Pending, FrozenMain{p.key.freeze(), p.cookie, p.first, p.answer, p.at})
	}
	f.Cookies, f.Budgets, f.Counters, f.Stopping = e.cookies.freeze(), e.budgets.freeze(), e.counters, e.stopping

	var machines []sa.Machine
	for _, spi := range slices.Sorted(maps.Keys(e.table.bySPI)) {
		machines = append(machines, e.table.bySPI[spi])
	}
	key := func(p *sa.Peer) string { return keys[p] }
	f.V1, f.V2 = ikev1.Freeze(machines, key), ikev2.Freeze(machines, key)
	*e = *New(e.cfg)
	e.stopping, e.budgets = true, exhausted() // no answer to anything
	return f
}

func (e *Endpoint) freezePeer(p *peer) FrozenPeer {
	f := FrozenPeer{
		Peer: *p.cfg, Why: p.why.Cause(), Since: p.since, UpSince: p.upSince, Absent: p.absent, Failures: p.failures, NextTry: p.nextTry, DedupeAt: p.dedupeAt, Cleared: p.cleared,
		Door: p.door, Orphans: p.orphans,
	}
	f.Peer.Children = slices.Clone(p.cfg.Children)
	for _, m := range p.machines {
		f.Machines = append(f.Machines, e.table.place[m].spi)
	}
	for _, c := range p.children {
		f.Children = append(f.Children, FrozenChild{
			Initiate: c.initiate, Held: c.held, Why: c.why.Cause(), Since: c.since, Failures: c.failures, NextTry: c.nextTry, TookAll: c.tookAll, Tried: c.freezeTried(), Early: FrozenEarly{c.early.at, c.early.done},
		})
	}
	return f
}

func (k firstKey) freeze() FrozenFirst { return FrozenFirst{k.remote, k.spiI, k.hash} }
func (f FrozenFirst) thaw() firstKey   { return firstKey{f.Remote, f.SPIi, f.Hash} }

func (c *cookies) freeze() FrozenCookies {
	return FrozenCookies{
		Version: c.version, Secret: [2]ipsec.Secret{slices.Clone(c.secret[0][:]), slices.Clone(c.secret[1][:])}, Made: c.made, Old: c.old,
	}
}
