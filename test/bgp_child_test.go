package test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"vpngw/test/lab"
)

// serve starts both ends in a new lab. It returns when the session's routes are in the kernels and carry a flow.
func (e bgpEnds) serve(t *testing.T, kind string) (n *lab.Net, gw *lab.Vpngw, peer lab.Router, flow *lab.Flow) {
	t.Helper()
	n = lab.Direct(t, lab.RouterTools...)
	gw, peer = e.start(n, kind)
	n.AwaitEstablished(peer, bgpNear, lab.Patience)
	awaitLeads(n, n.Customer, lab.Patience, lab.CloudLAN)
	n.AwaitRoutes(peer, bgpNear, lab.Patience, lab.CustomerLAN)
	n.Host.Reaches(lab.CloudHost)
	flow = n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 500)
	arrives(t, n, flow)
	return n, gw, peer, flow
}

// A child that is killed is back within 5 s with its session. Its routes stay meanwhile at this end. They stay at the peer's,
// too, for which the kill is a graceful restart, so no packet is lost.
func TestKilledChildKeepsItsRoutes(t *testing.T) {
	t.Parallel()
	e := newBGPEnds(nil)
	e.theirs.Peers[0].Graceful = true
	n, gw, peer, flow := e.serve(t, "BIRD")
	for range counted(1, 2) {
		old := gw.AwaitSpeakers(1)
		start := time.Now()
		n.SignalTo(old[0], syscall.SIGKILL)
		gone := time.Duration(0)
		n.Await(within(5*time.Second), "another session is established", func() (bool, string) {
			if leads := n.Customer.Leads(""); len(leads) != 1 && gone == 0 {
				gone = time.Since(start)
				t.Errorf("after %v these prefixes lead into the tunnel: %v", gone, leads)
			}
			now := gw.Speakers()
			ok, saw := peer.Established(bgpNear)
			return ok && len(now) == 1 && now[0] != old[0], fmt.Sprint(now, saw)
		})
		t.Logf("another session after %v", time.Since(start).Round(10*time.Millisecond))
		if took := time.Since(start); took > within(5*time.Second) {
			t.Errorf("another session after %v", took)
		}
		// "To deal with possible consecutive restarts, a route (from the peer) previously marked as stale MUST be deleted" (RFC 4724
		// section 4.2): a second kill before the first restart is complete costs packets.
		n.Await(lab.Patience, "the peer's restart of the session is complete", func() (bool, string) {
			keeps, saw := peer.(*lab.BIRD).Keeps(bgpNear)
			return !keeps, saw
		})
		awaitLeads(n, n.Customer, lab.Patience, lab.CloudLAN)
	}
	ab, ba := flow.Stop()
	lossless(t, ab, ba)
	if events := gw.Command("events", "row", "--json"); !strings.Contains(events, `"code":"bgp-child-died"`) {
		t.Errorf("the events do not say that the child died:\n%s", events)
	}
}

// A child that spins, or is stopped, is killed and another one serves within 5 s.
func TestStoppedChildIsReplaced(t *testing.T) {
	t.Parallel()
	n, gw, peer, flow := newBGPEnds(nil).serve(t, "FRR")
	old := gw.AwaitSpeakers(1)
	start := time.Now()
	n.SignalTo(old[0], syscall.SIGSTOP)
	now := gw.AwaitSpeakers(1, old...)
	took := time.Since(start)
	t.Logf("another child after %v: %v", took.Round(10*time.Millisecond), now)
	if took > within(5*time.Second) {
		t.Errorf("another child after %v", took)
	}
	if lab.Exists(old[0]) {
		t.Errorf("the stopped child is there")
	}
	n.AwaitEstablished(peer, bgpNear, lab.Patience)
	awaitLeads(n, n.Customer, lab.Patience, lab.CloudLAN)
	flow.Stop()
}

// No child outlives its daemon by a second, however the daemon ends.
func TestChildrenEndWithTheirDaemon(t *testing.T) {
	t.Parallel()
	n, gw, peer, flow := newBGPEnds(nil).serve(t, "BIRD")
	flow.Stop()
	for name, end := range map[string]func(){"SIGKILL": func() { gw.Kill() }, "SIGTERM": func() { gw.Stop() }} {
		pid := gw.AwaitSpeakers(1)[0]
		start := time.Now()
		end()
		n.Await(within(time.Second), name+": the child is gone", func() (bool, string) { return !lab.Exists(pid), "" })
		t.Logf("%s: the child is gone after %v", name, time.Since(start).Round(time.Millisecond))
		gw.Restart()
		gw.AwaitUp("row")
		n.AwaitEstablished(peer, bgpNear, lab.Patience)
	}
}

// A connection without BGP has no child, also beside one with BGP; and a child that has little to do is small and has no
// more rights than it needs.
func TestChildrenAreFewAndSmall(t *testing.T) {
	t.Parallel()
	n, gw, _, flow := newBGPEnds(nil).serve(t, "BIRD")
	flow.Stop()
	pid := gw.AwaitSpeakers(1)[0]
	// Pages of the program's file are no process's own, though the kernel calls those private that no other has mapped at the moment.
	own := func() float64 { return float64(lab.ProcessMemory(pid, "Anonymous")) / (1 << 20) }
	if soak {
		n.Await(15*time.Second, "the child has less than 5 MiB of its own", func() (bool, string) { return own() < 5, fmt.Sprintf("%.1f MB", own()) })
	}
	t.Logf("anonymous memory: %.2f MiB, resident: %.1f MiB", own(), float64(lab.ProcessMemory(pid, "Rss"))/(1<<20))
	const service = 0x400 // CAP_NET_BIND_SERVICE
	status := n.Customer.Run("cat", fmt.Sprintf("/proc/%d/status", pid))
	for _, want := range []string{fmt.Sprintf("CapEff:\t%016x", service), "NoNewPrivs:\t1"} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
	if strings.Contains(status, "Uid:\t0") {
		t.Error("the child is root")
	}
	if listening := n.Customer.Run("ss", "-Htln", "sport = :179"); strings.Contains(listening, "0.0.0.0:179") || strings.Contains(listening, "*:179") || !strings.Contains(listening, bgpNear+":179") {
		t.Errorf("the child listens on\n%s", listening)
	}
	plain := routeBased()
	gw.Reload(lab.Config{Connections: []lab.Connection{plain}})
	gw.AwaitSpeakers(0)
	if lab.Exists(pid) {
		t.Error("the connection has no BGP any more, and its child is there")
	}
	awaitLeads(n, n.Customer, lab.Patience)
}
