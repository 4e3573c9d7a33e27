package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/host"
)

// BGP is the session of a tunnel as a check sees it.
type BGP struct {
	Local, Remote         netip.Addr // in the tunnel
	Passive               bool       // this end waits for the peer's connection
	Password, TTLSecurity bool
	Announces             bool // this end has something to announce by its configuration

	Established bool
	Hold        time.Duration // as negotiated, or as wanted
	Complete    bool          // the peer has told all that it has
	Out         int           // prefixes that it was told
	Flaps       int
	Last        diag.Cause   // why the session is not established, or why it last ended
	Refused     []diag.Cause // prefixes that were not accepted, the newest last

	Neighbor host.Neighbor
	Large    int // bytes of Neighbor's larger ping
}

// Ask is what the host is to be asked about the peer; false: the tunnel has no BGP, or does not carry it.
func (t *Tunnel) Ask() (host.Ask, bool) {
	b := t.BGP
	if b == nil || !t.carries() {
		return host.Ask{}, false
	}
	return host.Ask{Local: b.Local, Remote: b.Remote, Connect: !b.Established, TTLSecurity: b.TTLSecurity, Large: b.Large}, true
}

// cause is a cause about the session.
func (b *BGP) cause(code diag.Code) diag.Cause {
	return diag.Cause{Code: code, Peer: netip.AddrPortFrom(b.Remote, 0), Addr: b.Local}
}

// session looks at the BGP session of a tunnel that carries packets. Of one that does not, the tunnel's own cause says all.
func session(t *Tunnel) []diag.Cause {
	b := t.BGP
	switch {
	case b == nil || !t.carries() || b.Established || t.Cause.Is(diag.HealthFailed) || t.Cause.Is(diag.BFDDown): // these keep BGP from the tunnel
		return nil
	case b.Neighbor.Owner != "":
		c := b.cause(diag.BGPPortTaken)
		c.Name, c.Theirs = t.Conn, b.Neighbor.Owner
		return one(c)
	}
	switch why := root(b.Last); why.Code {
	case "", diag.BGPDown, diag.BGPWaits, diag.BGPNoAnswer, diag.BGPRefused, diag.ConfigChanged:
		return one(b.unheard(why))
	case diag.BGPHold:
		if c, ok := b.lowTTL(); ok { // a peer may have other TTLs before its connection is taken
			return one(c)
		}
		if c, ok := b.narrow(); ok {
			return one(c)
		}
		if why.After = b.Hold; !why.Peer.IsValid() {
			why.Peer = b.cause("").Peer
		}
		return one(why)
	default:
		return one(why)
	}
}

// root is what explains a cause at last.
func root(c diag.Cause) diag.Cause {
	for (c.Is(diag.BGPWaits) || c.Is(diag.BGPDown)) && len(c.Because) > 0 {
		c = c.Because[0]
	}
	return c
}

// unheard says why there is no session of which no more is known than that no connection came about, by how the peer
// takes SYNs that are not signed, and pings.
func (b *BGP) unheard(why diag.Cause) diag.Cause {
	n := b.Neighbor
	low, lowTTL := b.lowTTL()
	switch {
	case n.Plain == host.Refused:
		return b.cause(diag.BGPRefused)
	case lowTTL: // whatever the SYNs of this moment say
		return low
	case n.Plain == host.Accepted && n.Alike == host.Silence:
		c := b.cause(diag.BGPTTL)
		c.Ours = "this end has not, and the peer answers only what comes with a TTL of 255"
		if b.TTLSecurity {
			c.Ours = "this end has, and what the peer sends comes with a lower TTL"
		}
		return c
	case n.Plain == host.Accepted && b.Password:
		c := b.cause(diag.BGPPassword)
		c.Ours = "this end has one, and the peer takes a connection without"
		return c
	case n.Plain == host.Accepted && b.Passive:
		return b.cause(diag.BGPBothWait)
	case n.Plain == host.Silence && n.Ping == host.Accepted:
		return b.unsigned()
	case n.Plain == host.Silence && n.Ping == host.Silence:
		c := b.cause(diag.BGPInside)
		c.Ours = b.Local.String()
		return c
	case why.OK() || why.Is(diag.BGPDown) || why.Is(diag.ConfigChanged):
		return b.cause(diag.BGPWaits)
	}
	return why
}

// lowTTL reports whether this end's TTL security has dropped packets.
func (b *BGP) lowTTL() (diag.Cause, bool) {
	c := b.cause(diag.BGPTTL)
	c.Ours = fmt.Sprintf("this end has, and %d TCP segments came with a lower TTL", b.Neighbor.LowTTL)
	return c, b.TTLSecurity && b.Neighbor.LowTTL > 0
}

// unsigned is what a peer says that answers pings and no SYN without a password: the kernel drops what has another
// password, or none, without a word.
func (b *BGP) unsigned() diag.Cause {
	c := b.cause(diag.BGPPassword)
	has := "this end has none, and the peer"
	if b.Password {
		has = "the peer"
	}
	c.Ours = has + " answers pings and nothing on TCP 179; or a filter there drops TCP 179"
	if n := b.Neighbor.Unsigned; n > 0 {
		c.Ours = fmt.Sprintf("%s answers pings and nothing on TCP 179, and %d TCP segments came with another password or without", has, n)
	}
	return c
}

// narrow reports whether the path takes small packets only.
func (b *BGP) narrow() (diag.Cause, bool) {
	c := b.cause(diag.BGPSmallPath)
	c.Count = b.Large
	return c, b.Neighbor.Ping == host.Accepted && b.Neighbor.Large == host.Silence
}

// exchange looks at what an established session brings.
func exchange(t *Tunnel) (out []diag.Cause) {
	b := t.BGP
	if b == nil || !t.carries() || !b.Established {
		return nil
	}
	flaps := b.Flaps >= few
	switch c, narrow := b.narrow(); {
	case narrow && (flaps || !b.Complete):
		out = append(out, c)
	case flaps:
		c := b.cause(diag.BGPFlaps)
		c.Count = b.Flaps
		if why := root(b.Last); !why.Is(diag.BGPDown) {
			c = c.Since(why)
		}
		out = append(out, c)
	}
	if b.Out == 0 {
		c := b.cause(diag.BGPTellsNothing)
		if !b.Announces {
			c.Ours = "the networks of this end are 0.0.0.0/0, so `announce` has to list what to announce"
		}
		out = append(out, c)
	}
	return append(out, b.refused()...)
}

// refused are prefixes that were not accepted: one of each kind, and a few in all.
func (b *BGP) refused() (out []diag.Cause) {
	for _, c := range slices.Backward(b.Refused) {
		alike := func(o diag.Cause) bool { return o.Code == c.Code && o.Ours == c.Ours }
		if len(out) < few && !slices.ContainsFunc(out, alike) {
			out = append(out, c)
		}
	}
	return out
}
