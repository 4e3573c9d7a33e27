package test

import (
	"fmt"
	"testing"
	"time"

	"vpngw/test/lab"
)

// ESP in UDP without a NAT is kept open like behind one, by both ends: a firewall on the way may forget a silent flow.
// Over an idle tunnel nothing else passes there.
func TestEncapAlwaysKeepsTheWayOpenWithoutANAT(t *testing.T) {
	t.Parallel()
	const interval = 20 * time.Second
	for version := 1; version <= 2; version++ {
		t.Run(fmt.Sprintf("IKEv%d", version), func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t)
			conn := native("row", natSuites)
			conn.Encap, conn.DPD, conn.Native.IKEVersion = "always", "off", version
			joined(n, conn)
			const keepalive = " udp sport 4500 udp dport 4500 udp length 9 @th,64,8 0xff" // RFC 3948 section 2.3
			out := n.Internet.Filter("forward", "ip saddr "+lab.CustomerAddr+keepalive, "")
			back := n.Internet.Filter("forward", "ip saddr "+lab.CloudAddr+keepalive, "")
			n.Await(interval+lab.Patience, "a keepalive of each end", func() (bool, string) {
				a, b := out.Packets(), back.Packets()
				return a > 0 && b > 0, fmt.Sprintf("%d there, %d back", a, b)
			})
		})
	}
}
