package lab

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// Router is another implementation of BGP, in a namespace: BIRD or FRR.
type Router interface {
	// Established reports whether the session with that address is up, and the state in the router's words.
	Established(peer string) (bool, string)
	// Routes are the routes that a peer has told and the router has taken, sorted by prefix.
	Routes(peer string) []BGPRoute
	// Announce replaces what the router tells its peers.
	Announce(prefixes ...string)
	// Set replaces the configuration. Sessions that become others begin again, FRR's all do.
	Set(c BGP)
	// BFDUp reports whether the BFD session with that address is up.
	BFDUp(peer string) (bool, string)
	Stop()
	Kill()
	Host() *Namespace
}

// BGP is the configuration of a Router.
type BGP struct {
	ASN      uint32
	RouterID string // empty: the first peer's Local
	Peers    []BGPPeer
	Announce []string
	Kernel   bool // what the peers tell goes into the kernel
}

// BGPPeer is one session of a Router.
type BGPPeer struct {
	Local, Remote string
	RemoteASN     uint32
	LocalASN      uint32 // in place of the Router's; BIRD only
	Password      string
	TTLSecurity   bool
	Hold          int    // seconds, of which the keepalive time is a third; 0: 3
	Passive       bool   // it waits for the peer's connection
	BFD           bool   // 300 ms, 3 times
	Graceful      bool   // RFC 4724, also as the one that restarts
	NextHop       string // told instead of Local
}

// BGPRoute is a route as a Router has it.
type BGPRoute struct {
	Prefix, NextHop string
	Path            []uint32
}

// Routers starts each kind of Router. RouterTools are the programs that a test with one needs.
var (
	Routers = map[string]func(*Namespace, BGP) Router{
		"BIRD": func(n *Namespace, c BGP) Router { return n.BIRD(c) },
		"FRR":  func(n *Namespace, c BGP) Router { return n.FRR(c) },
	}
	RouterTools = []string{"/usr/sbin/bird", "birdc", "/usr/lib/frr/bgpd", "vtysh"}
)

// bgpRoot is the root of another Debian, by debootstrap, whose BIRD and FRR are the peers in place of this machine's.
var bgpRoot = strings.TrimPrefix(os.Getenv("BGP_ROOT"), "/")

// startRouter starts a program of BGP_ROOT.
func (n *Namespace) startRouter(name, program string, args ...string) *Process {
	n.lab.Helper()
	if bgpRoot == "" {
		return n.Start(name, program, args...)
	}
	const enter = `r=$1; shift; mount -t tmpfs tmpfs $r/run && mkdir -m 777 $r/run/frr && for d in tmp dev proc; do mount --rbind /$d $r/$d || exit; done; exec chroot $r "$@"`
	return n.Start(name, "unshare", append([]string{"-m", "sh", "-c", enter, "sh", "/" + bgpRoot, program}, args...)...)
}

func (c BGP) id() string {
	if c.RouterID != "" {
		return c.RouterID
	}
	return c.Peers[0].Local
}

func (p BGPPeer) hold() int {
	if p.Hold == 0 {
		return 3
	}
	return p.Hold
}

// AwaitEstablished waits until the session with a peer is up.
func (l *Lab) AwaitEstablished(r Router, peer string, within time.Duration) {
	l.Helper()
	l.Await(within, "BGP with "+peer+" is established", func() (bool, string) { return r.Established(peer) })
}

// AwaitRoutes waits until a peer has told a Router exactly these prefixes.
func (l *Lab) AwaitRoutes(r Router, peer string, within time.Duration, prefixes ...string) {
	l.Helper()
	l.Await(within, fmt.Sprintf("%s tells %d prefixes", peer, len(prefixes)), func() (bool, string) {
		var got []string
		for _, route := range r.Routes(peer) {
			got = append(got, route.Prefix)
		}
		return samePrefixes(got, prefixes)
	})
}

// samePrefixes compares two lists without regard to their order.
func samePrefixes(got, want []string) (bool, string) {
	sort := func(list []string) []netip.Prefix {
		out := []netip.Prefix{}
		for _, s := range list {
			p, err := netip.ParsePrefix(s)
			if err == nil {
				out = append(out, p)
			}
		}
		slices.SortFunc(out, netip.Prefix.Compare)
		return slices.Compact(out)
	}
	a, b := sort(got), sort(want)
	if slices.Equal(a, b) {
		return true, ""
	}
	if len(a)+len(b) > 100 {
		return false, fmt.Sprintf("%d prefixes", len(a))
	}
	return false, fmt.Sprint(a)
}

// Prefixes are count networks of 24 bits from 10.64.0.0 on, which no standard network holds.
func Prefixes(count int) []string {
	out := make([]string, count)
	for i := range out {
		out[i] = fmt.Sprintf("10.%d.%d.0/24", 64+i>>8, i&255)
	}
	return out
}

// LongPrefixes are count host routes from 20.0.0.0 on.
func LongPrefixes(count int) []string {
	out := make([]string, count)
	for i := range out {
		out[i] = fmt.Sprintf("20.%d.%d.%d/32", i>>16, i>>8&255, i&255)
	}
	return out
}
