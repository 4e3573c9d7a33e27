package ike

import (
	"fmt"
	"net/netip"
	"time"

	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// PeerStatus is how one peer fares.
type PeerStatus struct {
	Name     string
	Remote   netip.Addr
	IKE      *IKEStatus // nil: there is no IKE SA, not even one under way
	Children []ChildStatus
	Why      string // the last failure; empty while all is well
	Since    time.Time
}

// IKEStatus is one IKE SA.
type IKEStatus struct {
	Version       int
	Mode          string // of IKEv1: "main", "aggressive"
	State         string // "connecting", "established"
	Proposal      string
	Weak          []string // why its algorithms are weak
	NAT           string   // who is behind one: "none", "local", "remote", "both"
	Encap         bool     // ESP travels in UDP
	SPIi, SPIr    uint64
	Local, Remote netip.AddrPort
	Since         time.Time
}

// ChildStatus is one wanted child.
type ChildStatus struct {
	Name, Tunnel string
	Up           bool // every wanted pair of selectors is served, both ways
	Partly       bool // some are
	SA           *ipsec.ChildSA
	All          []*ipsec.ChildSA
	Why          string
	Since        time.Time
	Held         bool // taken down by the operator
	Waiting      bool // only answers, and nobody has asked yet
}

// Status tells how every peer fares, in the order of SetPeers.
func (e *Endpoint) Status() []PeerStatus {
	out := make([]PeerStatus, 0, len(e.peers))
	for _, p := range e.peers {
		st := PeerStatus{Name: p.cfg.Name, Remote: p.cfg.Remote, Why: p.why, Since: p.since}
		st.IKE = p.ikeStatus()
		for _, w := range p.wants {
			st.Children = append(st.Children, w.status())
		}
		out = append(out, st)
	}
	return out
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
	st := &IKEStatus{
		Version: in.Version, Mode: mode(in.Version, p.cfg), State: in.State.String(), Encap: in.Encap, SPIi: in.SPIi, SPIr: in.SPIr,
		Local: in.Path.Local, Remote: in.Path.Remote, Since: in.Since,
		NAT: in.NAT.String(),
	}
	if in.Suite.Encr.Type != 0 {
		st.Proposal, st.Weak = in.Suite.String(), in.Suite.Weak()
	}
	return st
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

func (w *want) status() ChildStatus {
	st := ChildStatus{Name: w.cfg.Name, Tunnel: w.cfg.Tunnel, Why: w.why, Since: w.since, Held: w.held}
	for _, c := range w.installed() {
		st.All = append(st.All, c.SA)
		if c.Out {
			st.SA = c.SA
		}
	}
	if st.SA == nil {
		st.Waiting = !w.initiate && !w.held
		return st
	}
	un := w.uncovered()
	st.Up, st.Partly = len(un) == 0, len(un) > 0
	if st.Partly && st.Why == "" {
		st.Why = fmt.Sprintf("no Child SA for %v here and %v there (%d pairs lack one)", un[0].local, un[0].remote, len(un))
		if len(w.missing()) == 0 {
			st.Why = fmt.Sprintf("the peer took only a part of %v here and %v there", un[0].local, un[0].remote)
		}
	}
	return st
}
