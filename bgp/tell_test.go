package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"vpngw/diag"
)

func TestAnnounce(t *testing.T) {
	host := networks{
		connected: parsePrefixes("10.66.0.0/16", "10.67.0.0/16", "169.254.10.0/30", "127.0.0.0/8", "192.168.1.0/24", "0.0.0.0/0"),
		kernel:    parsePrefixes("10.70.0.0/16", "100.64.1.0/24", "0.0.0.0/0"),
	}
	for _, c := range []struct {
		name string
		with func(s *Session)
		want string
	}{
		{"the list only", func(s *Session) {}, "10.66.0.0/16"},
		{"nothing", func(s *Session) { s.Announce = nil }, ""},
		{"connected", func(s *Session) { s.Connected = true }, "10.66.0.0/16 10.67.0.0/16 192.168.1.0/24"},
		{"kernel", func(s *Session) { s.Kernel = true }, "10.66.0.0/16 10.70.0.0/16 100.64.1.0/24"},
		{"connected by filter", func(s *Session) { s.Connected, s.Export = true, parsePrefixes("192.168.0.0/16") }, "10.66.0.0/16 192.168.1.0/24"},
		{"a default route by name", func(s *Session) { s.Kernel, s.Export = true, parsePrefixes("0.0.0.0/0") }, "0.0.0.0/0 10.66.0.0/16 10.70.0.0/16 100.64.1.0/24"},
		{"a default route in the list", func(s *Session) { s.Announce = parsePrefixes("0.0.0.0/0") }, "0.0.0.0/0"},
		{"never martians", func(s *Session) {
			s.Announce = parsePrefixes("127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "10.1.0.1/16")
		}, ""},
		{"never the tunnel's own", func(s *Session) {
			s.Inside = pfx("10.66.1.0/30")
			s.Announce = parsePrefixes("10.66.1.0/30", "10.66.0.0/16")
		}, "10.66.0.0/16"},
		{"what the cloud refuses", func(s *Session) {
			s.Kernel, s.NeverTell = true, parsePrefixes("100.64.0.0/10", "0.0.0.0/0")
			s.Announce = parsePrefixes("0.0.0.0/0", "100.0.0.0/8", "10.66.0.0/16")
		}, "10.66.0.0/16 10.70.0.0/16"},
		{"more than the cloud takes", func(s *Session) { s.MaxTell, s.Connected = 2, true }, "10.66.0.0/16 10.67.0.0/16"},
		{"the list before others", func(s *Session) { s.MaxTell, s.Connected, s.Announce = 1, true, parsePrefixes("172.16.0.0/16") }, "172.16.0.0/16"},
	} {
		s := plain("t1", 10)
		c.with(&s)
		w := newScript(t, group(s))
		w.up("t1")
		w.do(host)
		got := ""
		for i, p := range w.reports["t1"].Announced {
			if i > 0 {
				got += " "
			}
			got += p.String()
		}
		if got != c.want || w.reports["t1"].Out != len(w.reports["t1"].Announced) {
			t.Errorf("%s: %q is announced, want %q", c.name, got, c.want)
		}
	}
}

func TestWhatIsLeftOutIsSaid(t *testing.T) {
	s := plain("t1", 10)
	s.MaxTell, s.NeverTell = 1, parsePrefixes("100.64.0.0/10")
	s.Announce = parsePrefixes("100.64.0.0/10", "10.1.0.0/16", "10.2.0.0/16")
	w := newScript(t, group(s))
	w.want(w.do(), "start", "event t1 "+string(diag.BGPNotTold), "event t1 "+string(diag.BGPTellLimit), "tell +10.1.0.0/16")
	w.want(w.do(networks{})) // said already
}

func TestChangesAreTold(t *testing.T) {
	s := plain("t1", 10)
	s.Connected = true
	w := newScript(t, group(s))
	w.want(w.do(), "start", "tell +10.66.0.0/16")
	w.want(w.do(networks{connected: parsePrefixes("10.68.0.0/16", "10.67.0.0/16")}), "tell +10.67.0.0/16 +10.68.0.0/16")
	w.want(w.do(networks{connected: parsePrefixes("10.68.0.0/16", "10.67.0.0/16")}))
	w.want(w.do(networks{connected: parsePrefixes("10.68.0.0/16", "10.69.0.0/16")}), "tell +10.69.0.0/16 -10.67.0.0/16")
	w.want(w.do(because(diag.BGPChildDied)), "event bgp-child-died", "start", "tell +10.66.0.0/16 +10.68.0.0/16 +10.69.0.0/16")
}

// The child has one set for all peers, so a peer's exceptions are there before what it must not hear.
func TestSessionsThatDiffer(t *testing.T) {
	one, two := plain("t1", 10), plain("t2", 11)
	two.Announce = parsePrefixes("10.66.0.0/16", "10.67.0.0/16")
	w := newScript(t, group(one, two))
	w.want(w.do(reachable{"t1", true}, reachable{"t2", true}), "start", "tell +10.66.0.0/16 +10.67.0.0/16", "add t1 except 10.67.0.0/16", "add t2")
	one.Announce = parsePrefixes("10.69.0.0/16")
	w.k.change(w.now, group(one, two))
	w.want(w.do(), "export t1 med 0 except 10.66.0.0/16 except 10.67.0.0/16", "export t2 med 0 except 10.69.0.0/16", "tell +10.69.0.0/16")
	two.Announce = parsePrefixes("10.70.0.0/16")
	w.k.change(w.now, group(one, two))
	w.want(w.do(), "export t1 med 0 except 10.66.0.0/16 except 10.67.0.0/16 except 10.70.0.0/16",
		"tell +10.70.0.0/16 -10.66.0.0/16 -10.67.0.0/16", "export t1 med 0 except 10.70.0.0/16")
}

func TestTransit(t *testing.T) {
	one, two, three := plain("t1", 10), plain("t2", 11), plain("t3", 12)
	two.RemoteASN, three.RemoteASN = 65003, 65004
	w := newScript(t, group(one, two, three))
	w.up("t1", "10.1.0.0/16")
	w.up("t2", "10.2.0.0/16")
	w.up("t3")
	w.want(w.do(w.told("t1", "10.3.0.0/16"))) // never what another peer told
	w.k.change(w.now, func() Config { two.Transit = true; return group(one, two, three) }())
	w.want(w.do(), "export t1 med 0 except 10.1.0.0/16 except 10.3.0.0/16", "export t3 med 0 except 10.1.0.0/16 except 10.3.0.0/16", "tell +10.1.0.0/1665002 +10.3.0.0/1665002")
	if r := w.reports["t2"]; r.Out != 3 {
		t.Errorf("%d told to t2", r.Out)
	}
	w.want(w.do(w.told("t1", "-10.3.0.0/16")), "tell -10.3.0.0/16", "export t1 med 0 except 10.1.0.0/16", "export t3 med 0 except 10.1.0.0/16")
	// A peer that can't be reached carries nothing.
	w.want(w.do(reachable{"t1", false}), "tell -10.1.0.0/16", "export t1 med 0", "export t3 med 0")
	// From iBGP to iBGP nothing goes.
	one.RemoteASN, two.RemoteASN = one.LocalASN, two.LocalASN
	w = newScript(t, group(one, two))
	w.up("t2")
	w.up("t1", "10.9.0.0/16")
	w.want(w.do())
	if n := w.reports["t2"].Out; n != 1 {
		t.Errorf("%d told to t2", n)
	}
}

// A host with the Internet's routes doesn't tell a million.
func TestTellIsBounded(t *testing.T) {
	s := plain("t1", 10)
	s.Kernel = true
	var all []netip.Prefix
	for i := range defaultTell + 1000 {
		all = append(all, pfx(fmt.Sprintf("11.%d.%d.0/24", i/256, i%256)))
	}
	slices.Reverse(all)
	w := newScript(t, group(s))
	w.up("t1")
	w.do(networks{kernel: all})
	if r := w.reports["t1"]; r.Out != defaultTell || r.Announced[1] != pfx("11.0.0.0/24") { // the lowest
		t.Errorf("%d told, with %v", r.Out, r.Announced[1])
	}
}
