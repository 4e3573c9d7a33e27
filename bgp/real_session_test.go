package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	api "github.com/osrg/gobgp/v3/api"

	"vpngw/diag"
	"vpngw/ipsec"
)

func TestSessions(t *testing.T) {
	six := func(a, b *Session) {
		a.Local, a.Remote = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
		b.Local, b.Remote = a.Remote, a.Local
	}
	for name, change := range map[string]func(a, b *Session){
		"iBGP":                   func(a, b *Session) { a.RemoteASN, b.LocalASN, a.Prepend = 65001, 65001, 3 },
		"IPv6":                   six,
		"IPv6 with a password":   func(a, b *Session) { six(a, b); a.AuthKey, b.AuthKey = ipsec.Secret("k"), ipsec.Secret("k") },
		"both connect":           func(_, b *Session) { b.Passive = false },
		"TTL security":           func(a, b *Session) { a.TTLSecurity, b.TTLSecurity = true, true },
		"not graceful":           func(a, b *Session) { a.Graceful, b.Graceful = false, false },
		"the shortest hold time": func(a, b *Session) { a.Hold, a.Keepalive = 3*time.Second, time.Second },
		"the longest password":   func(a, b *Session) { a.AuthKey = ipsec.Secret(strings.Repeat("k", 80)); b.AuthKey = a.AuthKey },
		"TTL security with a key": func(a, b *Session) {
			a.TTLSecurity, b.TTLSecurity = true, true
			a.AuthKey, b.AuthKey = ipsec.Secret("k"), ipsec.Secret("k")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca, cb := ends(change)
			a, b, _, _ := establish(t, ca, cb)
			until(t, a, up)
			until(t, b, up)
			route := Tell{Prefix: netip.MustParsePrefix("10.0.0.0/8")}
			if ca.Sessions[0].Local.Is6() {
				route.Prefix = netip.MustParsePrefix("2001:db8::/32")
			}
			a.want(tell{add: []Tell{route}})
			got := count(t, b, 1, false)[route.Prefix]
			if got.Next != ca.Sessions[0].Local {
				t.Errorf("the next hop is %v", got.Next)
			}
			if ibgp := ca.ASN == cb.ASN; ibgp != (len(got.Path) == 0) || ibgp != (got.LocalPref == 100) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// never fails the test if a session comes up within a time in which it would have.
func never(t *testing.T, within time.Duration, ends ...*puppet) {
	t.Helper()
	limit := time.After(within)
	for {
		for _, k := range ends {
			select {
			case f := <-k.seen:
				if p, ok := f.(peerIs); ok && p.state == Established {
					t.Fatal("the session is up")
				}
			case <-limit:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}

func TestPeerWithoutThePasswordIsRefused(t *testing.T) {
	for name, keys := range map[string][2]string{
		"the one that connects has none":    {"", "right"},
		"the one that connects has another": {"wrong", "right"},
		"the one that listens has none":     {"right", ""},
	} {
		families := []string{"IPv4"}
		if keys[1] == "right" && keys[0] == "" {
			families = append(families, "IPv6")
		}
		for _, family := range families {
			t.Run(name+", "+family, func(t *testing.T) {
				t.Parallel()
				ca, cb := ends(func(a, b *Session) {
					a.AuthKey, b.AuthKey = ipsec.Secret(keys[0]), ipsec.Secret(keys[1])
					if family == "IPv6" {
						a.Local, a.Remote = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
						b.Local, b.Remote = a.Remote, a.Local
					}
				})
				a, b, _, _ := establish(t, ca, cb)
				until(t, a, func(f said) bool { return f.cause.Is(diag.BGPNoAnswer) })
				never(t, 3*time.Second, a, b)
			})
		}
	}
}

func TestChangedPasswordHolds(t *testing.T) {
	t.Parallel()
	key := func(c Config, k string) Session {
		s := c.Sessions[0]
		s.AuthKey = ipsec.Secret(k)
		return s
	}
	ca, cb := ends(nil)
	ca.Sessions[0], cb.Sessions[0] = key(ca, "one"), key(cb, "one")
	a, b, _, _ := establish(t, ca, cb)
	until(t, a, up)
	until(t, b, up)
	b.want(deletePeer{cb.Sessions[0]}, addPeer{session: key(cb, "two")})
	until(t, a, func(f said) bool { return f.cause.Is(diag.BGPNoAnswer) })
	never(t, 3*time.Second, a, b)
	a.want(deletePeer{ca.Sessions[0]}, addPeer{session: key(ca, "two")})
	until(t, a, up)
	// The listener would go on to ask for the old password.
	b.want(deletePeer{cb.Sessions[0]}, addPeer{session: key(cb, "")})
	if d := until(t, b, every[died]); !d.cause.Is(diag.BGPChildDied) || !strings.Contains(d.cause.Err, "password") {
		t.Errorf("got %#v", d.cause)
	}
}

func TestChildThatDiesOrHangs(t *testing.T) {
	t.Parallel()
	ca, cb := ends(nil)
	a, b, la, _ := establish(t, ca, cb)
	until(t, a, up)
	until(t, b, up)
	a.want(ask{})
	until(t, a, every[answered])

	syscall.Kill(la.pid(), syscall.SIGKILL)
	if d := until(t, a, every[died]); !d.cause.Is(diag.BGPChildDied) || d.cause.Name != "a" || d.cause.Err != "signal: killed" {
		t.Errorf("got %#v", d.cause)
	}
	a.want(start{ca})
	until(t, a, every[started])
	a.want(addPeer{session: ca.Sessions[0]}, tell{add: prefixes(1, 10)})
	begun := time.Now()
	until(t, a, up)
	count(t, b, 1, false)
	t.Logf("back, and its routes told, after %v", time.Since(begun))

	syscall.Kill(la.pid(), syscall.SIGSTOP)
	for !strings.Contains(stat(la.pid()), ") T ") {
		time.Sleep(time.Millisecond)
	}
	a.want(ask{})
	limit := time.After(2 * askTimeout)
	for waiting := true; waiting; {
		select {
		case f := <-a.seen:
			if _, ok := f.(answered); ok {
				t.Error("a stopped child answers")
			}
		case <-limit:
			waiting = false
		}
	}
	cause := diag.Cause{Code: diag.BGPChildDied, Err: "it hangs"}
	a.want(kill{cause})
	if d := until(t, a, every[died]); d.cause.Err != "it hangs" {
		t.Errorf("got %#v", d.cause)
	}
}

func stat(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return string(b)
}

// What a session fails by is told in a code, from what GoBGP itself wrote.
func TestReasonsOfTheChild(t *testing.T) {
	peer := "169.254.10.2:0"
	for name, tt := range map[string]struct {
		change func(a, b *Session)
		after  func(t *testing.T, b *puppet, lb *local, cb Config) // both are up
		want   string
	}{
		"another AS": {
			func(a, _ *Session) { a.RemoteASN = 65009 }, nil,
			"bgp-as-mismatch peer=" + peer + " ours=65009 theirs=4200000002",
		},
		"the peer ends": {
			nil, func(_ *testing.T, b *puppet, _ *local, cb Config) { b.want(deletePeer{cb.Sessions[0]}) },
			"bgp-notification peer=" + peer + " notify=Cease: Peer De-configured",
		},
		"shutdown with a word": {
			nil, func(t *testing.T, b *puppet, _ *local, _ Config) {
				b.s.child.do(func(ctx context.Context, cl *client) error {
					_, err := cl.api.ShutdownPeer(ctx, &api.ShutdownPeerRequest{Address: "169.254.10.1", Communication: "we\x1b[31m move"})
					return err
				})
			},
			"bgp-notification peer=" + peer + " theirs=we?[31m move notify=Cease: Administrative Shutdown",
		},
		"silence": {
			func(a, b *Session) { a.Hold, a.Keepalive = 3*time.Second, time.Second },
			func(_ *testing.T, _ *puppet, lb *local, _ Config) { syscall.Kill(lb.pid(), syscall.SIGSTOP) },
			"bgp-hold-expired peer=" + peer,
		},
		"the peer's process dies": {
			nil, func(_ *testing.T, _ *puppet, lb *local, _ Config) { syscall.Kill(lb.pid(), syscall.SIGKILL) },
			"bgp-down peer=" + peer + " err=the peer closed the connection without a word",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca, cb := ends(tt.change)
			a, b, _, lb := establish(t, ca, cb)
			if tt.after != nil {
				until(t, a, up)
				until(t, b, up)
				tt.after(t, b, lb, cb)
			}
			got := until(t, a, func(f said) bool { return !f.cause.Is(diag.BGPRefused) }).cause
			s := fmt.Sprintf("%s peer=%s", got.Code, got.Peer)
			for _, d := range []struct{ name, is string }{{"ours", got.Ours}, {"theirs", got.Theirs}, {"notify", got.Notify}, {"err", got.Err}} {
				if d.is != "" {
					s += " " + d.name + "=" + d.is
				}
			}
			if s != tt.want {
				t.Errorf("got  %s\nwant %s", s, tt.want)
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		ca, _ := ends(nil)
		sa, _ := pair(t)
		a, _ := speaker(t, sa, ca)
		a.want(start{ca})
		until(t, a, every[started])
		a.want(addPeer{session: ca.Sessions[0]})
		if got := until(t, a, every[said]).cause; !got.Is(diag.BGPRefused) || got.Err != "connection refused" {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("the port is taken", func(t *testing.T) {
		ca, _ := ends(nil)
		sa, _ := pair(t)
		for i := range 2 {
			a, _ := speaker(t, sa, ca)
			a.want(start{ca})
			if i == 0 {
				until(t, a, every[started])
				continue
			}
			if got := until(t, a, every[died]).cause; !got.Is(diag.BGPPortTaken) {
				t.Errorf("got %+v", got)
			}
		}
	})
}

// With TTL security what comes from further away is dropped. A peer without it sends with a TTL of 1.
func TestPeerWithoutTTLSecurityIsRefused(t *testing.T) {
	t.Parallel()
	ca, cb := ends(func(a, _ *Session) { a.TTLSecurity = true })
	a, b, _, _ := establish(t, ca, cb)
	until(t, b, func(p peerIs) bool { return p.state == Opening || p.state == Connecting })
	never(t, 3*time.Second, a, b)
}

// The end of Run is told to the peers.
func TestEndIsTold(t *testing.T) {
	t.Parallel()
	ca, cb := ends(nil)
	sa, sb := pair(t)
	a, _ := speaker(t, sa, ca)
	t.Run("", func(t *testing.T) {
		b, _ := speaker(t, sb, cb)
		for k, c := range map[*puppet]Config{a: ca, b: cb} {
			k.want(start{c})
			until(t, k, every[started])
			k.want(addPeer{session: c.Sessions[0]})
		}
		until(t, a, up)
		until(t, b, up)
	})
	if got := until(t, a, func(f said) bool { return f.cause.Is(diag.BGPNotification) }).cause; got.Notify != "Cease: Peer De-configured" {
		t.Errorf("got %+v", got)
	}
}

// An exception is not told, and withdrawn from a peer that has it already; the peer hears each change of its policy.
func TestExceptions(t *testing.T) {
	t.Parallel()
	ca, cb := ends(nil)
	a, b, _, _ := establish(t, ca, cb)
	until(t, a, up)
	until(t, b, up)
	all := prefixes(4, 10)
	p := func(i int) netip.Prefix { return all[i].Prefix }
	s := ca.Sessions[0]
	a.want(export{s, []netip.Prefix{p(3)}}, tell{add: all})
	if got := count(t, b, 3, false); got[p(3)].Prefix.IsValid() {
		t.Error("an exception is told")
	}
	a.want(export{s, []netip.Prefix{p(0), p(3)}})
	if got := count(t, b, 1, true); !got[p(0)].Withdrawn {
		t.Errorf("not withdrawn: %v", got)
	}
	s.MED = 77
	a.want(export{s, []netip.Prefix{p(0)}})
	until(t, b, func(f told) bool {
		for _, r := range f.routes {
			if r.Prefix == p(0) && !r.Withdrawn {
				t.Error("an exception is told")
			}
			if r.Prefix == p(3) && r.MED == 77 {
				return true
			}
		}
		return false
	})
}
