package page

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"vpngw/desired"
	"vpngw/diag"
	"vpngw/gateway"
	"vpngw/tunnel"
)

type fake struct {
	status desired.Status
	events []gateway.Event
	err    error
	asked  int
}

func (f *fake) Status(context.Context) (desired.Status, error) { f.asked++; return f.status, f.err }

func (f *fake) Events(context.Context, string, uint64, time.Duration) ([]gateway.Event, error) {
	return f.events, f.err
}

// fleet is n tunnels, of which every tenth is not up.
func fleet(n int) *fake {
	f := &fake{}
	for i := range n {
		t := gateway.TunnelStatus{
			Name: fmt.Sprintf("branch-%03d", i), Role: "single", Active: true, State: tunnel.Up, Since: time.Now().Add(-time.Hour), Remote: "198.51.100.1",
			IKE:      &gateway.IKEStatus{Version: 2, Proposal: "aes256-sha256-modp2048"},
			Children: []gateway.ChildStatus{{Proposal: "aes256-sha256"}}, Traffic: gateway.TrafficStatus{BytesIn: uint64(i) * 1e6, BytesOut: 5e5},
		}
		if i%10 == 3 {
			c := diag.Cause{Code: diag.NoAnswer}
			t.State, t.IKE, t.Children, t.Report, t.Advice = tunnel.Connecting, nil, nil, c.Report(), c.Advice("alibaba", false)
		}
		f.status.Connections = append(f.status.Connections, gateway.ConnectionStatus{Name: t.Name, Tunnels: []gateway.TunnelStatus{t}})
		f.events = append(f.events, gateway.Event{
			Number: uint64(i + 1), Time: time.Now(), Severity: diag.Info, Connection: t.Name, Tunnel: t.Name, Was: tunnel.Connecting, State: tunnel.Up,
		})
	}
	return f
}

// shown is a page that is shown.
func shown(source Source, host, version string) *Page {
	p := New(source, host, version)
	p.Show(true)
	return p
}

func get(t *testing.T, p *Page, query string) (int, string, http.Header) {
	t.Helper()
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/?"+query, nil))
	return w.Code, w.Body.String(), w.Header()
}

func TestPageShowsTheTunnels(t *testing.T) {
	for _, c := range []struct {
		tunnels     int
		query       string
		want, never []string
	}{
		{0, "", []string{"No connection is configured.", "Nothing has happened yet."}, []string{"<table"}},
		{1, "", []string{"1 tunnel<", "branch-000", "● up", "no traffic", "IKEv2 aes256-sha256-modp2048"}, []string{"1 tunnels"}},
		{20, "state=connecting", []string{"branch-003", "branch-013", "○ connecting", "no-answer"}, []string{"<strong>branch-001"}},
		{20, "q=BRANCH-007", []string{"<strong>branch-007"}, []string{"<strong>branch-001"}},
		{20, "q=nobody", []string{"No tunnel is like that."}, []string{"<strong>"}},
		{20, "order=state", []string{`selected value="state"`}, nil},
		{1200, "part=3", []string{"part 3 of 3, 1200 tunnels", "<strong>branch-1199", "?part=2"}, []string{"<strong>branch-999"}},
		{1200, "part=77", []string{"part 3 of 3"}, nil},
		{20, "part=-1&order=%00&state=x&q=%3Cscript%3E", []string{"&lt;script&gt;"}, []string{"<script>"}},
	} {
		code, body, _ := get(t, shown(fleet(c.tunnels), "gw1", "v1"), c.query)
		if code != http.StatusOK {
			t.Errorf("%d tunnels, ?%s: %d", c.tunnels, c.query, code)
		}
		for _, w := range c.want {
			if !strings.Contains(body, w) {
				t.Errorf("%d tunnels, ?%s: no %q", c.tunnels, c.query, w)
			}
		}
		for _, w := range c.never {
			if strings.Contains(body, w) {
				t.Errorf("%d tunnels, ?%s: %q is there", c.tunnels, c.query, w)
			}
		}
	}
}

// What a peer or a file says must not become part of the document, and nothing comes from elsewhere.
func TestPageTakesTextsAsTexts(t *testing.T) {
	f := fleet(1)
	tun := &f.status.Connections[0].Tunnels[0]
	tun.Name, tun.Why, tun.LeakWhy, tun.Leak = `"><img src=x onerror=alert(1)>`, `<script>alert(2)</script>`, `<b>`, gateway.LeakPossible
	f.events[0].Tunnel, f.events[0].Why = `<script>`, `</table><script>`
	f.status.Reload = &desired.ReloadStatus{Note: "<script>"}
	_, body, h := get(t, shown(f, `<script>`, `"><script>`), `q="><script>`)
	_, all, _ := get(t, shown(f, `<script>`, `"><script>`), "")
	for _, bad := range []string{"<script", "<img", "<b>", "http://", "https://", "url(", "@import"} {
		if strings.Contains(body+all, bad) {
			t.Errorf("%q is in the document", bad)
		}
	}
	if csp := h.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; style-src 'sha256-") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q", csp)
	}
}

func TestPageSaysThatTheDaemonIsGone(t *testing.T) {
	f := fleet(1)
	f.err = errors.New("the gateway has stopped")
	code, body, _ := get(t, shown(f, "", ""), "")
	if code != http.StatusServiceUnavailable || !strings.Contains(body, "The daemon gives no status: the gateway has stopped") {
		t.Errorf("%d %s", code, body)
	}
}

// A page that is not asked for is not there, and keeps nothing.
func TestPageIsOnlyThereWhereItIsAskedFor(t *testing.T) {
	p := New(fleet(1), "", "")
	if code, _, _ := get(t, p, ""); code != http.StatusNotFound {
		t.Errorf("before: %d", code)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	kept := func(want int) {
		t.Helper()
		for range 1000 {
			p.history.mu.Lock()
			n := len(p.history.tunnels)
			p.history.mu.Unlock()
			if n == want {
				return
			}
			time.Sleep(time.Millisecond)
		}
		t.Errorf("the traffic of %d tunnels is not what is kept", want)
	}
	p.Show(true)
	kept(1)
	if code, _, _ := get(t, p, ""); code != http.StatusOK {
		t.Errorf("shown: %d", code)
	}
	p.Show(false)
	kept(0)
	if code, _, _ := get(t, p, ""); code != http.StatusNotFound {
		t.Errorf("after: %d", code)
	}
	stop()
	<-done
}

// A reload that shows the page on adds nothing to the traffic, which has a place for each minute.
func TestPageThatIsShownOnNotesNothing(t *testing.T) {
	p := New(fleet(1), "", "")
	woken := func(shown, want bool) {
		t.Helper()
		p.Show(shown)
		select {
		case <-p.turn:
			if !want {
				t.Errorf("shown %v, as before: Run is woken", shown)
			}
		default:
			if want {
				t.Errorf("shown %v, as it was not: Run sleeps on", shown)
			}
		}
	}
	woken(false, false)
	woken(true, true)
	woken(true, false)
	woken(false, true)
}

// Many readers at once ask the daemon once.
func TestReadersShareAnAnswer(t *testing.T) {
	f := fleet(3)
	p := New(f, "", "")
	now := time.Now()
	for range 100 {
		if _, _, err := p.look(t.Context(), now); err != nil {
			t.Fatal(err)
		}
	}
	if f.asked != 1 {
		t.Errorf("asked %d times", f.asked)
	}
	p.look(t.Context(), now.Add(fresh))
	if f.asked != 2 {
		t.Errorf("asked %d times after its time", f.asked)
	}
}

func TestHistoryIsOfRates(t *testing.T) {
	var h history
	start := time.Now()
	f := fleet(2)
	grow := func(in uint64) { f.status.Connections[0].Tunnels[0].Traffic.BytesIn = in }
	for i, in := range []uint64{0, 6000, 12000, 3000, 1 << 62} { // it was made anew before the last but one
		grow(in)
		h.note(start.Add(time.Duration(i)*time.Minute), f.status)
	}
	in, out := h.of("branch-000")
	if got := [4]uint32(in[minutes-4:]); got != [4]uint32{100, 100, 50, math.MaxUint32} {
		t.Errorf("rates %d", got)
	}
	if out != [minutes]uint32{} {
		t.Errorf("out %d", out)
	}
	// A tunnel that is gone is forgotten.
	f.status.Connections = f.status.Connections[:1]
	h.note(start.Add(5*time.Minute), f.status)
	if len(h.tunnels) != 1 {
		t.Errorf("%d tunnels are kept", len(h.tunnels))
	}
	for i := range 3 * minutes {
		h.note(start.Add(time.Duration(6+i)*time.Minute), f.status)
	}
	if in, _ := h.of("branch-000"); in != [minutes]uint32{} {
		t.Errorf("after an hour: %d", in)
	}
}

func TestSparkFitsItsBox(t *testing.T) {
	var in, out [minutes]uint32
	in[0], in[59], out[30] = math.MaxUint32, 1, 7
	s := draw(in, out)
	if !strings.HasPrefix(s.In, "0,1 2,22 ") || !strings.HasSuffix(s.In, "118,22") || s.Peak != "4.29 GB/s" {
		t.Errorf("%+v", s)
	}
	if draw(out, [minutes]uint32{}) == (spark{}) || draw([minutes]uint32{}, [minutes]uint32{}) != (spark{}) {
		t.Error("a line without traffic, or none with it")
	}
}

func BenchmarkPageOf500(b *testing.B) {
	p := shown(fleet(500), "gw1", "v1")
	for range b.N {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		b.SetBytes(int64(w.Body.Len()))
	}
}
