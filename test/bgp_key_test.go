package test

import (
	"testing"
	"time"

	"vpngw/test/lab"
)

// never fails the test when a session is established within a while. Routes of an earlier one may stay for half a minute.
func never(t *testing.T, peer lab.Router, what string, while time.Duration) {
	t.Helper()
	for end := time.Now().Add(while); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if ok, _ := peer.Established(bgpNear); ok {
			t.Fatalf("%s: a session is established", what)
		}
	}
}

// A peer without the password, or with another, is refused, whoever connects. A password that a reload changes is the only
// one from then on.
func TestBGPPeerWithoutThePasswordIsRefused(t *testing.T) {
	t.Parallel()
	refused := time.Duration(counted(2, 20)) * time.Second // longer than any retry
	for role, passive := range map[string]bool{"the peer connects": true, "both connect": false} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, lab.RouterTools...)
			e := newBGPEnds(map[string]any{"passive": passive, "key": "apassword"})
			gw, peer := e.start(n, "BIRD")
			with := func(key string) {
				c := e.theirs
				c.Peers = []lab.BGPPeer{c.Peers[0]}
				c.Peers[0].Password = key
				peer.Set(c)
			}
			never(t, peer, "no password", refused)
			with("another")
			never(t, peer, "another password", refused)
			start := time.Now()
			with("apassword")
			n.AwaitEstablished(peer, bgpNear, lab.Patience)
			t.Logf("established %v after the peer has got the password", time.Since(start).Round(10*time.Millisecond))

			e.ours.BGP = quick(map[string]any{"passive": passive, "key": "newpassword"})
			gw.Reload(lab.Config{Connections: []lab.Connection{e.ours}})
			n.Await(lab.Patience, "the session of the old password ends", func() (bool, string) {
				ok, saw := peer.Established(bgpNear)
				return !ok, saw
			})
			never(t, peer, "the old password", refused)
			start = time.Now()
			with("newpassword")
			n.AwaitEstablished(peer, bgpNear, lab.Patience)
			t.Logf("established %v after the peer has got the new one", time.Since(start).Round(10*time.Millisecond))
			awaitLeads(n, n.Customer, lab.Patience, lab.CloudLAN)

			// Without a key of ours, a peer with one is refused, too.
			e.ours.BGP = quick(map[string]any{"passive": passive})
			gw.Reload(lab.Config{Connections: []lab.Connection{e.ours}})
			n.Await(lab.Patience, "the session with a password ends", func() (bool, string) {
				ok, saw := peer.Established(bgpNear)
				return !ok, saw
			})
			start = time.Now()
			with("")
			n.AwaitEstablished(peer, bgpNear, lab.Patience)
			t.Logf("established %v after the peer has none, either", time.Since(start).Round(10*time.Millisecond))
		})
	}
}
