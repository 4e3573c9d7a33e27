package esp

import (
	"fmt"
	"io"
	"math"
	"net/netip"
	"sync/atomic"

	"vpngw/ipsec"
)

// transport is the kind of socket that carries an SA.
type transport uint8

const (
	udp4 transport = iota
	udp6
	raw4
	raw6

	numTransports
)

func transportOf(path ipsec.Path) transport {
	k := udp4
	if !path.UDP {
		k = raw4
	}
	if path.Remote.Addr().Unmap().Is6() {
		k++
	}
	return k
}

// route is where an outbound SA sends to. Immutable: it is compared by pointer.
type route struct {
	ipsec.Path
	socket  Socket // nil: the plane has no socket of this kind
	follows bool   // the newest packet that comes in by UDP changes Remote: see moves
}

func (p *Plane) routeTo(path ipsec.Path, follow bool) *route {
	path.Remote = netip.AddrPortFrom(path.Remote.Addr().Unmap(), path.Remote.Port())
	return &route{path, p.sockets[transportOf(path)], follow && path.UDP}
}

// pair is a Child SA in the plane, with the state that its two halves share. The goroutines that carry its
// packets and the control plane meet in its atomics.
type pair struct {
	plane  *Plane
	spi    uint32 // inbound
	tunnel *Tunnel
	in     *inbound
	out    *outbound // nil until InstallOut; for the holder of Plane.mu
	route  atomic.Pointer[route]
	sa     *ipsec.ChildSA // as it was installed; for Freeze
	own    bool           // sa is the plane's, which wipes its keys; else they are of whoever installed it
	heard  atomic.Int64   // when the last authenticated packet came in, in ns after plane.epoch; 0: never
	meter  meter

	// For the holder of Plane.moves.mu.
	follow bool // as the control plane said
	move   move
}

// newPair makes a pair with its inbound half. For the holder of Plane.mu.
func newPair(p *Plane, t *Tunnel, sa *ipsec.ChildSA) (*pair, error) {
	o, err := newOpener(sa)
	if err != nil {
		return nil, err
	}
	pr := &pair{plane: p, spi: sa.SPIIn, tunnel: t, sa: sa, follow: sa.Follow}
	pr.in = &inbound{pair: pr, spi: sa.SPIIn, opener: o}
	if pr.in.local, err = compile(sa.Local); err != nil {
		return nil, fmt.Errorf("%w (local)", err)
	}
	if pr.in.remote, err = compile(sa.Remote); err != nil {
		return nil, fmt.Errorf("%w (remote)", err)
	}
	pr.in.notFrom, pr.in.notTo = p.notFrom.within(pr.in.remote), neverTo.within(pr.in.local)
	if pr.in.quota, err = newQuota(sa.Lifetime, p.cfg.Rand); err != nil {
		return nil, err
	}
	pr.route.Store(p.routeTo(sa.Path, sa.Follow))
	return pr, nil
}

// selectorPairs is how many pairs of a local and a remote selector p has.
func (p *pair) selectorPairs() int { return len(p.in.local) * len(p.in.remote) }

// inbound is the half of a Child SA that receives, for the holder of Plane.receiving.
type inbound struct {
	*pair
	spi    uint32
	local  []selector // immutable
	remote []selector
	// martian addresses that the selectors cover
	notFrom, notTo spans

	opener  *opener
	window  window
	quota   quota
	seen    bool // SeenInbound was told
	expired bool // Expired was told
	guesses int  // packets that cutElsewhere has tried
}

// outbound is the half of a Child SA that sends, for the holder of its tunnel's sending.
type outbound struct {
	*pair
	sealer  *sealer
	seq     uint64 // the last number used
	softSeq uint64
	hardSeq uint64
	quota   quota
	order   uint64     // of installation; immutable
	local   []selector // immutable
	remote  []selector
	expired bool   // Expired was told
	barred  reason // onHold or dropFrozen: it seals nothing
}

func newOutbound(pr *pair, sa *ipsec.ChildSA, order uint64, rand io.Reader) (*outbound, error) {
	s, err := newSealer(sa, rand)
	if err != nil {
		return nil, err
	}
	q, err := newQuota(sa.Lifetime, rand)
	if err != nil {
		return nil, err
	}
	o := &outbound{pair: pr, sealer: s, quota: q, order: order, local: pr.in.local, remote: pr.in.remote}
	// The 2^28 packets before the end leave minutes for a rekey at a million packets a second.
	o.softSeq, o.hardSeq = math.MaxUint32-1<<28, math.MaxUint32
	if sa.Suite.ESN {
		o.softSeq, o.hardSeq = math.MaxUint64-1<<60, math.MaxUint64
	}
	return o, nil
}

// admit gives a packet of n bytes the next sequence number and counts it
// against the lifetime. Sequence numbers never wrap (RFC 4303 section 3.3.3).
func (o *outbound) admit(n int) (seq uint64, why reason) {
	switch {
	case o.barred != carried:
		return 0, o.barred
	case o.seq >= o.hardSeq:
		return 0, dropSequence
	case !o.quota.allows(n):
		return 0, dropLifetime
	}
	o.seq++
	limit := o.quota.spend(n)
	if o.seq >= o.softSeq {
		limit = ipsec.LimitSequence
	}
	if limit != ipsec.NoLimit && !o.expired {
		o.expired = o.plane.cfg.Notify(Expired{o.pair.spi, limit})
	}
	return o.seq, carried
}
