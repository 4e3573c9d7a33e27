package gateway

import (
	"net/netip"

	"vpngw/ike/sa"
)

// met are the IKE SAs with peers that may come from anywhere, and where these are: who has proven who it is waits in no line with strangers.
type met map[[2]uint64]netip.Addr

// meet notes what a Fact says of such a peer.
func (g *Gateway) meet(f sa.Fact) {
	switch f := f.(type) {
	case sa.IKEEstablished:
		g.place(f.SA, true)
	case sa.IKERekeyed:
		g.place(f.Old, false)
		g.place(f.SA, true)
	case sa.PeerMoved:
		g.place(f.SA, true)
	case sa.IKEEnded:
		g.place(f.SA, false)
	}
}

func (g *Gateway) place(s sa.IKESA, there bool) {
	if s.Peer == nil || !s.Peer.Anywhere() {
		return
	}
	k := [2]uint64{s.SPIi, s.SPIr}
	if was, ok := g.met[k]; ok {
		g.in.meet(was, -1)
		delete(g.met, k)
	}
	if there {
		a := s.Path.Remote.Addr().Unmap()
		g.met[k] = a
		g.in.meet(a, 1)
	}
}
