package gateway

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/ike"
	"vpngw/ike/sa"
	"vpngw/ipsec"
	"vpngw/tunnel"
)

// fromAnywhere is a connection whose peer may come from anywhere.
func fromAnywhere() *config.Connection {
	c := hq()
	t := &c.Tunnels[0]
	t.Remote.Address, t.Remote.Any, t.Remote.ID, t.Start = netip.Addr{}, true, ipsec.ParseIdentity("branch.example"), config.StartPassive
	return c
}

// The status says "any" until the peer has proven who it is, and then where it is; the operator's wish does not make this end begin.
func TestAPeerFromAnywhereInStatusAndDoctor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := officeHost()
		r := start(t, h, configOf(fromAnywhere(), lab()), Options{})
		defer r.stop()
		want := func(when, remote string) {
			t.Helper()
			if s := r.tunnelStatus("hq"); s.Remote != remote {
				t.Errorf("%s: status says %q, want %q", when, s.Remote, remote)
			}
			if m := r.metrics().Tunnels[0]; m.Remote != "any" {
				t.Errorf("%s: metrics say %q", when, m.Remote)
			}
		}
		r.wantState("hq", tunnel.Waiting)
		want("at first", "any")
		if p := r.ike.peers[0]; !p.Anywhere() || p.Children[0].Initiate {
			t.Errorf("IKE has %+v", p.PeerKey)
		}
		list, err := r.Diagnose(t.Context(), "hq")
		if err != nil || len(list) != 1 || len(list[0].Findings) != 1 || list[0].Findings[0].Code != diag.NobodyBegins ||
			list[0].Findings[0].Why != "this end only answers, and nothing has come: the other end does not begin, has another address, or a filter on the way drops its UDP 500" {
			t.Errorf("the doctor finds %+v, %v", list, err)
		}
		if err := r.Up(context.Background(), "hq"); err != nil {
			t.Fatal(err)
		}
		r.wantState("hq", tunnel.Waiting)
		if r.ike.peers[0].Children[0].Initiate {
			t.Error("this end is to begin, with nobody")
		}

		far, next := netip.MustParseAddrPort("198.51.100.77:4500"), netip.MustParseAddrPort("203.0.113.200:4500")
		path := ipsec.Path{Local: netip.MustParseAddrPort("203.0.113.9:4500"), Remote: far, UDP: true}
		r.loop(func() { r.ike.status = &ike.IKEStatus{State: sa.Connecting, Local: path.Local, Remote: far} })
		want("somebody says to be it", "any")
		r.loop(func() { r.ike.status = &ike.IKEStatus{State: sa.Established, Local: path.Local, Remote: far} })
		is := sa.IKESA{Peer: r.ike.peers[0], SPIi: 1, SPIr: 2, Path: path}
		r.do(sa.IKEEstablished{SA: is})
		c := r.child("hq", "192.168.3.0/24", "10.10.0.0/16")
		c.Path = path
		r.do(sa.InstallIn{SA: c}, sa.InstallOut{SA: c})
		r.wantState("hq", tunnel.Up)
		want("up", far.Addr().String())
		r.loop(func() {
			if d := r.patient(c.Created, r.fleet.byName["hq"]); d.Want.Remote.Address != far.Addr() {
				t.Errorf("the doctor looks at %v", d.Want.Remote.Address)
			}
		})

		// Who has proven who it is has lines of its own among the messages, where it is now.
		own := func(a netip.Addr) bool {
			r.in.mu.Lock()
			defer r.in.mu.Unlock()
			return r.in.peers[a] || r.in.met[a] > 0
		}
		if !own(far.Addr()) || own(next.Addr()) {
			t.Error("the peer has no line of its own, or another has")
		}
		was := is.Path.Remote
		is.Path.Remote = next
		r.do(sa.PeerMoved{SA: is, Was: was})
		if own(far.Addr()) || !own(next.Addr()) {
			t.Error("its line has not followed")
		}
		rekeyed := is
		rekeyed.SPIi, rekeyed.SPIr = 3, 4
		r.do(sa.IKERekeyed{SA: rekeyed, Old: is})
		if !own(next.Addr()) {
			t.Error("a rekey has taken the line")
		}
		r.do(sa.IKEEnded{SA: rekeyed})
		if own(next.Addr()) || len(r.met) != 0 {
			t.Error("the line is still there")
		}
	})
}

func TestAKnownStrangerHasALineOfItsOwn(t *testing.T) {
	i, a := newInbox(), addr("198.51.100.77")
	for _, known := range []bool{false, true} {
		if known {
			i.meet(a, 1)
		}
		i.deliver(message(a, 1, false))
		if _, ok := i.next(); !ok {
			t.Fatal("nothing came")
		}
		i.deliver(message(a, 1, false))
		if own := i.lines[sender{at: a}] != nil; own != known {
			t.Errorf("known %v: a line of its own %v", known, own)
		}
		i.next()
	}
	i.meet(a, 1)
	i.meet(a, -1)
	i.meet(a, -1)
	if len(i.met) != 0 {
		t.Errorf("%v is left", i.met)
	}
}
