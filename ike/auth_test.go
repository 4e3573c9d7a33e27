package ike

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

func TestAuthenticationFailuresAreToldOnBothEnds(t *testing.T) {
	fqdn := func(s string) ipsec.Identity { return ipsec.Identity{Type: ipsec.IDFQDN, Data: s} }
	for _, c := range []struct {
		name                 string
		change               func(pa, pb *sa.Peer)
		initiator, responder string
	}{
		{
			"pre-shared key", func(pa, _ *sa.Peer) { pa.PSK = ipsec.Secret("another") },
			"we sent identity 192.0.2.1 (IPv4 address) and expect 192.0.2.2 (IPv4 address); the peer answered IKE_AUTH with AUTHENTICATION_FAILED: the pre-shared keys differ, or it does not know our identity",
			"the pre-shared keys do not match",
		},
		{
			"our identity", func(pa, _ *sa.Peer) { pa.LocalID = fqdn("a.example.net") },
			"we sent identity a.example.net (FQDN) and expect 192.0.2.2 (IPv4 address); the peer answered IKE_AUTH with AUTHENTICATION_FAILED",
			"the peer says that it is a.example.net (FQDN); the configuration expects 192.0.2.1 (IPv4 address)",
		},
		{
			"the type of our identity", func(pa, _ *sa.Peer) { pa.LocalID = fqdn("192.0.2.1") },
			"AUTHENTICATION_FAILED",
			"the peer says that it is 192.0.2.1 (FQDN); the configuration expects 192.0.2.1 (IPv4 address)",
		},
		{
			"the identity we ask for", func(pa, _ *sa.Peer) { pa.RemoteID = fqdn("b.example.net") },
			"we sent identity 192.0.2.1 (IPv4 address) and expect b.example.net (FQDN); the peer answered IKE_AUTH with AUTHENTICATION_FAILED",
			"the peer asks for b.example.net (FQDN); our identity is 192.0.2.2 (IPv4 address)",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, a, b := pairOf(t, c.change)
			w.run(2 * time.Second)
			wantWhy(t, "initiator", a.view()[0].Why, c.initiator)
			wantWhy(t, "responder", b.view()[0].Why, c.responder)
			if len(a.in)+len(b.in) != 0 {
				t.Error("a Child SA is installed")
			}
			w.run(10 * time.Minute)
			if n := w.count(wire.ExchangeAuth, false); n < 15 || n > 40 {
				t.Errorf("%d attempts in ten minutes", n)
			}
			if len(a.table.bySPI) > 1 || len(b.table.bySPI) > 1 {
				t.Errorf("%d and %d IKE SAs are left", len(a.table.bySPI), len(b.table.bySPI))
			}
			a.noLeaks()
			b.noLeaks()
		})
	}
}

// TestResponderThatCannotProveItselfIsTold: the responder says the identity that we expect, and its proof is wrong.
func TestResponderThatCannotProveItselfIsTold(t *testing.T) {
	w, a, b := pairOf(t, nil)
	tap := newTap(w)
	w.filter = tap.change(func(h *wire.Header, ps []wire.Payload) []wire.Payload {
		if mac, ok := wire.Find[*wire.Auth](ps); ok && h.Flags&wire.FlagResponse != 0 {
			mac.Data[0] ^= 1
			return ps
		}
		return nil
	})
	w.run(500 * time.Millisecond)
	wantWhy(t, "initiator", a.view()[0].Why, "the pre-shared keys do not match")
	wantWhy(t, "responder", b.view()[0].Why, "the peer does not accept our proof of identity (AUTHENTICATION_FAILED)")
	if len(a.in)+len(b.in) != 0 {
		t.Error("a Child SA is left")
	}
	// IKE_SA_INIT, IKE_AUTH, <--; INFORMATIONAL {N(AUTHENTICATION_FAILED), D} -->
	if want := []string{"send IKE_SA_INIT 0", "send IKE_AUTH 1", "send INFORMATIONAL 2"}; !slices.Equal(a.trace, want) {
		t.Errorf("initiator did %q, want %q", a.trace, want)
	}
	a.noLeaks()
	b.noLeaks()
}

func TestResponderWithAnotherIdentityIsTold(t *testing.T) {
	w, a, _ := pairOf(t, nil)
	tap := newTap(w)
	w.filter = tap.change(func(h *wire.Header, ps []wire.Payload) []wire.Payload {
		if id, ok := wire.FindType[*wire.ID](ps, wire.TypeIDr); ok && h.Flags&wire.FlagResponse != 0 {
			id.Identity = ipsec.Identity{Type: ipsec.IDFQDN, Data: "mallory"}
			return ps
		}
		return nil
	})
	w.run(500 * time.Millisecond)
	wantWhy(t, "initiator", a.view()[0].Why, "the peer says that it is mallory (FQDN); the configuration expects 192.0.2.2 (IPv4 address)")
	if len(a.in) != 0 {
		t.Error("a Child SA is installed")
	}
}

// TestPeersAtOneAddressAreToldApartByIdentity: a responder has several peers at one address. Each has a key of its
// own, and one has algorithms of its own.
func TestPeersAtOneAddressAreToldApartByIdentity(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.host("192.0.2.1", 0x1000), w.host("192.0.2.2", 0x2000)
	var as, bs []*sa.Peer
	for i, name := range []string{"one", "two", "three"} {
		pa, pb := peersFor()
		pa.Name, pb.Name = name, name
		pa.LocalID = ipsec.Identity{Type: ipsec.IDFQDN, Data: name}
		pb.RemoteID = pa.LocalID
		pa.PSK, pb.PSK = ipsec.Secret("key of "+name), ipsec.Secret("key of "+name)
		pa.Children[0].Name, pb.Children[0].Name = name, name
		pa.Children[0].Tunnel, pb.Children[0].Tunnel = name, name
		if i == 2 {
			pa.Proposals, pb.Proposals = proposals(ipsec.ProtoIKE, "aes256-sha256-x25519"), proposals(ipsec.ProtoIKE, "aes256-sha256-x25519")
		}
		as, bs = append(as, pa), append(bs, pb)
	}
	b.SetPeers(w.now, bs)
	a.SetPeers(w.now, as)
	w.run(2 * time.Second)
	wantPairs(t, a, b, 3)
	wantIKE(t, a, b, 3)
}

// TestPeersAreToldApartByOurAddress: one identity at the other end reaches two addresses of ours, which have different keys.
func TestPeersAreToldApartByOurAddress(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.host("192.0.2.1", 0x1000), w.host("192.0.2.2", 0x2000)
	other := netip.MustParseAddr("192.0.2.3")
	w.ends[other] = b
	var as, bs []*sa.Peer
	for i, addr := range []netip.Addr{other, b.addr} {
		pa, pb := peersFor()
		pa.Remote, pb.Local = addr, addr
		pa.PSK, pb.PSK = ipsec.Secret{byte(i)}, ipsec.Secret{byte(i)}
		pb.LocalID = ipsec.IdentityOf(b.addr)
		pa.Children[0].Tunnel, pb.Children[0].Tunnel = addr.String(), addr.String()
		as, bs = append(as, pa), append(bs, pb)
	}
	bs[0], bs[1] = bs[1], bs[0]
	b.SetPeers(w.now, bs)
	a.SetPeers(w.now, as)
	w.run(3 * time.Second)
	wantPairs(t, a, b, 2)
}

// TestTakingAnotherPeersAlgorithmsIsRefused: one peer negotiates algorithms that only another at the same address may use.
func TestTakingAnotherPeersAlgorithmsIsRefused(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.host("192.0.2.1", 0x1000), w.host("192.0.2.2", 0x2000)
	pa, pb := peersFor()
	pa.Proposals = proposals(ipsec.ProtoIKE, "3des-md5-modp1024")
	weak := peerFor("weak", "192.0.2.2", "192.0.2.1")
	weak.RemoteID = ipsec.Identity{Type: ipsec.IDFQDN, Data: "weak"}
	weak.Proposals, weak.Children = proposals(ipsec.ProtoIKE, "3des-md5-modp1024"), nil
	b.SetPeers(w.now, []*sa.Peer{pb, weak})
	a.SetPeers(w.now, []*sa.Peer{pa})
	w.run(2 * time.Second)
	if len(b.in) != 0 {
		t.Fatal("a peer got by with another's weak algorithms")
	}
	wantWhy(t, "responder", b.view()[0].Why, "is negotiated, which the proposals of b")
}

func TestConfigurationIsLookedUpAgainInIKEAuth(t *testing.T) {
	w, a, b := pairOf(t, nil)
	w.filter = func(d *ipsec.Datagram) bool {
		if h, _ := wire.ParseHeader(d.Data); h.Exchange == wire.ExchangeAuth && d.Local.Addr() == b.addr {
			_, pb := peersFor()
			pb.PSK = ipsec.Secret("changed")
			b.SetPeers(w.now, []*sa.Peer{pb}) // between IKE_SA_INIT and IKE_AUTH
		}
		return true
	}
	w.run(time.Second)
	if len(b.in) != 0 || len(a.in) != 0 {
		t.Fatal("the old key was good for one more IKE SA")
	}
	wantWhy(t, "responder", b.view()[0].Why, "the pre-shared keys do not match")
}

func TestHostileIdentityDoesNotFillTheLog(t *testing.T) {
	w, _, b := pairOf(t, func(pa, _ *sa.Peer) {
		pa.LocalID = ipsec.Identity{Type: ipsec.IDFQDN, Data: string(make([]byte, 30000))}
	})
	w.run(time.Second)
	if n := len(b.view()[0].Why); n > 500 {
		t.Errorf("a reason of %d bytes", n)
	}
}
