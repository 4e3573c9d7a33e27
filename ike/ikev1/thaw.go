package ikev1

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"vpngw/ike/sa"
)

// Thaw makes the SAs of a Frozen, in its order. They continue with the same open exchanges,
// message ids and timers. peer finds a Peer by the key that
// Freeze was given. Thaw tells the Owner nothing, and draws no randomness.
func Thaw(env *sa.Env, f Frozen, peer func(key string) *sa.Peer) ([]sa.Machine, error) {
	t := thawer{env: env, peer: peer, own: map[uint64]*SA{}}
	for i := range f.Families {
		if err := t.family(&f.Families[i]); err != nil {
			return nil, err
		}
	}
	var out []sa.Machine
	for i := range f.SAs {
		s, err := t.sa(&f.SAs[i])
		if err != nil {
			return nil, fmt.Errorf("ISAKMP SA %s %s: %w", sa.Hex64(f.SAs[i].SPIi), sa.Hex64(f.SAs[i].SPIr), err)
		}
		if t.own[s.own()] != nil || s.own() == 0 {
			return nil, fmt.Errorf("two ISAKMP SAs have the cookie %s", sa.Hex64(s.own()))
		}
		t.own[s.own()] = s
		out = append(out, s)
	}
	for i := range f.SAs {
		s, of := out[i].(*SA), &f.SAs[i]
		s.rekeying = t.own[of.Rekeying]
		if s.p1 != nil {
			s.p1.predecessor = t.own[of.Phase1[0].Predecessor]
		}
	}
	for i := range f.Families {
		if err := t.join(&f.Families[i], t.kin[i].family); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// thawer is a Thaw under way.
type thawer struct {
	env  *sa.Env
	peer func(key string) *sa.Peer
	own  map[uint64]*SA
	kin  []*kin
	gone []*sa.Child // no configuration has them
}

// childOf is the configured child that f names, or nil.
func (t *thawer) childOf(p *sa.Peer, f sa.FrozenChild) *sa.Child {
	c := f.Thaw(p)
	if c == nil || p != nil && slices.Contains(p.Children, c) {
		return c
	}
	for _, g := range t.gone { // Child SAs of one child must have the same pointer
		if reflect.DeepEqual(g, c) {
			return g
		}
	}
	t.gone = append(t.gone, c)
	return c
}

// family makes the Child SAs of a family and its queue.
func (t *thawer) family(f *FrozenFamily) error {
	p, err := f.Peer.Thaw(t.peer)
	if err != nil {
		return err
	}
	k := &kin{family: &family{quiet: f.Quiet}, peer: p}
	t.kin = append(t.kin, k)
	for i := range f.Children {
		fc := &f.Children[i]
		esp := fc.SA
		esp.In, esp.Out = sa.CloneKeys(fc.SA.In), sa.CloneKeys(fc.SA.Out)
		c := &child{
			cfg: t.childOf(p, fc.Child), sa: &esp, made: fc.Made, out: fc.Out, lowNonce: fc.LowNonce,
			asked: fc.Asked, gone: fc.Gone, stale: fc.Stale, failed: fc.Failed,
			softAt: fc.SoftAt, hardAt: fc.HardAt, outAt: fc.OutAt, heldUntil: fc.HeldUntil, confirmBy: fc.ConfirmBy, deleteAt: fc.DeleteAt, removeAt: fc.RemoveAt,
		}
		if c.cfg == nil {
			return errors.New("a Child SA without a child")
		}
		k.children = append(k.children, c)
		if !fc.Removed {
			k.family.children = append(k.family.children, c)
		}
	}
	for i, c := range k.children {
		if c.successor, err = k.children.At(f.Children[i].Successor); err != nil {
			return err
		}
	}
	for i := range f.Queue {
		q, err := t.quick(&f.Queue[i], k)
		if err != nil {
			return err
		}
		k.queue = append(k.queue, q)
	}
	return nil
}

// join makes the SAs that a family names its members.
func (t *thawer) join(f *FrozenFamily, fam *family) error {
	for _, own := range f.Members {
		m := t.own[own]
		if m == nil || m.fam != fam {
			return fmt.Errorf("a family has the member %s, which is not there", sa.Hex64(own))
		}
		fam.members = append(fam.members, m)
	}
	fam.current = t.own[f.Current]
	if !slices.Contains(fam.members, fam.current) {
		return fmt.Errorf("%s maintains Child SAs that are not its own", sa.Hex64(f.Current))
	}
	return nil
}

func (t *thawer) sa(f *FrozenSA) (*SA, error) {
	if f.Family < 0 || f.Family >= len(t.kin) {
		return nil, errors.New("its family is not there")
	}
	k := t.kin[f.Family]
	p, err := f.Peer.Thaw(t.peer)
	if err != nil {
		return nil, err
	}
	s := &SA{
		env: t.env, state: f.State, since: f.Since, why: f.Why, initiator: f.Initiator, spiI: f.SPIi, spiR: f.SPIr,
		peer: p, suite: f.Suite, lastIV: f.LastIV, fam: k.family, authedAt: f.Authed, trip: f.Trip,
		ids: slices.Clone(f.MessageIDs), peerSays: vendors{dpd: f.DPD, frag: f.Frag, vpngw: f.Vpngw}, unacked: f.Unacked,
		path: f.Path, nat: f.NAT, life: f.Life, probed: f.Probed, spoke: f.Spoke,
		rekeyAt: f.RekeyAt, expireAt: f.ExpireAt, keepaliveAt: f.KeepaliveAt, reported: f.Reported,
	}
	if s.name(); s.state == sa.Connecting && !s.initiator {
		s.nameStranger(s.since)
	}
	if !slices.IsSorted(s.ids) {
		return nil, errors.New("its message ids are in no order")
	}
	if s.keys, err = f.Keys.thaw(f); err != nil {
		return nil, err
	}
	if f.NATT != "" {
		i := slices.IndexFunc(natts, func(n *natt) bool { return n.name == f.NATT })
		if i < 0 {
			return nil, fmt.Errorf("no form of NAT traversal is called %q", f.NATT)
		}
		s.peerSays.natt = natts[i]
	}
	s.unackedRetx.Rand = t.env.Rand
	s.unackedRetx.Thaw(f.UnackedRetransmit)
	s.monitor.Thaw(f.Monitor)
	l := &f.Liveness
	s.dpd = liveness{sent: l.Sent, theirs: l.Theirs, asked: l.Asked, knows: l.Knows, last: l.Last, began: l.Began, strict: l.Strict}
	s.dpd.retx.Rand = t.env.Rand
	s.dpd.retx.Thaw(l.Retransmit)
	if len(f.Phase1) > 0 {
		if s.p1, err = t.phase1(&f.Phase1[0], s, k); err != nil {
			return nil, err
		}
	}
	for i := range f.Exchanges {
		x, err := t.exchange(&f.Exchanges[i], s, k)
		if err != nil {
			return nil, err
		}
		s.exchanges = append(s.exchanges, x)
	}
	if n := f.Asking; n != 0 {
		if n < 0 || n > len(s.exchanges) || s.exchanges[n-1].asks == nil {
			return nil, errors.New("its open quick mode is not there")
		}
		s.asking = s.exchanges[n-1].asks
	}
	return s, nil
}

func (t *thawer) phase1(f *FrozenPhase1, s *SA, k *kin) (*phase1, error) {
	p1 := &phase1{s: s, own: f.Own, gxi: f.GXi, gxr: f.GXr, ni: f.Ni, nr: f.Nr, sai: f.SAi, idi: f.IDi, refused: f.Refused}
	for _, c := range f.Candidates {
		p, err := c.Thaw(t.peer)
		if err != nil {
			return nil, err
		}
		p1.candidates = append(p1.candidates, p)
	}
	var err error
	if p1.dh, err = f.DH.Thaw(); err != nil {
		return nil, err
	}
	p1.x, err = t.exchange(&f.Exchange, s, k)
	return p1, err
}

func (t *thawer) exchange(f *FrozenExchange, s *SA, k *kin) (*exchange, error) {
	if f.Step >= steps || f.Then >= endings {
		return nil, errors.New("an exchange is at a step that is not known")
	}
	x := &exchange{kind: f.Kind, id: f.ID, iv: f.IV, step: f.Step, lastHash: f.LastHash, sent: f.Sent, repeats: f.Repeats, until: f.Until, then: f.Then}
	x.retx.Rand = t.env.Rand
	x.retx.Thaw(f.Retransmit)
	if len(f.Asks) > 0 {
		q, err := t.quick(&f.Asks[0], k)
		if err != nil {
			return nil, err
		}
		q.s, q.x, x.asks = s, x, q
	}
	if len(f.Answers) > 0 {
		a := &f.Answers[0]
		c, err := k.children.At(a.Child)
		if err != nil {
			return nil, err
		}
		x.answers = &answer{s: s, x: x, ni: a.Ni, nr: a.Nr, spi: a.SPI, c: c}
	}
	lacks := (f.Step == qm2 || f.Then == failsQuick) && x.asks == nil || f.Step == qm1 && x.answers == nil || f.Step == qm3 && (x.answers == nil || x.answers.c == nil)
	if lacks {
		return nil, errors.New("an open quick mode has no Child SA")
	}
	return x, nil
}

func (t *thawer) quick(f *FrozenQuick, k *kin) (*quick, error) {
	q := &quick{
		cfg: t.childOf(k.peer, f.Child), local: f.Local, remote: f.Remote,
		began: f.Began, own: f.Own, spiIn: f.SPIIn, ni: f.Ni, idci: f.IDci, idcr: f.IDcr, offered: lifetime{f.Life, f.Bytes},
	}
	if q.cfg == nil {
		return nil, errors.New("a quick mode without a child")
	}
	var err error
	if q.old, err = k.children.At(f.Old); err != nil {
		return nil, err
	}
	if q.rival, err = k.children.At(f.Rival); err != nil {
		return nil, err
	}
	q.dh, err = f.DH.Thaw()
	return q, err
}

func (f *FrozenKeys) thaw(s *FrozenSA) (*keys, error) {
	if f.SKEYID == nil {
		return nil, nil
	}
	k := &keys{skeyid: slices.Clone(f.SKEYID), d: slices.Clone(f.D), a: slices.Clone(f.A), e: slices.Clone(f.E), key: slices.Clone(f.Cipher)}
	var err error
	if k.prf, err = sa.NewPRF(s.Suite.PRF); err != nil {
		return nil, err
	}
	k.block, err = sa.NewBlock(s.Suite.Encr, k.key)
	return k, err
}
