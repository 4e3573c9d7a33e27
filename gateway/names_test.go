package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
	"vpngw/tunnel"
)

// dns is a server of names.
type dns struct {
	mu    sync.Mutex
	addrs []netip.Addr
	err   error
	hangs bool
	asked int
}

func (d *dns) lookup(ctx context.Context, name string) ([]netip.Addr, time.Duration, error) {
	d.mu.Lock()
	d.asked++
	addrs, err, hangs := d.addrs, d.err, d.hangs
	d.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return nil, 0, ctx.Err()
	}
	return addrs, 100 * time.Second, err
}

func (d *dns) say(err error, addrs ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addrs, d.err, d.hangs = nil, err, false
	for _, a := range addrs {
		d.addrs = append(d.addrs, addr(a))
	}
}

// byName is a connection whose peer has a name, and no identity of its own.
func byName() *config.Connection {
	c := hq()
	c.Tunnels[0].Remote.Address, c.Tunnels[0].Remote.Host, c.Tunnels[0].Remote.ID = netip.Addr{}, "gw.example.net", ipsec.Identity{}
	return c
}

func TestAPeersNameIsLookedUpAndFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dns{hangs: true}
		r := start(t, officeHost(), configOf(byName(), lab()), Options{Lookup: d.lookup})
		defer r.stop()
		peer := func() *sa.Peer {
			i := slices.IndexFunc(r.ike.peers, func(p *sa.Peer) bool { return p.Host != "" })
			return r.ike.peers[i]
		}
		other := r.ike.peers[slices.IndexFunc(r.ike.peers, func(p *sa.Peer) bool { return p.Host == "" })]
		pass := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		want := func(when, address string) {
			t.Helper()
			s := r.tunnelStatus("hq")
			if s.Remote != address || s.RemoteName != "gw.example.net" {
				t.Errorf("%s: status says %q, %q, want %q", when, s.Remote, s.RemoteName, address)
			}
			if p := peer(); textOf(p.Remote) != address || p.Remote.IsValid() && p.RemoteID != ipsec.IdentityOf(p.Remote) {
				t.Errorf("%s: the peer is %v (%v), want %q", when, p.Remote, p.RemoteID, address)
			}
		}

		// The first lookup hangs: the loop serves, and nothing is said against DNS until it is over.
		pass(5 * time.Second)
		want("at first", "")
		if s := r.wantState("hq", tunnel.Connecting); s.Code != "" {
			t.Errorf("the lookup goes on, and the status says %s", s.Why)
		}
		d.say(errors.New("DNS knows no such name"))
		pass(10 * time.Second)
		if !slices.ContainsFunc(r.ike.commands, func(c sa.Command) bool {
			u, ok := c.(sa.Unplaced)
			return ok && u.Why["gw.example.net"] == "DNS knows no such name"
		}) {
			t.Errorf("nobody told IKE: %v", r.ike.commands)
		}

		// The address comes, and stays the one of several that is in use.
		d.say(nil, "198.51.100.7", "198.51.100.8")
		pass(time.Minute)
		want("found", "198.51.100.7")
		d.say(nil, "198.51.100.8", "198.51.100.7")
		pass(2 * time.Minute)
		want("in another order", "198.51.100.7")

		// The old answer serves while DNS is down, over a reload too.
		d.say(errors.New("no DNS server answers"))
		pass(time.Hour)
		r.adopt(byName(), lab())
		want("DNS is down", "198.51.100.7")

		// A change is followed.
		d.say(nil, "2001:db8::7", "198.51.100.9")
		pass(time.Minute)
		want("changed", "198.51.100.9")
		if got := r.ike.peers[slices.IndexFunc(r.ike.peers, func(p *sa.Peer) bool { return p.Host == "" })]; got != other {
			t.Error("another connection was touched")
		}

		// A name that nobody wants is not looked up any more.
		r.adopt(lab())
		pass(time.Minute)
		d.mu.Lock()
		asked := d.asked
		d.mu.Unlock()
		pass(3 * time.Hour)
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.asked != asked {
			t.Errorf("asked %d times more", d.asked-asked)
		}
	})
}

// Two names, and a name and an address, are different peers even while nobody knows where they are.
func TestNamesWithoutAnAddressAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dns{err: errors.New("no DNS server answers")}
		a, b := byName(), lab()
		b.Tunnels[0].Remote.Address, b.Tunnels[0].Remote.Host, b.Tunnels[0].Remote.ID = netip.Addr{}, "other.example.net", ipsec.Identity{}
		b.Tunnels[0].PSK = ipsec.Secret("another key")
		r := start(t, officeHost(), configOf(a, b), Options{Lookup: d.lookup})
		defer r.stop()
		if len(r.ike.peers) != 2 {
			t.Errorf("%d peers, want 2", len(r.ike.peers))
		}
	})
}

// A name that fails right after another is told of in its turn, and not when something else happens.
func TestWhatWaitsForItsTurnIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := byName(), lab()
		b.Tunnels[0].Remote.Address, b.Tunnels[0].Remote.Host, b.Tunnels[0].Remote.ID = netip.Addr{}, "other.example.net", ipsec.Identity{}
		takes := map[string]time.Duration{"gw.example.net": 2 * time.Second, "other.example.net": 2500 * time.Millisecond}
		r := startReal(t, newHost(newNet(), "203.0.113.9"), configOf(a, b), Options{Lookup: func(ctx context.Context, name string) ([]netip.Addr, time.Duration, error) {
			select {
			case <-time.After(takes[name]):
			case <-ctx.Done():
			}
			return nil, 0, errors.New("no DNS server answers")
		}})
		defer r.stop()
		time.Sleep(3500 * time.Millisecond)
		synctest.Wait()
		for name, want := range map[string]diag.Code{"hq": diag.NameUnresolved, "lab": diag.NameUnresolved} {
			if s := r.tunnelStatus(name); s.Code != want {
				t.Errorf("%s: %q, want %s", name, s.Code, want)
			}
		}
	})
}

// The addresses of a name are tried in the order of the answer until one answers, and that one stays.
func TestTheAddressesOfANameTakeTurns(t *testing.T) {
	const dead, other, alive, v6 = "198.51.100.7", "198.51.100.6", "198.51.100.8", "2001:db8::7"
	for _, c := range []struct {
		name    string
		local   string   // this end's configured address; empty: none
		answer  []string // of DNS
		nth, of int
		within  time.Duration
	}{
		{"the first", "", []string{alive, dead}, 1, 2, time.Second},
		{"the second", "", []string{dead, alive}, 2, 2, 12 * time.Second},
		{"the third", "", []string{dead, other, alive}, 3, 3, 23 * time.Second},
		{"one of IPv6 before, to which there is no socket", "", []string{v6, alive}, 2, 2, 3 * time.Second},
		{"one that does not fit", "203.0.113.9", []string{v6, dead, alive}, 2, 2, 12 * time.Second},
		{"it alone", "", []string{alive}, 0, 0, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &dns{}
				d.say(nil, c.answer...)
				ours, n := byName(), newNet()
				if ours.Tunnels[0].Local.Address = (netip.Addr{}); c.local != "" {
					ours.Tunnels[0].Local.Address = addr(c.local)
				}
				ours.Tunnels[0].Local.ID, ours.Tunnels[0].Remote.ID = ipsec.ParseIdentity("branch"), ipsec.ParseIdentity("gw.example.net")
				theirs := mirror(ours)
				theirs.Tunnels[0].Local.Address, theirs.Tunnels[0].Local.Host = addr(alive), ""
				theirs.Tunnels[0].Remote.Address = addr("203.0.113.9")
				cloud := startReal(t, newHost(n, alive, "10.10.0.1"), configOf(theirs), Options{})
				defer cloud.stop()
				began := time.Now()
				r := startReal(t, newHost(n, "203.0.113.9", "192.168.3.1"), configOf(ours), Options{Lookup: d.lookup})
				defer r.stop()
				up := func() bool { return r.tunnelStatus("hq").State == tunnel.Up }
				for !up() && time.Since(began) < time.Minute {
					time.Sleep(100 * time.Millisecond)
					synctest.Wait()
				}
				s := r.tunnelStatus("hq")
				if took := time.Since(began); !up() || took > c.within || s.Remote != alive || s.RemoteNth != c.nth || s.RemoteOf != c.of {
					t.Fatalf("%s (%s) to %s after %v, address %d of %d", s.State, s.Why, s.Remote, took, s.RemoteNth, s.RemoteOf)
				}

				// It stays in whatever order the addresses come, also after a reload.
				d.say(nil, append(slices.Clone(c.answer[1:]), c.answer[0])...)
				time.Sleep(3 * time.Minute)
				r.adopt(ours)
				time.Sleep(10 * time.Minute)
				if s := r.tunnelStatus("hq"); s.State != tunnel.Up || s.Remote != alive || ByClock(time.Now(), s.Since).Sub(began) > c.within {
					t.Errorf("later it is %s to %s since %v", s.State, s.Remote, s.Since)
				}
				if tries := r.names.turns.tries; len(tries) > 0 {
					t.Errorf("it is up, and these are tried: %v", tries)
				}
				r.adopt()
				if ts := r.names.turns; len(ts.at)+len(ts.keys)+len(ts.tries)+ts.due.Len() > 0 {
					t.Errorf("without the connection this is left: %+v", ts)
				}
			})
		})
	}
}

// Where none answers each is tried again and again, ever more slowly, and a name whose answer loses an address goes on.
func TestASilentNameIsTriedEverMoreSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dns{}
		var all []string
		for i := range 16 {
			all = append(all, fmt.Sprintf("198.51.100.%d", 100+i))
		}
		d.say(nil, all[:3]...)
		r := startReal(t, newHost(newNet(), "203.0.113.9", "192.168.3.1"), configOf(byName()), Options{Lookup: d.lookup})
		defer r.stop()
		var tried []string
		var at []time.Duration
		began := time.Now()
		for time.Since(began) < 10*time.Minute {
			if s := r.tunnelStatus("hq"); s.Remote != "" && (len(tried) == 0 || s.Remote != tried[len(tried)-1]) {
				tried, at = append(tried, s.Remote), append(at, time.Since(began))
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		for i, a := range tried {
			if a != all[i%3] {
				t.Fatalf("tried %v", tried)
			}
			if i > 0 {
				if took, want := at[i]-at[i-1], min(10*time.Second<<((i-1)/3), time.Minute); took < want-2*time.Second || took > want+3*time.Second {
					t.Errorf("address %d was tried for %v, want %v", i, took, want)
				}
			}
		}
		if len(tried) < 12 {
			t.Errorf("tried %v at %v", tried, at)
		}
		d.say(nil, all[5])
		time.Sleep(5 * time.Minute)
		if s := r.tunnelStatus("hq"); s.Remote != all[5] || s.RemoteOf != 0 {
			t.Errorf("it is at %s, one of %d", s.Remote, s.RemoteOf)
		}
		d.say(nil, all...)
		time.Sleep(5 * time.Minute)
		if s := r.tunnelStatus("hq"); s.RemoteOf != 16 {
			t.Errorf("it is at %s, one of %d", s.Remote, s.RemoteOf)
		}
	})
}
