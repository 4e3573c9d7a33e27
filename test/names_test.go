package test

import (
	"testing"
	"time"

	"vpngw/test/lab"
)

// The peer has a name. It is unknown at first, then known, stays while DNS is down, and moves: the tunnel follows it within
// seconds. Of several addresses the one that answers is found.
func TestAPeerByName(t *testing.T) {
	t.Parallel()
	const name = "gw.example.net"
	n := lab.Direct(t, lab.CharonTools...)
	n.Cloud.Address("wan", cloudAddr2+"/24")
	dns := n.Cloud.DNS(lab.CloudAddr)
	n.Customer.Resolves(lab.CloudAddr)

	s := suites{ikeEncr: "aes256", ikeHash: "sha256", ikeGroup: "x25519", espEncr: "aes256", espHash: "sha256", initiate: true}
	ours, theirs := native("named", s), strongswan("named", s)
	ours.Native.Remote.Address, ours.Native.Remote.ID = name, name
	theirs.LocalAddrs, theirs.Local.ID = []string{lab.CloudAddr, cloudAddr2}, name
	cloud := n.Cloud.Charon()
	cloud.PSK(psk)
	cloud.Load(theirs)
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{ours}})
	if st := gw.AwaitWhy("named", "the peer's name "+name+" has no address: DNS knows no such name"); st.Remote != "" {
		t.Errorf("the status has the address %q", st.Remote)
	}

	// Of two addresses nobody is at the first.
	dns.Set(name, "198.51.100.77", lab.CloudAddr)
	known := time.Now()
	gw.AwaitUp("named")
	t.Logf("up at the second address within %v", time.Since(known).Round(time.Second/10))
	if st := gw.Tunnel("named"); st.Remote != lab.CloudAddr || st.RemoteNth != 2 || st.RemoteOf != 2 {
		t.Errorf("it is at %q, address %d of %d, want the second of 2", st.Remote, st.RemoteNth, st.RemoteOf)
	}
	n.Host.Reaches(lab.CloudHost)

	dns.Die()
	gw.Reload(lab.Config{Connections: []lab.Connection{ours}})
	time.Sleep(7 * time.Second) // the TTL and a lookup
	if st := gw.Tunnel("named"); st.State != "up" || st.Remote != lab.CloudAddr {
		t.Errorf("DNS is down, and the tunnel is %s (%s) to %q", st.State, st.Why, st.Remote)
	}

	dns.Set(name, cloudAddr2)
	moved := time.Now()
	n.Await(lab.Patience, "the tunnel has followed", func() (bool, string) {
		st := gw.Tunnel("named")
		return st.State == "up" && st.Remote == cloudAddr2, st.State + " to " + st.Remote
	})
	t.Logf("followed within %v", time.Since(moved).Round(time.Second/10))
	n.Host.Reaches(lab.CloudHost)
}
