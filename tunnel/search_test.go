package tunnel

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// probed is a tunnel that is up and asks how large a packet its path takes.
func probed(t *testing.T, remote string, change func(*config.Tunnel)) (*script, *ipsec.ChildSA, sa.IKESA) {
	c := hq()
	c.Tunnel.DF = config.DFAuto
	c.Tunnel.Remote.Address = addr(remote)
	if change != nil {
		change(c.Tunnel)
	}
	s := newScript(t, c)
	ike := ikeSAOf(1)
	ike.Path.Remote = addrPort(remote)
	s.facts(device("hq"), IKE{"hq", sa.IKEEstablished{SA: ike}})
	child := s.child("hq", "192.168.3.0/24", "10.10.0.0/16")
	child.Path.Remote = addrPort(remote)
	s.facts(installed(child)...)
	return s, child, ike
}

// answer answers probes as a path does that takes packets of so many bytes, until there are none. Lost are the numbers
// of probes that are lost all the same. It returns the probes, and the largest packet inside after each.
func (s *script) answer(ike sa.IKESA, takes int, lost ...int) (sizes, mtus []int) {
	s.t.Helper()
	for n := 0; len(s.probes) > 0; n++ {
		if n > 100 {
			s.t.Fatal("the search does not end")
		}
		p := s.probes[len(s.probes)-1] // it may have been repeated meanwhile
		s.probes = nil
		f := sa.Measured{SA: ike, Asked: p.Size, Size: p.Size - p.Size%16, Passed: p.Size-p.Size%16 <= takes && !slices.Contains(lost, n)}
		if !f.Passed {
			s.wait(time.Second)
		}
		s.facts(IKE{"hq", f})
		sizes, mtus = append(sizes, p.Size), append(mtus, s.find("hq").fits)
	}
	return sizes, mtus
}

func TestThePathIsSearchedByProbes(t *testing.T) {
	const six = "2001:db8::1"
	for _, tt := range []struct {
		name, remote string
		takes        int // outside; 0: nothing is answered
		lost         []int
		sizes, mtus  string // the probes, and after each the largest packet inside
		cut          bool
	}{
		{name: "wide", takes: 1500, sizes: "1500", mtus: "1428"},
		{name: "1400", takes: 1400, sizes: "1500 1280 1400 1454 1440 1420 1420", mtus: "1220 1220 1332 1332 1332 1332 1332"},
		{name: "1492", takes: 1492, sizes: "1500", mtus: "1428"},
		{name: "a chance loss", takes: 1500, lost: []int{0}, sizes: "1500 1280 1400 1454 1492 1500", mtus: "1220 1220 1332 1380 1428 1428"},
		{name: "under the base", takes: 1100, sizes: "1500 1280 576 1024 1280", mtus: "1220 1220 516 964 964"},
		{name: "nothing is answered", takes: 0, sizes: "1500 1280 576", mtus: "1220 1220 1440", cut: true},
		{name: "nothing is answered by IPv6", remote: six, takes: 0, sizes: "1500 1280", mtus: "1220 1220"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.remote == "" {
				tt.remote = "198.51.100.1"
			}
			s, _, ike := probed(t, tt.remote, nil)
			sizes, mtus := s.answer(ike, tt.takes, tt.lost...)
			if got := strings.Trim(fmt.Sprint(sizes), "[]"); got != tt.sizes {
				t.Errorf("probes %s, want %s", got, tt.sizes)
			}
			if got := strings.Trim(fmt.Sprint(mtus), "[]"); got != tt.mtus {
				t.Errorf("MTUs %s, want %s", got, tt.mtus)
			}
			if got := s.find("hq").cut; got != tt.cut {
				t.Errorf("fragments: %v, want %v", got, tt.cut)
			}
		})
	}
}

const peer = "198.51.100.1"

// What a search has found holds on when the search is repeated, and when the tunnel comes back.
func TestAKnownNarrowPathIsNoHoleAgain(t *testing.T) {
	s, child, ike := probed(t, peer, nil)
	s.answer(ike, 1400)
	s.wait(pathMTULife)
	if _, mtus := s.answer(ike, 1400); len(mtus) == 0 || slices.Min(mtus) != 1332 {
		t.Errorf("MTUs in the second search: %v, want none under 1332", mtus)
	}
	s.facts(gone(child))
	s.wait(time.Minute)
	s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
	if got := s.find("hq").fits; got != 1332 || len(s.probes) > 0 {
		t.Errorf("the tunnel is back with MTU %d and %d probes, want 1332 and none", got, len(s.probes))
	}
	// The path has grown wide, and narrow again; one loss by chance changes nothing.
	s.wait(pathMTULife)
	if _, mtus := s.answer(ike, 1500); mtus[len(mtus)-1] != 1428 {
		t.Errorf("the path is wide: MTUs %v", mtus)
	}
	s.wait(pathMTULife)
	if sizes, mtus := s.answer(ike, 1500, 0); len(sizes) != 2 || mtus[0] != 1428 {
		t.Errorf("one probe is lost: probes %v, MTUs %v", sizes, mtus)
	}
	s.wait(pathMTULife)
	if _, mtus := s.answer(ike, 1300); mtus[1] != 1220 {
		t.Errorf("the path is narrow: MTUs %v", mtus)
	}
}

// A tunnel that goes down and comes up again and again does not cost a probe each time, but its path is measured anew soon.
func TestABriefAbsenceCostsNoProbe(t *testing.T) {
	s, child, ike := probed(t, peer, nil)
	again := func(after time.Duration) int {
		s.facts(gone(child))
		s.wait(after)
		child = s.child("hq", "192.168.3.0/24", "10.10.0.0/16")
		child.Path.Remote = addrPort(peer)
		s.probes = nil
		s.facts(installed(child)...)
		return len(s.probes)
	}
	for range 8 {
		if n := again(500 * time.Millisecond); n > 0 {
			t.Fatalf("%d more probes while one is under way", n)
		}
	}
	s.wait(searchWait)
	if sizes, _ := s.answer(ike, 1500); len(sizes) != 1 || s.find("hq").fits != 1428 {
		t.Errorf("probes %v and MTU %d after it was lost, want one and 1428", sizes, s.find("hq").fits)
	}
	if n := again(500 * time.Millisecond); n > 0 {
		t.Errorf("%d probes of a path that was searched just now", n)
	}
	if n := again(pathFresh); n != 1 {
		t.Errorf("%d probes of a path that was searched a while ago, want 1", n)
	}
}

func TestRoutersAndProbesAgree(t *testing.T) {
	s, _, ike := probed(t, peer, nil)
	s.facts(TooBig{addr(peer), 1360}) // before any probe is answered
	if got := s.find("hq").fits; got != 1300 {
		t.Errorf("MTU %d, want what the router says", got)
	}
	sizes, mtus := s.answer(ike, 1360)
	if fmt.Sprint(sizes) != "[1500 1360]" || mtus[1] != 1300 {
		t.Errorf("probes %v, MTUs %v: want the router's next", sizes, mtus)
	}
	s.facts(Underlay{s.own}) // a link flaps: nothing is asked again
	s.wait(time.Minute)
	if len(s.probes) > 0 {
		t.Errorf("probes %v", s.probes)
	}
}

func TestProbesThatNobodySendsAreRepeated(t *testing.T) {
	s, _, ike := probed(t, peer, nil)
	s.probes = nil
	s.wait(searchWait)
	if len(s.probes) != 1 || s.find("hq").fits != 1440 {
		t.Errorf("%v, MTU %d: want the probe again, and no conclusion", s.probes, s.find("hq").fits)
	}
	s.facts(IKE{"hq", sa.IKEEnded{SA: ike}})
	s.probes = nil
	s.wait(time.Minute)
	if len(s.probes) != 0 {
		t.Errorf("%v without an IKE SA", s.probes)
	}
	s.facts(IKE{"hq", sa.IKEEstablished{SA: ike}})
	s.facts(IKE{"hq", sa.Measured{SA: ike, Asked: 1500, Unable: true}})
	if m := s.find("hq"); !m.cut || m.fits != 1440 {
		t.Errorf("the peer answers no probe: MTU %d, fragments %v", m.fits, m.cut)
	}
}

func TestMTUAndDFAsConfigured(t *testing.T) {
	for _, tt := range []struct {
		mtu  int
		df   config.DF
		fits int
		cut  bool
	}{
		{0, config.DFSet, 1440, false},
		{1300, config.DFSet, 1300, false},
		{1500, config.DFSet, 1440, false},
		{0, config.DFClear, 1440, true},
		{1300, config.DFClear, 1300, true},
		{1500, config.DFClear, 1500, true},
		{1300, config.DFAuto, 1300, false},
	} {
		s, _, ike := probed(t, peer, func(c *config.Tunnel) { c.MTU, c.DF = tt.mtu, tt.df })
		if n := len(s.probes); n > 0 != (tt.df == config.DFAuto) {
			t.Errorf("%+v: %d probes", tt, n)
		}
		m := s.find("hq")
		if m.fits != tt.fits || m.cut != tt.cut {
			t.Errorf("%+v: MTU %d, fragments %v", tt, m.fits, m.cut)
		}
		if s.answer(ike, 1280); tt.df == config.DFAuto && m.fits != 1220 {
			t.Errorf("%+v: MTU %d on a path of 1280", tt, m.fits)
		}
	}
	if m := newMember(time.Time{}, Config{Tunnel: &config.Tunnel{MTU: 900}}); m.mtu != 900 {
		t.Errorf("a new device gets MTU %d", m.mtu)
	}
}
