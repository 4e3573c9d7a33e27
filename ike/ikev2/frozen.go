package ikev2

import (
	"bytes"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// Frozen lists IKE SAs as plain data, with their open exchanges, for a process that
// carries on with them. Keys are of type ipsec.Secret, which never prints itself;
// nobody may write them to a file.
//
// References are by name: a peer by a key that the caller chooses, an IKE SA by our
// SPI, a Child SA by its place in its family, counted from 1. 0 refers to nothing.
//
// The fields are named for the fields of SA, child and the tasks; see there.
type Frozen struct {
	SAs      []FrozenSA
	Families []FrozenFamily
}

// FrozenFamily is the Child SAs that a rekeyed IKE SA hands to its successor.
type FrozenFamily struct {
	Peer     sa.FrozenPeer
	Current  uint64 // the IKE SA that maintains them
	Children []FrozenChild
}

// FrozenSA is one IKE SA.
type FrozenSA struct {
	State      sa.State
	Since      time.Time
	Initiator  bool
	SPIi, SPIr uint64
	Peer       sa.FrozenPeer
	Suite      ipsec.Suite
	Keys       FrozenKeys
	Family     int // in Frozen.Families, from 0

	DH       sa.FrozenDH
	PeerKE   []byte
	Ni, Nr   []byte
	InitReq  []byte
	InitResp []byte
	Authed   time.Time

	Path ipsec.Path
	NAT  sa.NAT

	Open       FrozenTask // waits for the response to request OpenID
	OpenKind   wire.Exchange
	OpenID     uint32
	NextID     uint32
	Retransmit sa.FrozenRetransmitter
	Queue      []FrozenTask

	PeerNextID  uint32
	HasResponse bool
	Response    [][]byte
	RequestHash [32]byte

	Fragment            bool
	Requests, Responses FrozenFragments

	Monitor     dpd.Frozen
	Probed      time.Time
	Rival       uint64
	RivalMin    []byte
	BusySince   time.Time
	RekeyAt     time.Time
	RekeyWhy    diag.Cause
	ExpireAt    time.Time
	KeepaliveAt time.Time
	EndWhy      diag.Cause
	Reported    bool
	Lingering   bool
}

// FrozenFragments are the fragments of a message of which others are missing.
type FrozenFragments struct {
	Active bool
	ID     uint32
	Next   wire.PayloadType
	Parts  []ipsec.Secret // decrypted; nil: missing
	First  [32]byte
	Since  time.Time
}

// FrozenKeys are the seven secrets of an IKE SA; D is nil while there are none.
type FrozenKeys struct {
	D, AI, AR, EI, ER, PI, PR ipsec.Secret
	IV                        uint64 // of the next message that we seal with an AEAD
}

// FrozenChild is one Child SA.
type FrozenChild struct {
	Config   sa.FrozenChild
	SA       ipsec.ChildSA
	Removed  bool // not installed any more, and only referred to; SA has no keys
	Made     bool
	Out      bool
	LowNonce []byte

	Successor    int
	Deleting     bool
	Gone         bool
	SoftAt       time.Time
	SoftWhy      diag.Cause
	HardAt       time.Time
	RemoveAt     time.Time
	FailingSince time.Time
}

// FrozenTask is a task. Kind says which fields it uses.
type FrozenTask struct {
	Kind TaskKind

	Config        sa.FrozenChild // saInit, auth, createChild, rekeyChild
	Local, Remote []ipsec.Selector
	SPIIn         uint32 // auth, createChild, rekeyChild, deleteChild

	Cookie  []byte // saInit
	Refused diag.Cause

	Group uint16 // createChild, rekeyChild, rekeyIKE
	DH    sa.FrozenDH
	Ni    []byte
	Tries int // saInit, createChild, rekeyChild, rekeyIKE: how often the peer asked for another request

	Child int // rekeyChild: the old one; deleteChild
	Rival int // createChild, rekeyChild
	// Deleted are SPIs of the peer: createChild, rekeyChild.
	Deleted []uint32
	Early   bool   // rekeyChild
	SPI     uint64 // rekeyIKE
	Back    bool   // rekeyIKE

	Notify wire.Notify // deleteIKE; of kind 0: none
}

// TaskKind says which task a FrozenTask is.
type TaskKind string

const (
	kindSAInit      TaskKind = "IKE_SA_INIT"
	kindAuth        TaskKind = "IKE_AUTH"
	kindCreateChild TaskKind = "create child"
	kindRekeyChild  TaskKind = "rekey child"
	kindRekeyIKE    TaskKind = "rekey IKE"
	kindLiveness    TaskKind = "liveness"
	kindDeleteIKE   TaskKind = "delete IKE"
	kindDeleteChild TaskKind = "delete child"
)

// Freeze lists the machines among ms that are IKE SAs of IKEv2 and not dead. key
// returns a name for a Peer, by which the caller of Thaw finds it; "" says that the
// configuration has lost the Peer.
//
// A machine must not act after it was frozen: it and its thawed copy would use the
// same keys with the same message ids and IVs. The caller drops it and calls none
// of its methods.
func Freeze(ms []sa.Machine, key func(*sa.Peer) string) Frozen {
	f := freezer{key: key, listed: map[*SA]bool{}, families: map[*family]*numberedFamily{}}
	var all []*SA
	for _, m := range ms {
		if s, ok := m.(*SA); ok && s.state != sa.Dead {
			all, f.listed[s] = append(all, s), true
		}
	}
	for _, s := range all {
		f.meet(s)
	}
	var out Frozen
	for _, s := range all {
		out.SAs = append(out.SAs, f.sa(s))
	}
	for _, k := range f.order {
		out.Families = append(out.Families, f.family(k))
	}
	return out
}

// freezer is the state of a Freeze.
type freezer struct {
	key      func(*sa.Peer) string
	listed   map[*SA]bool
	families map[*family]*numberedFamily
	order    []*numberedFamily
}

// numberedFamily is a family whose children have numbers.
type numberedFamily struct {
	*family
	number   int
	peer     *sa.Peer
	children sa.Numbered[*child] // the installed ones, then removed ones that something refers to
}

// meet numbers the family of an IKE SA, and finds its peer.
func (f *freezer) meet(s *SA) {
	k := f.families[s.fam]
	if k == nil {
		k = &numberedFamily{family: s.fam, number: len(f.order), children: slices.Clone(s.fam.children)}
		f.families[s.fam], f.order = k, append(f.order, k)
	}
	if k.peer == nil || s.fam.current == s {
		k.peer = s.peer
	}
}

func (f *freezer) family(k *numberedFamily) FrozenFamily {
	out := FrozenFamily{Peer: sa.FreezePeer(k.peer, f.key), Current: f.own(k.current)}
	for i := 0; i < len(k.children); i++ { // Of adds successors to k.children
		c := k.children[i]
		fc := FrozenChild{
			Config: sa.FreezeChild(k.peer, c.cfg), SA: *c.sa, Removed: i >= len(k.family.children), Made: c.made, Out: c.out, LowNonce: bytes.Clone(c.lowNonce),
			Successor: k.children.Of(c.successor), Deleting: c.deleting, Gone: c.gone,
			SoftAt: c.softAt, SoftWhy: c.softWhy.Cause(), HardAt: c.hardAt, RemoveAt: c.removeAt, FailingSince: c.failingSince,
		}
		fc.SA.In, fc.SA.Out = sa.CloneKeys(c.sa.In), sa.CloneKeys(c.sa.Out)
		if fc.Removed {
			fc.SA.In, fc.SA.Out = ipsec.Keys{}, ipsec.Keys{}
		}
		out.Children = append(out.Children, fc)
	}
	return out
}

func (f *freezer) sa(s *SA) FrozenSA {
	k := f.families[s.fam]
	out := FrozenSA{
		State: s.state, Since: s.since, Initiator: s.initiator, SPIi: s.spiI, SPIr: s.spiR, Peer: sa.FreezePeer(s.peer, f.key), Suite: s.suite,
		Keys: s.keys.freeze(s.initiator), Family: k.number,
		Authed: s.authedAt, Path: s.path, NAT: s.nat,
		OpenKind: s.outKind, OpenID: s.outID, NextID: s.nextID, Retransmit: s.retx.Freeze(),
		PeerNextID: s.peerNextID, HasResponse: s.hasResponse, Response: cloneAll(s.response), RequestHash: s.requestHash,
		Fragment: s.fragment, Requests: s.requests.freeze(), Responses: s.responses.freeze(),
		Monitor: s.monitor.Freeze(), Probed: s.probed, Rival: f.own(s.rival), BusySince: s.busySince,
		RekeyAt: s.rekeyAt, RekeyWhy: s.rekeyWhy.Cause(), ExpireAt: s.expireAt, KeepaliveAt: s.keepaliveAt, EndWhy: s.endWhy.Cause(),
		Reported: s.reported, Lingering: s.lingering,
	}
	out.Retransmit.Msgs = cloneAll(out.Retransmit.Msgs)
	if h := s.handshake; h != nil {
		out.DH, out.PeerKE, out.Ni, out.Nr = sa.FreezeDH(h.dh), bytes.Clone(h.peerKE), bytes.Clone(h.ni), bytes.Clone(h.nr)
		out.InitReq, out.InitResp = bytes.Clone(h.initReq), bytes.Clone(h.initResp)
	}
	if out.Rival != 0 {
		out.RivalMin = bytes.Clone(s.rivalMin)
	}
	if s.out != nil {
		out.Open = s.out.freeze(s, k)
	}
	for _, t := range s.queue {
		out.Queue = append(out.Queue, t.freeze(s, k))
	}
	return out
}

// own is our SPI of an IKE SA, or 0 if that one is not frozen.
func (f *freezer) own(s *SA) uint64 {
	if !f.listed[s] {
		return 0
	}
	return s.own()
}

func (k *keys) freeze(initiator bool) FrozenKeys {
	if k == nil {
		return FrozenKeys{}
	}
	c := k.toI
	if initiator {
		c = k.fromI
	}
	return FrozenKeys{
		D: bytes.Clone(k.d), AI: bytes.Clone(k.ai), AR: bytes.Clone(k.ar), EI: bytes.Clone(k.ei), ER: bytes.Clone(k.er),
		PI: bytes.Clone(k.pi), PR: bytes.Clone(k.pr), IV: c.NextIV(),
	}
}

func (f *fragments) freeze() FrozenFragments {
	if f == nil {
		return FrozenFragments{}
	}
	out := FrozenFragments{Active: true, ID: f.id, Next: f.next, First: f.first, Since: f.since}
	for _, p := range f.parts {
		out.Parts = append(out.Parts, bytes.Clone(p))
	}
	return out
}

func cloneAll(msgs [][]byte) [][]byte {
	var out [][]byte
	for _, m := range msgs {
		out = append(out, bytes.Clone(m))
	}
	return out
}

func (t *saInit) freeze(s *SA, _ *numberedFamily) FrozenTask {
	return FrozenTask{
		Kind: kindSAInit, Config: sa.FreezeChild(s.peer, t.first), Local: t.local, Remote: t.remote,
		Cookie: bytes.Clone(t.cookie), Tries: t.retries, Refused: t.refused,
	}
}

func (t *auth) freeze(s *SA, _ *numberedFamily) FrozenTask {
	return FrozenTask{Kind: kindAuth, Config: sa.FreezeChild(s.peer, t.first), Local: t.local, Remote: t.remote, SPIIn: t.spiIn}
}

func (t *createChild) freeze(s *SA, k *numberedFamily) FrozenTask {
	out := FrozenTask{
		Kind: kindCreateChild, Config: sa.FreezeChild(s.peer, t.cfg), Local: t.local, Remote: t.remote, SPIIn: t.spiIn,
		Group: t.group, DH: sa.FreezeDH(t.dh), Ni: bytes.Clone(t.ni), Rival: k.children.Of(t.rival), Deleted: slices.Clone(t.deleted),
	}
	if t.retried {
		out.Tries = 1
	}
	return out
}

func (t *rekeyChild) freeze(s *SA, k *numberedFamily) FrozenTask {
	out := t.createChild.freeze(s, k)
	out.Kind, out.Child, out.Early = kindRekeyChild, k.children.Of(t.old), t.early
	return out
}

func (t *rekeyIKE) freeze(*SA, *numberedFamily) FrozenTask {
	return FrozenTask{Kind: kindRekeyIKE, SPI: t.spi, Group: t.group, DH: sa.FreezeDH(t.dh), Ni: bytes.Clone(t.ni), Tries: t.tries, Back: t.back}
}

func (*liveness) freeze(*SA, *numberedFamily) FrozenTask { return FrozenTask{Kind: kindLiveness} }

func (t *deleteIKE) freeze(*SA, *numberedFamily) FrozenTask {
	out := FrozenTask{Kind: kindDeleteIKE}
	if t.notify != nil {
		out.Notify = *t.notify
	}
	return out
}

func (t *deleteChild) freeze(_ *SA, k *numberedFamily) FrozenTask {
	return FrozenTask{Kind: kindDeleteChild, SPIIn: t.spiIn, Child: k.children.Of(t.c)}
}
