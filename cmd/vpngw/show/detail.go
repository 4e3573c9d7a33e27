package show

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"vpngw/gateway"
	"vpngw/tunnel"
)

// detail is lines of a name and a text.
type detail struct {
	o     Options
	lines []string
}

const nameWidth = 14 // of the names in a detail, with the indentation

// add adds a line, where there is a text.
func (d *detail) add(name, text string) {
	if text == "" {
		return
	}
	d.lines = append(d.lines, Wrap(Fit("  "+name, nameWidth)+text, d.o.width(), nameWidth)...)
}

// Tunnel is everything about one tunnel. drops are the packets that it dropped over all its SAs, by name.
func Tunnel(c *gateway.ConnectionStatus, t *gateway.TunnelStatus, drops map[string]uint64, o Options) []string {
	d := &detail{o: o}
	state := Mark(t.State) + " " + Plain(string(t.State))
	if o.Color {
		state = Paint(t.State, state)
	}
	d.lines = append(d.lines, Wrap(fmt.Sprintf("%s: %s for %s", Name(c, t), state, Ago(o.Now.Sub(t.Since))), o.width(), 2)...)
	d.add("connection", fmt.Sprintf("%s, %s, this host is the %s", Plain(c.Name), Plain(c.Dialect), Plain(c.Side)))
	if t.Role != "" && t.Role != "single" {
		has := "has the traffic"
		if !t.Active {
			has = "does not have the traffic"
		}
		d.add("role", Plain(t.Role)+", "+has)
	}
	d.add("device", Plain(t.Device))
	d.add("addresses", fmt.Sprintf("%s to %s", Plain(cmp.Or(t.Local, "none yet")), Plain(cmp.Or(t.Remote, "none yet"))))
	if t.RemoteName != "" {
		which := ""
		if t.RemoteOf > 0 {
			which = fmt.Sprintf(", address %d of %d", t.RemoteNth, t.RemoteOf)
		}
		d.add("peer's name", Plain(t.RemoteName)+which)
	}
	if t.Code != "" || t.Why != "" {
		d.add("why", Plain(t.Why))
		d.add("code", Plain(string(t.Code)))
		d.add("what to do", Plain(t.Advice.String()))
	}
	d.ike(t.IKE)
	for i := range t.Children {
		d.child(&t.Children[i])
	}
	if len(t.Children) == 0 {
		d.add("Child SA", "none")
	}
	d.add("carried", fmt.Sprintf("%s in (%s), %s out (%s), since the daemon's start", Bytes(t.Traffic.BytesIn), Count(t.Traffic.PacketsIn, "packet"), Bytes(t.Traffic.BytesOut), Count(t.Traffic.PacketsOut, "packet")))
	d.add("dropped", Drops(drops))
	d.health(t.Health)
	if t.BFD != nil {
		d.add("BFD", bfd(t.BFD, o.Now))
	}
	d.session(t.Session)
	if t.Leak != "" {
		d.add("leak", cmp.Or(Plain(t.LeakWhy), "none: all packets for its networks go into a tunnel or are dropped"))
	}
	for _, x := range obstacles(t) {
		d.add("in the way", x)
	}
	for _, x := range t.Exposed {
		d.add("exposed", exposed(x))
	}
	if len(c.Unserved) > 0 {
		d.add("not served", Plain(strings.Join(c.Unserved, ", ")))
	}
	if t.State != tunnel.Up || t.Code != "" {
		d.lines = append(d.lines, Wrap(fmt.Sprintf("`vpngw doctor %s` looks for the cause.", Plain(t.Name)), o.width(), 2)...)
	}
	return d.lines
}

func (d *detail) ike(i *gateway.IKEStatus) {
	if i == nil {
		d.add("IKE SA", "none")
		return
	}
	text := fmt.Sprintf("IKEv%d", i.Version)
	if i.Mode != "" {
		text += " " + Plain(i.Mode) + " mode"
	}
	if i.Mode == aggressive {
		text += "!"
	}
	text += ", " + Plain(i.State)
	if i.Proposal != "" {
		text += ", " + Marked(i.Proposal)
	}
	d.add("IKE SA", text)
	d.add("SPIs", fmt.Sprintf("%s initiator, %s responder", Plain(i.SPIi), Plain(i.SPIr)))
	way := "ESP as protocol 50"
	if i.Encap {
		way = "ESP in UDP"
	}
	d.add("NAT", Plain(cmp.Or(i.NAT, "not known yet"))+"; "+way)
}

func (d *detail) child(c *gateway.ChildStatus) {
	d.add("Child SA", fmt.Sprintf("%s === %s", Plain(strings.Join(c.LocalTS, " ")), Plain(strings.Join(c.RemoteTS, " "))))
	text := fmt.Sprintf("%s, SPI %s in, %s out; %s in (%s), %s out (%s)", Marked(c.Proposal), Plain(c.SPIIn), Plain(c.SPIOut), Bytes(c.BytesIn), Count(c.PacketsIn, "packet"), Bytes(c.BytesOut), Count(c.PacketsOut, "packet"))
	if drops := Drops(c.Drops); drops != "" {
		text += "; dropped " + drops
	}
	d.add("", text)
	if c.Note != "" {
		d.add("", Plain(c.Note))
	}
}

func (d *detail) health(h *gateway.HealthStatus) {
	if h == nil {
		return
	}
	text := fmt.Sprintf("%s; pings %s", Plain(h.State), Plain(h.Target))
	if h.Source != "" {
		text += " from " + Plain(h.Source)
	}
	text += fmt.Sprintf(": %d sent, %d answered, %d lost", h.Sent, h.Answered, h.Lost)
	if h.RTTLast > 0 {
		text += fmt.Sprintf("; round trip %.3g ms, least %.3g ms, average %.3g ms", h.RTTLast, h.RTTMin, h.RTTAvg)
	}
	d.add("health", text)
}

func (d *detail) session(s *gateway.SessionStatus) {
	if s == nil {
		return
	}
	d.add("BGP", session(s, "", d.o.Now)) // each reason has a line of its own
	d.add("", fmt.Sprintf("this end is %s, AS %d", Plain(s.Local), s.LocalAS))
	for _, r := range s.Reasons {
		d.add("refused", Plain(r.Prefix)+": "+Plain(r.Why))
	}
}

// Drops are counts by name; empty: there are none.
func Drops(counts map[string]uint64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[name], Plain(name)))
	}
	return strings.Join(parts, ", ")
}
