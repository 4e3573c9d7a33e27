package gateway

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
	"vpngw/tunnel"
)

// An address of `listen` that no interface has yet is waited for. The status says so, and nothing is sent from it.
func TestAnAddressOfListenMayComeLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := configOf(hq())
		c.Listen = config.AddrsOf(addr("203.0.113.9"))
		h := newHost(newNet(), "203.0.113.77")
		r := start(t, h, c, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer r.stop()
		if r.ike.peers[0].Local != addr("203.0.113.9") {
			t.Errorf("the tunnel uses %v, want the address of `listen`", r.ike.peers[0].Local)
		}
		send := sa.Send{Path: ipsec.Path{Local: netip.MustParseAddrPort("203.0.113.9:500"), Remote: netip.MustParseAddrPort("198.51.100.1:500"), UDP: true}}
		r.do(send)
		if s := r.wantState("hq", tunnel.Connecting); s.Code != diag.AddressAwaited {
			t.Errorf("it is %s (%s)", s.State, s.Why)
		}
		h.addresses = append(h.addresses, addr("203.0.113.9"))
		h.changed()
		synctest.Wait()
		r.do(send)
		if s := r.wantState("hq", tunnel.Connecting); s.Code == diag.AddressAwaited {
			t.Errorf("the address is there: %s", s.Why)
		}
		if got := log.String(); !strings.Contains(got, "waiting for it") || !strings.Contains(got, "is there") {
			t.Errorf("the log says\n%s", got)
		}
	})
}

// Of several addresses in `listen`, a tunnel uses one that the host has.
func TestAPresentAddressOfListenIsPreferred(t *testing.T) {
	u := underlay{listen: []netip.Addr{addr("192.0.2.1"), addr("192.0.2.2")}, addresses: []netip.Addr{addr("192.0.2.2")}}
	if got := u.local(addr("203.0.113.9")); got != addr("192.0.2.2") {
		t.Errorf("behind a NAT: %v", got)
	}
	if got := u.local(addr("192.0.2.1")); got != addr("192.0.2.2") {
		t.Errorf("the configured one is away: %v", got)
	}
	u.addresses = nil
	if got := u.local(addr("203.0.113.9")); got != addr("192.0.2.1") {
		t.Errorf("none is there: %v", got)
	}
}

// The configured address goes: the tunnel connects from the one that leads to the peer. It comes back, and is used again.
func TestTheConfiguredAddressGoesAndReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(newNet(), "203.0.113.9")
		r := start(t, h, configOf(hq()), Options{})
		defer r.stop()
		r.do(sa.IKEEstablished{SA: sa.IKESA{Peer: r.ike.peers[0], Path: ipsec.Path{
			Local: netip.MustParseAddrPort("203.0.113.9:4500"), Remote: netip.MustParseAddrPort("198.51.100.1:4500"), UDP: true,
		}}})
		for _, tt := range []struct{ has, want string }{{"203.0.113.10", "invalid IP"}, {"203.0.113.9", "203.0.113.9"}} {
			h.addresses = []netip.Addr{addr(tt.has)}
			h.changed()
			synctest.Wait()
			if got := r.ike.peers[0].Local.String(); got != tt.want {
				t.Errorf("the host has %s: the tunnel is to use %s, want %s", tt.has, got, tt.want)
			}
		}
	})
}

func (s *fakeSocket) WriteCut(ds []ipsec.Datagram) (int, error) { return s.WriteBatch(ds) }
func (s *fakeSocket) WriteWhole(d ipsec.Datagram) error         { return s.WriteFragmentable(d) }
