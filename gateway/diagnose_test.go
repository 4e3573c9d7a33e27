package gateway

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/bgp"
	"vpngw/diag"
	"vpngw/doctor"
	"vpngw/host"
	"vpngw/ike/sa"
	"vpngw/ipsec"
	"vpngw/tunnel"
)

func (h *fakeHost) Examine(_ time.Time, _ netip.Addr, tun string, _ func(string, netip.Addr) []host.Passage) host.Exam {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.examined++
	findings := h.findings
	if h.only != "" && tun != h.only {
		findings = nil
	}
	return host.Exam{Device: "eth0", Source: h.addresses[0], Addresses: h.addresses, Findings: findings}
}

// AskNeighbor finds a peer on which nothing listens.
func (h *fakeHost) AskNeighbor(a host.Ask) host.Neighbor {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, a)
	n := host.Neighbor{Ping: host.Accepted, Large: host.Accepted}
	if a.Connect {
		n.Plain, n.Alike = host.Refused, host.Refused
	}
	return n
}

func TestDiagnoseGathersWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := officeHost()
		r := start(t, h, configOf(hq()), Options{})
		defer r.stop()
		ask := func() doctor.Diagnosis {
			list, err := r.Diagnose(t.Context(), "hq")
			if err != nil || len(list) != 1 {
				t.Fatalf("%v, %v", list, err)
			}
			return list[0]
		}
		if _, err := r.Diagnose(t.Context(), "hg"); err == nil || !strings.Contains(err.Error(), `no connection "hg"`) {
			t.Errorf("got %v", err)
		}
		peer := hq().Tunnels[0].Remote.Address
		r.do(sa.IKEFailed{Peer: r.ike.peers[0], Cause: diag.Cause{Code: diag.PSKMismatch}})
		if d := ask(); len(d.Findings) != 1 || d.Findings[0].Code != diag.PSKMismatch || len(d.Findings[0].Change) == 0 || !d.Ill() {
			t.Errorf("a wrong key: %+v", d)
		}
		h.find(diag.Cause{Code: diag.IPForward})
		c := r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		if d := ask(); d.State != tunnel.Up || len(d.Findings) != 1 || d.Findings[0].Code != diag.IPForward {
			t.Errorf("a host that does not forward: %+v", d)
		}

		// What fails while the tunnel is up is an event, and its state stays.
		r.do(sa.ChildFailed{Child: r.ike.peers[0].Children[0], Cause: diag.Cause{Code: diag.ESPRefused, Ours: "x", Notify: "NO_PROPOSAL_CHOSEN"}})
		list, err := r.Events(t.Context(), "hq", 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if e := list[len(list)-1]; e.Code != diag.ESPRefused || e.Was != tunnel.Up || e.State != tunnel.Up || e.Side != diag.Either {
			t.Errorf("the last event is %+v", e)
		}
		r.wantState("hq", tunnel.Up)

		// IKE messages are counted by the peer's port.
		r.do(sa.Send{Path: ipsec.Path{Local: netip.AddrPortFrom(h.addresses[0], 500), Remote: netip.AddrPortFrom(peer, 500)}, Data: []byte{1}})
		h.socket(500).put(ipsec.Datagram{Local: netip.AddrPortFrom(h.addresses[0], 500), Remote: netip.AddrPortFrom(peer, 4500), Data: make([]byte, 28)})
		synctest.Wait()
		r.loop(func() {
			if p := r.peers.byRemote[peer]; p.asked != (doctor.Ports{IKE: 1}) || p.heard != (doctor.Ports{NATT: 1}) {
				t.Errorf("sent %+v, heard %+v", p.asked, p.heard)
			}
		})

		for range 3 {
			r.do(sa.Remove{SPIIn: c.SPIIn, Why: diag.Cause{Code: diag.PeerDeletedESP}})
			r.do(sa.ChildFailed{Child: r.ike.peers[0].Children[0], Cause: diag.Cause{Code: diag.PeerDeletedESP}})
			c = r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
			r.do(sa.ChildFailed{Child: r.ike.peers[0].Children[0]})
		}
		if n := r.events.ended("hq", time.Now().Add(-time.Hour)); n != 3 {
			t.Errorf("the peer has deleted SAs %d times, want 3", n)
		}
	})
}

// The peer in the tunnel is asked outside of the control loop, and only while the tunnel carries packets.
func TestDiagnoseGathersTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := officeHost()
		f := &fakeSpeakers{host: h}
		c := bgpHQ()
		c.Tunnels[0].BGP.TTLSecurity, c.Tunnels[0].BGP.AuthKey = true, ipsec.Secret("a key of BGP")
		r := start(t, h, configOf(c), Options{BGP: f.speak})
		defer r.stop()
		s := f.one(t, 0, 1)
		codes := func() (out []diag.Code) {
			list, err := r.Diagnose(t.Context(), "hq")
			if err != nil || len(list) != 1 {
				t.Fatalf("%v, %v", list, err)
			}
			for _, f := range list[0].Findings {
				if out = append(out, f.Code); strings.Contains(f.Why, "a key of BGP") {
					t.Errorf("%q tells the password", f.Why)
				}
			}
			return out
		}
		if codes(); len(h.asked) != 0 {
			t.Errorf("the peer of a tunnel that is down was asked: %+v", h.asked)
		}
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		if got := codes(); !slices.Equal(got, []diag.Code{diag.BGPRefused}) {
			t.Errorf("nobody listens: found %q", got)
		}
		if want := (host.Ask{Local: addr("169.254.1.1"), Remote: addr("169.254.1.2"), Connect: true, TTLSecurity: true}); len(h.asked) != 1 || h.asked[0] != want {
			t.Errorf("asked %+v, want %+v", h.asked, want)
		}
		why := diag.Cause{Code: diag.BGPAS, Ours: "64600", Theirs: "64601"}
		s.report(bgp.Report{Tunnel: "hq", State: bgp.Connecting, Last: why})
		synctest.Wait()
		if got := codes(); !slices.Equal(got, []diag.Code{diag.BGPAS}) {
			t.Errorf("another AS: found %q", got)
		}
		up := established("hq", "10.1.0.0/16")
		up.Out, up.Flaps = 0, 4
		up.Refused = []bgp.Refused{{Prefix: prefixes("0.0.0.0/0")[0], Cause: diag.Cause{Code: diag.BGPPrefixRefused, Prefix: prefixes("0.0.0.0/0")[0], Ours: "less"}}}
		s.report(up)
		synctest.Wait()
		if got := codes(); !slices.Equal(got, []diag.Code{diag.BGPFlaps, diag.BGPTellsNothing, diag.BGPPrefixRefused}) {
			t.Errorf("established: found %q", got)
		}
		if last := h.asked[len(h.asked)-1]; last.Connect {
			t.Error("a connection was tried beside an established session")
		}
		up.Flaps, up.Refused, up.Out = 0, nil, 1
		s.report(up)
		synctest.Wait()
		if got := codes(); len(got) != 0 {
			t.Errorf("all is well: found %q", got)
		}
	})
}
