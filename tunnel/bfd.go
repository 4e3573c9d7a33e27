package tunnel

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"time"

	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/ike/sa"
)

// BFD finds within a moment that packets do not reach the peer, or the peer's do not reach us. It speaks for BGP: a
// tunnel whose session was up and is down has none of its learned routes in the kernel, and of two tunnels it does not get the
// traffic. The static routes of a tunnel that is alone stay. A session that never came up says nothing, for the peer may have no BFD.

// hop is a member's BFD. The zero value rests.
type hop struct {
	session       dpd.BFDSession
	asked         dpd.BFD    // of the session
	local, remote netip.Addr // likewise
	down          diag.Cause // why the session is down; OK: it is not, or says nothing
}

// BFDStatus is a tunnel's BFD session.
type BFDStatus struct {
	State         dpd.BFDState
	Since         time.Time
	Cause         diag.Cause    // why it is not up; OK: it is, or rests, or is about to be
	Every, Detect time.Duration // between our packets at most; without a packet until the peer counts as gone, 0: it was never heard
	Local, Remote netip.Addr
}

// wantsBFD returns what the configuration asks for; nil: no BFD, or the tunnel is not to be used.
func (m *member) wantsBFD() *dpd.BFD {
	t := m.Tunnel
	if t.BGP == nil || t.BGP.BFD == nil || m.held || m.leaving || !m.fault.OK() || !t.Inside.IsValid() || !t.Peer.IsValid() {
		return nil
	}
	return t.BGP.BFD
}

// advanceBFD begins and ends the session, and sends what is due. Only a change of what it says about the path is news.
func (g *Group) advanceBFD(now time.Time, m *member) {
	asked := m.wantsBFD()
	if asked == nil {
		g.endBFD(now, m)
		return
	}
	if m.bfd == nil {
		m.bfd = new(hop)
	}
	h := m.bfd
	carries := m.carries()
	if h.asked != *asked || h.local != m.Tunnel.Inside.Addr() || h.remote != m.Tunnel.Peer {
		g.endBFD(now, m)
	}
	if state, _, _ := h.session.State(); state != dpd.BFDUp && !carries {
		h.session.Stop(now) // while it is up, SAs that come back soon find it as it was
		g.judgeBFD(m)
		return
	}
	if state, _, _ := h.session.State(); state == dpd.BFDAdminDown {
		h.asked, h.local, h.remote = *asked, m.Tunnel.Inside.Addr(), m.Tunnel.Peer
		h.session.Start(now, *asked, m.Discriminator, rand.New(rand.NewPCG(uint64(m.Discriminator), uint64(now.UnixNano()))).Float64)
	}
	if !sa.Due(now, h.session.Deadline()) {
		return
	}
	if packet := h.session.Due(now); packet != nil && carries {
		g.emit(BFDSend{m.Tunnel.Name, h.local, h.remote, packet})
	}
	g.judgeBFD(m)
}

// noteBFD takes a packet of the peer.
func (g *Group) noteBFD(now time.Time, m *member, packet []byte) {
	if m.bfd != nil {
		m.bfd.session.Handle(now, packet)
		g.judgeBFD(m)
	}
}

// endBFD ends the session and tells the peer so: it must not take this for a failure.
func (g *Group) endBFD(now time.Time, m *member) {
	h := m.bfd
	if h == nil {
		return
	}
	if last := h.session.Stop(now); last != nil && m.carries() {
		g.emit(BFDSend{m.Tunnel.Name, h.local, h.remote, last})
	}
	h.asked = dpd.BFD{}
	g.judgeBFD(m)
}

// judgeBFD notes what the session says about the path now.
func (g *Group) judgeBFD(m *member) {
	h := m.bfd
	state, _, _ := h.session.State()
	switch ill := state != dpd.BFDAdminDown && h.session.Health() == dpd.Ill; {
	case ill == !h.down.OK():
		return
	case !ill:
		h.down = diag.Cause{}
	default:
		h.down = h.cause()
	}
	g.noted = true
}

// bfdDown is why the session says that the path is down; OK: it does not.
func (m *member) bfdDown() diag.Cause {
	if m.bfd == nil {
		return diag.Cause{}
	}
	return m.bfd.down
}

// cause is why the session is not up; OK: it is, or rests, or is about to be.
func (h *hop) cause() diag.Cause {
	c := diag.Cause{Code: diag.BFDDown, Peer: netip.AddrPortFrom(h.remote, 0)}
	switch state, _, why := h.session.State(); {
	case state == dpd.BFDUp || state == dpd.BFDAdminDown:
		return diag.Cause{}
	case why == dpd.BFDExpired:
		c.After = h.session.Silence()
	case why == dpd.BFDTold:
		c.Theirs = dpd.BFDDown.String()
	case h.session.Silence() == 0:
		c.Ours = "it was never heard, so perhaps it has no BFD"
	default:
		return diag.Cause{}
	}
	return c
}

// bfdStatus is the member's part of Status.
func (m *member) bfdStatus() *BFDStatus {
	t := m.Tunnel
	if t.BGP == nil || t.BGP.BFD == nil {
		return nil
	}
	s := &BFDStatus{Remote: t.Peer}
	if t.Inside.IsValid() {
		s.Local = t.Inside.Addr()
	}
	h := cmp.Or(m.bfd, new(hop))
	s.State, s.Since, _ = h.session.State()
	s.Cause = h.cause()
	if s.State != dpd.BFDAdminDown {
		s.Every, s.Detect = h.session.Every(), h.session.Silence()
	}
	return s
}
