package ikev2

import (
	"errors"
	"fmt"
	"slices"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// Thaw makes the IKE SAs of a Frozen, in the same order and with the same message
// ids, open exchanges and timers. peer finds a Peer by the name that key gave to
// Freeze. A child is found in its Peer by its name; if the configuration has lost
// the child, its Child SAs refer to a copy of it that no Peer has.
//
// Thaw calls no method of the Owner, so the caller registers the machines. It draws
// no randomness.
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
			return nil, fmt.Errorf("IKE SA %s %s: %w", sa.Hex64(f.SAs[i].SPIi), sa.Hex64(f.SAs[i].SPIr), err)
		}
		if t.own[s.own()] != nil {
			return nil, fmt.Errorf("two IKE SAs have SPI %s", sa.Hex64(s.own()))
		}
		t.own[s.own()] = s
		out = append(out, s)
	}
	for i := range f.Families {
		t.families[i].current = t.own[f.Families[i].Current]
	}
	for i := range f.SAs {
		s := out[i].(*SA)
		s.rival = t.own[f.SAs[i].Rival]
	}
	return out, nil
}

// thawer is the state of a Thaw.
type thawer struct {
	env      *sa.Env
	peer     func(key string) *sa.Peer
	own      map[uint64]*SA
	families []*family
	children []sa.Numbered[*child] // of each family
}

func (t *thawer) family(f *FrozenFamily) error {
	p, err := f.Peer.Thaw(t.peer)
	if err != nil {
		return err
	}
	fam, all := &family{}, make(sa.Numbered[*child], len(f.Children))
	for i := range f.Children {
		fc := &f.Children[i]
		esp := fc.SA
		esp.In, esp.Out = sa.CloneKeys(esp.In), sa.CloneKeys(esp.Out)
		all[i] = &child{
			cfg: fc.Config.Thaw(p), sa: &esp, made: fc.Made, out: fc.Out, lowNonce: slices.Clone(fc.LowNonce),
			deleting: fc.Deleting, gone: fc.Gone,
			softAt: fc.SoftAt, softWhy: diag.Keep(fc.SoftWhy), hardAt: fc.HardAt, removeAt: fc.RemoveAt, failingSince: fc.FailingSince,
		}
		if all[i].cfg == nil {
			return errors.New("a Child SA without a child")
		}
		if !fc.Removed {
			fam.children = append(fam.children, all[i])
		}
	}
	t.families, t.children = append(t.families, fam), append(t.children, all)
	for i, c := range all {
		if c.successor, err = all.At(f.Children[i].Successor); err != nil {
			return err
		}
	}
	return nil
}

func (t *thawer) sa(f *FrozenSA) (*SA, error) {
	if f.Family < 0 || f.Family >= len(t.families) {
		return nil, errors.New("its family is not there")
	}
	p, err := f.Peer.Thaw(t.peer)
	if err != nil {
		return nil, err
	}
	s := &SA{
		env: t.env, state: f.State, since: f.Since, initiator: f.Initiator, spiI: f.SPIi, spiR: f.SPIr, peer: p, suite: f.Suite,
		fam: t.families[f.Family], authedAt: f.Authed,
		path: f.Path, nat: f.NAT,
		channel: channel{
			outKind: f.OpenKind, outID: f.OpenID, nextID: f.NextID,
			peerNextID: f.PeerNextID, hasResponse: f.HasResponse, response: cloneAll(f.Response), requestHash: f.RequestHash,
			fragment: f.Fragment, requests: thawFragments(f.Requests), responses: thawFragments(f.Responses),
		},
		probed: f.Probed, rivalMin: slices.Clone(f.RivalMin), busySince: f.BusySince,
		rekeyAt: f.RekeyAt, rekeyWhy: diag.Keep(f.RekeyWhy), expireAt: f.ExpireAt, keepaliveAt: f.KeepaliveAt, endWhy: diag.Keep(f.EndWhy),
		reported: f.Reported, lingering: f.Lingering,
	}
	if s.name(); s.state == sa.Connecting && !s.initiator {
		s.nameStranger(s.since)
	}
	s.monitor.Thaw(f.Monitor)
	s.retx.Rand = t.env.Rand
	retx := f.Retransmit
	retx.Msgs = cloneAll(retx.Msgs)
	s.retx.Thaw(retx)
	if s.keys, err = thawKeys(f.Keys, f.Suite, f.Initiator); err != nil {
		return nil, err
	}
	if len(f.Ni) > 0 || f.State == sa.Connecting { // both ends have a nonce from the first message on
		s.handshake = &handshake{
			peerKE: slices.Clone(f.PeerKE), ni: slices.Clone(f.Ni), nr: slices.Clone(f.Nr),
			initReq: slices.Clone(f.InitReq), initResp: slices.Clone(f.InitResp),
		}
		if s.dh, err = f.DH.Thaw(); err != nil {
			return nil, err
		}
	}
	if f.Open.Kind != "" {
		if s.out, err = t.task(&f.Open, s, f.Family); err != nil {
			return nil, err
		}
	}
	for i := range f.Queue {
		task, err := t.task(&f.Queue[i], s, f.Family)
		if err != nil {
			return nil, err
		}
		s.queue = append(s.queue, task)
	}
	return s, nil
}

// task makes the task that f lists.
func (t *thawer) task(f *FrozenTask, s *SA, family int) (task, error) {
	cfg := f.Config.Thaw(s.peer)
	c, err := t.children[family].At(f.Child)
	if err != nil {
		return nil, err
	}
	rival, err := t.children[family].At(f.Rival)
	if err != nil {
		return nil, err
	}
	dh, err := f.DH.Thaw()
	if err != nil {
		return nil, err
	}
	create := createChild{
		cfg: cfg, local: f.Local, remote: f.Remote, group: f.Group, retried: f.Tries > 0,
		spiIn: f.SPIIn, dh: dh, ni: slices.Clone(f.Ni), rival: rival, deleted: slices.Clone(f.Deleted),
	}
	switch f.Kind {
	case kindSAInit:
		return &saInit{first: cfg, local: f.Local, remote: f.Remote, cookie: slices.Clone(f.Cookie), retries: f.Tries, refused: f.Refused}, nil
	case kindAuth:
		return &auth{first: cfg, local: f.Local, remote: f.Remote, spiIn: f.SPIIn}, nil
	case kindCreateChild:
		if cfg != nil {
			return &create, nil
		}
	case kindRekeyChild:
		if cfg != nil && c != nil {
			c.rekey = &rekeyChild{createChild: create, old: c, early: f.Early}
			return c.rekey, nil
		}
	case kindRekeyIKE:
		return &rekeyIKE{spi: f.SPI, dh: dh, group: f.Group, ni: slices.Clone(f.Ni), tries: f.Tries, back: f.Back}, nil
	case kindLiveness:
		return &liveness{}, nil
	case kindDeleteIKE:
		if f.Notify.Kind == 0 {
			return &deleteIKE{}, nil
		}
		n := f.Notify
		return &deleteIKE{notify: &n}, nil
	case kindDeleteChild:
		return &deleteChild{spiIn: f.SPIIn, c: c}, nil
	}
	return nil, fmt.Errorf("an exchange %q that lacks something, or is not known", f.Kind)
}

func thawKeys(f FrozenKeys, suite ipsec.Suite, initiator bool) (*keys, error) {
	if f.D == nil {
		return nil, nil
	}
	k := &keys{
		d: slices.Clone(f.D), ai: slices.Clone(f.AI), ar: slices.Clone(f.AR), ei: slices.Clone(f.EI), er: slices.Clone(f.ER),
		pi: slices.Clone(f.PI), pr: slices.Clone(f.PR),
	}
	var err error
	if k.prf, err = sa.NewPRF(suite.PRF); err != nil {
		return nil, err
	}
	if k.fromI, err = sa.NewCipher(suite, k.ei, k.ai); err != nil {
		return nil, err
	}
	if k.toI, err = sa.NewCipher(suite, k.er, k.ar); err != nil {
		return nil, err
	}
	if initiator {
		k.fromI.SkipTo(f.IV)
	} else {
		k.toI.SkipTo(f.IV)
	}
	return k, nil
}

func thawFragments(f FrozenFragments) *fragments {
	if !f.Active {
		return nil
	}
	out := &fragments{id: f.ID, next: f.Next, first: f.First, since: f.Since, total: uint16(len(f.Parts))}
	for _, p := range f.Parts {
		out.parts = append(out.parts, slices.Clone(p))
		if p != nil {
			out.have++
			out.size += len(p)
		}
	}
	return out
}
