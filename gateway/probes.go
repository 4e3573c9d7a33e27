package gateway

import (
	"net/netip"
	"slices"
	"time"

	"vpngw/esp"
	"vpngw/tunnel"
)

// ping sends a health check's question through the tunnel's own SA. Its answer is an esp.Answered, which becomes a Pong at
// the time when the loop takes it. A question that can't be sent is lost like any other; the log tells why, once for
// each reason.
func (g *Gateway) ping(e *entry, a tunnel.Ping) {
	if e == nil || e.open == nil {
		return
	}
	err := e.open.data.Probe(esp.Echo{Source: a.Source, Target: a.Target, ID: a.ID, Seq: a.Seq})
	if err == nil {
		e.open.unasked = ""
		return
	}
	if why := err.Error(); why != e.open.unasked {
		e.open.unasked = why
		g.Log.Warn("a health check cannot ask", "conn", e.conn.Name, "tunnel", a.Tunnel, "err", err)
	}
}

// answered passes the answer to a Ping to the tunnel's group. It may come through another tunnel of the group: the peer, or the
// host that was asked, sends it where its own routes lead, as it does with the answers to all that the tunnel carries.
func (g *Gateway) answered(now time.Time, a esp.Answered) {
	e, via := g.fleet.byName[a.Tunnel], g.fleet.byName[a.Via]
	if e != nil && via != nil && e.group == via.group {
		g.note(now, e, tunnel.Pong{Tunnel: a.Tunnel, ID: a.ID, Seq: a.Seq})
		g.countPong(e)
	}
}

// answer has the data plane answer pings of the tunnel's peer to the addresses that are ours. own are the host's.
func (e *entry) answer(own []netip.Addr) {
	if e.open != nil {
		e.open.data.Answer(e.ours(own))
	}
}

// answerAgain follows a change of the host's addresses.
func (f *fleet) answerAgain(own []netip.Addr) {
	for _, e := range f.entries {
		if e.oneOfTwo() {
			e.answer(own)
		}
	}
}

// oneOfTwo reports whether another tunnel leads to the same networks.
func (e *entry) oneOfTwo() bool { return len(e.conn.Tunnels) > 1 || e.conn.Pair != "" }

// ours are the addresses of a tunnel at which its peer may ask for an answer: this end's address in the tunnel, and
// this end's addresses of the health checks. Of two tunnels, also those of the host's own addresses that the tunnel is for: the
// kernel would answer through the tunnel that has the routes, and a peer that checks both could not tell which of them works.
func (e *entry) ours(own []netip.Addr) (out []netip.Addr) {
	t := e.tunnel
	if t.Inside.IsValid() {
		out = append(out, t.Inside.Addr())
	}
	if h := t.Health; h != nil && !h.Ours && h.Target.IsValid() {
		out = append(out, h.Target)
	}
	if h := t.Asked(); h != nil && h.Source.IsValid() {
		out = append(out, h.Source)
	}
	if e.oneOfTwo() {
		for _, a := range own {
			if slices.ContainsFunc(t.Local.Subnets, func(p netip.Prefix) bool { return p.Contains(a) }) {
				out = append(out, a)
			}
		}
	}
	return out
}
