package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/diag"
)

// script drives a keeper on handed-in time, and behaves as the child where that is plain: it starts, it answers.
type script struct {
	t       *testing.T
	k       *keeper
	start   time.Time
	now     time.Time
	silent  bool // the child does not answer asks
	broken  bool // it does not start by itself
	did     []string
	reports map[string]Report
	asks    int
	cause   diag.Cause // of the last event
}

func plain(tunnel string, last byte) Session {
	return Session{
		BGP:    config.BGP{Announce: []netip.Prefix{pfx("10.66.0.0/16")}, MaxPrefixes: 10, OverLimit: config.OverTruncate},
		Tunnel: tunnel, Local: netip.AddrFrom4([4]byte{169, 254, last, 1}), Remote: netip.AddrFrom4([4]byte{169, 254, last, 2}),
		Inside:   netip.PrefixFrom(netip.AddrFrom4([4]byte{169, 254, last, 0}), 30),
		LocalASN: 65001, RemoteASN: 65002, Own: []netip.Prefix{pfx("10.66.0.0/16")},
		Outer: []netip.Addr{netip.MustParseAddr("203.0.113.2")},
	}
}

func group(sessions ...Session) Config {
	return Config{Group: "g", ASN: 65001, RouterID: netip.MustParseAddr("169.254.10.1"), Sessions: sessions}
}

func newScript(t *testing.T, c Config) *script {
	w := &script{t: t, start: time.Unix(1e9, 0), reports: map[string]Report{}}
	w.now = w.start
	w.k = newKeeper(w.now, c, func() float64 { return 0.5 }) // jitter of 0.5 is none
	return w
}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// drain performs what the keeper wants, and notes it.
func (w *script) drain() {
	w.k.advance(w.now)
	for a := w.k.next(); a != nil; a = w.k.next() {
		switch a := a.(type) {
		case start:
			w.did = append(w.did, "start")
			if !w.broken {
				w.k.note(w.now, started{})
				w.k.advance(w.now)
			}
		case kill:
			w.did = append(w.did, "kill "+string(a.cause.Code))
			w.k.note(w.now, died{})
			w.k.advance(w.now)
		case ask:
			w.asks++
			if !w.silent {
				w.k.note(w.now, answered{})
			}
		case addPeer:
			w.did = append(w.did, "add "+a.session.Tunnel+strings.Join(texts(" except ", a.except), ""))
		case deletePeer:
			w.did = append(w.did, "delete "+a.session.Tunnel)
		case export:
			w.did = append(w.did, fmt.Sprintf("export %s med %d%s", a.session.Tunnel, a.session.MED, strings.Join(texts(" except ", a.except), "")))
		case tell:
			var s []string
			for _, t := range a.add {
				s = append(s, "+"+t.Prefix.String()+strings.Trim(fmt.Sprint(t.Path), "[]"))
			}
			for _, t := range a.withdraw {
				s = append(s, "-"+t.Prefix.String())
			}
			w.did = append(w.did, "tell "+strings.Join(s, " "))
		case event:
			c := a.cause
			w.cause = c
			s := "event " + strings.TrimSpace(a.tunnel+" "+string(c.Code))
			if len(c.Because) > 0 {
				s += " because " + string(c.Because[0].Code)
			}
			w.did = append(w.did, s)
		case report:
			w.reports[a.Tunnel] = a.Report
		}
	}
	if d := w.k.deadline(); !d.IsZero() && !d.After(w.now) {
		w.t.Fatalf("at %v the deadline is %v after advance", w.now.Sub(w.start), d.Sub(w.start))
	}
}

func texts(before string, list []netip.Prefix) (out []string) {
	for _, p := range list {
		out = append(out, before+p.String())
	}
	return out
}

// do notes facts and returns what the keeper did since the last call.
func (w *script) do(facts ...fact) []string {
	for _, f := range facts {
		w.k.note(w.now, f)
	}
	w.drain()
	did := w.did
	w.did = nil
	return did
}

// pass lets time go by, from deadline to deadline, and returns what was done, with the time since now where it was not at once.
func (w *script) pass(d time.Duration) (out []string) {
	w.t.Helper()
	from, until := w.now, w.now.Add(d)
	for n := 0; ; n++ {
		next := w.k.deadline()
		if next.IsZero() || next.After(until) {
			w.now = until
			return out
		}
		if n > 100000 {
			w.t.Fatal("the keeper does not come to rest")
		}
		w.now = next
		for _, s := range w.do() {
			out = append(out, fmt.Sprintf("%v %s", w.now.Sub(from), s))
		}
	}
}

// want compares what was done.
func (w *script) want(got []string, want ...string) {
	w.t.Helper()
	if !slices.Equal(got, want) {
		w.t.Fatalf("at %v\ngot  %q\nwant %q", w.now.Sub(w.start), got, want)
	}
}

// up brings a session up: the tunnel, the peer, its End-of-RIB after some routes.
func (w *script) up(tunnel string, prefixes ...string) {
	w.t.Helper()
	w.do(reachable{tunnel, true})
	w.establish(tunnel, 0, prefixes...)
	w.do(endOfRIB{tunnel})
}

func (w *script) establish(tunnel string, restart time.Duration, prefixes ...string) {
	w.t.Helper()
	did := w.do(peerIs{tunnel: tunnel, state: Idle}, peerIs{tunnel: tunnel, state: Connecting}, peerIs{tunnel: tunnel, state: Opening},
		peerIs{tunnel: tunnel, state: Established, hold: 9 * time.Second, restart: restart}, w.told(tunnel, prefixes...))
	if said := "event " + tunnel + " " + string(diag.BGPUp); !slices.Contains(did, said) {
		w.t.Fatalf("got %q, which lacks %q", did, said)
	}
	if w.reports[tunnel].State != Established {
		w.t.Fatalf("session %s is not established: %+v", tunnel, w.reports[tunnel])
	}
}

// told are plain routes of the tunnel's peer; "-" before a prefix withdraws it.
func (w *script) told(tunnel string, prefixes ...string) told {
	s := w.k.find(tunnel)
	f := told{tunnel: tunnel}
	for _, p := range prefixes {
		p, gone := strings.CutPrefix(p, "-")
		path := []uint32{s.RemoteASN}
		if s.internal() {
			path = nil
		}
		f.routes = append(f.routes, Told{Prefix: pfx(p), Next: s.Remote, Path: path, Withdrawn: gone})
	}
	return f
}

func (w *script) routes(tunnel string) string {
	var s []string
	for _, l := range w.reports[tunnel].Routes {
		s = append(s, l.Prefix.String())
	}
	return strings.Join(s, " ")
}

// has compares the routes of a session.
func (w *script) has(tunnel, want string) {
	w.t.Helper()
	if got := w.routes(tunnel); got != want {
		w.t.Fatalf("at %v: routes of %s are %q, want %q", w.now.Sub(w.start), tunnel, got, want)
	}
}

func because(code diag.Code) died { return died{diag.Cause{Code: code}} }
