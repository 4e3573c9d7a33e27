package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

// silence filters what tells of a packet that was too big: routers send no such ICMP, and the gateways take no ICMP at all.
func silence(n *lab.Net) {
	n.Internet.Filter("output", "icmp type destination-unreachable", "drop")
	n.Internet.Filter("output", "icmpv6 type packet-too-big", "drop")
	for _, gw := range []*lab.Namespace{n.Customer, n.Cloud} {
		gw.Filter("input", `iifname "wan" meta l4proto icmp`, "drop")
		gw.Filter("input", `iifname "wan" icmpv6 type packet-too-big`, "drop")
	}
}

// A link of 1400 bytes lies in the middle, and ICMP is filtered everywhere.
func TestNoBlackHoleWithoutICMP(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		version int
		encap   string
		v6      bool
		charon  bool
		df      string
	}{
		{2, "never", false, false, ""},
		{2, "always", false, false, ""},
		{2, "never", true, false, ""},
		{2, "always", true, false, ""},
		{1, "never", false, false, ""},
		{1, "always", true, false, ""},
		{2, "always", false, false, "clear"},
		{2, "never", false, false, "clear"},
		{2, "always", true, false, "clear"},
		{2, "never", true, false, "clear"},
		{2, "auto", false, true, ""},
		{1, "auto", false, true, ""},
		{2, "auto", true, true, ""},
	} {
		outer, peer := "IPv4", "vpngw"
		if tt.v6 {
			outer = "IPv6"
		}
		if tt.charon {
			peer = "strongswan"
		}
		t.Run(fmt.Sprintf("IKEv%d %s encap=%s df=%s %s", tt.version, outer, tt.encap, tt.df, peer), func(t *testing.T) {
			t.Parallel()
			tools := []string{}
			if tt.charon {
				tools = lab.CharonTools
			}
			n := lab.Direct(t, tools...)
			n.Narrow(1400)
			silence(n)
			ours, theirs := versionPair(tt.version)
			ours.Encap, ours.DPD, ours.DF = tt.encap, nil, tt.df
			if tt.v6 {
				ours.Native.Local.Address, ours.Native.Remote.Address = lab.CustomerAddr6, lab.CloudAddr6
				theirs.LocalAddrs, theirs.RemoteAddrs = []string{lab.CloudAddr6}, []string{lab.CustomerAddr6}
				theirs.Local.ID, theirs.Remote.ID = lab.CloudAddr6, lab.CustomerAddr6
			}
			if tt.charon {
				cloud := n.Cloud.Charon()
				cloud.PSK(psk)
				cloud.Load(theirs)
			} else {
				n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(ours)}})
			}
			gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{ours}})
			gw.AwaitUp("row")
			for _, w := range directions(n)[:2] {
				forget(w.from)
				const bytes = 200_000
				start := time.Now()
				got := w.from.Transfer(w.far, w.to, bytes)
				took := time.Since(start)
				if bar := within(5 * time.Second); got != bytes || took > bar {
					t.Errorf("%d of %d bytes arrive at %s in %v, bar %v", got, bytes, w.to, took, bar)
				}
				t.Logf("%d bytes of TCP to %s in %v", got, w.to, took.Round(time.Millisecond))
			}
			for line := range strings.Lines(gw.Log()) {
				if strings.Contains(line, "tunnel MTU") {
					t.Log(line)
				}
			}
		})
	}
}

// The configured MTU holds inside, also when it changes in a reload, which costs no SA.
func TestConfiguredMTU(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t)
	row := native("row", natSuites)
	row.MTU = 1300
	n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(row)}})
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{row}})
	spi := gw.AwaitUp("row").Children[0].SPIIn
	for _, mtu := range []int{1300, 1200, 0} {
		row.MTU = mtu
		gw.Reload(lab.Config{Connections: []lab.Connection{row}})
		want := mtu
		if mtu == 0 {
			want = 1446
		}
		n.Await(lab.Patience, fmt.Sprintf("packets of %d bytes are the largest", want), func() (bool, string) {
			_, _, told, out := ask(n.Host, lab.CloudHost, 1500, 1)
			dev := n.Customer.Run("ip", "link", "show", "vpngw0")
			return told == want && strings.Contains(dev, fmt.Sprintf("mtu %d ", want)), out + dev
		})
	}
	if got := gw.Tunnel("row").Children[0].SPIIn; got != spi {
		t.Errorf("the Child SA is another: %s, was %s", got, spi)
	}
}
