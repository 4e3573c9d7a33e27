package export

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"vpngw/config"
)

// speakers writes, as comments, what BIRD or FRR needs beside an IPsec daemon that speaks no BGP.
func (w *writer) speakers(c *config.Connection) {
	if !slices.ContainsFunc(c.Tunnels, func(t config.Tunnel) bool { return t.BGP != nil }) {
		return
	}
	w.line("#")
	w.line("# %s", w.cannot("BGP: a program of its own speaks it, between the addresses in the tunnel"))
	w.line("# This end's address belongs on the device of the tunnel. One of these two programs will do; take the # away in its file.")
	for i := range c.Tunnels {
		if t := &c.Tunnels[i]; t.BGP != nil {
			w.line("#")
			if t.Inside.IsValid() {
				w.line("#   ip address add %v dev ipsec%d", t.Inside, i+1)
			}
			w.bird(t, i == 0)
			w.line("#")
			w.frr(t)
		}
	}
}

// missing stands for an AS number or address that the connection does not tell.
const missing = "UNKNOWN"

func orMissing(is bool, v any) string {
	if !is {
		return missing
	}
	return fmt.Sprint(v)
}

// speaker has the parts that both programs' texts are made of.
type speaker struct {
	local, peer       string // the addresses
	localAS, remoteAS string
	family            string
	name              string
	key               string // empty: none
}

// symbol is a name as BIRD takes it, which has ASCII letters, digits and _, and in quotes . - and : too. Other letters
// become their numbers, which : encloses: no name of ours has one.
func symbol(name string) string { return inASCII(name, ':') }

// inASCII is a name with other letters as their numbers, each between two marks.
func inASCII(name string, mark byte) string {
	var b strings.Builder
	for _, r := range name {
		if r > '~' {
			fmt.Fprintf(&b, "%c%X%c", mark, r, mark)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// inQuotes is a symbol in a text for BIRD.
func inQuotes(s string) string {
	if strings.ContainsAny(s, ".-:") {
		return "'" + s + "'"
	}
	return s
}

// passwordText matches keys that need no quotes or escapes in either program.
var passwordText = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9._+/=:@-]+$`) })

func (w *writer) speaker(t *config.Tunnel) speaker {
	s := speaker{
		local: orMissing(t.Inside.IsValid(), t.Inside.Addr()), peer: orMissing(t.Peer.IsValid(), t.Peer),
		localAS: orMissing(t.Local.ASN != 0, t.Local.ASN), remoteAS: orMissing(t.Remote.ASN != 0, t.Remote.ASN),
		family: "ipv4", name: symbol("vpn_" + t.Name),
	}
	if !t.NamesIPv4() {
		s.family = "ipv6"
	}
	switch key := t.BGP.AuthKey; {
	case len(key) == 0:
	case w.Reveal && passwordText().Match(key):
		s.key = string(key)
	default:
		s.key = "KEY"
	}
	return s
}

// bird writes a session for BIRD 2; once says that the parts that the file has once come too.
func (w *writer) bird(t *config.Tunnel, once bool) {
	s, b := w.speaker(t), t.BGP
	w.line("# BIRD 2, /etc/bird/bird.conf:")
	if once {
		w.line("#   router id %s;", orMissing(b.RouterID.IsValid() || t.NamesIPv4(), birdID(t, s)))
		w.line("#   protocol device { }")
		if b.BFD != nil {
			w.line("#   protocol bfd { }")
		}
		w.line("#   protocol kernel { %s { import none; export where source = RTS_BGP; }; }", s.family)
	}
	w.line("#   protocol static %s {", inQuotes(s.name+"_networks"))
	w.line("#     %s;", s.family)
	for _, p := range b.Announce {
		w.line("#     route %v unreachable;", p)
	}
	if len(b.Announce) == 0 {
		w.line("#     # route NETWORK unreachable;  for each network behind this end")
	}
	w.line("#   }")
	w.line("#   protocol bgp %s {", inQuotes(s.name))
	w.line("#     local %s as %s;", s.local, s.localAS)
	w.line("#     neighbor %s as %s;", s.peer, s.remoteAS)
	w.line("#     direct;")
	w.line("#     hold time %d;", int(b.Hold/time.Second))
	w.line("#     keepalive time %d;", int(b.Keepalive/time.Second))
	for _, line := range []struct {
		is   bool
		text string
	}{
		{b.Passive, "passive on;"},
		{s.key != "", fmt.Sprintf("password %q;%s", s.key, keyRemark(s.key))},
		{b.TTLSecurity, "ttl security on;"},
		{b.Graceful, "graceful restart on;"},
		{!b.Graceful, "graceful restart off;"},
		{b.BFD != nil, birdBFD(b)},
	} {
		if line.is {
			w.line("#     %s", line.text)
		}
	}
	w.line("#     %s {", s.family)
	w.line("#       import all;")
	w.line("#       export filter {")
	w.line("#         if proto != %q then reject;", s.name+"_networks")
	if b.MED > 0 {
		w.line("#         bgp_med = %d;", b.MED)
	}
	for range b.Prepend {
		w.line("#         bgp_path.prepend(%s);", s.localAS)
	}
	for _, n := range b.Communities {
		w.line("#         bgp_community.add((%d,%d));", n>>16, n&0xffff)
	}
	w.line("#         accept;")
	w.line("#       };")
	w.line("#     };")
	w.line("#   }")
}

func birdID(t *config.Tunnel, s speaker) string {
	if t.BGP.RouterID.IsValid() {
		return t.BGP.RouterID.String()
	}
	return s.local
}

func birdBFD(b *config.BGP) string {
	if b.BFD == nil {
		return ""
	}
	return fmt.Sprintf("bfd { interval %d ms; multiplier %d; };", b.BFD.Interval.Milliseconds(), b.BFD.Multiplier)
}

func keyRemark(key string) string {
	if key == "KEY" {
		return " # the key of BGP, which is not shown here"
	}
	return ""
}

// frr writes a session for FRR.
func (w *writer) frr(t *config.Tunnel) {
	s, b := w.speaker(t), t.BGP
	say := func(format string, args ...any) { w.line("#   "+format, args...) }
	w.line("# FRR, /etc/frr/frr.conf (with bgpd=yes in /etc/frr/daemons, and bfdd=yes for BFD):")
	say("router bgp %s", s.localAS)
	if id := birdID(t, s); t.NamesIPv4() || b.RouterID.IsValid() {
		say(" bgp router-id %s", id)
	}
	say(" no bgp ebgp-requires-policy")
	say(" no bgp network import-check")
	if !t.NamesIPv4() {
		say(" no bgp default ipv4-unicast")
	}
	if b.Graceful {
		say(" bgp graceful-restart")
	}
	say(" neighbor %s remote-as %s", s.peer, s.remoteAS)
	say(" neighbor %s update-source %s", s.peer, s.local)
	say(" neighbor %s timers %d %d", s.peer, int(b.Keepalive/time.Second), int(b.Hold/time.Second))
	if b.Passive {
		say(" neighbor %s passive", s.peer)
	}
	if s.key != "" {
		if r := keyRemark(s.key); r != "" {
			say(" !%s", strings.TrimPrefix(r, " #"))
		}
		say(" neighbor %s password %s", s.peer, s.key)
	}
	if b.TTLSecurity {
		say(" neighbor %s ttl-security hops 1", s.peer)
	}
	if b.BFD != nil {
		ms := b.BFD.Interval.Milliseconds()
		say(" neighbor %s bfd", s.peer)
		say(" neighbor %s bfd %d %d %d", s.peer, b.BFD.Multiplier, ms, ms)
	}
	say(" address-family %s unicast", s.family)
	say("  neighbor %s activate", s.peer)
	for _, p := range b.Announce {
		say("  network %v", p)
	}
	if len(b.Announce) == 0 {
		say("  ! network NETWORK  for each network behind this end")
	}
	say("  neighbor %s route-map %s out", s.peer, s.name)
	say(" exit-address-family")
	say("exit")
	say("route-map %s permit 10", s.name)
	if b.MED > 0 {
		say(" set metric %d", b.MED)
	}
	if b.Prepend > 0 {
		say(" set as-path prepend%s", strings.Repeat(" "+s.localAS, b.Prepend))
	}
	if len(b.Communities) > 0 {
		var list []string
		for _, n := range b.Communities {
			list = append(list, fmt.Sprintf("%d:%d", n>>16, n&0xffff))
		}
		say(" set community %s", strings.Join(list, " "))
	}
	say("exit")
}
