package esp

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"vpngw/ipsec"
)

// Frozen is the state of a Plane as plain data, from which another Plane goes on. It shares no memory
// with the plane. Keys print as "[redacted]". It leaves out the sockets, the tunnels' devices, the packets that were
// kept back or wait for an SA, and the Events that were told.
type Frozen struct {
	Reserved []uint32            // inbound SPIs that are reserved and not installed
	SAs      []FrozenSA          // by inbound SPI
	Counters Counters            // of the whole plane
	Tunnels  map[string]Counters // by name
}

// FrozenSA is one Child SA of a Plane.
type FrozenSA struct {
	SA          ipsec.ChildSA // Path and Follow as they are now
	LastInbound time.Time
	Counters    Counters
	MovedAt     time.Time // when the move was that Plane.Moves has still to tell; zero: there is none

	// The inbound half.
	Window  FrozenWindow
	QuotaIn FrozenQuota

	// The outbound half, if Order is not 0.
	Order    uint64       // place of its installation among all of the plane
	Sequence uint64       // the last number used
	IVKey    ipsec.Secret // makes CBC IVs of sequence numbers
	QuotaOut FrozenQuota
	Held     bool // on hold: see Plane.Hold
}

// FrozenWindow is a replay window: the highest number accepted, and a ring of bits in which the bit of number n
// is at n modulo its size.
type FrozenWindow struct {
	Top  uint64
	Bits [windowWords]uint64
}

// FrozenQuota is what one half of an SA has carried, and its soft limits. SA.Lifetime has the hard ones.
type FrozenQuota struct{ Bytes, Packets, SoftBytes, SoftPackets uint64 }

// thawSkip is how many sequence numbers a thawed SA leaves out. An AEAD's nonce is the sequence
// number, and a CBC IV is made of it, so no number may be used twice under one key. Freeze stops the
// original, so its state needs no gap. But a state that was saved in case of a crash is older than the last packets
// sent. They are fewer than 2^20 if the state is less than a second old and the SA carries less than a million
// packets a second. 4000 thaws use up the numbers of 32 bits; the SA is rekeyed long before.
const thawSkip = 1 << 20

var errFrozen = errors.New("esp: the plane is frozen")

// Freeze stops the plane for good and returns its state. When it returns, the plane has sent its
// last ESP packet and accepts no more: it drops ESP packets both ways, and the packets of the backlogs, under the
// name "frozen". IKE messages still come in. A caller thaws a state once at most: two planes that go on
// from one state would use the same nonces.
func (p *Plane) Freeze() (Frozen, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen.Load() {
		return Frozen{}, errFrozen
	}
	p.receiving.Lock()
	p.frozen.Store(true)
	p.sad.close()
	p.receiving.Unlock()
	f := Frozen{Tunnels: make(map[string]Counters, len(p.tunnels))}
	held := make(map[*outbound]bool)
	for _, t := range p.tunnels {
		t.freeze(held)
	}
	for name, t := range p.tunnels {
		f.Tunnels[name] = t.Counters()
	}
	f.Counters = p.meter.counters()
	p.moves.mu.Lock()
	defer p.moves.mu.Unlock()
	for i := range p.sad.entries {
		switch t := &p.sad.entries[i]; {
		case !t.used:
		case t.pair == nil:
			f.Reserved = append(f.Reserved, t.spi)
		default:
			f.SAs = append(f.SAs, t.pair.frozen(held[t.pair.out]))
		}
	}
	slices.Sort(f.Reserved)
	slices.SortFunc(f.SAs, func(a, b FrozenSA) int { return cmp.Compare(a.SA.SPIIn, b.SA.SPIIn) })
	return f, nil
}

// freeze stops the tunnel's outbound SAs, drops the backlog, and adds the SAs that were on hold to held.
func (t *Tunnel) freeze(held map[*outbound]bool) {
	t.change(func() {
		stop := func(o *outbound) {
			if o.barred != dropFrozen {
				held[o] = o.barred == onHold && !t.plane.keeping.unsettle(o)
				o.barred = dropFrozen
			}
		}
		for _, o := range t.spd.Load().outs {
			stop(o)
		}
		for _, pr := range t.pairs { // perhaps not published yet
			if pr.out != nil {
				stop(pr.out)
			}
		}
		t.backlog.held = nil
		t.policies.Store(nil)
		t.dropKept(dropFrozen)
	})
}

// frozen is the state of p, whose plane is frozen. For the holder of Plane.mu and Plane.moves.mu.
func (p *pair) frozen(held bool) FrozenSA {
	s := FrozenSA{
		SA: clone(p.sa), LastInbound: p.lastInbound().Round(0), Counters: p.meter.counters(),
		Window: p.in.window.frozen(), QuotaIn: p.in.quota.frozen(),
	}
	if p.move.number > 0 {
		s.MovedAt = p.move.at.Round(0)
	}
	s.SA.Path, s.SA.Follow = p.route.Load().Path, p.follow
	if o := p.out; o != nil {
		s.Order, s.Sequence, s.QuotaOut, s.Held = o.order, o.seq, o.quota.frozen(), held
		s.IVKey = bytes.Clone(o.sealer.ivKey)
	}
	return s
}

func (q *quota) frozen() FrozenQuota {
	return FrozenQuota{q.bytes, q.packets, q.softBytes, q.softPackets}
}

func (q *quota) thaw(f FrozenQuota) {
	q.bytes, q.packets, q.softBytes, q.softPackets = f.Bytes, f.Packets, f.SoftBytes, f.SoftPackets
}

// clone is a deep copy of sa.
func clone(sa *ipsec.ChildSA) ipsec.ChildSA {
	c := *sa
	c.Local, c.Remote = slices.Clone(sa.Local), slices.Clone(sa.Remote)
	for _, k := range []*ipsec.Keys{&c.In, &c.Out} {
		k.Encr, k.Integ = bytes.Clone(k.Encr), bytes.Clone(k.Integ)
	}
	return c
}

// Thaw installs the SAs of f with their SPIs. The plane must have the tunnels that f names, and must not have
// reserved any SPI yet. Sequence numbers go on thawSkip later; replay windows, quotas, counters and holds are as they
// were. SeenInbound and Expired are told again. An error changes nothing.
func (p *Plane) Thaw(f Frozen) error {
	tunnels, err := p.thawAll(f)
	if err != nil {
		return err
	}
	for _, t := range tunnels {
		t.publish()
	}
	return nil
}

// thawAll does what Thaw does, but for publish of the tunnels returned.
func (p *Plane) thawAll(f Frozen) ([]*Tunnel, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen.Load() {
		return nil, errFrozen
	}
	if p.sad.unused < len(p.sad.slots) {
		return nil, errors.New("esp: cannot thaw into a plane that has SPIs in use")
	}
	spis := slices.Clone(f.Reserved)
	var pairs []*pair
	for i := range f.SAs {
		pr, err := p.thaw(&f.SAs[i])
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, pr)
		spis = append(spis, pr.spi)
	}
	if err := p.sad.reserveAll(spis); err != nil {
		return nil, err
	}
	for i, pr := range pairs {
		p.sad.entry(pr.spi).pair = pr
		pr.tunnel.put(pr)
		p.sad.install(pr.in)
		if pr.out != nil {
			pr.tunnel.putOut(pr.out)
			p.order = max(p.order, pr.out.order)
		}
		if at := f.SAs[i].MovedAt; !at.IsZero() {
			p.moves.mu.Lock()
			p.moves.note(pr, at)
			p.moves.mu.Unlock()
		}
		if pr.out != nil && f.SAs[i].Held {
			pr.tunnel.hold(pr.out)
		}
	}
	for name, c := range f.Tunnels {
		if t := p.tunnels[name]; t != nil {
			t.meter.add(c)
		}
	}
	p.meter.add(f.Counters)
	tunnels := slices.Collect(maps.Values(p.tunnels))
	for _, t := range tunnels {
		slices.SortFunc(t.added, func(a, b *outbound) int { return cmp.Compare(a.order, b.order) })
	}
	return tunnels, nil
}

// thaw makes the pair of s without installing it.
func (p *Plane) thaw(s *FrozenSA) (*pair, error) {
	tunnel := p.tunnels[s.SA.Tunnel]
	if tunnel == nil {
		return nil, fmt.Errorf("esp: there is no tunnel %q", s.SA.Tunnel)
	}
	sa := clone(&s.SA)
	pr, err := newPair(p, tunnel, &sa)
	if err != nil {
		return nil, err
	}
	pr.own = true
	pr.in.window.thaw(&s.Window)
	pr.in.quota.thaw(s.QuotaIn)
	pr.meter.add(s.Counters)
	if !s.LastInbound.IsZero() {
		pr.heard.Store(int64(s.LastInbound.Sub(p.epoch)))
	}
	if s.Order == 0 {
		return pr, nil
	}
	o, err := newOutbound(pr, &sa, s.Order, p.cfg.Rand)
	if err != nil {
		return nil, err
	}
	o.quota.thaw(s.QuotaOut)
	o.seq = o.hardSeq
	if s.Sequence < o.hardSeq && o.hardSeq-s.Sequence > thawSkip {
		o.seq = s.Sequence + thawSkip
	}
	if o.sealer.ivs != nil {
		if err := o.sealer.setIVKey(bytes.Clone(s.IVKey)); err != nil {
			return nil, fmt.Errorf("esp: key for initialisation vectors: %w", err)
		}
	}
	pr.out = o
	return pr, nil
}
