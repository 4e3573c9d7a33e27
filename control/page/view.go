package page

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"vpngw/config"
	"vpngw/desired"
	"vpngw/diag"
	"vpngw/gateway"
	"vpngw/tunnel"
)

// choice is what the reader asks to see.
type choice struct {
	text  string // part of a name, an address or a cause
	state string
	order string // "", as configured; name, state, traffic
	part  int    // from 1
}

// Bounds of the document.
const (
	rowsShown   = 500
	eventsShown = 30
	textShown   = 100 // of what the reader asks for
)

func chosen(q url.Values) choice {
	c := choice{text: q.Get("q"), state: q.Get("state"), order: q.Get("order"), part: 1}
	if r := []rune(c.text); len(r) > textShown {
		c.text = string(r[:textShown])
	}
	if !slices.Contains(states, tunnel.State(c.state)) {
		c.state = ""
	}
	if !slices.Contains(orders, c.order) {
		c.order = ""
	}
	if n, err := strconv.Atoi(q.Get("part")); err == nil && n > 0 && n < 1_000_000 {
		c.part = n
	}
	return c
}

// link is the page's address with another part.
func (c choice) link(part int) string {
	q := url.Values{}
	for key, value := range map[string]string{"q": c.text, "state": c.state, "order": c.order} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if part > 1 {
		q.Set("part", strconv.Itoa(part))
	}
	return "?" + q.Encode()
}

// The worst comes first.
var (
	states = []tunnel.State{tunnel.Down, tunnel.Connecting, tunnel.Degraded, tunnel.Waiting, tunnel.Up}
	orders = []string{"name", "state", "traffic"}
	marks  = map[tunnel.State]string{tunnel.Up: "●", tunnel.Degraded: "◐", tunnel.Connecting: "○", tunnel.Waiting: "◌", tunnel.Down: "✕"}
)

// view is what the document shows.
type view struct {
	Host, Version string
	At            string
	Gone          string // the daemon gives no status
	Reload        string // a reload that waits for its confirmation
	All           int
	Counts        []count
	Rows          []row
	Found         int
	Text, State   string
	Order         string
	Orders        []string
	Before, After string // links to the neighbouring parts
	Part, Parts   int
	Events        []event
}

type count struct {
	State tunnel.State
	Mark  string
	N     int
}

type row struct {
	Connection, Name string
	State            tunnel.State
	Mark             string
	Standby          bool
	Since            string
	Peer, IKE, ESP   string
	In, Out          string // rates
	Bytes            string
	Spark            spark
	Says, Code       string
	Advice           string
	Notes            []string
}

// found is a tunnel that the reader asks for. Only those of a part become rows.
type found struct {
	connection string
	*gateway.TunnelStatus
	rate uint64 // of the last minute; only where it is the order
}

func (f *found) peer() string { return cmp.Or(f.Remote, f.RemoteName) }

type event struct {
	Time, Severity, Name, Change, Code, Says string
}

func (p *Page) view(now time.Time, st desired.Status, events []gateway.Event, err error, c choice) view {
	v := view{
		Host: p.host, Version: p.version, At: now.UTC().Format("2006-01-02 15:04:05"), Text: c.text, State: c.state, Order: c.order, Orders: orders,
	}
	if err != nil {
		v.Gone = err.Error()
		return v
	}
	if st.Reload != nil {
		v.Reload = st.Reload.Note
	}
	counts := map[tunnel.State]int{}
	var all []found
	for i := range st.Connections {
		conn := &st.Connections[i]
		for j := range conn.Tunnels {
			f := found{connection: conn.Name, TunnelStatus: &conn.Tunnels[j]}
			v.All++
			counts[f.State]++
			if !c.wants(&f) {
				continue
			}
			if c.order == "traffic" {
				in, out := p.history.of(f.Name)
				f.rate = uint64(in[minutes-1]) + uint64(out[minutes-1])
			}
			all = append(all, f)
		}
	}
	for _, s := range states {
		v.Counts = append(v.Counts, count{s, marks[s], counts[s]})
	}
	slices.SortStableFunc(all, c.compare)
	v.Found = len(all)
	v.Parts = max(1, (len(all)+rowsShown-1)/rowsShown)
	v.Part = min(c.part, v.Parts)
	first := (v.Part - 1) * rowsShown
	for _, f := range all[first:min(first+rowsShown, len(all))] {
		v.Rows = append(v.Rows, p.row(now, f))
	}
	if v.Part > 1 {
		v.Before = c.link(v.Part - 1)
	}
	if v.Part < v.Parts {
		v.After = c.link(v.Part + 1)
	}
	for _, e := range slices.Backward(events[max(0, len(events)-eventsShown):]) {
		v.Events = append(v.Events, eventOf(e))
	}
	return v
}

func (p *Page) row(now time.Time, t found) row {
	in, out := p.history.of(t.Name)
	r := row{
		Connection: t.connection, Name: t.Name, State: t.State, Mark: marks[t.State], Since: ago(now.Sub(t.Since)), Peer: t.peer(),
		Standby: t.Role != string(config.Single) && !t.Active, Bytes: bytes(t.Traffic.BytesIn + t.Traffic.BytesOut),
		Says: t.Why, Code: string(t.Code), Advice: strings.ReplaceAll(t.Advice.String(), "`", ""),
		In: bytes(uint64(in[minutes-1])) + "/s", Out: bytes(uint64(out[minutes-1])) + "/s", Spark: draw(in, out),
	}
	if i := t.IKE; i != nil {
		r.IKE = strings.Join(strings.Fields(fmt.Sprintf("IKEv%d %s %s", i.Version, i.Mode, i.Proposal)), " ")
	}
	if n := len(t.Children); n > 0 {
		r.ESP = fmt.Sprintf("%d × ESP %s", n, t.Children[n-1].Proposal)
	}
	if s := t.Session; s != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("BGP to %s (AS %d): %s; prefixes: %d in, %d out, %d refused", s.Remote, s.RemoteAS, s.State, s.In, s.Out, s.Refused))
	}
	if b := t.BFD; b != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("BFD to %s: %s", b.Remote, b.State))
	}
	if h := t.Health; h != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("health check of %s: %s", h.Target, h.State))
	}
	for _, x := range t.Exposed {
		r.Notes = append(r.Notes, "its "+string(x.What)+" leave the daemon, by keylog or capture")
	}
	if t.Leak == gateway.LeakPossible {
		r.Notes = append(r.Notes, "can leak: "+t.LeakWhy)
	}
	return r
}

// wants reports whether a tunnel is among the chosen ones.
func (c choice) wants(f *found) bool {
	if c.state != "" && string(f.State) != c.state {
		return false
	}
	text := strings.ToLower(c.text)
	return slices.ContainsFunc([]string{f.connection, f.Name, f.peer(), f.Why, string(f.Code)}, func(s string) bool {
		return strings.Contains(strings.ToLower(s), text)
	})
}

func (c choice) compare(a, b found) int {
	switch c.order {
	case "name":
		return cmp.Or(strings.Compare(a.connection, b.connection), strings.Compare(a.Name, b.Name))
	case "state":
		return cmp.Compare(slices.Index(states, a.State), slices.Index(states, b.State))
	case "traffic":
		return cmp.Compare(b.rate, a.rate)
	}
	return 0
}

func eventOf(e gateway.Event) event {
	out := event{
		Time: e.Time.UTC().Format("2006-01-02 15:04:05"), Severity: string(e.Severity), Name: cmp.Or(e.Tunnel, e.Connection, "daemon"), Code: string(e.Code), Says: e.Why,
		Change: string(e.State),
	}
	if e.Was != e.State && e.Was != "" {
		out.Change = string(e.Was) + " → " + string(e.State)
	}
	if e.Severity == diag.Info && e.State == tunnel.Up {
		out.Severity = "good"
	}
	return out
}

// ago is a duration in its two largest units.
func ago(d time.Duration) string {
	d = max(d, 0).Truncate(time.Second)
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.String()
}

func bytes(n uint64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), 0
	for ; f >= 999.5 && unit < 5; unit++ {
		f /= 1000
	}
	return fmt.Sprintf("%.3g %cB", f, " kMGTP"[unit])
}
