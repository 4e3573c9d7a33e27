package host

import (
	"bufio"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// crashState has everything that Set can put into the kernel.
var crashState = State{
	Peers:  []netip.Addr{netip.MustParseAddr("198.51.100.9")},
	Guards: guards(0, prefixes("10.20.0.0/16", "198.51.100.0/24", "0.0.0.0/0", "::/0")...),
	Devices: []DeviceState{{
		Name: "vpn0", Addresses: prefixes("169.254.7.1/30", "fd77::1/64"),
		Routes: []Route{
			{Prefix: netip.MustParsePrefix("10.20.0.0/16")},
			{Prefix: netip.MustParsePrefix("198.51.100.0/24")},
			{Prefix: netip.MustParsePrefix("0.0.0.0/0")},
			{Prefix: netip.MustParsePrefix("::/0")},
		},
	}},
}

// TestMain lets the test binary be the daemon that a test kills, and the child of a daemon.
func TestMain(m *testing.M) {
	if os.Getenv("VPNGW_TEST_CRASH") != "" {
		crash()
	}
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "child":
			os.Exit(confined(os.Args[2:]))
		case "parent":
			os.Exit(parent(os.Args[2:]))
		case "weak-parent":
			os.Exit(weakParent(os.Args[2]))
		}
	}
	os.Exit(m.Run())
}

func crash() {
	h, err := New(Config{})
	if err == nil {
		h.cleartext.on = true
		_, err = h.CreateTUN("vpn0", 1400)
	}
	if err == nil {
		_, err = h.Set("a", crashState)
	}
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	os.Stdout.WriteString("ready\n")
	select {}
}

// killed starts a daemon that sets crashState, and kills it.
func (s *space) killed() {
	s.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "VPNGW_TEST_CRASH=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	s.must(err)
	s.must(cmd.Start()) // on this thread, so in this namespace
	line, _ := bufio.NewReader(out).ReadString('\n')
	cmd.Process.Kill()
	cmd.Wait()
	if line != "ready\n" {
		s.t.Fatal("the child did not get ready")
	}
}

func TestCleanAfterKill(t *testing.T) {
	s, h := world(t)
	before, foreign := s.kernelState()
	s.killed()
	if ours, _ := s.kernelState(); len(ours) == len(before) {
		t.Fatal("the crash left nothing to clean: this tests nothing")
	}
	if len(s.verdicts()) == 0 {
		t.Fatal("the crash left no table: this tests nothing")
	}
	// A persistent device, routes and rules survive the process that made them.
	s.must(s.nl.LinkAdd(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "vpn9"}, Mode: netlink.TUNTAP_MODE_TUN}))
	s.must(s.nl.LinkSetAlias(s.link("vpn9"), Alias))
	s.must(s.nl.LinkSetGroup(s.link("vpn9"), Group))
	s.ip("route", "add", "10.77.0.0/16", "dev", "eth0", "proto", "73")
	s.ip("-6", "route", "add", "fd99::/48", "dev", "eth0", "proto", "73", "table", "7373")
	s.ip("rule", "add", "to", "10.1.0.0/16", "lookup", "7373", "priority", "99", "protocol", "73")
	s.ip("rule", "add", "from", "10.1.0.0/16", "iif", "lo", "lookup", "7373", "priority", "98", "protocol", "73")
	s.must(h.Clean())
	ours, after := s.kernelState()
	compare(t, "ours", ours, before)
	compare(t, "foreign", after, foreign)
	if out := s.ip("link"); strings.Contains(out, "vpn") {
		t.Errorf("a device is left:\n%s", out)
	}
	if out := s.exec("nft", "list", "ruleset"); out != "" {
		t.Errorf("a table is left:\n%s", out)
	}
}

func TestSetTakesOverWhatACrashLeft(t *testing.T) {
	s, h := world(t, "vpn0")
	first, err := h.Set("a", crashState)
	if err != nil || len(first.Blocked) > 0 {
		t.Fatal(first, err)
	}
	want, _ := s.kernelState()
	later := s.host() // another Host knows nothing of the first
	later.tuns, later.owned = h.tuns, h.owned
	later.have.addrs = h.have.addrs
	if res, err := later.Set("a", crashState); err != nil || len(res.Blocked) > 0 {
		t.Fatal(res, err)
	}
	got, _ := s.kernelState()
	compare(t, "kernel", got, want)
}

// Leave removes all objects of the daemon at once except for the guards with their rules, and no foreign object.
func TestLeaveTakesOutEverythingButGuards(t *testing.T) {
	for _, foreigner := range []bool{false, true} {
		s, h := world(t)
		before, _ := s.kernelState()
		vpn0, err := h.CreateTUN("vpn0", 1400)
		s.must(err)
		other, err := h.CreateTUN("vpn1", 1400)
		s.must(err)
		if foreigner { // which uses the number of our group
			s.must(s.nl.LinkSetGroup(s.link("eth1"), Group))
		}
		_, err = h.Set("a", crashState)
		s.must(err)
		s.must(h.Leave())
		if left := strings.Contains(s.ip("link"), "vpn"); left != foreigner {
			t.Errorf("with a foreign device in our group %v: a device of ours is left: %v", foreigner, left)
		}
		s.must(vpn0.Close())
		s.must(other.Close())
		ours, _ := s.kernelState()
		want, _ := model([]State{{Peers: crashState.Peers, Guards: crashState.Guards}}, nil)
		maps.Copy(want, before)
		compare(t, "ours", ours, want)
		if out := s.ip("link"); strings.Contains(out, "vpn") || !strings.Contains(out, "eth1") {
			t.Errorf("the links are\n%s", out)
		}
		s.must(h.Clean())
		ours, _ = s.kernelState()
		compare(t, "cleaned, ours", ours, before)
	}
}
