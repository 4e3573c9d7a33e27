package gateway

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/diag"
	"vpngw/doctor"
	"vpngw/host"
	"vpngw/ike/sa"
	"vpngw/ipsec"
	"vpngw/tunnel"
)

func (h *fakeHost) Examine(netip.Addr, string, func(string, netip.Addr) []host.Passage) host.Exam {
	return host.Exam{Device: "eth0", Source: h.addresses[0], Addresses: h.addresses, Findings: h.findings}
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
		h.findings = []host.Finding{{Cause: diag.Cause{Code: diag.IPForward}}}
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
