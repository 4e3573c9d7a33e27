// Package export writes a connection for either end in another form: in vpngw's own words
// or a cloud's, as a file that loads, or as the configuration of strongSwan or Libreswan.
// What a format cannot say stands in the text as a comment, and in Export.Lost.
package export

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"vpngw/config"
	"vpngw/ipsec"
)

// Options say how a connection is written.
type Options struct {
	Format string // one of Formats
	Side   config.Side
	Reveal bool     // write pre-shared keys out
	Keys   []string // the files that have the tunnels' pre-shared keys already, one for each tunnel; empty: a new name
	// Standby is the standby connection of a pair whose active one is written. Both come, since
	// a file with one of the two does not load. Nil: the connection is written alone.
	Standby *config.Connection
}

// Export is a connection in some format.
type Export struct {
	Text string
	Lost []string // what the format cannot say, a sentence each; they stand in Text too
}

// formats are the writers by format. The connection that a writer gets is seen from the
// end that the text is for.
var formats = map[string]func(*writer, *config.Connection){
	"native": nativeFile, "swanctl": swanctl, "alibaba": alibaba, "huawei": huawei, "tencent": tencent, "libreswan": libreswan,
}

// Formats are the names of the formats.
func Formats() []string { return slices.Sorted(maps.Keys(formats)) }

// Write writes a connection. It panics on a format that is not among Formats.
func Write(c *config.Connection, o Options) Export {
	if o.Standby != nil {
		c = together(c, o.Standby)
	}
	if o.Side != c.Side {
		c = mirror(c)
	}
	w := &writer{Options: o}
	if c.Pair != "" {
		w.line("# %s", w.cannot("that the connection is one of the pair %s", c.Pair))
	}
	formats[o.Format](w, c)
	return Export{w.text.String(), w.lost}
}

// together is a pair as one connection with two tunnels. Each format writes it as it writes
// a dual-tunnel connection: as one of these, or as a pair.
func together(active, standby *config.Connection) *config.Connection {
	c := *active
	c.Name, c.Pair = config.SafeName(active.Pair), ""
	c.Partial = active.Partial || standby.Partial
	c.Tunnels = slices.Concat(active.Tunnels, standby.Tunnels)
	return &c
}

// writer is one Write.
type writer struct {
	Options
	text strings.Builder
	lost []string
}

func (w *writer) line(format string, args ...any) {
	fmt.Fprintf(&w.text, format+"\n", args...)
}

// cannot notes what the format cannot say, and returns it for a comment.
func (w *writer) cannot(format string, args ...any) string {
	s := fmt.Sprintf(format, args...)
	w.lost = append(w.lost, s)
	return "cannot be said here: " + s
}

// keyFile is the name of the file with the pre-shared key of a tunnel.
func (w *writer) keyFile(c *config.Connection, t *config.Tunnel) string {
	for i := range c.Tunnels {
		if t == &c.Tunnels[i] && i < len(w.Keys) && w.Keys[i] != "" {
			return w.Keys[i]
		}
	}
	return t.Name + ".psk"
}

// mirror is the connection as the other end has it.
func mirror(c *config.Connection) *config.Connection {
	m := *c
	m.Side = c.Side.Other()
	m.Tunnels = slices.Clone(c.Tunnels)
	for i := range m.Tunnels {
		t := &m.Tunnels[i]
		t.Mirror()
		if t.Local.ID == ipsec.AnyIdentity { // that end may have any identity
			t.Local.ID = ipsec.IdentityOf(t.Local.Address)
		}
		t.Local.Port, t.Local.Host, t.Local.Any = 0, "", false // how this end is reached is for the other end to say
		t.Device, t.Routes, t.Pass, t.Metric = "", t.DefaultRoutes(), false, config.DefaultMetric
		t.DPD.Clear = false // one end must begin again
		t.Start = otherStart(c, t.Start)
		if h := t.Health; h != nil {
			other := *h
			other.Ours = !h.Ours
			t.Health = &other
		}
		if b := t.BGP; b != nil {
			t.BGP = otherBGP(b, m.Side, t)
		}
		t.OwnHealth = nil // the other end has its own, or none
	}
	return &m
}

// otherStart is how the other end of c starts: one end must begin, with a cloud the customer's always does, and a tunnel
// that waits for traffic waits for that of both ends.
func otherStart(c *config.Connection, s config.Start) config.Start {
	switch {
	case c.Side == config.Cloud && c.Dialect != "native", s == config.StartPassive:
		return config.StartActive
	case s == config.StartOnTraffic:
		return config.StartOnTraffic
	}
	return config.StartPassive
}
