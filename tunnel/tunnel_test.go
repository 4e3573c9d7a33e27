package tunnel

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

func TestLifeOfATunnel(t *testing.T) {
	s := newScript(t, hq())
	s.wants("open hq", "want", "hq: new -> down (device-opening)")
	s.stands("hq", Down, diag.DeviceOpening)
	s.facts(device("hq"))
	s.wants("want dev-hq/1400", "hq: down -> connecting")

	s.facts(IKE{"hq", sa.IKEConnecting{SA: ikeSAOf(1)}})
	s.wants()
	s.facts(IKE{"hq", sa.IKEEstablished{SA: ikeSAOf(1)}})
	s.wants()

	c := s.child("hq", "192.168.3.0/24", "10.10.0.0/16")
	s.facts(IKE{"hq", sa.ChildIn{SA: c}}) // one half carries nothing, and its MTU is known before the other half
	s.wants("measure 198.51.100.1", "fit hq 1440", "want dev-hq/1440")
	s.facts(IKE{"hq", sa.ChildOut{SA: c}})
	s.wants("want dev-hq/1440 10.10.0.0/16 src 192.168.3.1", "hq: connecting -> up")

	s.facts(gone(c), IKE{"hq", sa.IKEEnded{SA: ikeSAOf(1)}}, IKE{"hq", refusedBy(diag.PeerDead)})
	s.wants("hq: up -> connecting (peer-dead)") // the routes stay, or packets would leave in clear

	s.facts(Held{"hq", true})
	s.wants("want dev-hq/1440", "hq: connecting -> down (operator-down)")
	s.facts(Held{"hq", false})
	s.wants("want dev-hq/1440", "hq: down -> connecting") // it is guarded again; what failed before does not count, and routes wait for packets
}

func TestResponderWaitsUntilItIsRaised(t *testing.T) {
	c := hq()
	c.Tunnel.Start = config.StartPassive
	s := newScript(t, c)
	s.facts(device("hq"))
	s.stands("hq", Waiting, "")
	if s.Initiates("hq") {
		t.Error("a responder initiates")
	}
	sa1 := s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
	s.wants("measure 198.51.100.1", "fit hq 1440", "want dev-hq/1440 10.10.0.0/16 src 192.168.3.1", "hq: waiting -> up")
	s.facts(gone(sa1))
	s.wants("hq: up -> waiting")
	s.facts(Raised{"hq"})
	s.wants("hq: waiting -> connecting")
	if !s.Initiates("hq") {
		t.Error("a raised tunnel does not initiate")
	}
}

// The changes between two states that no other transcript has.
func TestChangesOfState(t *testing.T) {
	answers := hq()
	answers.Tunnel.Start = config.StartPassive
	part := func(s *script) *ipsec.ChildSA { return s.child("hq", "192.168.3.0/25", "10.10.0.0/16") }
	whole := func(s *script) *ipsec.ChildSA { return s.child("hq", "192.168.3.0/24", "10.10.0.0/16") }
	lost := Device{"hq", diag.Cause{Code: diag.DeviceGone, Device: "dev-hq"}}

	s := newScript(t, answers)
	s.facts(append(installed(whole(s)), device("hq"))...) // between two looks
	s.stands("hq", Up, "")
	s.facts(lost)
	s.stands("hq", Down, diag.DeviceGone)

	s = newScript(t, answers)
	a := part(s)
	s.facts(append(installed(a), device("hq"))...)
	s.stands("hq", Degraded, diag.Uncovered)
	s.facts(lost)
	s.stands("hq", Down, diag.DeviceGone)
	s.facts(gone(a), device("hq"))
	s.stands("hq", Waiting, "")
	s.facts(lost)
	s.stands("hq", Down, diag.DeviceGone)
	s.facts(device("hq"))
	s.facts(installed(a)...)
	s.stands("hq", Degraded, diag.Uncovered)
	s.facts(gone(a))
	s.stands("hq", Waiting, "")
	s.facts(installed(a)...)
	s.facts(installed(whole(s))...)
	s.stands("hq", Up, "")

	s = newScript(t, hq())
	s.facts(device("hq"))
	b, c := part(s), whole(s)
	s.facts(installed(b)...)
	s.stands("hq", Degraded, diag.Uncovered)
	s.facts(gone(b))
	s.stands("hq", Connecting, "")
	s.facts(installed(c)...)
	s.facts(append(installed(b), gone(c))...)
	s.stands("hq", Degraded, diag.Uncovered)
	s.facts(gone(b))

	// From connecting to waiting: another configuration only answers.
	answers.From = s.Take("hq")
	s.Group = New(s.now, []Config{answers}, nil, inner)
	s.step()
	s.wants(
		"hq: degraded -> connecting",
		"want dev-hq/1440 10.10.0.0/16", "hq: connecting -> waiting",
	)
}

func TestCauseOfAChildSaysMoreThanThePeers(t *testing.T) {
	s := newScript(t, hq())
	s.facts(device("hq"))
	child := &sa.Child{Name: "hq", Tunnel: "hq"}
	s.facts(IKE{"hq", refusedBy(diag.NoAnswer)})
	s.stands("hq", Connecting, diag.NoAnswer)
	s.facts(IKE{"hq", sa.ChildFailed{Child: child, Cause: diag.Cause{Code: diag.ESPProposal, Theirs: "aes256"}}})
	s.stands("hq", Connecting, diag.ESPProposal)
	s.facts(Sent{"hq", diag.Cause{Code: diag.SendFailed, Err: "network is unreachable"}})
	s.stands("hq", Connecting, diag.ESPProposal)
	s.facts(IKE{"hq", sa.ChildFailed{Child: child}}, IKE{"hq", sa.IKEEstablished{SA: ikeSAOf(1)}})
	s.stands("hq", Connecting, "")
	s.facts(Sent{"hq", diag.Cause{Code: diag.SendFailed, Err: "network is unreachable"}})
	s.stands("hq", Connecting, diag.SendFailed)
	s.facts(Sent{Tunnel: "hq"})
	s.stands("hq", Connecting, "")

	// A tunnel that is only partly carried says what lacks, and why.
	s.facts(IKE{"hq", sa.ChildFailed{Child: child, Cause: diag.Cause{Code: diag.Narrowed, Ours: "x"}}})
	s.up("hq", "192.168.3.0/25", "10.10.0.0/16")
	st, _ := s.Status("hq")
	if want := "no SA carries 192.168.3.128/25 === 10.10.0.0/16: the peer took only a part of x"; st.Cause.String() != want {
		t.Errorf("got %q, want %q", st.Cause, want)
	}
}

// A tunnel that is up and will break at its next rekey says so, and stays up.
func TestDifferenceInPFSIsAWarning(t *testing.T) {
	s := newScript(t, hq())
	s.facts(device("hq"))
	child := &sa.Child{Name: "hq", Tunnel: "hq"}
	s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
	s.stands("hq", Up, "")
	s.facts(IKE{"hq", sa.ChildFailed{Child: child, Cause: diag.Cause{Code: diag.PFSMismatch, Ours: "PFS in x25519", Notify: "NO_PROPOSAL_CHOSEN"}}})
	s.stands("hq", Up, diag.PFSMismatch)
	s.facts(IKE{"hq", sa.ChildFailed{Child: child, Cause: diag.Cause{Code: diag.ESPRefused}}}) // one that says nothing about what is up
	s.stands("hq", Up, "")
	s.facts(IKE{"hq", sa.ChildFailed{Child: child}})
	s.stands("hq", Up, "")
}

func TestSilentPeerIsTheCauseLongBeforeIKEGivesUp(t *testing.T) {
	s := newScript(t, hq())
	s.facts(device("hq"))
	s.facts(IKE{"hq", sa.IKEConnecting{SA: ikeSAOf(1)}})
	s.stands("hq", Connecting, "")
	s.wait(silence - time.Millisecond)
	s.wants()
	s.wait(time.Millisecond)
	s.wants("hq: connecting -> connecting (no-answer-yet)")
	s.facts(IKE{"hq", refusedBy(diag.NoAnswer)}, IKE{"hq", sa.IKEConnecting{SA: ikeSAOf(2)}})
	s.wants("hq: connecting -> connecting (no-answer)")
	s.wait(time.Minute)
	s.wants()
	s.facts(IKE{"hq", sa.IKEEstablished{SA: ikeSAOf(2)}})
	s.wants("hq: connecting -> connecting")
}

// The sentence names the port that does not answer.
func TestSilenceIsOfThePortThatTheAttemptIsAt(t *testing.T) {
	s := newScript(t, hq())
	s.facts(device("hq"))
	s.facts(IKE{"hq", sa.IKEConnecting{SA: ikeSAOf(1)}})
	s.stands("hq", Connecting, "")
	s.wait(silence)
	s.wants("hq: connecting -> connecting (no-answer-yet)")
	port := func(want uint16) {
		t.Helper()
		if got := s.changed.Cause.Peer.Port(); got != want {
			t.Errorf("the cause is of port %d, want %d", got, want)
		}
	}
	port(500)
	floated := ikeSAOf(1)
	floated.SPIr, floated.Path.Local, floated.Path.Remote = 9, addrPort("203.0.113.9"), addrPort("198.51.100.1")
	s.facts(IKE{"hq", sa.IKEConnecting{SA: floated}})
	s.wants("hq: connecting -> connecting") // it has answered
	s.wait(silence - time.Millisecond)
	s.facts(IKE{"hq", sa.IKEConnecting{SA: floated}})
	s.wants()
	s.wait(time.Millisecond)
	s.wants("hq: connecting -> connecting (no-answer-yet)")
	port(4500)
}

func TestRekeyAndASecondIKESAChangeNothing(t *testing.T) {
	s := newScript(t, hq())
	s.facts(device("hq"), IKE{"hq", sa.IKEEstablished{SA: ikeSAOf(1)}})
	old := s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
	s.stands("hq", Up, "")
	s.facts(IKE{"hq", sa.IKERekeyed{SA: ikeSAOf(2), Old: ikeSAOf(1)}})
	s.facts(installed(s.child("hq", "192.168.3.0/24", "10.10.0.0/16"))...)
	s.facts(gone(old))
	s.facts(IKE{"hq", sa.IKEConnecting{SA: ikeSAOf(3)}})
	s.wait(time.Minute)
	s.stands("hq", Up, "")
}

func TestBlockedRouteDegradesUntilItIsDisturbed(t *testing.T) {
	s := newScript(t, hq())
	s.facts(device("hq"))
	s.blocked = map[string]diag.Cause{"hq": {Code: diag.RouteBlocked, Prefix: prefixes("10.10.0.0/16")[0], Err: "the route 10.10.0.0/16 through eth0"}}
	s.trace = nil
	s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
	s.wants("measure 198.51.100.1", "fit hq 1440",
		"want dev-hq/1440 10.10.0.0/16 src 192.168.3.1", "hq: connecting -> degraded (route-blocked)")
	s.wait(time.Hour)
	s.blocked = nil
	s.trace = nil
	s.facts(Disturbed{})
	s.wants("want dev-hq/1440 10.10.0.0/16 src 192.168.3.1", "hq: degraded -> up")
}

func TestWhatTheKernelRefusedIsRepeated(t *testing.T) {
	s := newScript(t, hq())
	s.facts(device("hq"))
	s.refused, s.blocked = true, map[string]diag.Cause{"hq": {Code: diag.HostRefused, Err: "no buffer space available"}}
	s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
	s.stands("hq", Degraded, diag.HostRefused)
	s.wait(hostRetry)
	s.wants("want dev-hq/1440 10.10.0.0/16 src 192.168.3.1")
	s.refused, s.blocked = false, nil
	s.wait(hostRetry)
	s.wants("want dev-hq/1440 10.10.0.0/16 src 192.168.3.1", "hq: degraded -> up")
	s.wait(time.Minute)
	s.wants()
}

func TestDeviceIsTriedAgain(t *testing.T) {
	s := newScript(t, hq())
	s.facts(Device{"hq", diag.Cause{Code: diag.DeviceFailed, Device: "dev-hq", Err: "busy"}})
	s.stands("hq", Down, diag.DeviceFailed)
	s.wait(deviceRetry)
	s.wants("open hq")
	s.facts(device("hq"))
	s.stands("hq", Connecting, "")
	s.facts(Device{"hq", diag.Cause{Code: diag.DeviceGone, Device: "dev-hq", Err: "another program removed it"}})
	s.wants("want", "hq: connecting -> down (device-gone)")
	s.wait(lostRetry)
	s.wants("open hq")
}

func TestMTUIsThatOfTheNarrowestPath(t *testing.T) {
	s := newScript(t, hq())
	s.facts(device("hq"))
	s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
	s.trace = nil
	s.facts(TooBig{addr("192.0.2.77"), 600}) // an address that no SA sends to
	s.wants()
	s.facts(TooBig{addr("198.51.100.1"), 1300})
	s.wants("fit hq 1240", "want dev-hq/1240 10.10.0.0/16 src 192.168.3.1")
	s.facts(TooBig{addr("198.51.100.1"), 1400}) // larger than what is known
	s.wants()
	s.mtu = 1200
	s.facts(TooBig{addr("198.51.100.1"), 0}) // this host itself refused the packet
	s.wants("measure 198.51.100.1", "fit hq 1140", "want dev-hq/1140 10.10.0.0/16 src 192.168.3.1")
	s.facts(TooBig{addr("198.51.100.1"), 68}) // the device keeps the least MTU, the data plane is told the truth
	s.wants("fit hq 8", "want dev-hq/576 10.10.0.0/16 src 192.168.3.1")
	s.mtu = 1500
	s.wait(pathMTULife) // RFC 1191: it may have grown again
	s.wants("measure 198.51.100.1", "fit hq 1440", "want dev-hq/1440 10.10.0.0/16 src 192.168.3.1")

	// A link flaps, and the address moves.
	s.facts(TooBig{addr("198.51.100.1"), 1300}, Underlay{s.own})
	s.wants("fit hq 1240", "measure 198.51.100.1", "want dev-hq/1240 10.10.0.0/16 src 192.168.3.1")
	s.facts(Underlay{append(slices.Clone(s.own), addr("192.0.2.78"))})
	s.wants("measure 198.51.100.1", "fit hq 1440", "want dev-hq/1440 10.10.0.0/16 src 192.168.3.1")

	v6 := tunnelOf("six", "fd00:3::/64", "fd00:20::/64")
	s = newScript(t, v6)
	s.facts(device("six"))
	s.mtu = 1000
	s.up("six", "fd00:3::/64", "fd00:20::/64")
	if mtu := s.find("six").mtu; mtu != leastMTU6 {
		t.Errorf("got MTU %d, want the least of IPv6", mtu)
	}
}

func TestMovedChildSAIsMeasuredAgain(t *testing.T) {
	s := newScript(t, hq())
	s.facts(device("hq"))
	c := s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
	s.trace, s.mtu = nil, 1400
	s.facts(Moved{"hq", c.SPIIn, ipsec.Path{Remote: netip.MustParseAddrPort("198.51.100.7:4500"), UDP: true}})
	s.wants("measure 198.51.100.7", "fit hq 1340", "want dev-hq/1340 10.10.0.0/16 src 192.168.3.1")
	if got := s.Group.want.Peers; len(got) != 2 || got[1] != addr("198.51.100.7") {
		t.Errorf("got peers %v, want also where the SA sends", got)
	}
}

func TestTunnelReconnectsWhenItsAddressIsGone(t *testing.T) {
	s := newScript(t, hq())
	s.facts(Underlay{[]netip.Addr{addr("203.0.113.9"), addr("10.0.0.6"), addr("192.168.3.1")}})
	s.facts(device("hq"), IKE{"hq", sa.IKEEstablished{SA: ikeSAOf(1)}})
	s.trace = nil
	without := Underlay{[]netip.Addr{addr("10.0.0.6"), addr("192.168.3.1")}}
	with := Underlay{[]netip.Addr{addr("203.0.113.9"), addr("10.0.0.6"), addr("192.168.3.1")}}
	s.facts(without)
	s.wait(strandedGrace - time.Millisecond)
	s.facts(with) // it has come back
	s.wait(time.Minute)
	s.wants()
	s.facts(without)
	s.wait(time.Hour)
	s.wants("reconnect hq: our address 203.0.113.9 is gone: connecting again from another")
	s.facts(without) // perhaps another address leads to the peer now
	s.wants("reconnect hq: our address 203.0.113.9 is gone: connecting again from another")
	s.facts(with)
	s.trace = nil
	s.facts(Underlay{[]netip.Addr{addr("203.0.113.10"), addr("10.0.0.6"), addr("192.168.3.1")}}) // a new one is in its place
	s.wants("reconnect hq: our address 203.0.113.9 is gone: connecting again from another")
}

func TestStandbyHasTheRoutesOnlyWithoutTheActiveTunnel(t *testing.T) {
	active, standby := tunnelOf("a", "192.168.3.0/24", "10.10.0.0/16"), tunnelOf("b", "192.168.3.0/24", "10.10.0.0/16")
	active.Tunnel.Role, standby.Tunnel.Role = config.Active, config.Standby
	s := newScript(t, active, standby)
	s.facts(device("a"), device("b"))
	s.up("b", "192.168.3.0/24", "10.10.0.0/16")
	s.up("a", "192.168.3.0/24", "10.10.0.0/16")
	s.trace = nil
	if w := s.hostState(); len(w.Devices[0].Routes) != 1 || len(w.Devices[1].Routes) != 0 {
		t.Errorf("got %+v, want the routes in the active tunnel only", w)
	}
	s.facts(Held{"a", true}) // one Want moves the route: it is added before it is removed
	s.wants("a -> b (failover)", "want dev-a/1440 dev-b/1440 10.10.0.0/16 src 192.168.3.1", "a: up -> down (operator-down)")
}

func TestTakenTunnelKeepsItsDeviceAndSAs(t *testing.T) {
	s := newScript(t, hq())
	s.facts(device("hq"))
	s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
	next := hq()
	next.Tunnel.Routes = prefixes("10.10.0.0/17")
	next.From = s.Take("hq")
	if s.Take("hq") != nil || len(s.members) != 0 {
		t.Error("a tunnel that was taken is still there")
	}
	s.Group = New(s.now, []Config{next}, s.own, inner)
	s.trace = nil
	s.step()
	s.wants("measure 198.51.100.1", "want dev-hq/1440 10.10.0.0/17 src 192.168.3.1")
	s.stands("hq", Up, "")

	other := hq()
	other.Device, other.From = "office", s.Take("hq")
	s.Group = New(s.now, []Config{other}, s.own, inner)
	s.step()
	s.wants("open hq", "measure 198.51.100.1", "want", "hq: up -> down (device-opening)")
}

func TestWeakAlgorithmsAreNamedWhenItComesUp(t *testing.T) {
	s := newScript(t, hq())
	s.facts(device("hq"))
	c := s.child("hq", "192.168.3.0/24", "10.10.0.0/16")
	c.Suite = ipsec.Suite{Encr: ipsec.ByName("des").Transform, Integ: ipsec.ByName("md5").Transform}
	s.facts(installed(c)...)
	if weak := strings.Join(s.changed.Weak, " "); !strings.Contains(weak, "DES") || !strings.Contains(weak, "MD5") {
		t.Errorf("got %q, want DES and MD5 in it", weak)
	}
}

func TestSourceLiesInTheLocalSubnets(t *testing.T) {
	own := []netip.Addr{addr("203.0.113.9"), addr("192.168.3.1"), addr("10.9.0.1"), addr("fe80::1"), addr("fd00:3::1")}
	for _, c := range []struct{ prefix, subnets, want string }{
		{"10.10.0.0/16", "192.168.3.0/24", "192.168.3.1"},
		{"10.10.0.0/16", "192.168.4.0/24", ""},
		{"10.10.0.0/16", "0.0.0.0/0", ""},
		{"10.10.0.0/16", "10.0.0.0/8 192.168.3.0/24", "192.168.3.1"},
		{"fd00:20::/64", "192.168.3.0/24 fd00:3::/64", "fd00:3::1"},
		{"fd00:20::/64", "fe80::/10", ""},
	} {
		want := netip.Addr{}
		if c.want != "" {
			want = addr(c.want)
		}
		if got := sourceFor(prefixes(c.prefix)[0], prefixes(strings.Fields(c.subnets)...), own); got != want {
			t.Errorf("to %s from %s: got %v, want %v", c.prefix, c.subnets, got, want)
		}
	}
}

func TestAddressInTheTunnel(t *testing.T) {
	c := hq()
	c.Tunnel.Inside, c.Tunnel.Peer = prefixes("169.254.10.2/30")[0], addr("169.254.10.1")
	c.Tunnel.Local.Subnets, c.Tunnel.Remote.Subnets = prefixes("0.0.0.0/0"), prefixes("0.0.0.0/0")
	s := newScript(t, c)
	s.facts(device("hq")) // it is there before the first SA, for BGP and probes
	s.wants("open hq", "want", "hq: new -> down (device-opening)", "want dev-hq/1400 at 169.254.10.2/30", "hq: down -> connecting")
	s.up("hq", "0.0.0.0/0", "0.0.0.0/0") // the kernel would take the tunnel's address as the source, to which the far hosts have no route
	s.wants("measure 198.51.100.1", "fit hq 1440", "want dev-hq/1440 at 169.254.10.2/30 10.10.0.0/16 src 192.168.3.1", "hq: connecting -> up")
	s.facts(Held{"hq", true})
	s.wants("want dev-hq/1440", "hq: up -> down (operator-down)")
}

func TestSourceWhereNoSubnetTellsIt(t *testing.T) {
	own := []netip.Addr{addr("127.0.0.1"), addr("203.0.113.9"), addr("169.254.7.7"), addr("10.0.0.5"), addr("192.168.3.1"), addr("fd00::1"), addr("2001:db8::1")}
	for _, c := range []struct{ prefix, outer, want string }{
		{"10.10.0.0/16", "203.0.113.9", "10.0.0.5"},
		{"10.10.0.0/16", "10.0.0.5", "192.168.3.1"}, // behind a NAT
		{"fd01::/64", "203.0.113.9", "fd00::1"},
	} {
		if got := otherSource(prefixes(c.prefix)[0], own, addr(c.outer)); got != addr(c.want) {
			t.Errorf("%s with outer address %s: %v, want %s", c.prefix, c.outer, got, c.want)
		}
	}
	if got := otherSource(prefixes("10.10.0.0/16")[0], own[:2], own[1]); got != own[1] {
		t.Errorf("with the outer address alone: %v", got)
	}
}
