package sa

import (
	"net/netip"
	"strconv"
	"time"

	"vpngw/diag"
	"vpngw/ipsec"
)

// NAT traversal of both versions (RFC 7296 section 2.23; RFC 3947, with the ports and
// the encapsulation of RFC 3948).

const (
	PortIKE  = 500
	PortNATT = 4500
)

// KeepaliveTime is the time between two NAT keepalives (RFC 3948 section 4).
const KeepaliveTime = 20 * time.Second

// OuterSize is how many bytes of an IP packet lie before an IKE message that takes path.
func OuterSize(path ipsec.Path) int {
	n := 20 + 8
	if path.Remote.Addr().Unmap().Is6() {
		n = 40 + 8
	}
	if path.Local.Port() == PortNATT {
		n += 4 // the non-ESP marker
	}
	return n
}

// NAT says which ends are behind a NAT.
type NAT struct{ Local, Remote bool }

// Any reports whether an end is behind a NAT.
func (n NAT) Any() bool { return n.Local || n.Remote }

func (n NAT) String() string {
	switch {
	case n.Local && n.Remote:
		return "both"
	case n.Local:
		return "local"
	case n.Remote:
		return "remote"
	}
	return "none"
}

// Encap reports whether ESP to p travels in UDP. p may be nil: not known yet.
func (n NAT) Encap(p *Peer) bool { return n.Any() || p != nil && p.Encap == EncapAlways }

// KeepsOpen reports whether this end sends keepalives to p: from behind a NAT, and where ESP is asked to travel in UDP
// without one, for a firewall that knows connections by time may be why.
func (n NAT) KeepsOpen(p *Peer) bool { return n.Local || p.Encap == EncapAlways }

// MayMove reports whether we follow p to another address or port: an end that is
// behind a NAT itself does not (RFC 7296 section 2.23).
func (n NAT) MayMove(p *Peer) bool { return !n.Local && n.Encap(p) }

// Path decides every change of the peer's address, in every exchange: it is where IKE sends to after a message of p
// that is authentic and no repetition has come from remote to local, when it used path before. An on-path
// attacker can send a copy of such a message first, from any address; so
//   - an end that is behind a NAT may go anywhere, and each later message of its own takes it back;
//   - any other keeps the address of the first message, and may only change to port 4500, once.
func (n NAT) Path(p *Peer, path ipsec.Path, local, remote netip.AddrPort) ipsec.Path {
	if local.Port() != PortNATT {
		return path
	}
	floats := path.Local.Port() == PortIKE && local.Addr() == path.Local.Addr() && remote.Addr() == path.Remote.Addr() &&
		(remote.Port() == PortNATT || n.Remote)
	if floats || n.MayMove(p) {
		path.Local, path.Remote = local, remote
	}
	return path
}

// FirstPath is the path of an initiator's first message to a port of the peer. Only port 500 is spoken to from port 500; any
// other stands for a peer's port 4500, so what goes there has the non-ESP marker.
func FirstPath(local, remote netip.Addr, port uint16) ipsec.Path {
	own := uint16(PortNATT)
	if port == PortIKE {
		own = PortIKE
	}
	return ipsec.Path{Local: netip.AddrPortFrom(local, own), Remote: netip.AddrPortFrom(remote, port), UDP: true}
}

// Float moves a path from port 500 to port 4500 at both ends. It reports whether that changes it.
func Float(path *ipsec.Path) bool {
	if path.Local.Port() == PortNATT {
		return false
	}
	*path = FirstPath(path.Local.Addr(), path.Remote.Addr(), PortNATT)
	return true
}

// knockAfter is how long an initiator waits for the first answer before it tries the other port of IKE.
const knockAfter = 5 * time.Second

// OtherDoor is the path over the other one of IKE's two ports, for a first message that stays unanswered: a filter may
// drop one of them. Responders take the first message on port 4500 too (RFC 7296 section 2.23). It is false where the
// configuration says a port, or where there is no NAT traversal.
func (p *Peer) OtherDoor(path ipsec.Path) (ipsec.Path, bool) {
	port := uint16(PortNATT)
	if path.Local.Port() == PortNATT {
		port = PortIKE
	}
	other := FirstPath(path.Local.Addr(), path.Remote.Addr(), PortNATT+PortIKE-port)
	return FirstPath(path.Local.Addr(), path.Remote.Addr(), port), p.NATT && p.Port == 0 && other == path
}

// Knocks is OtherDoor when it is time to change the port: began is when the first message was first sent.
func (p *Peer) Knocks(now, began time.Time, path ipsec.Path) (ipsec.Path, bool) {
	to, ok := p.OtherDoor(path)
	return to, ok && !now.Before(began.Add(knockAfter))
}

// Unanswered is the cause of an initiator that heard nothing, with the ports that it has tried.
func (p *Peer) Unanswered(path ipsec.Path, message string) diag.Cause {
	why := diag.Cause{Code: diag.NoAnswer, Peer: path.Remote, Message: message}
	if _, ok := p.OtherDoor(path); ok {
		why.Peer = netip.AddrPortFrom(path.Remote.Addr(), PortIKE)
		why.Ours = strconv.Itoa(PortNATT)
	}
	return why
}

// Problem says why the configuration of p does not allow the NAT that was found; OK:
// it does.
func (n NAT) Problem(p *Peer) diag.Cause {
	if p.Encap != EncapNever || !n.Any() {
		return diag.Cause{}
	}
	who := "the peer"
	if n.Local {
		who = "this host"
	}
	return diag.Cause{Code: diag.NATForbidden, Name: who}
}

// ChildPath is the path of a new Child SA's packets when IKE uses p.
func ChildPath(p ipsec.Path, encap bool) ipsec.Path {
	if !encap {
		return ipsec.Path{Local: netip.AddrPortFrom(p.Local.Addr(), 0), Remote: netip.AddrPortFrom(p.Remote.Addr(), 0)}
	}
	c := ipsec.Path{Local: netip.AddrPortFrom(p.Local.Addr(), PortNATT), Remote: p.Remote, UDP: true}
	if c.Remote.Port() == PortIKE {
		c.Remote = netip.AddrPortFrom(c.Remote.Addr(), PortNATT)
	}
	return c
}

// ReplyPath is the path of a response to d: "responses MUST be sent to the port from whence
// they came" (RFC 7296 section 2.23).
func ReplyPath(d ipsec.Datagram) ipsec.Path {
	return ipsec.Path{Local: d.Local, Remote: d.Remote, UDP: true}
}
