package gateway

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/diag"
	"vpngw/host"
)

// find has the host found otherwise from now on.
func (h *fakeHost) find(causes ...diag.Cause) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.findings = nil
	for _, c := range causes {
		h.findings = append(h.findings, host.Finding{Cause: c})
	}
}

// What is in the way is said once when it is found, at the start and later, as a line and as an event; also after it was gone.
func TestObstaclesAreSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := officeHost()
		var log bytes.Buffer
		forward, nat := diag.Cause{Code: diag.IPForward}, diag.Cause{Code: diag.SNAT, Device: "vpngw0", Name: "table ip nat, chain POSTROUTING", Ours: "iptables"}
		h.find(forward)
		r := start(t, h, configOf(hq()), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer r.stop()
		said := func(c diag.Cause, conn string, lines, events int) {
			t.Helper()
			if n := strings.Count(log.String(), "code="+string(c.Code)); n != lines {
				t.Errorf("%s: %d lines, want %d\n%s", c.Code, n, lines, log.String())
			}
			all, err := r.Events(t.Context(), "", 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, e := range all {
				if e.Code == c.Code && e.Connection == conn && e.Severity == c.Severity() && e.Why == c.String() {
					n++
				}
			}
			if n != events {
				t.Errorf("%s: %d events, want %d: %+v", c.Code, n, events, all)
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		said(forward, "", 1, 1) // the line is that of the check before the start
		h.find(forward, nat)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		said(forward, "", 1, 1)
		said(nat, "hq", 1, 1)
		h.find(forward)
		time.Sleep(time.Minute)
		synctest.Wait()
		if !strings.Contains(log.String(), "no longer in the way: this host's NAT") {
			t.Error("nothing says that it is gone")
		}
		h.find(forward, nat)
		time.Sleep(time.Minute)
		synctest.Wait()
		said(nat, "hq", 2, 2)
		h.mu.Lock()
		n := h.examined
		h.mu.Unlock()
		for range 100 { // a storm of changes
			select {
			case r.look <- struct{}{}:
			default:
			}
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		if n = h.examined - n; n < 8 || n > 12 {
			t.Errorf("%d looks in 10 s, want one a second", n)
		}
	})
}

// Of more tunnels than one look sees, what one of them has found of the whole host is said once, and that it is over, too.
func TestAnObstacleOfOneTunnelAmongMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := officeHost()
		var log bytes.Buffer
		r := start(t, h, configOf(many(maxLooked+30).Connections...), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer r.stop()
		time.Sleep(10 * time.Minute)
		device := r.tunnelStatus("c60").Device
		h.mu.Lock()
		h.only = device
		h.mu.Unlock()
		h.find(diag.Cause{Code: diag.ForwardOff, Device: "lan2", Name: "net/ipv4/conf/lan2/forwarding"})
		said := func(found, over int) {
			t.Helper()
			synctest.Wait()
			if a, b := strings.Count(log.String(), "code=forward-off"), strings.Count(log.String(), "no longer in the way: forwarding is off"); a != found || b != over {
				t.Errorf("said %d times, and %d times that it is over; want %d and %d", a, b, found, over)
			}
		}
		time.Sleep(10 * time.Minute)
		said(1, 0)
		h.find()
		time.Sleep(lookEvery)
		said(1, 1)
		time.Sleep(10 * time.Minute)
		said(1, 1)
	})
}

// A change of the packet filter is seen within 2 s, of every tunnel, stands in the status while it is so, and is read once for all
// tunnels, in however many looks.
func TestAChangeOfThePacketFilterIsSeenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := officeHost()
		r := start(t, h, configOf(many(2*maxLooked).Connections...), Options{})
		defer r.stop()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		nat := diag.Cause{Code: diag.SNAT, Device: "vpngw0", Name: "table ip nat, chain POSTROUTING", Ours: "iptables"}
		last := fmt.Sprint("c", 2*maxLooked-1)
		h.mu.Lock()
		examined, rounds := h.examined, h.rounds
		h.only = "" // of each
		h.mu.Unlock()
		change := func(causes ...diag.Cause) {
			h.find(causes...)
			h.mu.Lock()
			defer h.mu.Unlock()
			h.refilter()
		}
		forward := diag.Cause{Code: diag.ForwardDrop, Name: "filter FORWARD", Ours: "iptables"}
		change(nat, forward)
		time.Sleep(3 * time.Second) // two looks
		synctest.Wait()
		if h.examined-examined != 2*maxLooked+1 || h.rounds-rounds != 1 { // the second look asks the witness of the first again
			t.Errorf("%d tunnels in %d rounds", h.examined-examined, h.rounds-rounds)
		}
		st, err := r.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(st.Obstacles) != 1 || st.Obstacles[0].Code != diag.ForwardDrop || st.Obstacles[0].Do == "" {
			t.Errorf("of the host it says %+v", st.Obstacles)
		}
		for _, c := range st.Connections {
			if o := c.Tunnels[0].Obstacles; len(o) != 1 || o[0].Code != diag.SNAT || o[0].Why != nat.String() {
				t.Errorf("%s: %+v", c.Name, o)
			}
		}
		change()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if s := r.tunnelStatus(last); len(s.Obstacles) > 0 {
			t.Errorf("it is gone, and the status says %+v", s.Obstacles)
		}
		h.mu.Lock()
		rounds = h.rounds
		h.mu.Unlock()
		time.Sleep(lookEvery - 2*time.Second)
		synctest.Wait()
		if h.rounds != rounds {
			t.Errorf("%d rounds more without a change", h.rounds-rounds)
		}
	})
}

// The tunnels that a reload adds are looked at soon, and it sets off no round of all the others.
func TestNewTunnelsAreLookedAtSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := officeHost()
		all := many(5 * maxLooked)
		r := start(t, h, configOf(all.Connections[3:]...), Options{})
		defer r.stop()
		examined := func() int {
			synctest.Wait()
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.examined
		}
		time.Sleep(10 * lookGap)
		if n := examined(); n < 5*maxLooked-3 || n > 6*maxLooked {
			t.Errorf("%d of %d tunnels examined soon after the start", n, 5*maxLooked-3)
		}
		h.find(diag.Cause{Code: diag.SNAT, Device: "vpngw0", Name: "table ip nat, chain POSTROUTING", Ours: "iptables"})
		h.mu.Lock()
		h.only = ""
		h.mu.Unlock()
		was := examined()
		if _, err := r.Adopt(t.Context(), configOf(all.Connections...)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		for _, name := range []string{"c0", "c1", "c2"} {
			if len(r.tunnelStatus(name).Obstacles) == 0 {
				t.Errorf("nothing was found of %s", name)
			}
		}
		if n := examined() - was; n > 2*maxLooked {
			t.Errorf("%d tunnels examined after a reload that adds three", n)
		}
	})
}
