package ikev1

import (
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// Frozen is ISAKMP SAs as plain data, in the middle of whatever they were doing: a restart
// without loss hands it to the next process. Its secrets are ipsec.Secret, which prints
// itself as "[redacted]", and are written nowhere.
//
// A Frozen names what it refers to: a peer by the key that the caller gives, an ISAKMP SA by
// the cookie of this end (0: none), a Child SA by its place in its family (from 1; 0: none).
//
// The fragments of an incomplete message are left out. The peer sends the message again.
type Frozen struct {
	SAs      []FrozenSA
	Families []FrozenFamily
}

// FrozenFamily is the common property of the ISAKMP SAs of a peer.
type FrozenFamily struct {
	Peer     sa.FrozenPeer
	Members  []uint64 // the ISAKMP SAs, oldest first
	Current  uint64   // the one that maintains the Child SAs
	Children []FrozenChild
	Queue    []FrozenQuick // not begun
	Quiet    time.Time     // no quick mode begins before
}

// FrozenSA is one ISAKMP SA.
type FrozenSA struct {
	State      sa.State
	Since      time.Time
	Why        diag.Cause
	Initiator  bool
	SPIi, SPIr uint64 // the cookies
	Peer       sa.FrozenPeer
	Suite      ipsec.Suite
	Keys       FrozenKeys
	LastIV     []byte
	Family     int // in Frozen.Families, from 0
	Authed     time.Time
	Trip       time.Duration // of a message and its answer, lately; 0: not known

	Phase1            []FrozenPhase1 // at most one
	Exchanges         []FrozenExchange
	Asking            int      // the place in Exchanges of our last quick mode, from 1; 0: it is not open
	MessageIDs        []uint32 // of both ends, sorted
	NATT              string   // the form of NAT traversal that both speak; empty: none
	DPD, Frag         bool     // what the peer says that it can do
	Vpngw             bool     // and that it is
	Unacked           []byte
	UnackedRetransmit sa.FrozenRetransmitter

	Path     ipsec.Path
	NAT      sa.NAT
	Life     time.Duration
	Monitor  dpd.Frozen
	Liveness FrozenLiveness
	Probed   time.Time
	Spoke    time.Time
	Rekeying uint64 // the ISAKMP SA that is to take the place of this one

	RekeyAt     time.Time
	ExpireAt    time.Time
	KeepaliveAt time.Time
	Reported    bool
}

// FrozenKeys are the secrets of an ISAKMP SA; without SKEYID there are none yet.
type FrozenKeys struct {
	SKEYID, D, A, E, Cipher ipsec.Secret
}

// FrozenPhase1 is main or aggressive mode, under way or lately done.
type FrozenPhase1 struct {
	Exchange    FrozenExchange
	Candidates  []sa.FrozenPeer
	Predecessor uint64 // the ISAKMP SA whose place this one is to take
	Own         []ipsec.Suite
	DH          sa.FrozenDH
	GXi, GXr    []byte
	Ni, Nr      []byte
	SAi, IDi    []byte
	Refused     diag.Cause
}

// FrozenExchange is the messages of one message id.
type FrozenExchange struct {
	Kind       wire.Exchange
	ID         uint32
	IV         []byte
	Step       step
	Asks       []FrozenQuick  // at most one
	Answers    []FrozenAnswer // at most one
	LastHash   [32]byte
	Sent       [][]byte
	Retransmit sa.FrozenRetransmitter
	Repeats    int
	Until      time.Time
	Then       ending
}

// FrozenQuick is a Child SA that this end asks for. Only an open quick mode has the fields after Old.
type FrozenQuick struct {
	Child         sa.FrozenChild
	Local, Remote ipsec.Selector
	Old           int // the Child SA that is to be replaced

	Rival      int // the Child SA that the peer has asked for meanwhile, for the same traffic
	Began      time.Time
	Own        []ipsec.Suite
	SPIIn      uint32
	DH         sa.FrozenDH
	Ni         []byte
	IDci, IDcr []byte
	Life       time.Duration
	Bytes      uint64
}

// FrozenAnswer is a Child SA that the peer asks for.
type FrozenAnswer struct {
	Ni, Nr []byte
	SPI    []byte
	Child  int
}

// FrozenLiveness is dead peer detection under way.
type FrozenLiveness struct {
	Sent, Theirs       uint32
	Asked, Knows, Last bool
	Began              time.Time
	Strict             bool
	Retransmit         sa.FrozenRetransmitter
}

// FrozenChild is one Child SA.
type FrozenChild struct {
	Child    sa.FrozenChild
	SA       ipsec.ChildSA
	Removed  bool // it is out already, but something still refers to it; SA has no keys
	Made     bool
	Out      bool
	LowNonce []byte

	Asked     uint32
	Successor int
	Gone      bool
	Stale     bool
	Failed    diag.Cause
	SoftAt    time.Time
	HardAt    time.Time
	OutAt     time.Time
	HeldUntil time.Time
	ConfirmBy time.Time
	DeleteAt  time.Time
	RemoveAt  time.Time
}

// Freeze lists the SAs of IKEv1 among ms that are not dead, with their exchanges and Child SAs. ms
// must have all SAs of a peer. key names a Peer for Thaw; it returns "" for a Peer that the
// configuration has lost.
//
// Freeze ends each SA without a word to the peer or the Owner, and overwrites its keys,
// because an original that went on would use the same IVs and message ids as its copy. The
// caller discards ms. The keys of the Child SAs stay: ESP has the same *ipsec.ChildSA.
func Freeze(ms []sa.Machine, key func(*sa.Peer) string) Frozen {
	f := freezer{key: key, families: map[*family]*kin{}}
	var all []*SA
	for _, m := range ms {
		if s, ok := m.(*SA); ok && s.state != sa.Dead {
			all = append(all, s)
			f.meet(s)
		}
	}
	var out Frozen
	for _, s := range all {
		out.SAs = append(out.SAs, f.sa(s))
	}
	for _, k := range f.order {
		out.Families = append(out.Families, f.family(k))
	}
	for _, s := range all {
		s.abandon()
	}
	return out
}

// abandon makes a frozen SA one that does nothing any more.
func (s *SA) abandon() {
	if s.keys != nil {
		s.keys.clear()
	}
	*s.fam = family{current: s}
	s.state, s.p1, s.exchanges, s.asking, s.rekeying = sa.Dead, nil, nil, nil, nil
}

// freezer is a Freeze under way.
type freezer struct {
	key      func(*sa.Peer) string
	families map[*family]*kin
	order    []*kin
}

// kin is a family whose Child SAs have numbers.
type kin struct {
	*family
	number   int
	peer     *sa.Peer
	children sa.Numbered[*child] // the installed ones, then removed ones that something refers to
}

// meet notes the family of s.
func (f *freezer) meet(s *SA) {
	k := f.families[s.fam]
	if k == nil {
		k = &kin{family: s.fam, number: len(f.order), children: slices.Clone(s.fam.children)}
		f.families[s.fam], f.order = k, append(f.order, k)
	}
	if k.peer == nil || s.fam.current == s {
		k.peer = s.peer
	}
}

// own is the cookie of this end.
func (s *SA) own() uint64 {
	if s.initiator {
		return s.spiI
	}
	return s.spiR
}

// ownOf is the cookie of this end of an SA that still lives, or 0.
func ownOf(s *SA) uint64 {
	if s == nil || s.state == sa.Dead {
		return 0
	}
	return s.own()
}

func (f *freezer) family(k *kin) FrozenFamily {
	out := FrozenFamily{Peer: sa.FreezePeer(k.peer, f.key), Current: ownOf(k.current), Quiet: k.quiet}
	for _, m := range k.members {
		out.Members = append(out.Members, m.own())
	}
	for _, q := range k.queue {
		out.Queue = append(out.Queue, q.freeze(k))
	}
	for i := 0; i < len(k.children); i++ { // a successor may add one
		out.Children = append(out.Children, k.children[i].freeze(k, i >= len(k.family.children)))
	}
	return out
}

func (c *child) freeze(k *kin, removed bool) FrozenChild {
	out := FrozenChild{
		Child: sa.FreezeChild(k.peer, c.cfg), SA: *c.sa, Removed: removed, Made: c.made, Out: c.out, LowNonce: c.lowNonce,
		Asked: c.asked, Successor: k.children.Of(c.successor), Gone: c.gone, Stale: c.stale, Failed: c.failed,
		SoftAt: c.softAt, HardAt: c.hardAt, OutAt: c.outAt, HeldUntil: c.heldUntil, ConfirmBy: c.confirmBy, DeleteAt: c.deleteAt, RemoveAt: c.removeAt,
	}
	out.SA.In, out.SA.Out = ipsec.Keys{}, ipsec.Keys{}
	if !removed {
		out.SA.In, out.SA.Out = sa.CloneKeys(c.sa.In), sa.CloneKeys(c.sa.Out)
	}
	return out
}

func (f *freezer) sa(s *SA) FrozenSA {
	k := f.families[s.fam]
	out := FrozenSA{
		State: s.state, Since: s.since, Why: s.why, Initiator: s.initiator, SPIi: s.spiI, SPIr: s.spiR,
		Peer: sa.FreezePeer(s.peer, f.key), Suite: s.suite, Keys: s.keys.freeze(), LastIV: s.lastIV, Family: k.number, Authed: s.authedAt,
		MessageIDs: slices.Clone(s.ids), DPD: s.peerSays.dpd, Frag: s.peerSays.frag, Vpngw: s.peerSays.vpngw, Unacked: s.unacked, UnackedRetransmit: s.unackedRetx.Freeze(),
		Trip: s.trip, Path: s.path, NAT: s.nat, Life: s.life, Monitor: s.monitor.Freeze(), Liveness: s.dpd.freeze(), Probed: s.probed, Spoke: s.spoke, Rekeying: ownOf(s.rekeying),
		RekeyAt: s.rekeyAt, ExpireAt: s.expireAt, KeepaliveAt: s.keepaliveAt, Reported: s.reported,
	}
	if s.peerSays.natt != nil {
		out.NATT = s.peerSays.natt.name
	}
	if s.p1 != nil {
		out.Phase1 = []FrozenPhase1{f.phase1(s.p1, k)}
	}
	for i, x := range s.exchanges {
		out.Exchanges = append(out.Exchanges, x.freeze(k))
		if s.asking != nil && s.asking.x == x {
			out.Asking = i + 1
		}
	}
	return out
}

func (f *freezer) phase1(p1 *phase1, k *kin) FrozenPhase1 {
	out := FrozenPhase1{
		Exchange: p1.x.freeze(k), Predecessor: ownOf(p1.predecessor), Own: p1.own, DH: sa.FreezeDH(p1.dh),
		GXi: p1.gxi, GXr: p1.gxr, Ni: p1.ni, Nr: p1.nr, SAi: p1.sai, IDi: p1.idi, Refused: p1.refused,
	}
	for _, p := range p1.present() {
		out.Candidates = append(out.Candidates, sa.FreezePeer(p, f.key))
	}
	return out
}

func (x *exchange) freeze(k *kin) FrozenExchange {
	out := FrozenExchange{
		Kind: x.kind, ID: x.id, IV: x.iv, Step: x.step, LastHash: x.lastHash, Sent: x.sent,
		Retransmit: x.retx.Freeze(), Repeats: x.repeats, Until: x.until, Then: x.then,
	}
	if x.asks != nil {
		out.Asks = []FrozenQuick{x.asks.freeze(k)}
	}
	if a := x.answers; a != nil {
		out.Answers = []FrozenAnswer{{Ni: a.ni, Nr: a.nr, SPI: a.spi, Child: k.children.Of(a.c)}}
	}
	return out
}

func (q *quick) freeze(k *kin) FrozenQuick {
	return FrozenQuick{
		Child: sa.FreezeChild(k.peer, q.cfg), Local: q.local, Remote: q.remote, Old: k.children.Of(q.old),
		Rival: k.children.Of(q.rival), Began: q.began, Own: q.own, SPIIn: q.spiIn, DH: sa.FreezeDH(q.dh), Ni: q.ni, IDci: q.idci, IDcr: q.idcr,
		Life: q.offered.time, Bytes: q.offered.bytes,
	}
}

func (k *keys) freeze() FrozenKeys {
	if k == nil {
		return FrozenKeys{}
	}
	return FrozenKeys{slices.Clone(k.skeyid), slices.Clone(k.d), slices.Clone(k.a), slices.Clone(k.e), slices.Clone(k.key)}
}

func (l *liveness) freeze() FrozenLiveness {
	return FrozenLiveness{l.sent, l.theirs, l.asked, l.knows, l.last, l.began, l.strict, l.retx.Freeze()}
}
