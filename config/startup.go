package config

import (
	"net/netip"
	"strings"
)

// Startup are the settings that the daemon reads once, when it starts. Comparable:
// a reload can take over a Config whose Startup is the running one's.
type Startup struct {
	Listen   Addrs // underlay addresses; none: all of this host's
	Packets  bool  // `offload: no`: TUN devices are used packet by packet
	NoFrames bool  // `raw_frames: no`: ESP is never sent as Ethernet frames
	// AcceptCleartext is `discard_cleartext: no`: packets from networks behind the tunnels may come by
	// other devices.
	AcceptCleartext bool
	Threads         int // threads that carry packets; 0: as many as suits this machine
}

// startup are the fields of Startup with their keys in the file. A reflection test
// fails when one is missing.
var startup = [...]struct {
	key   string
	equal func(a, b Startup) bool
}{
	{"listen", func(a, b Startup) bool { return a.Listen == b.Listen }},
	{"offload", func(a, b Startup) bool { return a.Packets == b.Packets }},
	{"raw_frames", func(a, b Startup) bool { return a.NoFrames == b.NoFrames }},
	{"discard_cleartext", func(a, b Startup) bool { return a.AcceptCleartext == b.AcceptCleartext }},
	{"threads", func(a, b Startup) bool { return a.Threads == b.Threads }},
}

// Diff is the keys of the file in which s and t differ; none: they are the same.
func (s Startup) Diff(t Startup) []string {
	var out []string
	for _, f := range startup {
		if !f.equal(s, t) {
			out = append(out, f.key)
		}
	}
	return out
}

// Addrs is a list of addresses that can be compared with ==. Its order counts. The
// zero Addrs is empty.
type Addrs struct{ joined string }

// AddrsOf is the list of some addresses.
func AddrsOf(list ...netip.Addr) Addrs {
	var b strings.Builder
	for _, a := range list {
		b.WriteString(a.String())
		b.WriteByte(' ')
	}
	return Addrs{b.String()}
}

// List is the addresses in their order; nil when there are none.
func (l Addrs) List() []netip.Addr {
	var out []netip.Addr
	for _, s := range strings.Fields(l.joined) {
		out = append(out, netip.MustParseAddr(s)) // AddrsOf wrote it
	}
	return out
}

func (l Addrs) String() string { return strings.TrimSuffix(l.joined, " ") }
