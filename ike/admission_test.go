package ike

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"vpngw/ike/sa"
)

// crowdAt is n peers at one address.
func crowdAt(n int, at netip.Addr) (out []*sa.Peer) {
	for i := range n {
		p := peerFor(fmt.Sprint(at, i), addr(10, i).String(), addr(11, i).String())
		p.Remote = at
		p.Children[0].Local, p.Children[0].Remote = selectors("10.1.0.0/16"), selectors("10.2.0.0/16")
		p.Children[0].Initiate = true
		out = append(out, p)
	}
	return out
}

// began are the addresses to which first messages of new attempts went since the last call.
func began(end *end, known map[uint64]bool) map[netip.Addr]int {
	out := map[netip.Addr]int{}
	for a := end.Next(); a != nil; a = end.Next() {
		s, ok := a.(sa.Send)
		if !ok {
			continue
		}
		var spi uint64
		for _, b := range s.Data[:8] {
			spi = spi<<8 | uint64(b)
		}
		if !known[spi] {
			known[spi] = true
			out[s.Path.Remote.Addr()]++
		}
	}
	return out
}

func TestManyPeersAreBegunInTurns(t *testing.T) {
	w := newWorld(t, 0)
	end := w.host("192.0.2.1", 0x1000)
	one, other := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
	end.SetPeers(w.now, append(crowdAt(100, one), crowdAt(3, other)...))
	known := map[uint64]bool{}
	end.Advance(w.now)
	if got := began(end, known); got[one] != underWayAt || got[other] != 3 {
		t.Errorf("at first %v were begun", got)
	}
	end.Advance(w.now.Add(holdsLeast / 2))
	if got := began(end, known); len(got) != 0 {
		t.Errorf("before anybody answered or was given up, %v more were begun", got)
	}
	// Nobody answers: they must not hold up the others.
	total := underWayAt
	for i := 1; total < 100 && i < 10; i++ {
		end.Advance(w.now.Add(time.Duration(i) * holdsLeast))
		got := began(end, known)
		if got[one] > underWayAt {
			t.Errorf("%d were begun at once", got[one])
		}
		total += got[one]
	}
	if total < 100 {
		t.Errorf("after 10 s %d of 100 were begun", total)
	}
}
