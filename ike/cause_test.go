package ike

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// wantCause checks that a Fact of an end had a cause.
func (n *end) wantCause(fact string, code diag.Code) {
	n.w.t.Helper()
	if seen := n.facts(); !slices.Contains(seen, fact+" "+string(code)) {
		n.w.t.Errorf("%v: no %s because of %s, but %q", n.addr, fact, code, seen)
	}
}

// Facts carry the causes that the Endpoint itself finds, with either version of IKE.
func TestCausesOfTheEndpoint(t *testing.T) {
	for version, change := range map[string]func(a, b *sa.Peer){"IKEv2": nil, "IKEv1": v1} {
		for _, c := range []struct {
			fact string
			code diag.Code
			do   func(w *world, a *end)
		}{
			{"IKEFailed", diag.NoRoute, func(w *world, a *end) {
				a.cfg.Source = func(netip.Addr) (netip.Addr, error) { return netip.Addr{}, errors.New("network is unreachable") }
				a.SetPeers(w.now, nil)
				pa, pb := peersFor()
				if change != nil {
					change(pa, pb)
				}
				a.SetPeers(w.now, []*sa.Peer{pa})
			}},
			{"IKEFailed", diag.IKEVersion, func(w *world, a *end) {
				b := w.order[1]
				b.SetPeers(w.now, nil)
				w.run(time.Second)
				data := first(1, func(m *wire.Message) { m.Major = 3 - uint8(a.peer(0).cfg.Version) })
				a.Handle(w.now, ipsec.Datagram{Local: netip.AddrPortFrom(a.addr, 500), Remote: netip.AddrPortFrom(b.addr, 500), Data: data})
			}},
			{"ChildGone", diag.ShuttingDown, func(w *world, a *end) { a.Do(w.now, sa.Shutdown{}) }},
			{"IKEEnded", diag.ShuttingDown, func(w *world, a *end) { a.Do(w.now, sa.Shutdown{}) }},
			{"ChildGone", diag.ConfigChanged, func(w *world, a *end) { a.SetPeers(w.now, nil) }},
			{"IKEEnded", diag.ConfigChanged, func(w *world, a *end) { a.SetPeers(w.now, nil) }},
		} {
			t.Run(version+": "+c.fact+" "+string(c.code), func(t *testing.T) {
				w, a, _ := pairOf(t, change)
				w.run(2 * time.Second)
				a.facts()
				c.do(w, a)
				w.run(time.Second)
				a.wantCause(c.fact, c.code)
			})
		}
	}
}

// A rekey for which the operator asked says so in the log.
func TestRekeyOfTheOperatorIsLogged(t *testing.T) {
	for version, change := range map[string]func(a, b *sa.Peer){"IKEv2": nil, "IKEv1": v1} {
		for what, command := range map[string]sa.Command{"IKE SA": sa.RekeyIKE{Tunnel: "a"}, "Child SA": sa.Rekey{Tunnel: "a"}} {
			t.Run(version+": "+what, func(t *testing.T) {
				w := newWorld(t, 0)
				a, b := w.host("192.0.2.1", 0x1000), w.host("192.0.2.2", 0x2000)
				var log bytes.Buffer
				a.env.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
				pa, pb := peersFor()
				if change != nil {
					change(pa, pb)
				}
				b.SetPeers(w.now, []*sa.Peer{pb})
				a.SetPeers(w.now, []*sa.Peer{pa})
				w.run(2 * time.Second)
				log.Reset()
				a.Do(w.now, command)
				if !strings.Contains(log.String(), " code="+string(diag.OperatorAsked)+"\n") {
					t.Errorf("the log says %q", log.String())
				}
			})
		}
	}
}
