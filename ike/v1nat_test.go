package ike

import (
	"encoding/hex"
	"net/netip"
	"testing"
	"time"

	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// Vendor ids of NAT traversal.
var vids = map[string]string{
	"RFC 3947":  "4a131c81070358455c5728f20e95452f",
	"draft 03":  "7d9419a65310ca6f2c179d9215529d56",
	"draft 02n": "90cb80913ebb696e086381b5ec427b1f",
	"draft 02":  "cd60464335df21f87cfdb2fc68b6a448",
}

// speakOnly removes all vendor ids of NAT traversal but one from first messages.
func speakOnly(keep string) func(d *ipsec.Datagram) bool {
	return func(d *ipsec.Datagram) bool {
		h, c, err := wire.Parse1(d.Data)
		if err != nil || h.Exchange != wire.ExchangeMain && h.Exchange != wire.ExchangeAggressive || h.Flags != 0 || c.Index(wire.TypeSA1) < 0 {
			return true
		}
		m := wire.Message{Header: h}
		for _, p := range c.Payloads {
			if r, ok := p.(*wire.Raw); ok && r.Kind == wire.TypeVendor1 {
				other := false
				for name, id := range vids {
					other = other || name != keep && hex.EncodeToString(r.Data) == id
				}
				if other {
					continue
				}
			}
			m.Payloads = append(m.Payloads, p)
		}
		d.Data = m.Marshal()
		return true
	}
}

// atNAT says behind which NAT each end is.
var atNAT = map[string]func(t *testing.T, change func(pa, pb *sa.Peer)) (*world, *end, *end, *nat){
	"initiator": func(t *testing.T, change func(pa, pb *sa.Peer)) (*world, *end, *end, *nat) {
		return behindNAT(t, change)
	},
	"responder": func(t *testing.T, change func(pa, pb *sa.Peer)) (*world, *end, *end, *nat) {
		w := newWorld(t, 0)
		a, b := w.host("192.0.2.1", 0x1000), w.host("10.0.0.2", 0x2000)
		n := forwarded(w, b, "192.0.2.99")
		pa, pb := peersFor()
		pa.Remote, pa.RemoteID = n.outside, ipsec.IdentityOf(n.outside)
		pb.LocalID, pb.Local = pa.RemoteID, netip.Addr{}
		change(pa, pb)
		b.SetPeers(w.now, []*sa.Peer{pb})
		a.SetPeers(w.now, []*sa.Peer{pa})
		return w, a, b, n
	},
	"both": func(t *testing.T, change func(pa, pb *sa.Peer)) (*world, *end, *end, *nat) {
		w := newWorld(t, 0)
		a, b := w.host("10.0.0.1", 0x1000), w.host("10.0.0.2", 0x2000)
		n := w.nat("192.0.2.98", a)
		to := forwarded(w, b, "192.0.2.99")
		pa, pb := peersFor()
		pa.LocalID, pa.Remote, pa.RemoteID = ipsec.IdentityOf(n.outside), to.outside, ipsec.IdentityOf(to.outside)
		pb.LocalID, pb.Remote, pb.RemoteID = pa.RemoteID, n.outside, pa.LocalID
		change(pa, pb)
		b.SetPeers(w.now, []*sa.Peer{pb})
		a.SetPeers(w.now, []*sa.Peer{pa})
		return w, a, b, n
	},
}

// forwarded is a NAT that forwards ports 500 and 4500, as clouds do.
func forwarded(w *world, e *end, outside string) *nat {
	n := w.nat(outside, e)
	for _, port := range []uint16{500, 4500} {
		n.back[port] = netip.AddrPortFrom(e.addr, port)
	}
	n.fixed = true
	return n
}

func TestV1AcrossNATs(t *testing.T) {
	t.Parallel()
	for where, make := range atNAT {
		for version := range vids {
			both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
				w, a, b, _ := make(t, func(pa, pb *sa.Peer) {
					change(pa, pb)
					pa.Lifetime, pa.Children[0].Lifetime.Time = time.Hour, 20*time.Minute
				})
				w.filter = speakOnly(version)
				w.run(time.Second)
				wantPairs(t, a, b, 1)
				want := map[string][2]string{"initiator": {"local", "remote"}, "responder": {"remote", "local"}, "both": {"both", "both"}}[where]
				if x, y := a.view()[0].IKE, b.view()[0].IKE; x.NAT != want[0] || y.NAT != want[1] || !x.Encap || !y.Encap {
					t.Errorf("%s, %s: NAT %s and %s", where, version, x.NAT, y.NAT)
				}
				for _, n := range []*end{a, b} {
					if p := n.newest[0].Path; !p.UDP || p.Local.Port() != 4500 {
						t.Errorf("%s, %s: ESP takes %+v", where, version, p)
					}
				}
				w.run(3 * time.Hour) // rekeys of both phases, from either end
				wantIKE(t, a, b, 1)
				if (a.alive > 0) != (want[0] == "local" || want[0] == "both") || (b.alive > 0) != (want[1] == "local" || want[1] == "both") {
					t.Errorf("%s: %d and %d keepalives", where, a.alive, b.alive)
				}
				a.noLeaks()
				b.noLeaks()
			})
		}
	}
}

func TestV1FollowsANATThatChangesThePort(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b, n := behindNAT(t, func(pa, pb *sa.Peer) {
			change(pa, pb)
			pa.DPD, pb.DPD = dpd.Config{Interval: 10 * time.Second}, dpd.Config{Interval: 10 * time.Second}
		})
		w.run(time.Minute)
		wantPairs(t, a, b, 1)
		for range 5 {
			n.rebind()
			w.run(11 * time.Second) // one interval of liveness checks
			port := n.ports[[2]netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:4500"), netip.MustParseAddrPort("192.0.2.2:4500")}]
			if got := b.moved[b.newest[0].SPIIn].Remote; got != netip.AddrPortFrom(n.outside, port) {
				t.Fatalf("ESP goes to %v, the peer is at port %d", got, port)
			}
			wantPairs(t, a, b, 1)
			wantIKE(t, a, b, 1)
		}
		b.Do(w.now, sa.Rekey{Tunnel: "b"})
		b.Do(w.now, sa.RekeyIKE{Tunnel: "b"}) // phase 1 begins at the address where the peer is now
		w.run(2 * time.Minute)
		wantPairs(t, a, b, 1)
		wantIKE(t, a, b, 1)
	})
}

func TestV1EncapAlwaysAndNever(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, func(pa, pb *sa.Peer) { change(pa, pb); pa.Encap = sa.EncapAlways })
		w.run(time.Second)
		wantPairs(t, a, b, 1)
		if !a.newest[0].Path.UDP || !b.newest[0].Path.UDP {
			t.Error("encap always, and one end sends raw ESP")
		}
		w, a, _, _ = behindNAT(t, func(pa, pb *sa.Peer) { change(pa, pb); pa.Encap, pb.Encap = sa.EncapNever, sa.EncapNever })
		w.run(time.Second)
		wantWhy(t, "initiator", a.view()[0].Why, "set encap to \"auto\"")
	})
}

// TestV1ForgedNATDetectionDoesNotKeepATunnelDown: a copy of message 3 with another NAT-D comes first, and no HASH covers it.
func TestV1ForgedNATDetectionDoesNotKeepATunnelDown(t *testing.T) {
	w, a, b := pairOf(t, v1)
	forged := false
	w.filter = func(d *ipsec.Datagram) bool {
		h, c, err := wire.Parse1(d.Data)
		if err != nil || forged || d.Local.Addr() != b.addr || c.Index(wire.TypeNATD1) < 0 {
			return true
		}
		forged = true
		for _, p := range c.Payloads {
			if p, ok := p.(*wire.Raw); ok && p.Kind == wire.TypeNATD1 {
				p.Data[0] ^= 1
			}
		}
		b.Handle(w.now, ipsec.Datagram{Local: d.Local, Remote: d.Remote, Data: (&wire.Message{Header: h, Payloads: c.Payloads}).Marshal()})
		return true
	}
	w.run(time.Minute)
	wantPairs(t, a, b, 1)
	wantIKE(t, a, b, 1)
}
