package gateway

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"vpngw/diag"
	"vpngw/tunnel"
)

// sendBFD sends a packet of a tunnel's BFD session through the tunnel's own SA. The log tells why one can't be sent, once for each
// reason.
func (g *Gateway) sendBFD(e *entry, a tunnel.BFDSend) {
	if e == nil || e.open == nil {
		return
	}
	err := e.open.data.SendBFD(a.Local, a.Remote, a.Packet)
	if err == nil {
		e.open.unsent = ""
		return
	}
	if why := err.Error(); why != e.open.unsent {
		e.open.unsent = why
		g.Log.Warn("BFD cannot send", "conn", e.conn.Name, "tunnel", a.Tunnel, "err", err)
	}
}

// listenBFD has the data plane take the BFD packets of the tunnel's peer.
func (e *entry) listenBFD() {
	t := e.tunnel
	switch {
	case e.open == nil:
	case t.BGP != nil && t.BGP.BFD != nil && t.Inside.IsValid():
		e.open.data.BFD(t.Inside.Addr(), t.Peer)
	default:
		e.open.data.BFD(netip.Addr{}, netip.Addr{})
	}
}

// hearBFD gives a group the newest packet of each of its tunnels. It comes before the group looks at the time: if the loop was
// late, a packet that has arrived must not count as missing.
func (g *Gateway) hearBFD(now time.Time, gr *group) {
	for _, e := range gr.entries {
		if e.open == nil || e.tunnel.BGP == nil || e.tunnel.BGP.BFD == nil {
			continue
		}
		if packet := e.open.data.HeardBFD(g.heard[:0]); len(packet) > 0 {
			gr.Note(now, tunnel.BFDHeard{Tunnel: e.tunnel.Name, Packet: packet})
		}
	}
}

// leave has a tunnel's peer know that this end gives the tunnel up.
func (g *Gateway) leave(now time.Time, e *entry) {
	g.note(now, e, tunnel.Leaving{Tunnel: e.tunnel.Name})
}

// discriminators are those of all tunnels with BFD. They are drawn, so that nobody can tell them beforehand.
type discriminators map[uint32]bool

func (d discriminators) draw() uint32 {
	for {
		if n := rand.Uint32(); n != 0 && !d[n] {
			d[n] = true
			return n
		}
	}
}

// BFDStatus is the BFD session of a tunnel.
type BFDStatus struct {
	State       string    `json:"state"` // rests, down, init, up
	Since       time.Time `json:"since"`
	Local       string    `json:"local"` // addresses in the tunnel
	Remote      string    `json:"remote"`
	Interval    float64   `json:"interval_ms"` // between our packets at most, as negotiated
	Detect      float64   `json:"detect_ms"`   // without a packet until the peer counts as gone; 0: it was never heard
	Discarded   uint64    `json:"discarded"`   // packets that were not the neighbour's, or came through a router
	diag.Report           // why it is not up
}

// bfd is the entry's part of Status.
func (e *entry) bfd(now time.Time, b *tunnel.BFDStatus) *BFDStatus {
	if b == nil {
		return nil
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	s := &BFDStatus{State: b.State.String(), Since: ByClock(now, b.Since).UTC(), Remote: b.Remote.String(), Interval: ms(b.Every), Detect: ms(b.Detect), Report: b.Cause.Report()}
	if b.Local.IsValid() {
		s.Local = b.Local.String()
	}
	if e.open != nil {
		s.Discarded = e.open.data.DiscardedBFD()
	}
	return s
}
