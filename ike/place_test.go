package ike

import (
	"net/netip"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// A peer whose name has no address is not asked, answers nobody, and says why. When it has one, it connects at once.
func TestAPeerWithoutAnAddressWaits(t *testing.T) {
	every(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		const host = "gw.example.net"
		w := newWorld(t, 0)
		a, b := w.host("192.0.2.1", 0x1000), w.host("192.0.2.2", 0x2000)
		pa, pb := peersFor()
		change(pa, pb)
		b.SetPeers(w.now, []*sa.Peer{pb})
		lost := *pa
		lost.Host, lost.Remote, lost.RemoteID = host, netip.Addr{}, ipsec.Identity{}
		a.SetPeer(w.now, nil, &lost)
		w.run(time.Minute)
		if st := a.view()[0]; len(w.sent) > 0 || st.Why != "" {
			t.Errorf("%d messages, and why is %q", len(w.sent), st.Why)
		}
		a.Do(w.now, sa.Unplaced{Why: map[string]string{"other": "x", host: "DNS knows no such name"}})
		a.Do(w.now, sa.PathChanged{})
		w.run(time.Minute)
		if why := a.peer(0).why; !why.Is(diag.NameUnresolved) || len(w.sent) > 0 {
			t.Errorf("%d messages, and why is %v", len(w.sent), why)
		}

		found := *pa
		found.Host, found.Children = host, nil
		for _, c := range pa.Children {
			own := *c
			found.Children = append(found.Children, &own)
		}
		a.SetPeer(w.now, &lost, &found)
		w.run(time.Second)
		wantPairs(t, a, b, 1)
		a.Do(w.now, sa.Unplaced{Why: map[string]string{host: "no DNS server answers"}})
		w.run(time.Minute)
		wantPairs(t, a, b, 1)
		if why := a.peer(0).why; !why.OK() {
			t.Errorf("up, and why is %v", why)
		}
	})
}
