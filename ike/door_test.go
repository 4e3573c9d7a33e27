package ike

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// every runs a test in IKEv2 and in both modes of IKEv1.
func every(t *testing.T, f func(t *testing.T, change func(pa, pb *sa.Peer))) {
	t.Run("IKEv2", func(t *testing.T) { f(t, func(_, _ *sa.Peer) {}) })
	both(t, f)
}

// closed is a filter that drops what goes to or comes from a port.
func closed(port uint16) func(d *ipsec.Datagram) bool {
	return func(d *ipsec.Datagram) bool { return d.Local.Port() != port && d.Remote.Port() != port }
}

// asked are the ports of b that messages went to since the i-th arrival.
func (w *world) asked(b *end, i int) map[uint16]bool {
	out := map[uint16]bool{}
	for _, d := range w.got[i:] {
		if d.Local.Addr() == b.addr {
			out[d.Local.Port()] = true
		}
	}
	return out
}

func TestSilenceOnPort500TriesPort4500(t *testing.T) {
	every(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, change)
		w.filter = closed(sa.PortIKE)
		w.run(10 * time.Second)
		wantPairs(t, a, b, 1)
		if st := a.view()[0].IKE; st.NAT != "none" || st.Encap {
			t.Errorf("NAT %q, encap %v: the hashes do not fit the ports", st.NAT, st.Encap)
		}
		w.run(3 * time.Hour) // and rekeys there
		wantPairs(t, a, b, 1)

		// What worked is tried first.
		for _, c := range a.peer(0).cfg.Children {
			a.Do(w.now, sa.Lower{Tunnel: c.Tunnel})
		}
		w.run(time.Minute)
		for _, c := range a.peer(0).cfg.Children {
			a.Do(w.now, sa.Raise{Tunnel: c.Tunnel})
		}
		w.run(time.Second)
		wantPairs(t, a, b, 1)
	})
}

// What worked once is not for ever: port 4500 is closed now, and 500 is open.
func TestAKnownPortThatIsClosedGivesWayToTheOther(t *testing.T) {
	every(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, change)
		a.peer(0).door = sa.PortNATT
		w.filter = closed(sa.PortNATT)
		w.run(10 * time.Second)
		wantPairs(t, a, b, 1)
		if a.peer(0).door != sa.PortIKE {
			t.Errorf("it remembers port %d", a.peer(0).door)
		}
	})
}

// An answer that is slow comes after the other port was tried.
func TestALateAnswerFromTheFirstPortCounts(t *testing.T) {
	every(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, change)
		var late []ipsec.Datagram
		w.filter = func(d *ipsec.Datagram) bool {
			if d.Local.Addr() == a.addr && d.Remote.Port() == sa.PortIKE && late != nil && len(a.in) == 0 && w.now.Sub(a.peer(0).since) < 6*time.Second {
				return false
			}
			if d.Local.Addr() == a.addr && late == nil {
				late = []ipsec.Datagram{{Local: d.Local, Remote: d.Remote, Data: bytes.Clone(d.Data)}}
				return false
			}
			return d.Local.Port() != sa.PortNATT
		}
		w.run(7 * time.Second)
		if len(a.in) > 0 || len(late) == 0 {
			t.Fatal("it did not begin as the test wants")
		}
		if p := a.view()[0].IKE.Remote; p.Port() != sa.PortNATT {
			t.Fatalf("it asks %v now, want port 4500", p)
		}
		w.filter = nil
		w.wire = append(w.wire, late...)
		w.run(300 * time.Millisecond)
		wantPairs(t, a, b, 1)
	})
}

func TestWithoutNATTraversalOnlyPort500IsTried(t *testing.T) {
	every(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
			change(pa, pb)
			pa.NATT = false
		})
		b.dead = true
		w.run(3 * time.Minute)
		if got := w.asked(b, 0); !got[sa.PortIKE] || got[sa.PortNATT] {
			t.Errorf("asked at %v", got)
		}
		if why := a.peer(0).why; !why.Is(diag.NoAnswer) || strings.Contains(why.Cause().String(), "nor on") {
			t.Errorf("why is %v", why)
		}
	})
}

func TestSilenceNamesThePortsTried(t *testing.T) {
	every(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, change)
		b.dead = true
		w.run(10 * time.Minute)
		if got := w.asked(b, 0); !got[sa.PortIKE] || !got[sa.PortNATT] {
			t.Errorf("asked at %v", got)
		}
		if why := a.peer(0).why.Cause().String(); !strings.Contains(why, "192.0.2.2:500, nor on its UDP port 4500") {
			t.Errorf("why is %q", why)
		}
		// Whichever port is open, it hears of us often.
		last := map[uint16]time.Time{}
		w.filter = func(d *ipsec.Datagram) bool {
			p := d.Local.Port()
			if was, ok := last[p]; ok && w.now.Sub(was) > 45*time.Second {
				t.Errorf("port %d hears nothing for %v", p, w.now.Sub(was))
			}
			last[p] = w.now
			return true
		}
		w.run(10 * time.Minute)
	})
}

// A port that the configuration says is the only one. Here the router of b forwards it to port 4500.
func TestAGivenPortIsAskedBehindTheMarker(t *testing.T) {
	every(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w := newWorld(t, 0)
		a, b := w.host("192.0.2.1", 0x1000), w.host("10.0.0.2", 0x2000)
		n := w.nat("192.0.2.99", b)
		inside := netip.AddrPortFrom(b.addr, sa.PortNATT)
		n.back[14500] = inside
		n.ports[[2]netip.AddrPort{inside, netip.AddrPortFrom(a.addr, sa.PortNATT)}] = 14500
		pa, pb := peersFor()
		change(pa, pb)
		pa.Remote, pa.RemoteID, pa.Port = n.outside, ipsec.IdentityOf(n.outside), 14500
		pb.LocalID, pb.Local = pa.RemoteID, netip.Addr{}
		b.SetPeers(w.now, []*sa.Peer{pb})
		a.SetPeers(w.now, []*sa.Peer{pa})
		w.run(time.Second)
		wantPairs(t, a, b, 1)
		want := ipsec.Path{Local: netip.MustParseAddrPort("192.0.2.1:4500"), Remote: netip.MustParseAddrPort("192.0.2.99:14500"), UDP: true}
		if got := a.newest[0].Path; got != want {
			t.Errorf("ESP goes by %v, want %v", got, want)
		}
		w.run(3 * time.Hour)
		wantPairs(t, a, b, 1)
		if got := w.asked(b, 0); len(got) != 1 {
			t.Errorf("asked at %v, want 4500 only", got)
		}
	})
}
