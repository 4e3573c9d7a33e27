package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// BIRD is a running BIRD 2 or 3.
type BIRD struct {
	*Process
	ns     *Namespace
	conf   BGP
	socket string
}

// BIRD starts a BIRD in the namespace. It returns when it answers on its control socket.
func (n *Namespace) BIRD(c BGP) *BIRD {
	n.lab.Helper()
	b := &BIRD{ns: n, conf: c, socket: filepath.Join(n.lab.Dir, n.role+".bird")}
	b.write()
	b.Restart()
	return b
}

// Restart starts BIRD again. It kills it first if it still runs.
func (b *BIRD) Restart() {
	b.ns.lab.Helper()
	if b.Process != nil {
		b.Kill()
	}
	os.Remove(b.socket)
	b.Process = b.ns.startRouter("bird", "/usr/sbin/bird", "-f", "-c", b.file(), "-s", b.socket)
	b.ns.lab.Await(Patience, b.Name+" answers", func() (bool, string) {
		b.mustRun()
		out, err := b.try("show status")
		return err == nil && strings.Contains(out, "Daemon is up and running"), out
	})
}

// Host is the namespace that BIRD runs in.
func (b *BIRD) Host() *Namespace { return b.ns }

func (b *BIRD) file() string { return filepath.Join(b.ns.lab.Dir, b.ns.role+"-bird.conf") }

// Set replaces the configuration. Sessions whose part is the same stay.
func (b *BIRD) Set(c BGP) {
	b.ns.lab.Helper()
	b.conf = c
	b.write()
	if out := b.Command("configure"); !strings.Contains(out, "Reconfigured") && !strings.Contains(out, "Reconfiguration in progress") {
		b.ns.lab.Fatalf("%s: configure: %s", b.Name, out)
	}
}

// Announce replaces what BIRD tells its peers.
func (b *BIRD) Announce(prefixes ...string) {
	b.ns.lab.Helper()
	c := b.conf
	c.Announce = prefixes
	b.Set(c)
}

func (b *BIRD) write() {
	b.ns.lab.Helper()
	c := b.conf
	var s strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	line("log stderr all;\nrouter id %s;\nprotocol device { scan time 1; }", c.id())
	line("protocol bfd { interface \"*\" { interval 300 ms; idle tx interval 300 ms; multiplier 3; }; }")
	line("protocol static announced {\n\tipv4;")
	for _, p := range c.Announce {
		line("\troute %s unreachable;", p)
	}
	line("}")
	if c.Kernel {
		line("protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }")
	}
	for i, p := range c.Peers {
		asn := c.ASN
		if p.LocalASN != 0 {
			asn = p.LocalASN
		}
		line("protocol bgp peer%d {\n\tdebug { states, events };\n\tlocal %s as %d;\n\tneighbor %s as %d;\n\tdirect;", i, p.Local, asn, p.Remote, p.RemoteASN)
		line("\thold time %d; keepalive time %d; connect delay time 1; connect retry time 2; error wait time 1, 4; error forget time 4;", p.hold(), max(1, p.hold()/3))
		if p.Password != "" {
			line("\tpassword %q;", p.Password)
		}
		for word, on := range map[string]bool{"ttl security on": p.TTLSecurity, "passive on": p.Passive, "bfd graceful": p.BFD && p.Graceful, "bfd on": p.BFD && !p.Graceful, "graceful restart on": p.Graceful} {
			if on {
				line("\t%s;", word)
			}
		}
		line("\tipv4 {\n\t\timport all;\n\t\texport filter {\n\t\t\tif source != RTS_STATIC then reject;")
		if p.NextHop != "" {
			line("\t\t\tbgp_next_hop = %s;", p.NextHop)
		}
		line("\t\t\taccept;\n\t\t};\n\t};\n}")
	}
	if err := os.WriteFile(b.file(), []byte(s.String()), 0o644); err != nil {
		b.ns.lab.Fatalf("lab: %v", err)
	}
}

func (b *BIRD) try(command string) (string, error) {
	out, err := exec.Command("birdc", append([]string{"-s", b.socket}, strings.Fields(command)...)...).CombinedOutput()
	return string(out), err
}

// Command gives BIRD a command and returns its answer.
func (b *BIRD) Command(command string) string {
	b.ns.lab.Helper()
	out, err := b.try(command)
	if err != nil {
		b.ns.lab.Fatalf("%s: birdc %s: %v\n%s", b.Name, command, err, out)
	}
	return out
}

// peer is the name of the protocol of a peer.
func (b *BIRD) peer(remote string) string {
	b.ns.lab.Helper()
	i := slices.IndexFunc(b.conf.Peers, func(p BGPPeer) bool { return p.Remote == remote })
	if i < 0 {
		b.ns.lab.Fatalf("%s has no peer %s", b.Name, remote)
	}
	return "peer" + strconv.Itoa(i)
}

// Established reports whether the session with that address is up.
func (b *BIRD) Established(remote string) (bool, string) {
	out, err := b.try("show protocols " + b.peer(remote))
	return err == nil && strings.Contains(out, "Established"), out
}

// Keeps reports whether BIRD still keeps routes of a neighbour that starts again, until its End-of-RIB.
func (b *BIRD) Keeps(remote string) (bool, string) {
	out, err := b.try("show protocols all " + b.peer(remote))
	return err != nil || strings.Contains(out, "graceful restart active"), out
}

// Disable ends the session with a peer until Enable.
func (b *BIRD) Disable(remote string) { b.Command("disable " + b.peer(remote)) }

// Enable lets the session with a peer begin again.
func (b *BIRD) Enable(remote string) { b.Command("enable " + b.peer(remote)) }

// BFDUp reports whether the BFD session with that address is up.
func (b *BIRD) BFDUp(remote string) (bool, string) {
	out, err := b.try("show bfd sessions")
	return err == nil && regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(remote)+`\s+\S+\s+Up\b`).MatchString(out), out
}

var (
	birdRoute = regexp.MustCompile(`^(\d\S*/\d+|\s)\s+(?:unicast|unreachable|blackhole) \[[^]]*\](?: \*)? \(\d+`)
	birdAttr  = regexp.MustCompile(`^\t(?:BGP\.|bgp_)(as_path|path|next_hop): ?(.*)`)
)

// Routes are the routes that a peer has told and BIRD has taken.
func (b *BIRD) Routes(remote string) []BGPRoute {
	b.ns.lab.Helper()
	var out []BGPRoute
	prefix := ""
	for line := range strings.Lines(b.Command("show route all protocol " + b.peer(remote))) {
		line = strings.TrimRight(line, "\n")
		if m := birdRoute.FindStringSubmatch(line); m != nil {
			if m[1] != "" && m[1] != " " && m[1] != "\t" {
				prefix = m[1]
			}
			out = append(out, BGPRoute{Prefix: prefix})
			continue
		}
		m := birdAttr.FindStringSubmatch(line)
		if m == nil || len(out) == 0 {
			continue
		}
		r := &out[len(out)-1]
		switch m[1] {
		case "as_path", "path":
			for _, f := range strings.Fields(m[2]) {
				if n, err := strconv.ParseUint(f, 10, 32); err == nil {
					r.Path = append(r.Path, uint32(n))
				}
			}
		case "next_hop":
			r.NextHop, _, _ = strings.Cut(m[2], " ")
		}
	}
	slices.SortFunc(out, func(a, b BGPRoute) int { return strings.Compare(a.Prefix, b.Prefix) })
	return out
}
