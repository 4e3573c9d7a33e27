package test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

// We are Alibaba's end of a body whose check asks each second and gives up after three losses in a row; a strongSwan is
// the customer's. The address that is asked loses 30 % of the pings, but never three in a row: nothing happens. It is
// dead: its routes are taken away. It answers again: they come back after 15 s. It answers, each time
// after twice the time: it is ill, and its late answers change nothing. All the time the check goes through its SA.
func TestADipThatIsLossyDeadAndSlow(t *testing.T) {
	t.Parallel()
	const dip, sip, interval, retry = "192.168.3.77", "10.10.0.1", time.Second, 3
	n := lab.Direct(t, lab.CharonTools...)
	n.Customer.Address("lo", dip+"/32")
	target := n.Customer.Respond(dip)
	body := alibaba("row")
	body.HealthCheckConfig = `{"enable":"true","dip":"` + dip + `","sip":"` + sip + `","interval":"1","retry":"3"}`
	customer := n.Customer.Charon()
	theirs := mirrored(customer.Cloud(body, lab.CloudAddr, lab.CustomerAddr))
	theirs.LocalAddrs = []string{lab.CustomerAddr}
	customer.Load(theirs)
	gw := n.Cloud.Vpngw(bodies("cloud", lab.Connection{Alibaba: body}))
	if err := customer.Initiate("row"); err != nil {
		t.Fatal(err)
	}
	gw.AwaitUp("row")
	health := func() lab.HealthStatus {
		t.Helper()
		h := gw.Tunnel("row").Health
		if h == nil {
			t.Fatal("there is no health check")
		}
		return *h
	}
	asked := func(what string, count int) {
		t.Helper()
		n.Await(within(time.Duration(count+2)*interval), what, func() (bool, string) {
			got, _ := target.Asked()
			return got >= count, ""
		})
	}
	routed := func(want bool) {
		t.Helper()
		if r := n.Cloud.Run("ip", "route", "show", lab.CustomerLAN); strings.Contains(r, "vpngw0") != want {
			t.Errorf("the route is %q", r)
		}
	}
	// turns waits for a state, and returns how long it took since the change of the target.
	turns := func(state string, bar time.Duration) time.Duration {
		t.Helper()
		start := time.Now()
		gw.AwaitState("row", state, within(bar))
		return time.Since(start).Round(10 * time.Millisecond)
	}
	asked("it is asked", 3)
	if h := health(); h.State != "healthy" || h.Lost > 0 || h.RTTMin <= 0 {
		t.Errorf("at first health is %+v", h)
	}

	count := counted(10, 200)
	lossy := thirtyPercent(count, retry)
	before := health()
	target.Answer(func(n int) bool { return n < count && lossy[n] }, 0)
	asked("it is lossy", count+1)
	_, lost := target.Asked()
	n.Await(within(2*interval), "the last answer is there", func() (bool, string) {
		h := health()
		return h.Answered+h.Lost >= before.Answered+before.Lost+count, ""
	})
	if h := health(); h.State != "healthy" || h.Lost-before.Lost != lost {
		t.Errorf("%d of %d lost, and health is %+v after %+v", lost, count, h, before)
	}
	t.Logf("%d of %d lost, never %d in a row: %+v", lost, count, retry, health())
	routed(true)
	if events := gw.Command("events", "row", "--json"); strings.Contains(events, "health-check") {
		t.Errorf("some event is of a check:\n%s", events)
	}

	all := func(int) bool { return true }
	target.Answer(all, 0)
	took := turns("degraded", (retry+1)*interval+time.Second/2)
	_, lost = target.Asked()
	t.Logf("dead: ill after %v, %d lost", took, lost)
	if lost < retry || soak && lost > retry+1 {
		t.Errorf("ill after %d losses, want %d", lost, retry)
	}
	if why := gw.Tunnel("row").Why; !strings.Contains(why, dip+" does not answer") {
		t.Errorf("why is %q", why)
	}
	routed(false)

	target.Answer(nil, 0)
	took = turns("up", 15*time.Second+2*interval)
	t.Logf("back: healthy after %v", took)
	if took < 14*time.Second {
		t.Errorf("healthy after %v, want 15 s", took)
	}
	routed(true)

	target.Answer(nil, 2*interval)
	took = turns("degraded", (retry+1)*interval+time.Second/2)
	t.Logf("slow: ill after %v", took)
	was := health()
	got, _ := target.Asked()
	asked("it is asked while it is ill", got+4)
	if is := health(); is.State != "ill" || is.Answered != was.Answered || is.Lost < was.Lost+2 {
		t.Errorf("late answers: health is %+v after %+v", is, was)
	}
	routed(false)
	gw.Stop()
}

// Of two tunnels both ends check both, each through its own SA, though one tunnel has all the routes: the standby, too, is
// known to be healthy, and then, behind a path that loses everything, to be ill. No traffic of the active tunnel is lost.
func TestHealthChecksRunOnTheStandby(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, "nft")
	n.Cloud.Address("wan", cloudAddr2+"/24")
	var ours, theirs []lab.Connection
	for i, remote := range []string{lab.CloudAddr, cloudAddr2} {
		c := native([]string{"one", "two"}[i], natSuites)
		c.Pair, c.Health = "hq", map[string]any{"interval": "500ms"}
		c.Native.Remote.Address = remote
		c.Native.Local.Subnets, c.Native.Remote.Subnets = []string{"0.0.0.0/0"}, []string{"0.0.0.0/0"}
		net := []string{"169.254.21.", "169.254.22."}[i]
		c.Native.Inside = map[string]string{"local": net + "2/30", "remote": net + "1"}
		ours = append(ours, withRoutes(c, lab.CloudLAN))
		theirs = append(theirs, withRoutes(mirror(c), lab.CustomerLAN))
	}
	cloud := n.Cloud.Vpngw(lab.Config{Connections: theirs})
	customer := n.Customer.Vpngw(lab.Config{Connections: ours})
	await := func(gw *lab.Vpngw, tunnel, what string, cond func(lab.HealthStatus) bool) {
		t.Helper()
		n.Await(lab.Patience, gw.Name+": "+tunnel+" "+what, func() (bool, string) {
			h := gw.Tunnel(tunnel).Health
			return h != nil && cond(*h), fmt.Sprintf("%+v", h)
		})
	}
	for _, gw := range []*lab.Vpngw{customer, cloud} {
		for i, tunnel := range []string{"one", "two"} {
			await(gw, tunnel, "is healthy", func(h lab.HealthStatus) bool { return h.State == "healthy" && h.Answered >= 5 })
			s := gw.Tunnel(tunnel)
			if s.Active != (i == 0) || s.Health.Lost > 0 {
				t.Errorf("%s: %s: active %v, %+v", gw.Name, tunnel, s.Active, s.Health)
			}
		}
	}
	n.Host.Reaches(lab.CloudHost)
	black := n.Internet.Filter("forward", "ip saddr "+cloudAddr2, "drop")
	start := time.Now()
	pings := make(chan lab.Pings)
	go func() { pings <- n.Host.Ping(lab.CloudHost, 300) }()
	for _, gw := range []*lab.Vpngw{customer, cloud} {
		await(gw, "two", "is ill", func(h lab.HealthStatus) bool { return h.State == "ill" })
		if s := gw.Tunnel("one"); !s.Active || s.State != "up" || s.Health.Lost > 0 {
			t.Errorf("%s: the active tunnel is %s, active %v, %+v", gw.Name, s.State, s.Active, s.Health)
		}
	}
	t.Logf("the standby is ill at both ends %v after its path has failed", time.Since(start).Round(10*time.Millisecond))
	if p := <-pings; p.Lost() != 0 {
		t.Errorf("through the active tunnel: %v", p)
	}
	black.Remove()
	customer.Stop()
	cloud.Stop()
}

// Two tunnels without addresses of their own are checked by pings to one target. A host behind the peer answers through the
// active tunnel, as its gateway's routes have it, and the standby is healthy all the same. A gateway answers at its own
// address through the tunnel that asked: once the path of the active one loses everything, the traffic moves at both ends.
func TestTheStandbyIsCheckedByAnyTarget(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		here, there string
		moves       bool
	}{
		{"a host", lab.CustomerHost, lab.CloudHost, false},
		{"the gateway", "192.168.3.1", "10.10.0.1", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, "nft")
			n.Cloud.Address("wan", cloudAddr2+"/24")
			var ours, theirs []lab.Connection
			for i, remote := range []string{lab.CloudAddr, cloudAddr2} {
				c := native([]string{"one", "two"}[i], natSuites)
				c.Pair = "hq"
				c.DPD = false
				c.Native.Remote.Address = remote
				back := mirror(c)
				c.Health = map[string]any{"interval": "500ms", "target": tt.there}
				back.Health = map[string]any{"interval": "500ms", "target": tt.here}
				ours, theirs = append(ours, c), append(theirs, back)
			}
			cloud := n.Cloud.Vpngw(lab.Config{Connections: theirs})
			customer := n.Customer.Vpngw(lab.Config{Connections: ours})
			healthy := func(tunnel string, active bool) {
				t.Helper()
				for _, gw := range []*lab.Vpngw{customer, cloud} {
					n.Await(lab.Patience, gw.Name+": "+tunnel+" is healthy", func() (bool, string) {
						s := gw.Tunnel(tunnel)
						return s.Active == active && s.Health != nil && s.Health.State == "healthy", fmt.Sprintf("active %v, %+v", s.Active, s.Health)
					})
				}
			}
			healthy("one", true)
			healthy("two", false)
			n.Host.Reaches(lab.CloudHost)
			if tt.moves {
				n.Internet.Filter("forward", "ip saddr "+lab.CloudAddr, "drop")
				n.Internet.Filter("forward", "ip daddr "+lab.CloudAddr, "drop")
				start := time.Now()
				healthy("two", true)
				t.Logf("moved at both ends after %v", time.Since(start).Round(10*time.Millisecond))
				n.Host.Reaches(lab.CloudHost)
			}
			customer.Stop()
			cloud.Stop()
		})
	}
}

// thirtyPercent says which of count pings are lost: 30 %, at random, and at most run-1 in a row.
func thirtyPercent(count, run int) []bool {
	r := rand.New(rand.NewPCG(5, 30))
	for {
		lost, longest, now := make([]bool, count), 0, 0
		for _, i := range r.Perm(count)[:count*3/10] {
			lost[i] = true
		}
		for _, l := range lost {
			if now++; !l {
				now = 0
			}
			longest = max(longest, now)
		}
		if longest == run-1 {
			return lost
		}
	}
}
