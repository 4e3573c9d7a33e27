package test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

// Every path of packets through vpngw carries the same traffic: super-packets or
// packet by packet, on one thread or several, in UDP or raw, with UDP segmentation on
// the path and without.
func TestEveryWayThroughTheDataPlane(t *testing.T) {
	off := false
	for _, tt := range []struct {
		name     string
		customer lab.Config // the cloud's is the default
		encap    string
		noUSO    bool
	}{
		{"one pass, in UDP", lab.Config{}, "always", false},
		{"one pass, raw", lab.Config{}, "never", false},
		{"one pass, without UDP segmentation", lab.Config{}, "always", true},
		{"packet by packet, in UDP", lab.Config{Offload: &off}, "always", false},
		{"packet by packet, raw", lab.Config{Offload: &off}, "never", false},
		{"two threads", lab.Config{Threads: 2}, "always", false},
		{"four threads, packet by packet", lab.Config{Threads: 4, Offload: &off}, "auto", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := lab.Direct(t, "iperf3", "ethtool")
			if tt.noUSO {
				for _, ns := range []*lab.Namespace{n.Customer, n.Cloud} {
					ns.Segment()
				}
			}
			c := native("row", suites{ikeGroup: "x25519", ikeEncr: "aes128gcm16", espEncr: "aes128gcm16", ikeHash: "sha256", espHash: "sha256", initiate: true})
			c.Encap = tt.encap
			c.Native.Local.Subnets = append(c.Native.Local.Subnets, lab.CustomerLAN6)
			c.Native.Remote.Subnets = append(c.Native.Remote.Subnets, lab.CloudLAN6)
			tt.customer.Connections = []lab.Connection{c}
			cloud := n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(c)}})
			customer := n.Customer.Vpngw(tt.customer)
			customer.AwaitUp("row")
			cloud.AwaitUp("row")
			for size, to := range map[int]string{300: lab.CloudHost, 1200: lab.CloudHost6, 8000: lab.CloudHost} {
				if p := n.Host.Ping(to, counted(20, 50), lab.Echo{Size: size}); p.Lost() != 0 {
					t.Errorf("%d bytes to %s: %v", size, to, p)
				}
			}
			const bytes = 20 << 20
			for _, to := range []string{lab.CloudHost, lab.CloudHost6} {
				if got := n.Host.Transfer(n.CloudHost, to, bytes); got != bytes {
					t.Errorf("%d of %d bytes arrived at %s", got, bytes, to)
				}
			}
			if got := n.CloudHost.Transfer(n.Host, lab.CustomerHost, bytes); got != bytes {
				t.Errorf("%d of %d bytes arrived at the customer's", got, bytes)
			}
			// Datagrams of one size, which vpngw merges, arrive as separate datagrams.
			f := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 2000)
			arrives(t, n, f)
			ab, ba := f.Stop()
			lossless(t, ab, ba)
			customer.Stop()
			cloud.Stop()
		})
	}
}

// Where the LAN's device merges datagrams, vpngw takes many at once out of the TUN, and they arrive one by one.
func TestDatagramsThatTheLANsDeviceMerges(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, "ethtool")
	c := native("row", suites{ikeGroup: "x25519", ikeEncr: "aes128gcm16", espEncr: "aes128gcm16", ikeHash: "sha256", espHash: "sha256", initiate: true})
	n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(c)}})
	customer := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{c}})
	device := customer.AwaitUp("row").Device
	n.Customer.Coalesce("lan", 3*time.Millisecond)
	n.Customer.MergeUDP("lan")
	f := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 2000)
	arrives(t, n, f)
	ab, ba := f.Stop()
	lossless(t, ab, ba)
	frames, err := strconv.Atoi(strings.TrimSpace(n.Customer.Run("cat", "/sys/class/net/"+device+"/statistics/tx_packets")))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d datagrams in %d frames", ab.Sent, frames)
	if frames > ab.Sent/2 {
		t.Errorf("%d datagrams came out of the TUN in %d frames: they were not merged", ab.Sent, frames)
	}
}
