package ike

import (
	"net/netip"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// PeerStatus is how one peer fares.
type PeerStatus struct {
	Name     string
	Remote   netip.Addr
	IKE      *IKEStatus // nil: there is no IKE SA, not even one under way
	Children []ChildStatus
	Why      diag.Cause // the last failure; OK while nothing is wrong
	Since    time.Time
}

// TunnelStatus is how one tunnel fares.
type TunnelStatus struct {
	Remote   netip.Addr    // the peer's, as configured
	IKE      *IKEStatus    // nil: there is no IKE SA, not even one under way
	Children []ChildStatus // the tunnel's only
	Why      diag.Cause    // the first child's trouble, which says more, or else the peer's; OK while nothing is wrong
	Since    time.Time     // of Why
}

// IKEStatus is one IKE SA.
type IKEStatus struct {
	Version       int
	Mode          string      // of IKEv1: "main", "aggressive"
	State         sa.State    // Connecting or Established
	Suite         ipsec.Suite // zero while it is not agreed
	NAT           sa.NAT
	Encap         bool // ESP travels in UDP
	SPIi, SPIr    uint64
	Local, Remote netip.AddrPort
	Since         time.Time
}

// Proposal is the negotiated suite by name; empty while it is not agreed.
func (s *IKEStatus) Proposal() string {
	if s.Suite.Encr.Type == 0 {
		return ""
	}
	return s.Suite.String()
}

// Weak says why the algorithms are weak.
func (s *IKEStatus) Weak() []string {
	if s.Suite.Encr.Type == 0 {
		return nil
	}
	return s.Suite.Weak()
}

// ChildStatus is one configured child.
type ChildStatus struct {
	Name, Tunnel string
	SAs          []sa.ChildInfo // installed in one direction at least, and to stay
	Why          diag.Cause
	Since        time.Time
	Held         bool // taken down by the operator
	Waiting      bool // only answers, and nobody has asked yet
}

// Status tells how every peer fares, in the order of SetPeers. Its cost is that of all peers.
func (e *Endpoint) Status() []PeerStatus {
	out := make([]PeerStatus, 0, len(e.peers))
	for _, p := range e.inOrder() {
		st := PeerStatus{Name: p.cfg.Name, Remote: p.cfg.Remote, IKE: p.ikeStatus(), Why: p.why.Cause(), Since: p.since}
		for _, c := range p.children {
			st.Children = append(st.Children, c.status())
		}
		out = append(out, st)
	}
	return out
}

// Tunnel tells how one tunnel fares; false: no peer has it.
func (e *Endpoint) Tunnel(name string) (TunnelStatus, bool) {
	cs := e.tunnels[name]
	if len(cs) == 0 {
		return TunnelStatus{}, false
	}
	p := cs[0].peer
	st := TunnelStatus{Remote: p.cfg.Remote, IKE: p.ikeStatus(), Why: p.why.Cause(), Since: p.since}
	for _, c := range cs {
		if c.peer != p { // the tunnel is on its way from one peer to another
			continue
		}
		in := c.status()
		if st.Children = append(st.Children, in); !in.Why.OK() && (st.Why.OK() || p.why.Equal(st.Why)) {
			st.Why, st.Since = in.Why, in.Since
		}
	}
	return st, true
}

// LogKeys writes the present keys of a tunnel's IKE SAs, without those of their Child SAs.
func (e *Endpoint) LogKeys(tunnel string, log sa.KeyLog) {
	cs := e.tunnels[tunnel]
	if len(cs) == 0 {
		return
	}
	for _, m := range cs[0].peer.machines {
		m.LogKeys(log)
	}
}

func (p *peer) ikeStatus() *IKEStatus {
	m := p.main()
	if m == nil {
		if len(p.machines) == 0 {
			return nil
		}
		m = p.machines[len(p.machines)-1]
	}
	in := m.Info()
	if in.State != sa.Established && in.State != sa.Connecting {
		return nil
	}
	return &IKEStatus{
		Version: in.Version, Mode: mode(in.Version, p.cfg), State: in.State, Suite: in.Suite, NAT: in.NAT, Encap: in.Encap,
		SPIi: in.SPIi, SPIr: in.SPIr, Local: in.Path.Local, Remote: in.Path.Remote, Since: in.Since,
	}
}

func mode(version int, p *sa.Peer) string {
	switch {
	case version != 1:
		return ""
	case p.Aggressive:
		return "aggressive"
	}
	return "main"
}

func (c *child) status() ChildStatus {
	st := ChildStatus{Name: c.given.Name, Tunnel: c.given.Tunnel, SAs: c.sas(), Why: c.why.Cause(), Since: c.since, Held: c.held}
	st.Waiting = !c.initiate && !c.held
	for _, in := range st.SAs {
		st.Waiting = st.Waiting && !in.Out
	}
	return st
}
