package bgp

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/diag"
)

func limited(max int, over config.OverLimit) Session {
	s := plain("t1", 10)
	s.MaxPrefixes, s.OverLimit = max, over
	return s
}

func TestTruncateKeepsTheLowestOfAFreshTable(t *testing.T) {
	lists := [][]string{
		{"10.5.0.0/16", "10.4.0.0/16", "10.3.0.0/16", "10.2.0.0/16"},
		{"10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16", "10.5.0.0/16"},
		{"10.4.0.0/16", "10.2.0.0/16", "10.5.0.0/16", "10.3.0.0/16"},
	}
	for _, list := range lists {
		w := newScript(t, group(limited(2, config.OverTruncate)))
		w.do(reachable{"t1", true})
		w.establish("t1", 0)
		for _, p := range list {
			w.do(w.told("t1", p))
		}
		w.do(endOfRIB{"t1"})
		w.has("t1", "10.2.0.0/16 10.3.0.0/16")
		r := w.reports["t1"]
		if r.RefusedN != 2 || len(r.Refused) != 2 || !r.Refused[0].Cause.Is(diag.BGPLimit) || r.Refused[0].Cause.Count != 2 {
			t.Errorf("refused %+v", r.Refused)
		}
		// Now who is in stays, and a free place is for the lowest.
		w.do(w.told("t1", "10.1.0.0/16"))
		w.has("t1", "10.2.0.0/16 10.3.0.0/16")
		w.do(w.told("t1", "-10.3.0.0/16"))
		w.has("t1", "10.1.0.0/16 10.2.0.0/16")
		w.do(w.told("t1", "-10.4.0.0/16", "-10.1.0.0/16"))
		w.has("t1", "10.2.0.0/16 10.5.0.0/16")
		if r := w.reports["t1"]; r.RefusedN != 0 || len(r.Refused) != 0 {
			t.Errorf("refused %+v", r.Refused)
		}
	}
}

// After a restart of the child the same prefixes are accepted, in whatever order the peer tells them.
func TestTruncateKeepsStaleOnes(t *testing.T) {
	w := newScript(t, group(limited(2, config.OverTruncate)))
	w.up("t1", "10.3.0.0/16", "10.4.0.0/16")
	w.do(w.told("t1", "10.1.0.0/16"))
	w.do(because(diag.BGPChildDied))
	w.establish("t1", 0, "10.1.0.0/16", "10.4.0.0/16", "10.3.0.0/16")
	w.has("t1", "10.3.0.0/16 10.4.0.0/16")
	w.do(endOfRIB{"t1"})
	w.has("t1", "10.3.0.0/16 10.4.0.0/16")
	// One that the new session lacks makes place.
	w.do(because(diag.BGPChildDied))
	w.pass(time.Second)
	w.establish("t1", 0, "10.1.0.0/16", "10.4.0.0/16")
	w.has("t1", "10.3.0.0/16 10.4.0.0/16")
	w.do(endOfRIB{"t1"})
	w.has("t1", "10.1.0.0/16 10.4.0.0/16")
}

func TestWarnAccepts(t *testing.T) {
	w := newScript(t, group(limited(2, config.OverWarn)))
	w.do(reachable{"t1", true})
	w.establish("t1", 0, "10.1.0.0/16", "10.2.0.0/16")
	w.do()
	w.want(w.do(w.told("t1", "10.3.0.0/16")), "event t1 bgp-limit")
	w.want(w.do(w.told("t1", "10.4.0.0/16"))) // said already
	w.has("t1", "10.1.0.0/16 10.2.0.0/16 10.3.0.0/16 10.4.0.0/16")
	w.do(w.told("t1", "-10.3.0.0/16", "-10.4.0.0/16"))
	w.want(w.do(w.told("t1", "10.3.0.0/16"))) // one that comes and goes is no news
	w.do(w.told("t1", "-10.2.0.0/16", "-10.3.0.0/16"))
	w.want(w.do(w.told("t1", "10.2.0.0/16", "10.3.0.0/16")), "event t1 bgp-limit")
}

func TestEndEnds(t *testing.T) {
	w := newScript(t, group(limited(2, config.OverEnd)))
	w.do(reachable{"t1", true})
	w.establish("t1", 0, "10.1.0.0/16", "10.2.0.0/16")
	w.do()
	for _, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		w.want(w.do(w.told("t1", "10.3.0.0/16", "224.0.0.0/4")), // the refused one doesn't count
			"event t1 bgp-prefix-refused", "event t1 bgp-limit", "event t1 bgp-down because bgp-limit", "delete t1")
		w.has("t1", "")
		if r := w.reports["t1"]; r.State != Idle || !r.Last.Is(diag.BGPLimit) {
			t.Errorf("report %+v", r)
		}
		w.want(w.do(reachable{"t1", false}, reachable{"t1", true})) // the tunnel changes nothing
		w.want(w.pass(pause*time.Minute-1), []string{}...)
		w.want(w.pass(1), "1ns add t1")
		w.establish("t1", 0, "10.1.0.0/16", "10.2.0.0/16")
		w.do()
	}
	w.do(w.told("t1", "10.3.0.0/16"))
	w.k.change(w.now, group(limited(2, config.OverEnd))) // an operator's wish
	w.want(w.do(), "add t1")
}

// Routes of before don't count for what a new session may bring.
func TestStaleRoutesEndNothing(t *testing.T) {
	w := newScript(t, group(limited(2, config.OverEnd)))
	w.up("t1", "10.1.0.0/16", "10.2.0.0/16")
	w.do(because(diag.BGPChildDied))
	w.establish("t1", 0, "10.3.0.0/16", "10.4.0.0/16")
	w.want(w.do(endOfRIB{"t1"}))
	w.has("t1", "10.3.0.0/16 10.4.0.0/16")
}

// The bound is of what is kept, not of what is told.
func TestMemoryIsBounded(t *testing.T) {
	w := newScript(t, group(limited(10, config.OverTruncate)))
	w.up("t1")
	all := func(f func(p netip.Prefix) Told) told {
		x := told{tunnel: "t1"}
		for i := range 20000 {
			x.routes = append(x.routes, f(netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), 32)))
		}
		return x
	}
	good := func(p netip.Prefix) Told {
		return Told{Prefix: p, Next: w.k.find("t1").Remote, Path: []uint32{65002}}
	}
	bad := func(p netip.Prefix) Told { return Told{Prefix: p, Next: w.k.find("t1").Local, Path: []uint32{65002}} }
	gone := func(p netip.Prefix) Told { return Told{Prefix: p, Withdrawn: true} }
	r := &w.k.find("t1").rib
	for _, f := range []told{all(good), all(bad), all(good), all(bad), all(good)} {
		w.do(f)
		if n := len(r.entries); n > 2*1040 {
			t.Fatalf("%d entries are kept", n)
		}
		if r.refused < 0 || r.stale != 0 || r.accepted > 10 || len(r.recent) > MaxRefused {
			t.Fatalf("%d refused, %d stale, %d accepted, %d recent", r.refused, r.stale, r.accepted, len(r.recent))
		}
	}
	w.do(all(gone))
	if len(r.entries)+r.refused+r.accepted+len(r.waiting.list)+len(r.recent) > 0 {
		t.Errorf("after all is withdrawn: %d entries, %d refused, %d accepted, %d recent", len(r.entries), r.refused, r.accepted, len(r.recent))
	}
	if got := w.reports["t1"]; got.In != 0 || len(got.Refused) != 0 {
		t.Errorf("report %+v", got)
	}
}

// The newest refusals are shown, and older ones where those are withdrawn.
func TestRefusedIsTheNewest(t *testing.T) {
	w := newScript(t, group(limited(1, config.OverTruncate)))
	w.up("t1")
	for i := range 100 {
		w.do(w.told("t1", fmt.Sprintf("127.0.%d.0/24", i)))
	}
	r := w.reports["t1"]
	if len(r.Refused) != MaxRefused || r.RefusedN != 100 || r.Refused[MaxRefused-1].Prefix != pfx("127.0.99.0/24") {
		t.Fatalf("%d refused, %d shown, the last %v", r.RefusedN, len(r.Refused), r.Refused[len(r.Refused)-1].Prefix)
	}
	for i := 99; i >= 50; i-- {
		w.do(w.told("t1", fmt.Sprintf("-127.0.%d.0/24", i)))
	}
	r = w.reports["t1"]
	if len(r.Refused) != 50 || r.RefusedN != 50 {
		t.Errorf("%d refused, %d shown", r.RefusedN, len(r.Refused))
	}
	for _, x := range r.Refused {
		if !x.Cause.Is(diag.BGPPrefixRefused) || x.Cause.Prefix != x.Prefix {
			t.Errorf("%v is refused for %v", x.Prefix, x.Cause)
		}
	}
}

// A route that is told again with another next hop is another decision.
func TestRouteBecomesRefusedAndBack(t *testing.T) {
	w := newScript(t, group(plain("t1", 10)))
	w.up("t1", "10.1.0.0/16")
	off := w.told("t1", "10.1.0.0/16")
	off.routes[0].Next = w.k.find("t1").Local
	w.do(off)
	w.has("t1", "")
	w.do(w.told("t1", "10.1.0.0/16"))
	w.has("t1", "10.1.0.0/16")
	if r := w.reports["t1"]; r.RefusedN != 0 || len(r.Refused) != 0 {
		t.Errorf("refused %+v", r.Refused)
	}
	long := w.told("t1", "10.1.0.0/16")
	long.routes[0].Path = append(long.routes[0].Path, 7, 8)
	long.routes[0].MED = 5
	w.do(long)
	if l := w.reports["t1"].Routes[0]; !slices.Equal(l.Path, []uint32{65002, 7, 8}) || l.MED != 5 {
		t.Errorf("route %+v", l)
	}
}

// A report is never changed, whatever is told after it.
func TestReportsDoNotChange(t *testing.T) {
	w := newScript(t, group(plain("t1", 10)))
	w.up("t1", "10.1.0.0/16", "10.2.0.0/16", "127.1.0.0/16", "127.2.0.0/16")
	was := w.reports["t1"]
	routes, refused := slices.Clone(was.Routes), slices.Clone(was.Refused)
	w.do(w.told("t1", "-10.1.0.0/16", "10.0.0.0/16", "-127.1.0.0/16", "127.3.0.0/16"))
	if !slices.EqualFunc(was.Routes, routes, func(a, b Learned) bool { return a.Prefix == b.Prefix }) ||
		!slices.EqualFunc(was.Refused, refused, func(a, b Refused) bool { return a.Prefix == b.Prefix }) {
		t.Error("an old report has changed")
	}
	// And nothing is reported that is not news.
	w.k.advance(w.now)
	if a := w.k.next(); a != nil {
		t.Errorf("%T without news", a)
	}
	w.k.note(w.now, w.told("t1", "10.5.0.0/16"))
	w.k.note(w.now, w.told("t1", "10.6.0.0/16"))
	w.k.advance(w.now)
	n := 0
	for a := w.k.next(); a != nil; a = w.k.next() {
		n++
	}
	if n != 1 {
		t.Errorf("%d actions for two facts, want one report", n)
	}
}

func manyRoutes(n int, next netip.Addr) []Told {
	var out []Told
	for i := range n {
		out = append(out, Told{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), 32), Next: next, Path: []uint32{65002, uint32(i)}})
	}
	return out
}

// feed tells routes in the batches of the child's stream, with a report after each.
func feed(w *script, routes []Told) {
	for batch := range slices.Chunk(routes, 500) {
		w.do(told{"t1", batch})
	}
}

func BenchmarkTenThousandTold(b *testing.B) { benchFeed(b, 10000, 10000) }

func BenchmarkHundredThousandRefused(b *testing.B) { benchFeed(b, 100000, 1000) }

func benchFeed(b *testing.B, n, limit int) {
	s := limited(limit, config.OverTruncate)
	routes := manyRoutes(n, s.Remote)
	b.ReportAllocs()
	var kept uint64
	for b.Loop() {
		w := newScript(nil, group(s))
		w.do(reachable{"t1", true})
		w.do(peerIs{tunnel: "t1", state: Opening}, peerIs{tunnel: "t1", state: Established})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		feed(w, routes)
		if w.reports["t1"].In != min(n, limit) {
			b.Fatal(w.reports["t1"].In)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		kept = max(after.HeapAlloc, before.HeapAlloc) - before.HeapAlloc
		runtime.KeepAlive(w)
	}
	b.ReportMetric(float64(kept)/1e6, "MB-kept")
}

// One change of 10 000 routes, with its report.
func BenchmarkOneOfTenThousand(b *testing.B) {
	s := limited(20000, config.OverTruncate)
	w := newScript(nil, group(s))
	w.do(reachable{"t1", true})
	w.do(peerIs{tunnel: "t1", state: Opening}, peerIs{tunnel: "t1", state: Established})
	routes := manyRoutes(10000, s.Remote)
	feed(w, routes)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		r := routes[i%len(routes)]
		r.Withdrawn = i/len(routes)%2 == 0
		w.do(told{"t1", []Told{r}})
		i++
	}
}
