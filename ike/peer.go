package ike

import (
	"cmp"
	"encoding/binary"
	"io"
	"net/netip"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/ikev1"
	"vpngw/ike/ikev2"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

const (
	retryFirst = time.Second // after the first failure; doubles
	// retryCap is the longest wait. The last message of an attempt can be 10 s before its end, so a peer
	// that is missed gets one every 30 s at least.
	retryCap = 20 * time.Second
	// dedupeAfter is how long two IKE SAs that both ends began at once stay side by side.
	dedupeAfter = time.Second
	// dedupeOther is after how long the end that answered ends one of them, where the end that began it has not: strongSwan
	// leaves both. Established so far apart, they were not begun at once.
	dedupeOther = 5 * time.Second
	// dedupeAgain is how often the end that began it looks whether the other one has all its Child SAs.
	dedupeAgain = 200 * time.Millisecond
	// With IKEv1 they may stay longer: strongSwan hands its Child SAs to the one that it answered, and deletes
	// the other after 10 s. The end that answered waits longer than the one that began, since nothing answers a Delete.
	dedupeAfter1 = 15 * time.Second
	dedupeOther1 = 20 * time.Second
	// steadyTime is how long an IKE SA must have lived for its end not to
	// count as one more failure: a peer that accepts and deletes at once is backed off from.
	steadyTime = time.Minute
	// briskTime is how long after the loss of a peer, or the wish for it, IKE SAs are begun that repeat their messages after at
	// most briskWait: most peers that go come back soon. Later a message costs more than a wait.
	briskTime = time.Minute
	briskWait = 2 * time.Second
	// maxIKESAs is how many IKE SAs a peer may have beside one for each child.
	maxIKESAs = 8
	// maxLeaving is how many it may have that only wait for their end.
	maxLeaving = 8
)

var noCause diag.Cause // nothing is wrong

// peer is one configured peer: how it is connected, and what it lacks.
type peer struct {
	e        *Endpoint
	given    *sa.Peer // as it was handed over; Facts name it so
	cfg      *sa.Peer // the same, with the Children that the machines know
	place    int      // in the order of Status
	children []*child
	machines []sa.Machine // its IKE SAs that are not dead, in the order they began

	why      diag.Kept // the last failure; OK since the last success
	since    time.Time
	upSince  time.Time // since when there has been an established IKE SA, perhaps one after the other; zero: there is none
	absent   time.Time // since when it has been wanted, or missed
	failures int
	nextTry  time.Time // no new IKE SA before
	dedupeAt time.Time
	hurry    hurry
	waits    bool       // for its turn: see admission
	turn     bool       // it has it
	counted  netip.Addr // where admission counts its attempt
	door     uint16     // the peer's port that last answered a first message; 0: none has
	cleared  bool       // it was dead, and the configuration wants it to begin then
	orphans  time.Time  // when the Child SAs of former children end (see orphans.go); zero: there are none
}

func (e *Endpoint) newPeer(now time.Time, cfg *sa.Peer, place int) *peer {
	p := &peer{e: e, given: cfg, cfg: cfg, place: place, since: now, absent: now}
	for _, c := range cfg.Children {
		p.children = append(p.children, p.newChild(now, c))
	}
	return p
}

// wake asks the peer when it is due.
func (p *peer) wake() {
	if p.e.peers[p.given] == p {
		p.e.reschedule(p)
	}
}

// wakeAll asks the peer and its machines when they are due.
func (p *peer) wakeAll() {
	for _, m := range p.machines {
		p.e.look(m)
	}
	p.wake()
}

// backoff is the wait after a number of failures, with a quarter of jitter.
func (e *Endpoint) backoff(failures int) time.Duration {
	d := retryFirst << min(failures, 10)
	d = min(d, retryCap)
	var b [2]byte
	io.ReadFull(e.cfg.Rand, b[:])
	return d - d/4*time.Duration(binary.BigEndian.Uint16(b[:]))/65536
}

// others are the peer's IKE SAs beside m that have not ended.
func (p *peer) others(m sa.Machine) []sa.Machine {
	return slices.DeleteFunc(slices.Clone(p.machines), func(o sa.Machine) bool {
		st := o.Info().State
		return o == m || st == sa.Dead || st == sa.Deleting
	})
}

func (p *peer) forget(m sa.Machine) {
	p.machines = slices.DeleteFunc(p.machines, func(o sa.Machine) bool { return o == m })
}

// trim drops the oldest of the IKE SAs that only wait for their end, so that a peer that makes one after the other
// costs no more than any.
func (p *peer) trim(now time.Time) {
	var leaving []sa.Machine
	for _, m := range p.machines {
		if st := m.Info().State; st == sa.Replaced || st == sa.Deleting {
			leaving = append(leaving, m)
		}
	}
	for _, m := range leaving[:max(len(leaving)-maxLeaving, 0)] {
		m.Drop(now, diag.Cause{Code: diag.TooManyIKE})
	}
}

// authenticated notes a new IKE SA.
func (p *peer) authenticated(now time.Time, m sa.Machine) {
	if !slices.Contains(p.machines, m) { // a responder's IKE SA is known from here on
		p.machines = append(p.machines, m)
	}
	p.e.admission.ended(now, p, true)
	p.nextTry, p.hurry.at, p.cleared = time.Time{}, time.Time{}, false
	p.why, p.since = diag.Kept{}, now
	if p.upSince.IsZero() {
		p.upSince = now
	}
	for _, c := range p.children {
		c.early = early{}
		c.anew()
		if !m.Info().Initiator {
			c.nextTry = now.Add(gapGrace)
		}
	}
	p.crowded(now, m)
}

// crowded sets when to look for an IKE SA too many, after m came or took another's place.
func (p *peer) crowded(now time.Time, m sa.Machine) {
	if len(p.usable()) > 1 {
		p.dedupeAt = now.Add(dedupeAfter)
		if m.Info().Version == 1 {
			p.dedupeAt = now.Add(dedupeAfter1)
		}
	}
}

// lost notes that an IKE SA is of no more use. Without a cause it ended so that another attempt begins, which is no failure.
func (p *peer) lost(now time.Time, m sa.Machine, why diag.Cause) {
	in := m.Info()
	if in.Initiator && !p.connecting() {
		p.e.admission.ended(now, p, false)
	}
	refused := in.Established.IsZero() && !in.Initiator // says nothing about our own attempts
	if p.main() != nil || !in.Current || refused || why.OK() {
		p.wake()
		return
	}
	p.cleared = p.cleared || p.cfg.DPD.Clear && (why.Is(diag.PeerDead) || why.Is(diag.LivenessDead))
	was := p.upSince
	if p.upSince = (time.Time{}); !was.IsZero() {
		p.absent = now
		if now.Sub(was) >= steadyTime {
			p.failures = 0
		}
	}
	var wait time.Duration // none: it worked a moment ago
	if p.failures > 0 || was.IsZero() {
		wait = p.e.backoff(p.failures)
	}
	p.failures++
	p.nextTry = now.Add(wait)
	if p.toInitiate() != nil && !p.e.stopping {
		p.e.log.Warn("no IKE SA", "conn", p.cfg.Name, sa.Why(why), "retry_in", wait.Round(100*time.Millisecond).String())
	}
	p.fail(now, why)
	p.wake()
}

// usable reports whether new exchanges can go over m.
func usable(m sa.Machine) bool {
	in := m.Info()
	return in.State == sa.Established && in.Current
}

// usable are the IKE SAs for new exchanges, the one to use last.
func (p *peer) usable() []sa.Machine {
	return slices.DeleteFunc(slices.Clone(p.machines), func(m sa.Machine) bool { return !usable(m) })
}

// main is the IKE SA for new exchanges, or nil.
func (p *peer) main() sa.Machine {
	for _, m := range slices.Backward(p.machines) {
		if usable(m) {
			return m
		}
	}
	return nil
}

// toInitiate is the first child that is to be brought up from here, or nil.
func (p *peer) toInitiate() *child {
	if p.cleared || !p.cfg.Remote.IsValid() {
		return nil
	}
	for _, c := range p.children {
		if c.initiate && !c.held {
			return c
		}
	}
	return nil
}

// connecting reports whether an IKE SA of ours is under way. One that the peer has begun says nothing: anybody
// can begin an aggressive mode in the peer's name.
func (p *peer) connecting() bool {
	return slices.ContainsFunc(p.machines, func(m sa.Machine) bool {
		in := m.Info()
		return in.Initiator && in.State == sa.Connecting
	})
}

// Deadline is when Advance has something to do.
func (p *peer) Deadline() time.Time {
	if p.e.stopping {
		return time.Time{}
	}
	atOnce := time.Unix(0, 1)
	d := sa.Earliest(p.dedupeAt, p.orphans)
	if p.orphansAreDone() {
		return atOnce
	}
	m := p.main()
	if m == nil {
		switch {
		case p.toInitiate() == nil:
			return d
		case p.waits:
			return sa.Earliest(d, p.hurry.at)
		case p.connecting():
			return sa.Earliest(d, p.hurry.at)
		case p.nextTry.IsZero():
			return atOnce
		}
		return sa.Earliest(d, p.nextTry, p.hurry.at)
	}
	for _, c := range p.children {
		d = sa.Earliest(d, c.early.at)
		if at, ok := c.nextAsk(m); ok {
			if at.IsZero() {
				return atOnce
			}
			d = sa.Earliest(d, at)
		}
	}
	return d
}

// Advance starts an IKE SA if there is none, and asks for the Child SAs that are missing.
func (p *peer) Advance(now time.Time) {
	if p.e.stopping {
		return
	}
	if sa.Due(now, p.dedupeAt) {
		p.dedupeAt = time.Time{}
		p.dedupe(now)
	}
	if sa.Due(now, p.orphans) || p.orphansAreDone() {
		p.endOrphans(now)
	}
	m := p.main()
	if m == nil {
		if sa.Due(now, p.hurry.at) {
			p.tryAtOnce(now)
		}
		if !now.Before(p.nextTry) && !p.connecting() {
			p.initiate(now)
		}
		return
	}
	for _, c := range p.children {
		c.early.advance(now, c, m)
		c.ask(now, m)
	}
	p.e.touch(m)
}

// initiate starts an IKE SA.
func (p *peer) initiate(now time.Time) {
	first := p.toInitiate()
	if first == nil || !p.e.admission.admits(now, p) {
		return
	}
	m, why := p.begin(now, first)
	if m == nil {
		p.nextTry = now.Add(p.e.backoff(p.failures))
		p.failures++
		p.fail(now, why)
		p.wake()
		return
	}
	p.e.emit(sa.IKEConnecting{SA: p.e.about(m)})
	p.e.touch(m)
}

// begin sends the first message of an IKE SA, or says why not.
func (p *peer) begin(now time.Time, first *child) (sa.Machine, diag.Cause) {
	local := p.cfg.Local
	if !local.IsValid() {
		var err error
		if local, err = p.e.cfg.Source(p.cfg.Remote); err != nil {
			return nil, diag.Cause{Code: diag.NoRoute, Peer: netip.AddrPortFrom(p.cfg.Remote, 0), Err: err.Error()}
		}
	}
	var m sa.Machine
	var err error
	var most time.Duration
	if now.Sub(p.absent) < briskTime || now.Sub(p.hurry.last) < briskTime {
		most = briskWait
	}
	path := sa.FirstPath(local, p.cfg.Remote, cmp.Or(p.cfg.Port, p.door, sa.PortIKE))
	if p.cfg.Version == 1 {
		m, err = ikev1.Initiate(&p.e.env, now, p.cfg, path, most)
	} else {
		m, err = ikev2.Initiate(&p.e.env, now, p.cfg, path, first.cfg, most)
	}
	if err != nil {
		return nil, diag.Cause{Code: diag.Internal, Name: "start an IKE SA", Err: err.Error()}
	}
	return m, noCause
}

// dedupe ends one of two IKE SAs that both ends began at once: the one with the
// higher initiator's SPI, by the end that began it, or later by the other. Both ends choose the same one. (If one of
// them was rekeyed meanwhile, one end may have begun both.) With IKEv1 the end that answered ends it too, later, since nothing answers a Delete.
func (p *peer) dedupe(now time.Time) {
	ms := p.usable()
	var keep sa.Machine
	for _, m := range ms {
		if keep == nil || prefers(m.Info(), keep.Info()) {
			keep = m
		}
	}
	for _, m := range ms {
		in := m.Info()
		switch {
		case m == keep:
		case in.Version == 1 && (in.Initiator || now.Sub(in.Established) >= dedupeOther1):
			p.supersede(now, m, keep)
		case in.Version == 1:
			p.dedupeAt = in.Established.Add(dedupeOther1)
		case in.Initiator && now.Sub(in.Established) < dedupeOther && p.fill(now, m, keep):
			p.dedupeAt = now.Add(dedupeAgain)
		case in.Initiator:
			m.Close(now, collision)
			p.e.touch(m)
		case !repeats(m, keep):
		case now.Sub(in.Established) >= dedupeOther:
			m.Close(now, collision)
			p.e.touch(m)
		default:
			p.dedupeAt = in.Established.Add(dedupeOther)
		}
	}
}

// prefers reports whether m stays rather than other. In IKEv1 a peer that is no vpngw may have begun the later one in place of
// the earlier, at about the time of our own rekey: strongSwan then takes Child SAs away again that we make over the earlier one.
func prefers(m, other sa.Info) bool {
	if m.Version == 1 && !m.Vpngw && !m.Established.Equal(other.Established) {
		return m.Established.After(other.Established)
	}
	return m.SPIi < other.SPIi
}

// repeats reports whether m was established at about the same time as keep, and keep has all its Child SAs too.
func repeats(m, keep sa.Machine) bool {
	return len(m.Children()) > 0 && m.Info().Established.Sub(keep.Info().Established).Abs() < dedupeOther && len(beyond(m, keep)) == 0
}

// beyond are the Child SAs of m that keep does not carry.
func beyond(m, keep sa.Machine) []sa.ChildInfo {
	have := keep.Children()
	return slices.DeleteFunc(m.Children(), func(in sa.ChildInfo) bool {
		return slices.ContainsFunc(have, func(h sa.ChildInfo) bool {
			return h.Child == in.Child && h.Out && ipsec.Covers(h.SA.Local, in.SA.Local) && ipsec.Covers(h.SA.Remote, in.SA.Remote)
		})
	})
}

// fill asks over keep for the Child SAs that only m has, which is about to end: where both ends asked for their Child SAs one by one,
// each IKE SA may have a part. It reports whether some are missing.
func (p *peer) fill(now time.Time, m, keep sa.Machine) bool {
	missing := slices.DeleteFunc(beyond(m, keep), func(in sa.ChildInfo) bool { return in.Leaving })
	for _, in := range missing {
		if !keep.Creating(in.Child, in.SA.Local, in.SA.Remote) {
			keep.Create(now, in.Child, in.SA.Local, in.SA.Remote)
		}
	}
	p.e.touch(keep)
	return len(missing) > 0
}

var collision = diag.Cause{Code: diag.Collision}

// supersede puts one ISAKMP SA in another's place. For the peer the Child SAs may belong to the one
// that goes, and go with it without a word, so they are rekeyed over the one that stays.
func (p *peer) supersede(now time.Time, m, keep sa.Machine) {
	p.e.inherit(now, keep, m, false)
	for _, c := range p.children {
		keep.RekeyChildren(now, c.cfg, collision)
	}
	p.e.touch(m)
	p.e.touch(keep)
}
