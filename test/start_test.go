package test

import (
	"fmt"
	"testing"
	"time"

	"vpngw/test/lab"
)

// onTraffic is the connection in native of a version of IKE, with start: onTraffic, and strongSwan's end of it.
func onTraffic(version int) (lab.Connection, lab.Conn) {
	ours, theirs := versionPair(version)
	ours.DPD, ours.Native.Initiate, ours.Start = nil, nil, "onTraffic"
	return ours, theirs
}

// cold says how a tunnel without SAs came about.
var cold = []struct {
	name string
	make func(t *testing.T, gw *lab.Vpngw, cloud *lab.Charon)
}{
	{"the daemon starts", func(_ *testing.T, gw *lab.Vpngw, _ *lab.Charon) { gw.Stop(); gw.Restart() }},
	{"the peer deletes", func(t *testing.T, _ *lab.Vpngw, cloud *lab.Charon) {
		if err := cloud.TerminateIKE("row"); err != nil {
			t.Fatal(err)
		}
	}},
}

// The first ping of a cold tunnel is answered: from the gateway itself and from a host behind it, after a start and after the
// peer's Delete, which brings no attempt by itself.
func TestTheFirstPingOfAColdTunnelIsAnswered(t *testing.T) {
	rounds := 4
	if soak {
		rounds = 20
	}
	for version, name := range map[int]string{1: "IKEv1", 2: "IKEv2"} {
		for _, offload := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, offload %v", name, offload), func(t *testing.T) {
				t.Parallel()
				n := lab.Direct(t, lab.CharonTools...)
				ours, theirs := onTraffic(version)
				cloud := charon1(n.Cloud)
				cloud.PSK(psk)
				cloud.Load(theirs)
				gw := n.Customer.Vpngw(lab.Config{Offload: &offload, Connections: []lab.Connection{ours}})
				answered := 0
				var longest time.Duration
				for i := range rounds {
					how, from := cold[(i+1)/2%2], []*lab.Namespace{n.Host, n.Customer}[i%2]
					if i > 0 {
						how.make(t, gw, cloud)
					}
					gw.AwaitState("row", "waiting", lab.Patience)
					n.Await(lab.Patience, "strongSwan has no SA", func() (bool, string) { return len(cloud.SAs()) == 0, "" })
					began := n.Internet.Filter("forward", "ip saddr "+lab.CustomerAddr, "")
					time.Sleep(200 * time.Millisecond)
					if got := began.Packets(); got != 0 {
						t.Errorf("%d packets were sent without traffic", got)
					}
					began.Remove()
					start := time.Now()
					p := from.Ping(lab.CloudHost, 1)
					longest = max(longest, time.Since(start))
					if answered += p.Received; p.Received != 1 {
						t.Errorf("%s, from %v: the first ping is not answered: %v", how.name, i%2, p)
						drops(t, gw)
					}
					gw.AwaitUp("row")
				}
				t.Logf("%d of %d first pings answered; the slowest after %v", answered, rounds, longest.Round(time.Millisecond))
			})
		}
	}
}
