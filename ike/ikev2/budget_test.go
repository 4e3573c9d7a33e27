package ikev2

import (
	"net/netip"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// hosts are n selectors of one address each.
func hosts(n int) []ipsec.Selector {
	out := make([]ipsec.Selector, n)
	for i := range out {
		a := netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)})
		out[i] = ipsec.Selector{Start: a, End: a, EndPort: 65535}
	}
	return out
}

// TestPairsOfSelectorsAreABudget: of one Child SA, and of all of a peer's; a replaced one does not count.
func TestPairsOfSelectorsAreABudget(t *testing.T) {
	cfg := childFor("a", "10.1.0.0/16", "10.2.0.0/16")
	s := &SA{fam: &family{}, peer: &sa.Peer{Children: []*sa.Child{cfg}}}
	add := func(n, m int) *child {
		c := &child{sa: &ipsec.ChildSA{Local: hosts(n), Remote: hosts(m)}}
		s.fam.children = append(s.fam.children, c)
		return c
	}
	if why := s.affords(cfg, nil, hosts(32), hosts(32)); !why.OK() {
		t.Errorf("1024 pairs: %v", why)
	}
	if why := s.affords(cfg, nil, hosts(32), hosts(33)); why.Code != diag.TooManyPairs || why.Count != 32*33 {
		t.Errorf("1056 pairs: %v", why)
	}
	for range 3 {
		add(32, 32)
	}
	old := add(32, 32)
	if why := s.affords(cfg, nil, hosts(1), hosts(1)); why.Code != diag.TooManyPairs {
		t.Errorf("4097 pairs: %v", why)
	}
	if why := s.affords(cfg, old, hosts(32), hosts(32)); !why.OK() {
		t.Errorf("a rekey at the bound: %v", why)
	}
	cfg.Local, cfg.Remote = hosts(64), hosts(64) // what is configured is always allowed
	if why := s.affords(cfg, nil, cfg.Local, cfg.Remote); !why.OK() {
		t.Errorf("what is configured: %v", why)
	}
}

// TestAnUnprovenGroupIsAskedForAgain: an IKE SA that began in another group than our first choice is rekeyed, for this cause.
func TestAnUnprovenGroupIsAskedForAgain(t *testing.T) {
	w := newWorld(t, func(a, b *sa.Peer) {
		a.Proposals, b.Proposals = parse(ipsec.ProtoIKE, "aes128-sha256-x25519-ecp256"), parse(ipsec.ProtoIKE, "aes128-sha256-ecp256")
	})
	seen := false
	w.step = func() {
		for _, m := range w.a.machines {
			seen = seen || m.(*SA).rekeyWhy.Is(diag.GroupUnproven)
		}
	}
	w.start()
	w.run(time.Second)
	if w.wantPairs(1); !seen {
		t.Error("it is not")
	}
}
