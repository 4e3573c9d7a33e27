package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"vpngw/diag"
	"vpngw/host"
	"vpngw/tunnel"
)

func one(c diag.Cause) []diag.Cause { return []diag.Cause{c} }

// peer is the other end's address, without a port.
func (t *Tunnel) peer() netip.AddrPort { return netip.AddrPortFrom(t.Want.Remote.Address, 0) }

// carries reports whether there are Child SAs to look at.
func (t *Tunnel) carries() bool { return t.State == tunnel.Up || t.State == tunnel.Degraded }

func held(t *Tunnel) []diag.Cause {
	if t.Cause.Is(diag.OperatorDown) {
		return one(t.Cause)
	}
	return nil
}

// addresses looks for an address that cannot be right: a peer that is this host, as with the wrong `side`.
func addresses(t *Tunnel) []diag.Cause {
	if slices.Contains(t.Host.Addresses, t.Want.Remote.Address) {
		return one(diag.Cause{Code: diag.PeerIsOwn, Peer: t.peer()})
	}
	local := t.Want.Local.Address
	if t.carries() || !local.IsValid() || !t.Host.Source.IsValid() || slices.Contains(t.Host.Addresses, local) {
		return nil
	}
	return one(diag.Cause{Code: diag.AddressForeign, Addr: local, Ours: t.Host.Source.String()})
}

func route(t *Tunnel) []diag.Cause {
	switch {
	case !t.Want.Remote.Address.IsValid(): // its name has none, which the tunnel's cause says
	case t.Host.NoRoute != nil:
		return one(diag.Cause{Code: diag.NoRoute, Peer: t.peer(), Err: "this host has none; check the default route"})
	case t.Host.Device != "" && t.Host.Device == t.Device:
		return one(diag.Cause{Code: diag.PeerInside, Peer: t.peer(), Device: t.Device})
	}
	return nil
}

// filter says what the packet filter drops of what this tunnel needs: not protocol 50 where ESP is in UDP.
func filter(t *Tunnel) (out []diag.Cause) {
	if t.Host.NoRoute != nil {
		return nil
	}
	for _, f := range t.Host.Filtered {
		c := diag.Cause{Code: diag.FilterForward, Name: f.Rule, Peer: t.peer(), Theirs: what(f.Passage), Ours: f.Do}
		switch f.Hook {
		case host.HookInput:
			c.Code = diag.FilterIn
		case host.HookOutput:
			c.Code = diag.FilterOut
		case host.HookForward:
			c.Theirs = "into the tunnel"
			if f.In != "" {
				c.Theirs = "from the tunnel"
			}
			if f.Among != "" {
				c.Theirs += ", " + f.Among
			}
		}
		if f.Proto == espProto && (t.Encap || !t.Established) {
			continue
		}
		if f.Proto == tcp {
			if t.BGP == nil || t.BGP.Established || !t.carries() {
				continue
			}
			c.Peer = t.BGP.cause("").Peer
		}
		if !f.Sure {
			if t.carries() && t.In > 0 && f.Proto != tcp {
				continue // it does let through what is needed
			}
			c = diag.Cause{Code: diag.FilterUnclear, Name: f.Rule, Theirs: what(f.Passage)}
		}
		out = append(out, c)
	}
	return out
}

// what names the packets of a passage.
func what(p host.Passage) string {
	switch {
	case p.Hook == host.HookForward:
		return "what is forwarded"
	case p.Proto == espProto:
		return "protocol 50 (ESP)"
	case p.Proto == tcp:
		return "BGP (TCP 179)"
	}
	return fmt.Sprintf("UDP %d", p.To.Port())
}

// nat looks for a NAT that this end was told not to look for.
func nat(t *Tunnel) []diag.Cause {
	if t.Want.NATT || !t.Host.Source.IsValid() || !t.Want.Local.Address.IsValid() || t.Host.Source == t.Want.Local.Address {
		return nil
	}
	if slices.Contains(t.Host.Addresses, t.Want.Local.Address) {
		return nil
	}
	return one(diag.Cause{Code: diag.NATTOff, Name: "this end"})
}

// authentic looks at what the data plane could not open.
func authentic(t *Tunnel) []diag.Cause {
	if n := t.Drops["icv-length"]; n > 0 {
		c := diag.Cause{Code: diag.ICVLength, Count: int(n), Ours: "128 bits", Theirs: "96 bits", Name: "yes"}
		if t.Want.Trunc96 {
			c.Ours, c.Theirs, c.Name = c.Theirs, c.Ours, "no"
		}
		return one(c)
	}
	if n := t.Drops["bad-icv"]; n >= few && t.In == 0 {
		return one(diag.Cause{Code: diag.BadICV, Count: int(n)})
	}
	return nil
}

// negotiation is what the tunnel itself knows.
func negotiation(t *Tunnel) []diag.Cause {
	switch {
	case !t.Cause.OK() && !(t.Cause.Is(diag.BGPWaits) && t.BGP != nil): // of this, session knows more
		return one(t.Cause)
	case !t.IKE.OK():
		return one(t.IKE)
	case t.State == tunnel.Waiting && !t.Initiates && t.Heard == (Ports{}):
		return one(diag.Cause{Code: diag.NobodyBegins, Peer: t.peer()})
	}
	return nil
}

// ports compares what went to the peer's two ports with what came from them. A peer that begins asks on port 500, and
// goes on on port 4500.
func ports(t *Tunnel) []diag.Cause {
	c := diag.Cause{Code: diag.NATTSilent, Peer: t.peer()}
	switch {
	case t.carries() || t.Heard.IKE == 0 || t.Heard.NATT > 0:
		return nil
	case t.State == tunnel.Waiting && t.Cause.OK() && !t.Established && t.Sent.IKE > 0:
		c.Ours = "our answers do not reach it"
	case t.Sent.NATT < few:
		return nil
	case t.Want.IKEVersion == 1:
		c.Ours = "the keys or identities differ and the peer does not say so"
	}
	return one(c)
}

// few is how many packets make a pattern.
const few = 3

// found is a check for what host.Examine has found.
func found(codes ...diag.Code) func(*Tunnel) []diag.Cause {
	return func(t *Tunnel) (out []diag.Cause) {
		for _, f := range t.Host.Findings {
			if slices.Contains(codes, f.Cause.Code) {
				out = append(out, f.Cause)
			}
		}
		return out
	}
}

// leaking tells of another program's route or rule that takes what the tunnel is to carry.
func leaking(t *Tunnel) []diag.Cause {
	if t.Leak.OK() {
		return nil
	}
	return one(t.Leak)
}

// reversePath tells of the devices that matter: that of the route to the peer and, since packets of the LAN may come in
// by any, all others too.
func reversePath(t *Tunnel) []diag.Cause {
	return slices.DeleteFunc(found(diag.RPFilter)(t), func(c diag.Cause) bool { return c.Device == t.Device })
}

func routes(t *Tunnel) []diag.Cause {
	if t.carries() && t.Want.Unrouted() {
		return one(diag.Cause{Code: diag.NoRoutes})
	}
	return nil
}

// selectors looks at packets that no selector covers.
func selectors(t *Tunnel) (out []diag.Cause) {
	if !t.carries() {
		return nil
	}
	ours, theirs := fmt.Sprint(t.Want.Local.Subnets), fmt.Sprint(t.Want.Remote.Subnets)
	if n := t.Drops["no-policy"]; n >= few {
		out = append(out, diag.Cause{Code: diag.OutsideOurs, Count: int(n), Ours: ours, Theirs: theirs})
	}
	if n := t.Drops["selector"]; n > 0 {
		out = append(out, diag.Cause{Code: diag.OutsideTheirs, Count: int(n), Ours: ours, Theirs: theirs})
	}
	return out
}

// oneWay looks for packets in one direction only.
func oneWay(t *Tunnel) []diag.Cause {
	switch {
	case !t.carries():
	case t.Out >= few && t.In == 0 && !t.Encap:
		return one(diag.Cause{Code: diag.RawBlocked, Count: int(t.Out)})
	case t.Out >= few && t.In == 0:
		return one(diag.Cause{Code: diag.NothingBack, Count: int(t.Out)})
	case t.In >= few && t.Out == 0:
		return one(diag.Cause{Code: diag.NothingOut, Count: int(t.In), Theirs: fmt.Sprint(t.Want.Remote.Subnets)})
	}
	return nil
}

func lifetimes(t *Tunnel) []diag.Cause {
	if t.Ended < few {
		return nil
	}
	return one(diag.Cause{Code: diag.PeerEndsEarly, Count: t.Ended})
}

func others(t *Tunnel) (out []diag.Cause) {
	for _, o := range t.Host.Others {
		out = append(out, diag.Cause{Code: diag.PortShared, Count: int(o.Port), Name: o.Name})
	}
	return out
}

func mtu(t *Tunnel) []diag.Cause {
	const least = 1280 // RFC 8200 section 5
	if t.carries() && t.Host.MTU > 0 && t.Host.MTU < least {
		return one(diag.Cause{Code: diag.SmallMTU, Count: t.Host.MTU, Peer: t.peer()})
	}
	return nil
}

func clock(t *Tunnel) []diag.Cause {
	if t.Host.Unsynced {
		return one(diag.Cause{Code: diag.ClockUnset})
	}
	return nil
}
