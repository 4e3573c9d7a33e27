package ike

import (
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// The key alone identifies a peer that may have any identity, with either end as initiator and in either version
// of IKE. A peer with a configured identity comes before it.
func TestAnybodyWithTheKeyIsWelcome(t *testing.T) {
	modes := map[string]func(pa, pb *sa.Peer){"IKEv2": func(_, _ *sa.Peer) {}, "main": v1, "aggressive": aggressive}
	for name, mode := range modes {
		for _, anyInitiates := range []bool{false, true} {
			w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
				mode(pa, pb)
				pa.LocalID = ipsec.Identity{Type: ipsec.IDFQDN, Data: "whoever"}
				pb.RemoteID = ipsec.AnyIdentity
				pa.Children[0].Initiate, pb.Children[0].Initiate = !anyInitiates, anyInitiates
			})
			w.run(2 * time.Second)
			if !a.view()[0].Children[0].Up || !b.view()[0].Children[0].Up {
				t.Errorf("%s, anybody initiates %v: %q, %q", name, anyInitiates, a.view()[0].Why, b.view()[0].Why)
			}
		}
		w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
			mode(pa, pb)
			pb.RemoteID = ipsec.AnyIdentity
			pb.PSK = ipsec.Secret("another key")
		})
		w.run(2 * time.Second)
		if a.view()[0].Children[0].Up || b.view()[0].Children[0].Up {
			t.Errorf("%s: up with another key", name)
		}
	}
}

func TestNamedPeerComesBeforeAnybody(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.host("192.0.2.1", 0x1000), w.host("192.0.2.2", 0x2000)
	pa, pb := peersFor()
	anybody := *pb
	child := *pb.Children[0]
	child.Name, child.Tunnel = "anybody", "anybody"
	anybody.Name, anybody.RemoteID, anybody.Children = "anybody", ipsec.AnyIdentity, []*sa.Child{&child}
	b.SetPeers(w.now, []*sa.Peer{&anybody, pb})
	a.SetPeers(w.now, []*sa.Peer{pa})
	w.run(2 * time.Second)
	for _, st := range b.view() {
		if up := st.Children[0].Up; up != (st.Name == pb.Name) {
			t.Errorf("%s: up %v", st.Name, up)
		}
	}
}
