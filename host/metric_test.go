package host

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vpngw/diag"
)

// metricState is guardState with a metric.
func metricState(device string, metric int) State {
	s := guardState(device)
	s.Guards = guards(metric, guarded...)
	for i := range s.Devices {
		s.Devices[i].Metric = metric
	}
	return s
}

// course follows our routes event by event.
type course struct {
	*space
	host   *Host
	events *events
	places map[tablePrefix]map[int]bool // by metric: it leads into a device
}

func (s *space) course(h *Host) *course {
	ev, err := subscribe()
	s.must(err)
	s.t.Cleanup(func() { ev.Close() })
	return &course{s, h, ev, make(map[tablePrefix]map[int]bool)}
}

// follow takes the events until now. After each of them, the best of our routes to its prefix leads into a device, or with
// guard is at least there, and a guard stays.
func (c *course) follow(when string, check, guard bool) {
	c.t.Helper()
	for {
		msgs, err := c.events.take()
		if err == errNone {
			return
		}
		c.must(err)
		for _, m := range msgs {
			c.host.mu.Lock()
			e, ok := c.host.parse(m)
			c.host.mu.Unlock()
			if !ok || !e.ours || e.typ != unix.RTM_NEWROUTE && e.typ != unix.RTM_DELROUTE {
				continue
			}
			at := c.places[e.key]
			if at == nil {
				at = make(map[int]bool)
				c.places[e.key] = at
			}
			if e.typ == unix.RTM_NEWROUTE {
				at[e.metric] = !e.guard
			} else {
				delete(at, e.metric)
			}
			best, guards := -1, 0
			for metric, device := range at {
				if !device {
					guards++
				}
				if best < 0 || metric < best {
					best = metric
				}
			}
			unwanted := netip.MustParsePrefix("10.96.0.0/14").Overlaps(e.key.prefix)
			if check && !unwanted && (guards == 0 && e.guard || best < 0 || !at[best] && !guard) {
				c.t.Errorf("%s: after event %d of metric %d, %v has by metric %v", when, e.typ, e.metric, e.key.prefix, at)
			}
		}
	}
}

// A change of a tunnel's metric, or another tunnel of another metric, leaves no moment without a route into a device.
func TestRoutesOfOtherMetricsReplaceEachOtherWithoutAGap(t *testing.T) {
	s, h := world(t, "vpn0", "vpn1")
	c := s.course(h)
	set := func(when string, check bool, st State) {
		t.Helper()
		before := h.dumped
		if res, err := h.Set("a", st); err != nil || len(res.Blocked) > 0 {
			t.Fatal(when, res, err)
		}
		if check && h.dumped != before {
			t.Errorf("%s: our own route took us by surprise", when)
		}
		c.follow(when, check, false)
		ours, foreign := s.kernelState()
		for line := range ours {
			if strings.HasPrefix(line, "link ") {
				delete(ours, line)
			}
		}
		want, _ := model([]State{st}, foreign)
		compare(t, when, ours, want)
		s.checkMetrics([]State{st})
	}
	set("at first", false, metricState("vpn0", 0))
	for i, metric := range []int{100, 7300, 7310, 7300, 7290, 7300, 110, 100, 111, 101, 100, 90, 101, 7299, 7300, 1, 2147483600, 11, 1} {
		set(fmt.Sprintf("metric %d", metric), true, metricState("vpn0", metric))
		both := metricState("vpn1", metric) // the traffic moves to a tunnel of another metric, and both are guarded
		both.Devices = append(both.Devices, DeviceState{Name: "vpn0", MTU: 1400, Metric: 100 + 10*i, Sources: prefixes("10.1.0.0/16")})
		both.Guards = append(both.Guards, guards(100+10*i, guarded...)...)
		set(fmt.Sprintf("metric %d of vpn1", metric), true, both)
		both.Devices[0].Routes, both.Devices[1].Routes = nil, both.Devices[0].Routes
		set(fmt.Sprintf("metric %d of vpn0 beside %d", 100+10*i, metric), true, both)
	}
	for i, metric := range []int{110, 100, 110, 101, 90, 91, 80, 90, 100} { // a new guard in the place of an old route, and the other way round
		set(fmt.Sprintf("metric %d at last", metric), true, metricState([]string{"vpn0", "vpn0", "vpn1"}[i%3], metric))
	}
}

// A foreign route wins unless its metric is worse than that of the worst of our routes to the prefix and its guard.
func TestForeignRoutesWinByTheMetric(t *testing.T) {
	prefix := netip.MustParsePrefix("10.20.0.0/16")
	for _, tt := range []struct {
		ours, second, foreign int
		blocked               bool
	}{
		{ours: 0, foreign: 7310, blocked: true},
		{ours: 0, foreign: 7311},
		{ours: 100, foreign: 0, blocked: true},
		{ours: 100, foreign: 99, blocked: true},
		{ours: 100, foreign: 100, blocked: true},
		{ours: 100, foreign: 101, blocked: true},
		{ours: 100, foreign: 110, blocked: true},
		{ours: 100, foreign: 111},
		{ours: 100, foreign: 7300},
		{ours: 9000, foreign: 7300, blocked: true},
		{ours: 9000, foreign: 9011},
		{ours: 100, second: 7300, foreign: 5000, blocked: true}, // the second's guard is worse
		{ours: 100, second: 200, foreign: 5000},
	} {
		s, h := world(t, "vpn0", "vpn1")
		s.foreignRoute(prefix, false, tt.foreign)
		_, before := s.kernelState()
		st := State{
			Guards:  guards(tt.ours, prefix),
			Devices: []DeviceState{{Name: "vpn0", Metric: tt.ours, Routes: []Route{{Prefix: prefix}}}},
		}
		if tt.second != 0 {
			st.Guards = append(st.Guards, guards(tt.second, prefix)...)
			st.Devices = append(st.Devices, DeviceState{Name: "vpn1", Metric: tt.second})
		}
		res, err := h.Set("a", st)
		if err != nil || len(res.Blocked) > 0 != tt.blocked {
			t.Errorf("%+v: got %+v, %v", tt, res, err)
		}
		if tt.blocked && len(res.Blocked) > 0 {
			if c := res.Blocked[0].Cause; c.Code != diag.RouteBlocked || tt.foreign > 0 && !strings.HasSuffix(c.Err, fmt.Sprint("metric ", tt.foreign)) {
				t.Errorf("%+v: blocked because of %+v", tt, c)
			}
		}
		if got, want := s.via("10.20.0.7", 0), map[bool]string{true: "eth0", false: "vpn0"}[tt.blocked]; got != want {
			t.Errorf("%+v: packets leave by %s, want %s", tt, got, want)
		}
		_, after := s.kernelState()
		compare(t, fmt.Sprintf("%+v, foreign", tt), after, before)
		if tt.blocked && tt.foreign > 20 { // a better metric of ours gets past it, and a worse one gives way again
			for _, better := range []bool{true, false} {
				next := State{Guards: guards(tt.foreign-20, prefix), Devices: []DeviceState{{Name: "vpn0", Metric: tt.foreign - 20, Routes: st.Devices[0].Routes}}}
				if !better {
					next = st
				}
				res, err := h.Set("a", next)
				if got, want := s.via("10.20.0.7", 0), map[bool]string{true: "vpn0", false: "eth0"}[better]; err != nil || len(res.Blocked) > 0 == better || got != want {
					t.Errorf("%+v, better %v: got %+v, %v, packets leave by %s", tt, better, res, err, got)
				}
			}
		}
	}
}

// Routes and guards that an earlier run had under another metric go once the wanted ones stand, wherever they are in the way.
func TestStraysOfOtherMetricsGo(t *testing.T) {
	for _, strays := range [][]string{
		{"10.20.0.0/16 dev vpn0 metric 500", "unreachable 10.20.0.0/16 metric 510"},
		{"10.20.0.0/16 dev vpn0 metric 7300", "unreachable 10.20.0.0/16 metric 7310"},
		{"10.20.0.0/16 dev vpn0 metric 100", "10.20.0.0/16 dev vpn1 metric 110", "unreachable 10.20.0.0/16 metric 120"},
		{"10.20.0.0/16 dev vpn1 metric 20", "unreachable 10.20.0.0/16 metric 101"},
		{"10.20.0.0/16 dev vpn1 metric 100", "10.20.0.0/16 dev vpn1 metric 101", "10.20.0.0/16 dev vpn1 metric 5"},
	} {
		s, h := world(t, "vpn0", "vpn1")
		s.ip("link", "set", "vpn0", "up")
		s.ip("link", "set", "vpn1", "up")
		c := s.course(h)
		for _, r := range append(slices.Clone(strays), "unreachable 10.99.0.0/16 metric 70", "10.98.0.0/16 dev vpn1 metric 70", "10.97.0.0/16 dev vpn1 metric 70 table 7373") {
			s.ip(append([]string{"route", "add"}, strings.Fields(r+" proto 73")...)...)
		}
		c.follow("strays", false, false)
		prefix := netip.MustParsePrefix("10.20.0.0/16")
		st := State{Guards: guards(100, prefix), Devices: []DeviceState{{Name: "vpn0", MTU: 1400, Metric: 100, Routes: []Route{{Prefix: prefix}}}}}
		if res, err := h.Set("a", st); err != nil || len(res.Blocked) > 0 {
			t.Fatal(strays, res, err)
		}
		c.follow(fmt.Sprint(strays), true, false)
		ours, foreign := s.kernelState()
		for line := range ours {
			if strings.HasPrefix(line, "link ") {
				delete(ours, line)
			}
		}
		want, _ := model([]State{st}, foreign)
		compare(t, fmt.Sprint(strays), ours, want)
		s.checkMetrics([]State{st})
	}
}

// The guards of an earlier run with another metric hold until those of this run stand.
func TestTakenOverGuardsOfAnotherMetricHold(t *testing.T) {
	for _, metric := range []int{100, 7300, 7310, 9000} {
		s, h := world(t)
		_, err := h.Set("a", guardState(""))
		s.must(err)
		next := s.host()
		c := s.course(next)
		h.mu.Lock()
		for k, list := range h.have.guards {
			c.places[k] = map[int]bool{list[0].metric: false}
		}
		h.mu.Unlock()
		if err := next.TakeOver(); err != nil || len(next.have.guards) != len(guarded) {
			t.Fatal(len(next.have.guards), err)
		}
		st := metricState("", metric)
		_, err = next.Set("a", st)
		s.must(err)
		s.must(next.Release())
		c.follow(fmt.Sprint("metric ", metric), true, true)
		s.expect("taken over", "nowhere")
		ours, foreign := s.kernelState()
		want, _ := model([]State{st}, foreign)
		compare(t, "taken over", ours, want)
	}
}

// A change of one owner's metric costs the same beside few owners and many.
func TestAMetricsChangeCostsWhatTheOwnersPartCosts(t *testing.T) {
	measure := func(owners, i, metric int) (calls float64) {
		h, m := ownersInMemory(t, owners)
		m.calls, m.dumps = 0, 0
		for n := range 10 {
			s := tunnelState(i)
			if n%2 == 0 {
				s.Devices[0].Metric = metric
				for j := range s.Guards {
					s.Guards[j].Metric = metric
				}
			}
			if res, err := h.Set(fmt.Sprint("owner", i), s); err != nil || len(res.Blocked)+len(res.Others) > 0 {
				t.Fatal(res, err)
			}
		}
		if m.dumps > 0 {
			t.Errorf("%d owners: %d dumps", owners, m.dumps)
		}
		return float64(m.calls) / 10
	}
	for _, metric := range []int{100, 7310, 9000} {
		few, many := measure(3, 1, metric), measure(1000, 500, metric)
		if few != many {
			t.Errorf("metric %d: %v calls of netlink beside 1000 owners, %v beside three", metric, many, few)
		}
		t.Logf("metric %d: %v calls of netlink", metric, many)
	}
}
