package load

import (
	"fmt"
	"io/fs"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/dpd"
)

// bgpLab is a file with one native connection whose tunnel carries everything, with more lines in its body and beside it.
func bgpLab(body, beside string) string {
	return `version: 1
connections:
  - native:
      local: {address: 203.0.113.9, subnets: [192.168.3.0/24, 0.0.0.0/0], asn: 65010}
      remote: {address: 198.51.100.9, subnets: [0.0.0.0/0], asn: 4200000001}
      psk: 7p5!rKQw-2vN8zXd4
      ` + strings.ReplaceAll(body, "\n", "\n      ") + `
    routes: []
    ` + strings.ReplaceAll(beside, "\n", "\n    ") + "\n"
}

const inside4 = "inside: {local: 169.254.11.2/30, remote: 169.254.11.1}"

// served loads a text as a daemon does that serves everything.
func served(read ReadFile, text string) (*Result, diag.Problems) {
	return Text("f", []byte(text), read, Options{})
}

func prefixesOf(texts ...string) (out []netip.Prefix) {
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestWhatABGPSessionIsByDefault(t *testing.T) {
	want := config.BGP{
		Hold: 90 * time.Second, Keepalive: 30 * time.Second, Graceful: true, MaxPrefixes: 1000,
		OverLimit: config.OverTruncate, Prefer: config.PreferStatic, Announce: prefixesOf("192.168.3.0/24"),
	}
	passive, standby := want, want
	passive.Passive = true
	standby.MED, standby.Prepend = 100, 1
	keyed := want
	keyed.AuthKey = []byte("abc")
	for _, tt := range []struct {
		body, beside string
		want         *config.BGP
	}{
		{"", "", nil},
		{"bgp: {}", "", &want},
		{"bgp: {key: abc}", "", &keyed},
		{"", "bgp: {}", &want},
		{"", "bgp: yes", &want},
		{"bgp: {key: abc}", "bgp: {hold: 90s}", &keyed},
		{"bgp: {}", "side: cloud", &passive},
		{"bgp: {}", "bgp: {passive: yes}", &passive},
		{"bgp: {}", "side: cloud\nbgp: {passive: no}", &want},
		{"role: standby", "bgp: {}", &standby},
		{"bgp: {}", "bgp: no", nil},
	} {
		c, ps := served(nil, bgpLab(inside4+"\n"+tt.body, tt.beside))
		if c == nil || ps.Refused() {
			t.Errorf("%s, %s: got\n%s", tt.body, tt.beside, lines(ps))
			continue
		}
		got := c.Connections[0].Tunnels[0].BGP
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s, %s: got %+v, want %+v", tt.body, tt.beside, got, tt.want)
		}
		if want := map[bool]config.Routing{true: config.RouteBGP, false: config.RouteFlows}[got != nil]; c.Connections[0].Routing != want {
			t.Errorf("%s, %s: routing %s, want %s", tt.body, tt.beside, c.Connections[0].Routing, want)
		}
	}
}

func TestWhatStandsInBGPBesideABody(t *testing.T) {
	for _, tt := range []struct {
		beside string
		is     func(*config.BGP) bool
	}{
		{"hold: 3s", func(b *config.BGP) bool { return b.Hold == 3*time.Second && b.Keepalive == time.Second }},
		{"hold: 10s", func(b *config.BGP) bool { return b.Keepalive == 3*time.Second }},
		{"hold: 60, keepalive: 5", func(b *config.BGP) bool { return b.Hold == time.Minute && b.Keepalive == 5*time.Second }},
		{"keepalive: 30s", func(b *config.BGP) bool { return b.Hold == 90*time.Second && b.Keepalive == 30*time.Second }},
		{"key: abc", func(b *config.BGP) bool { return string(b.AuthKey) == "abc" }},
		{"key_file: session", func(b *config.BGP) bool { return string(b.AuthKey) == "of the file" }},
		{"ttl_security: yes", func(b *config.BGP) bool { return b.TTLSecurity }},
		{"graceful_restart: no", func(b *config.BGP) bool { return !b.Graceful }},
		{"bfd: no", func(b *config.BGP) bool { return b.BFD == nil }},
		{"bfd: yes", func(b *config.BGP) bool { return *b.BFD == dpd.DefaultBFD }},
		{"bfd: {interval: 300ms}", func(b *config.BGP) bool { return *b.BFD == dpd.BFD{Interval: 300 * time.Millisecond, Multiplier: 3} }},
		{"bfd: {interval: 50ms, multiplier: 50}", func(b *config.BGP) bool { return *b.BFD == dpd.BFD{Interval: 50 * time.Millisecond, Multiplier: 50} }},
		{"router_id: 192.0.2.7", func(b *config.BGP) bool { return b.RouterID == netip.MustParseAddr("192.0.2.7") }},
		{"announce: []", func(b *config.BGP) bool { return b.Announce == nil && !b.Connected && !b.Kernel }},
		{"announce: [0.0.0.0/0, 10.0.0.0/8]", func(b *config.BGP) bool { return fmt.Sprint(b.Announce) == "[0.0.0.0/0 10.0.0.0/8]" }},
		{"announce: [10.0.0.0/8, connected], export: [10.0.0.0/8]", func(b *config.BGP) bool {
			return b.Connected && !b.Kernel && fmt.Sprint(b.Announce, b.Export) == "[10.0.0.0/8] [10.0.0.0/8]"
		}},
		{"announce: [kernel], export: [0.0.0.0/0]", func(b *config.BGP) bool { return b.Kernel && len(b.Announce) == 0 }},
		{"accept: [10.0.0.0/8, 0.0.0.0/0]", func(b *config.BGP) bool { return fmt.Sprint(b.Accept) == "[10.0.0.0/8 0.0.0.0/0]" }},
		{"never: [10.0.0.0/8]", func(b *config.BGP) bool { return fmt.Sprint(b.Never) == "[10.0.0.0/8]" }},
		{"never_announce: [0.0.0.0/0], announce: [10.0.0.0/8]", func(b *config.BGP) bool {
			return fmt.Sprint(b.NeverTell, b.Never, b.Announce) == "[0.0.0.0/0] [] [10.0.0.0/8]" // of a default route only itself
		}},
		{"max_prefixes: 7, max_announced: 9", func(b *config.BGP) bool { return b.MaxPrefixes == 7 && b.MaxTell == 9 }},
		{"over_limit: end", func(b *config.BGP) bool { return b.OverLimit == config.OverEnd }},
		{"over_limit: warn", func(b *config.BGP) bool { return b.OverLimit == config.OverWarn }},
		{"transit: yes", func(b *config.BGP) bool { return b.Transit }},
		{"prefer: bgp", func(b *config.BGP) bool { return b.Prefer == config.PreferBGP }},
		{"communities: [65000:100, no-export, 0:65535, 65000:100]", func(b *config.BGP) bool {
			return reflect.DeepEqual(b.Communities, []uint32{65000<<16 | 100, 0xffffff01, 65535})
		}},
		{"med: 4294967295, prepend: 16", func(b *config.BGP) bool { return b.MED == 4294967295 && b.Prepend == 16 }},
	} {
		c, ps := served(files{"session": "of the file\n"}.read, bgpLab(inside4, "bgp: {"+tt.beside+"}"))
		if c == nil || len(ps) > 0 {
			t.Errorf("%s: got\n%s", tt.beside, lines(ps))
		} else if b := c.Connections[0].Tunnels[0].BGP; b == nil || !tt.is(b) {
			t.Errorf("%s: got %+v", tt.beside, b)
		}
	}
}

func TestBGPThatCannotBeIsRefused(t *testing.T) {
	long := strings.Repeat("k", 81)
	for _, tt := range []struct{ body, beside, want string }{
		{"", "hold: 2s", "it must be 3s to"},
		{"", "hold: 0", "it must be 3s to"},
		{"", "hold: 3500ms", "it goes in whole seconds"},
		{"", "hold: 9s, keepalive: 4s", "it must be at most a third of hold, 3s"},
		{"", "keepalive: 31s", "it must be at most a third of hold, 30s"},
		{"", "keepalive: 500ms", "it must be 1s to"},
		{"", "key: ''", "bgp.key: it must not be empty"},
		{"", "key: " + long, "bgp.key: it must have 1 to 80 characters"},
		{"", "key: '" + strings.Repeat("ü", 50) + "'", "have at most 80 bytes"},
		{"", "key: [a, b]", "the connection has 1 tunnels"},
		{"", "key: a, key_file: session", "key stands here too"},
		{"", "key_file: none", "cannot be read"},
		{"", "key_file: empty", "the key in the file must not be empty"},
		{"", "key_file: long", "the key in the file must have 1 to 80 bytes"},
		{"bgp: {key: abc}", "key: abc", "the body has a key too"},
		{"", "bfd: {interval: 49ms}", "it must be 50ms to"},
		{"", "bfd: {multiplier: 0}", "it must be 1 to 50"},
		{"", "bfd: {multiplier: 51}", "it must be 1 to 50"},
		{"", "router_id: 'fd00::1'", "it must be an IPv4 address"},
		{"", "announce: [connected]", "with connected and kernel write export"},
		{"", "announce: [static]", "is none of its values"},
		{"", "announce: [10.0.0.1]", "write 10.0.0.1/32"},
		{"", "announce: ['fd00::/8']", "fd00::/8 is not IPv4"},
		{"", "accept: ['fd00::/8']", "fd00::/8 is not IPv4"},
		{"", "accept: []", "at least one CIDR block"},
		{"", "announce: [10.0.0.0/8], never_announce: [10.1.0.0/16]", "10.0.0.0/8 is refused at the other end"},
		{"", "announce: [0.0.0.0/0], never_announce: [10.1.0.0/16]", "0.0.0.0/0 is refused at the other end"},
		{"", "max_prefixes: 0", "it must be 1 to 100000"},
		{"", "max_prefixes: 100001", "it must be 1 to 100000"},
		{"", "over_limit: drop", "is none of its values"},
		{"", "communities: [65536:1]", "be two numbers of 0 to 65535"},
		{"", "communities: ['100']", "be two numbers of 0 to 65535"},
		{"", "prefer: peer", "is none of its values"},
		{"", "med: -1", "it must be 0 to 4294967295"},
		{"", "prepend: 17", "it must be 0 to 16"},
		{"", "graceful: yes", `there is no key "graceful"`},
	} {
		read := files{"session": "abc", "empty": "", "long": long}.read
		c, ps := parseText(read, "f", []byte(bgpLab(inside4+"\n"+tt.body, "bgp: {"+tt.beside+"}")))
		if c != nil || !strings.Contains(lines(ps), tt.want) {
			t.Errorf("%s, %s: got\n%swant %s", tt.body, tt.beside, lines(ps), tt.want)
		}
	}
}

// What is no error and is likely not what is meant, or what run cannot do.
func TestWarningsAboutBGP(t *testing.T) {
	everything := strings.NewReplacer("192.168.3.0/24, ", "")
	narrow := strings.NewReplacer(", 0.0.0.0/0", "", "0.0.0.0/0", "10.0.0.0/8")
	withAS := func(local, remote string) *strings.Replacer {
		return strings.NewReplacer("asn: 65010", "asn: "+local, "asn: 4200000001", "asn: "+remote)
	}
	noAS := strings.NewReplacer(", asn: 65010", "")
	for _, tt := range []struct {
		change       *strings.Replacer
		body, beside string
		refused      bool
		want         string
	}{
		{everything, "", "bgp: {}", false, "BGP announces nothing, since the body does not say what is behind this end"},
		{nil, "", "bgp: {export: [10.0.0.0/8]}", false, "neither stands there"},
		{nil, "", "bgp: {never_announce: [192.168.0.0/16]}", false, "are not announced: the other end refuses them"},
		{nil, "", "bgp: {announce: [10.0.0.0/8, 11.0.0.0/8], max_announced: 1}", false, "2 networks; the other end takes 1"},
		{nil, "", "bgp: {never: [10.0.0.0/8], accept: [10.1.0.0/16]}", false, "10.1.0.0/16 is never accepted"},
		{nil, "", "bgp: {standby: {med: 7}}", false, "the connection has no standby tunnel"},
		{nil, "", "bgp: no", false, "the body asks for no BGP"},
		{noAS, "", "bgp: {}", true, "BGP needs the AS numbers of both ends: write asn: N"},
		{noAS, "bgp: {}", "", true, "BGP needs the AS numbers of both ends: write asn: N"},
		{narrow, "bgp: {}", "", false, "no pair of subnets carries BGP's own packets, between 169.254.11.2 and 169.254.11.1: add 169.254.11.0/30"},
		{narrow, "", "bgp: {}", true, "no pair of subnets carries BGP's own packets"},
		{withAS("23456", "65010"), "", "bgp: {}", false, "the AS number 23456 is reserved (RFC 6793)"},
		{withAS("65010", "65535"), "", "bgp: {}", false, "the AS number 65535 is reserved (RFC 7300)"},
		{withAS("4294967295", "65010"), "", "bgp: {}", false, "the AS number 4294967295 is reserved (RFC 7300)"},
	} {
		text := bgpLab(inside4+"\n"+tt.body, tt.beside)
		if tt.change != nil {
			text = tt.change.Replace(text)
		}
		c, ps := served(nil, text)
		if c == nil || ps.Refused() != tt.refused || !strings.Contains(lines(ps), tt.want) {
			t.Errorf("%s, %s: refused %v, got\n%swant %s", tt.body, tt.beside, ps.Refused(), lines(ps), tt.want)
		}
	}
}

func TestBGPNeedsAddressesInTheTunnel(t *testing.T) {
	said(t, bgpLab("", "bgp: {}"), diag.Error, "BGP needs the addresses in the tunnel: write into the body inside:")
	said(t, bgpLab("bgp: {}", ""), diag.Error, "BGP needs the addresses in the tunnel")
}

// An AS number may be written in two halves, and both ends may have the same.
func TestASNumbersOfASession(t *testing.T) {
	for _, tt := range []struct {
		local, remote string
		want          [2]uint32
		prepend       int
	}{
		{"65010", "4200000001", [2]uint32{65010, 4200000001}, 1},
		{"1.10", "65535.65534", [2]uint32{65546, 4294967294}, 1},
		{"65010", "65010", [2]uint32{65010, 65010}, 0},
		{"0.100", "'100'", [2]uint32{100, 100}, 0},
	} {
		text := strings.NewReplacer("asn: 65010", "asn: "+tt.local, "asn: 4200000001", "asn: "+tt.remote).Replace(bgpLab(inside4+"\nrole: standby", "bgp: {}"))
		tun := parse(t, text, nil).Connections[0].Tunnels[0]
		if got := [2]uint32{tun.Local.ASN, tun.Remote.ASN}; got != tt.want || tun.BGP.Prepend != tt.prepend || tun.BGP.MED != config.StandbyMED {
			t.Errorf("%s, %s: got %v, prepending %d, MED %d", tt.local, tt.remote, got, tun.BGP.Prepend, tun.BGP.MED)
		}
	}
	said(t, strings.ReplaceAll(bgpLab(inside4, "bgp: {prepend: 2}"), "4200000001", "65010"), diag.Error, "both ends have the AS number 65010, and the peer drops")
	for _, asn := range []string{"0", "0.0", "4294967296", "1.65536"} {
		said(t, strings.ReplaceAll(bgpLab(inside4, "bgp: {}"), "4200000001", asn), diag.Error, "an AS number is expected here")
	}
}

// A session between IPv6 addresses tells IPv6 networks, and needs a name that is an IPv4 address.
func TestASessionOfIPv6(t *testing.T) {
	six := strings.NewReplacer("192.168.3.0/24, 0.0.0.0/0", `192.168.3.0/24, "fd00:3::/64", "::/0"`, "[0.0.0.0/0]", `[10.0.0.0/8, "::/0"]`)
	text := func(beside string) string {
		return six.Replace(bgpLab(`inside: {local: "fd00:11::2/126", remote: "fd00:11::1"}`, "bgp: {"+beside+"}"))
	}
	b := parse(t, text("router_id: 192.0.2.1"), nil).Connections[0].Tunnels[0].BGP
	if fmt.Sprint(b.Announce) != "[fd00:3::/64]" {
		t.Errorf("it announces %v", b.Announce)
	}
	said(t, text("router_id: 192.0.2.1, announce: [10.0.0.0/8]"), diag.Error, "10.0.0.0/8 is not IPv6")
	_, ps := parseText(nil, "f", []byte(text("")))
	if !ps.Refused() || !strings.Contains(lines(ps), "write beside the body bgp: {router_id: A.B.C.D}") {
		t.Errorf("got\n%s", lines(ps))
	}
}

func TestAKeyOfBGPThatOthersCanRead(t *testing.T) {
	for mode, allowed := range map[fs.FileMode]bool{0o600: true, 0o640: true, 0o644: false, 0o604: false, 0o602: false} {
		dir := t.TempDir()
		write(t, dir, "session", "a-key.of-BGP\n", mode)
		c, ps := File(write(t, dir, "vpngw.yaml", bgpLab(inside4, "bgp: {key_file: session}"), 0o644), Options{})
		if (c != nil) != allowed || c == nil && !strings.Contains(lines(ps), "vpngw.key_file.exposed") {
			t.Errorf("mode %o: got\n%s", mode, lines(ps))
		}
		if c != nil && string(c.Connections[0].Tunnels[0].BGP.AuthKey) != "a-key.of-BGP" {
			t.Error("the key is not the file's first line")
		}
	}
	for mode, want := range map[fs.FileMode]bool{0o644: true, 0o640: false} {
		_, ps := File(write(t, t.TempDir(), "vpngw.yaml", bgpLab(inside4, "bgp: {key: abc}"), mode), Options{})
		if strings.Contains(lines(ps), "vpngw.key.exposed") != want {
			t.Errorf("mode %o: got\n%s", mode, lines(ps))
		}
	}
}

// bgpSeeds are what stands beside a body, for the fuzzers.
var bgpSeeds = []string{
	"no", "yes", "{}",
	"{hold: 9s, keepalive: 3s, key: abc, ttl_security: yes, graceful_restart: no, bfd: {interval: 300ms, multiplier: 3}, passive: yes, router_id: 192.0.2.7}",
	"{announce: [10.0.0.0/8, connected, kernel], export: [10.0.0.0/8], accept: [0.0.0.0/0], never: [100.64.0.0/10], never_announce: [0.0.0.0/0], max_prefixes: 50, max_announced: 50, over_limit: end}",
	"{transit: yes, prefer: bgp, communities: [65000:100, no-export], med: 1, prepend: 2, standby: {med: 3, prepend: 4}, bfd: yes}",
}

// sound reports whether a session can run: the daemon need not check again what a file says.
func sound(t *config.Tunnel) bool {
	b := t.BGP
	if b == nil {
		return true
	}
	lists := slices.Concat(b.Announce, b.Accept, b.Export)
	return b.Hold >= 3*time.Second && b.Keepalive >= time.Second && b.Keepalive <= b.Hold/3 && b.Hold%time.Second == 0 && b.Keepalive%time.Second == 0 &&
		len(b.AuthKey) <= 80 && b.MaxPrefixes > 0 && b.MaxTell >= 0 && b.OverLimit != "" && b.Prefer != "" && b.Prepend <= 16 &&
		(b.BFD == nil || b.BFD.Interval >= 50*time.Millisecond && b.BFD.Multiplier > 0) && (!b.RouterID.IsValid() || b.RouterID.Is4()) &&
		!slices.ContainsFunc(b.Announce, b.Withholds) && (len(b.Export) > 0 || !b.Connected && !b.Kernel) && (b.Prepend == 0 || !t.Internal()) &&
		!slices.ContainsFunc(lists, func(p netip.Prefix) bool { return p.Addr().Is4() != t.NamesIPv4() || p != p.Masked() })
}
