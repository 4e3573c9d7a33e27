package bgp

import (
	"net/netip"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ipsec"
)

func TestNoSessionNoChild(t *testing.T) {
	w := newScript(t, Config{Group: "g"})
	w.want(w.do(networks{connected: []netip.Prefix{pfx("10.1.0.0/16")}}))
	if d := w.k.deadline(); !d.IsZero() {
		t.Fatalf("there is a deadline: %v", d)
	}
	w.k.change(w.now, group(plain("t1", 10)))
	w.want(w.do(), "start", "tell +10.66.0.0/16")
	w.k.change(w.now, Config{Group: "g"})
	w.want(w.do(), "kill config-changed")
	if d := w.k.deadline(); !d.IsZero() {
		t.Fatalf("there is a deadline: %v", d)
	}
}

func TestChildDies(t *testing.T) {
	w := newScript(t, group(plain("t1", 10)))
	w.want(w.do(), "start", "tell +10.66.0.0/16")
	// The first death: at once. The second: after a second.
	w.want(w.do(because(diag.BGPChildDied)), "event bgp-child-died", "start", "tell +10.66.0.0/16")
	w.pass(10 * time.Second)
	w.want(w.do(because(diag.BGPChildDied)), "event bgp-child-died")
	w.want(w.pass(5*time.Second), "1s start", "1s tell +10.66.0.0/16")
	// The third in a minute is a pause.
	w.pass(40 * time.Second)
	w.want(w.do(because(diag.BGPChildDied)), "event bgp-child-died", "event bgp-child-paused because bgp-child-died")
	if got := w.reports["t1"].Last; !got.Is(diag.BGPChildPaused) || got.After != 5*time.Minute {
		t.Errorf("the session says %v", got)
	}
	w.want(w.pass(10*time.Minute), "5m0s start", "5m0s tell +10.66.0.0/16")
	// It counts from the beginning.
	w.want(w.do(because(diag.BGPChildDied)), "event bgp-child-died", "start", "tell +10.66.0.0/16")
}

func TestChildDiesSlowly(t *testing.T) {
	w := newScript(t, group(plain("t1", 10)))
	w.do()
	var rests []time.Duration
	for range 9 {
		w.do(because(diag.BGPChildDied))
		from := w.now
		if w.k.phase == absent {
			rests = append(rests, w.k.deadline().Sub(from))
		} else {
			rests = append(rests, 0)
		}
		w.pass(rests[len(rests)-1] + 31*time.Second) // so in each minute there are two deaths
	}
	want := []time.Duration{0, 1e9, 2e9, 4e9, 8e9, 16e9, 32e9, 60e9, 60e9}
	for i := range want {
		if rests[i] != want[i] {
			t.Fatalf("rests are %v, want %v", rests, want)
		}
	}
	w.pass(6 * time.Minute)
	w.want(w.do(because(diag.BGPChildDied)), "event bgp-child-died", "start", "tell +10.66.0.0/16")
}

func TestChildDoesNotStart(t *testing.T) {
	w := newScript(t, group(plain("t1", 10)))
	w.broken = true
	w.want(w.do(), "start")
	w.want(w.do(because(diag.BGPPortTaken)), "event bgp-port-taken")
	if got := w.reports["t1"].Last; !got.Is(diag.BGPPortTaken) {
		t.Errorf("the session says %v", got)
	}
	w.want(w.pass(time.Second), "1s start")
	w.want(w.do(because(diag.BGPPortTaken))) // said already
	w.want(w.pass(2*time.Second), "2s start")
	w.do(because(diag.BGPPortTaken))
	w.want(w.pass(4*time.Second), "4s start") // no pause: nobody kills it
	// No answer at all.
	w.want(w.pass(20*time.Second), "15s kill bgp-child-died", "15s event bgp-child-died")
	w.broken = false
	w.want(w.pass(20*time.Second), "3s start", "3s tell +10.66.0.0/16")
	// An operator's reload does not wait.
	w.do(because(diag.BGPChildDied))
	w.do(because(diag.BGPChildDied))
	w.do(because(diag.BGPChildDied))
	w.k.change(w.now, group(plain("t1", 10)))
	w.want(w.do(), "start", "tell +10.66.0.0/16")
}

func TestSilentChildIsKilled(t *testing.T) {
	w := newScript(t, group(plain("t1", 10)))
	w.do()
	w.pass(20 * time.Second)
	if w.asks != 10 {
		t.Errorf("%d asks in 20 s, want 10", w.asks)
	}
	w.silent = true
	w.want(w.pass(2*time.Second + 2249*time.Millisecond)) // two asks are open, the second for a moment
	w.want(w.pass(time.Millisecond), "1ms kill bgp-child-died", "1ms event bgp-child-died", "1ms start", "1ms tell +10.66.0.0/16")
	if w.cause.After != silence {
		t.Errorf("the event is %+v", w.cause)
	}
	// A late answer to the first ask saves it.
	w.pass(3 * time.Second)
	w.want(w.do(answered{}))
	w.silent = false
	w.want(w.pass(10 * time.Second))
}

func TestChangesThatTheChildCannotTake(t *testing.T) {
	keyed := plain("t1", 10)
	keyed.AuthKey = ipsec.Secret("a")
	other := keyed
	other.AuthKey = ipsec.Secret("b")
	bare := plain("t1", 10)
	moved := plain("t1", 10)
	moved.Local = netip.MustParseAddr("169.254.10.5")
	as, id := group(bare), group(bare)
	as.ASN = 65009
	id.RouterID = netip.MustParseAddr("10.0.0.1")
	for _, c := range []struct {
		name    string
		was     Config
		is      Config
		restart bool
	}{
		{"another AS", group(bare), as, true},
		{"another router id", group(bare), id, true},
		{"another address", group(bare), group(moved), true},
		{"another session's address", group(bare), group(bare, plain("t2", 11)), true},
		{"another password", group(keyed), group(other), true},
		{"a password removed", group(keyed), group(bare), true},
		{"the first password", group(bare), group(keyed), false},
		{"the same", group(keyed), group(keyed), false},
	} {
		w := newScript(t, c.was)
		w.up("t1", "10.1.0.0/16")
		w.k.change(w.now, c.is)
		got := w.do()
		if restarted := len(got) > 1 && got[1] == "kill config-changed" && got[2] == "start"; restarted != c.restart {
			t.Errorf("%s: %q", c.name, got)
		}
		if r := w.reports["t1"]; w.routes("t1") != "10.1.0.0/16" || r.Flaps != 0 || r.Stale == (c.name == "the same") {
			t.Errorf("%s: routes %q, stale %v, %d flaps", c.name, w.routes("t1"), r.Stale, r.Flaps)
		}
		if c.restart {
			w.want(w.do(because(diag.BGPChildDied))[:2], "event bgp-child-died", "start") // the first death that counts
		}
	}
}

// A key stays on the listener when its session goes: with the same address and without the key nothing would come in.
func TestKeyOfARemovedSession(t *testing.T) {
	keyed, bare := plain("t1", 10), plain("t1", 10)
	keyed.AuthKey = ipsec.Secret("a")
	second := plain("t2", 11)
	second.Local = keyed.Local // so the listener stays
	w := newScript(t, group(keyed, second))
	w.do(reachable{"t1", true})
	w.k.change(w.now, group(second))
	w.want(w.do(), "delete t1")
	w.k.change(w.now, group(bare, second))
	w.want(w.do(), "kill config-changed", "start", "tell +10.66.0.0/16", "add t1")
}

func TestFactsOfNobody(t *testing.T) {
	w := newScript(t, group(plain("t1", 10)))
	w.broken = true
	all := []fact{
		answered{},
		peerIs{tunnel: "t1", state: Established},
		told{"t1", []Told{{Prefix: pfx("10.1.0.0/16")}}},
		said{"t1", diag.Cause{Code: diag.BGPAS}},
		endOfRIB{"t1"},
		reachable{"t9", true},
		peerIs{tunnel: "t9", state: Idle},
		told{tunnel: "t9"},
	}
	w.do(all...)
	if r := w.reports["t1"]; r.State != Idle || len(r.Routes) > 0 || !r.Last.Is(diag.BGPWaits) {
		t.Errorf("before the child: %+v", r)
	}
	w.want(w.do(started{}), "tell +10.66.0.0/16")
	w.want(w.do(started{})) // it is no news
	w.do(all...)
	if r := w.reports["t1"]; r.State != Idle || len(r.Routes) > 0 {
		t.Errorf("before the peer: %+v", r)
	}
	w.want(w.do(died{}, died{}), "event bgp-child-died", "start")
	// What was said of a tunnel before its session was configured counts.
	w.do(started{})
	s := plain("t9", 10)
	w.k.change(w.now, group(s))
	w.want(w.do(), "add t9")
}
