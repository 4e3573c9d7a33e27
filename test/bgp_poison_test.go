package test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"vpngw/test/lab"
)

// poisoned is a gateway with two connections, each with a child of its own for BGP: "good", whose peer is a BIRD, and
// "bad", whose peer is a Speaker of ours. Numbered packets flow through both.
type poisoned struct {
	n     *lab.Net
	gw    *lab.Vpngw
	good  *lab.BIRD
	bad   *lab.Speaker
	conf  lab.Speaking
	flows [2]*lab.Flow
	since string // of good's session
}

const (
	badNear, badFar = "169.254.21.2", "169.254.21.1"
	badLAN, badHost = "10.70.0.0/24", "10.70.0.10"
	badSource       = "192.168.3.11" // of the packets through "bad"
)

func startPoisoned(t *testing.T, listen bool) *poisoned {
	t.Helper()
	n := twoGateways(t, lab.RouterTools...)
	p := &poisoned{n: n, conf: lab.Speaking{ASN: bgpFarASN, Local: badFar, Remote: badNear, Listen: listen}}
	good, bad := newBGPEnds(nil), newBGPEnds(map[string]any{"announce": []string{badSource + "/32"}})
	rename := func(c *lab.Connection, name string) *lab.Connection { c.Name = name; return c }
	rename(&good.ours, "good")
	rename(&good.carrier, "good")
	b := rename(&bad.ours, "bad")
	b.Native.Remote.Address = cloudAddr2
	b.Native.Inside = map[string]string{"local": badNear + "/30", "remote": badFar}
	bad.carrier = mirror(*b)
	bad.carrier.BGP, bad.carrier.Native.Local.ASN, bad.carrier.Native.Remote.ASN = nil, nil, nil
	bad.carrier.Routes = []string{badSource + "/32"}

	n.Host.Address("eth0", badSource+"/24")
	n.CloudHost.Address("eth0", badHost+"/24")
	n.Cloud.Address("lan", "10.70.0.1/24")
	n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{good.carrier, bad.carrier}})
	p.good = n.Cloud.BIRD(good.theirs)
	p.gw = n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{good.ours, bad.ours}})
	p.gw.AwaitUp("good")
	p.gw.AwaitUp("bad")
	p.bad = n.Cloud.Speaker(p.conf)
	if err := p.bad.Open(lab.Patience); err != nil {
		t.Fatalf("the first session: %v", err)
	}
	p.bad.Tell(badLAN)
	n.AwaitEstablished(p.good, bgpNear, lab.Patience)
	awaitLeads(n, n.Customer, lab.Patience, lab.CloudLAN, badLAN)
	p.flows[0] = n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 200)
	p.flows[1] = n.StartFlow(n.Host, badSource, n.CloudHost, badHost, 200)
	p.since = p.session()
	return p
}

// session is the state of the good session, and how often it has ended. (When it began, by BIRD's words, may differ by a
// millisecond from one question to the next.)
func (p *poisoned) session() string { return fmt.Sprintf("%+v", *p.gw.Tunnel("good").Session) }

// give opens a session, or not, as the message needs it, sends the message, and waits a little for what comes of it.
func (p *poisoned) give(t *testing.T, m lab.Poison) {
	t.Helper()
	var err error
	switch {
	case m.First, m.Opens:
		err = p.bad.Dial(lab.Patience)
	case p.bad.Ended(0):
		if err = p.bad.Open(lab.Patience); err == nil {
			p.bad.Tell(badLAN)
		}
	}
	if err != nil {
		t.Fatalf("before %q: %v", m.Name, err)
	}
	p.bad.Send(m.Bytes)
	ended := p.bad.Ended(200 * time.Millisecond)
	if (m.First || m.Opens) && !ended {
		p.bad.Close()
	}
}

// whole holds that nothing has happened to the other connection's session and packets, and, where the child's deaths were
// all that happened to the bad session, to its packets. A session that ends otherwise takes its routes with it.
func (p *poisoned) whole(t *testing.T, bad bool) {
	t.Helper()
	if now := p.session(); now != p.since {
		t.Errorf("the other connection's session was %q and is %q", p.since, now)
	}
	// The packets of all that BGP went through are counted at the end.
	var wait sync.WaitGroup
	var result [2][2]lab.Direction
	for i, f := range p.flows {
		wait.Go(func() { result[i][0], result[i][1] = f.Stop() })
	}
	wait.Wait()
	lossless(t, result[0][0], result[0][1])
	t.Logf("the bad connection, there: %v; back: %v", result[1][0], result[1][1])
	if bad {
		lossless(t, result[1][0], result[1][1])
	}
}

// kill gives a message until the child that it reaches has died, which it does at once where it is in a session. It returns
// when, and the children of before.
func (p *poisoned) kill(t *testing.T, m lab.Poison) (died time.Time, old []int) {
	t.Helper()
	old = p.gw.AwaitSpeakers(2)
	p.n.Await(lab.Patience, m.Name+": the child has died", func() (bool, string) {
		p.give(t, m)
		for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if fmt.Sprint(p.gw.Speakers()) != fmt.Sprint(old) {
				died = time.Now()
				return true, ""
			}
		}
		return false, fmt.Sprintf("notification %x", p.bad.Notification())
	})
	return died, old
}

// Each message that ends a process of GoBGP ends a child of one connection, and no more: the child is back within 2 s, no
// packet is lost in either connection, and the other's session stays.
func TestKillersOfGoBGPHurtNothingElse(t *testing.T) {
	t.Parallel()
	killers := lab.Killers(lab.Speaking{ASN: bgpFarASN, Local: badFar, Hold: 3})
	for first := 0; first < len(killers); first += 2 { // a third death within a minute has the child wait
		two := killers[first:min(first+2, len(killers))]
		t.Run(two[0].Name, func(t *testing.T) {
			t.Parallel()
			p := startPoisoned(t, false)
			for _, m := range two {
				died, old := p.kill(t, m)
				p.n.Await(lab.Patience, m.Name+": there is another child", func() (bool, string) {
					now := p.gw.Speakers()
					return len(now) == 2 && fmt.Sprint(now) != fmt.Sprint(old), fmt.Sprint(now)
				})
				took := time.Since(died)
				t.Logf("%s: back after %v", m.Name, took.Round(10*time.Millisecond))
				if took > within(2*time.Second) {
					t.Errorf("%s: the child is back after %v", m.Name, took)
				}
				if err := p.bad.Open(lab.Patience); err != nil {
					t.Fatalf("after %s: %v", m.Name, err)
				}
				p.bad.Tell(badLAN)
				awaitLeads(p.n, p.n.Customer, lab.Patience, lab.CloudLAN, badLAN)
			}
			p.whole(t, !two[0].First)
		})
	}
}

// After three deaths in a minute there is a pause and an event, and still no packet is lost: the guard and the routes do
// not depend on the child for 30 s.
func TestThirdDeathOfAChildPausesIt(t *testing.T) {
	t.Parallel()
	p := startPoisoned(t, false)
	kill := lab.Killers(p.conf)[1]
	for range 3 {
		p.kill(t, kill)
	}
	p.n.Await(lab.Patience, "an event says that the child waits", func() (bool, string) {
		events := p.gw.Command("events", "bad", "--json")
		return strings.Contains(events, `"code":"bgp-child-paused"`), events
	})
	if got := len(p.gw.Speakers()); got != 1 {
		t.Errorf("%d children, want 1", got)
	}
	p.whole(t, true)
}

// Messages that the RFCs call malformed, and fuzzed ones, hurt no more than the session that they come in. The gate takes a
// few of each.
func TestMalformedBGPHurtsItsSessionOnly(t *testing.T) {
	t.Parallel()
	conf := lab.Speaking{ASN: bgpFarASN, Local: badFar, Hold: 3}
	var gentle, strict []lab.Poison
	for _, m := range lab.Malformed(conf) {
		if m.Strict || m.Opens {
			strict = append(strict, m)
		} else {
			gentle = append(gentle, m)
		}
	}
	for name, messages := range map[string][]lab.Poison{
		"a session may live on": gentle[:counted(12, len(gentle))],
		"the session ends":      strict[:counted(3, len(strict))],
		"fuzzed":                lab.Fuzzed(conf, 14, counted(8, 1000)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPoisoned(t, false)
			deaths, children := 0, fmt.Sprint(p.gw.Speakers())
			for i, m := range messages {
				if i%100 == 99 {
					t.Logf("%d messages, %d deaths of the child", i+1, deaths)
				}
				p.give(t, m)
				if now := p.gw.Speakers(); len(now) != 2 || fmt.Sprint(now) != children {
					deaths++
					t.Logf("%s: the child died: %x", m.Name, m.Bytes)
					if deaths%2 == 0 { // a third one in a minute has it wait
						p.gw.Command("up", "bad")
					}
					children = fmt.Sprint(p.gw.AwaitSpeakers(2))
				}
			}
			if err := p.bad.Open(lab.Patience); err != nil {
				t.Fatalf("no session afterwards: %v", err)
			}
			p.bad.Tell(badLAN)
			awaitLeads(p.n, p.n.Customer, lab.Patience, lab.CloudLAN, badLAN)
			t.Logf("%d messages, %d deaths of the child", len(messages), deaths)
			p.whole(t, false)
		})
	}
}
