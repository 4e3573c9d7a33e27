package ike

import (
	"slices"
	"testing"

	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// Ends whose hashes are the same are told apart.
func TestPeersBetweenOtherEndsOfTheSameHash(t *testing.T) {
	w := newWorld(t, 0)
	b := w.host("192.0.2.2", 0x2000)
	one, two := peerFor("one", "192.0.2.2", "192.0.2.1"), peerFor("two", "192.0.2.2", "192.0.2.1")
	two.RemoteID = ipsec.ParseIdentity("two.example")
	b.SetPeers(w.now, []*sa.Peer{one, two})
	p, q := b.peers[one], b.peers[two]
	for _, e := range []ends{endsOf(one), endsOf(two)} {
		b.between[b.hash(e)] = []*peer{p, q}
	}
	if got := b.peersBetween(endsOf(one)); !slices.Equal(got, []*peer{p}) {
		t.Errorf("between the ends of the first peer there are %d peers, want that one", len(got))
	}
	if got := b.peersBetween(endsOf(two)); !slices.Equal(got, []*peer{q}) {
		t.Errorf("between the ends of the second peer there are %d peers, want that one", len(got))
	}
}
