package main

import (
	"net/netip"

	"vpngw/test/bench/load"
	"vpngw/test/lab"
)

// Addresses of a site. Outside is one cable, MTU 1500. Inside, each end has
// whole prefixes, so that each flow can have a separate address.
const (
	outerA, outerB   = "192.0.2.1", "192.0.2.2"
	innerA, innerB   = "10.1.0.1", "10.2.0.1"
	netA, netB       = "10.1.0.0/24", "10.2.0.0/24"
	secondA, secondB = "10.3.0.1", "10.4.0.1" // for a second tunnel
	secondNetA       = "10.3.0.0/24"
	secondNetB       = "10.4.0.0/24"

	loadPort = 9000
	flows    = 16
)

// site is two gateways and the cable between them. The hosts that talk through
// the tunnel are the gateways themselves.
type site struct {
	*lab.Lab
	programs
	a, b *lab.Namespace
	link *lab.Process   // the delay between the ends; nil: they are next to each other
	from *lab.Namespace // where the datagrams of the load come from: a, or a host behind it
}

// tunnel is the tunnel of a contender between the two ends.
type tunnel struct {
	daemons []*lab.Process // one for each end; none if the kernel does all the work
	device  string         // the device at A that packets enter by
}

func newSite(t lab.T, p programs, c contender) *site {
	s := &site{Lab: lab.New(t, "iperf3", "ethtool"), programs: p}
	s.UseBinary(p.vpngw)
	if c.other {
		s.UseBinary(p.other)
	}
	s.a, s.b = s.Namespace("a"), s.Namespace("b")
	if c.far == nil {
		s.Link(s.a, "wan", s.b, "wan")
	} else {
		s.apart(*c.far)
	}
	for _, end := range []struct {
		ns                   *lab.Namespace
		outer, inner, second string
	}{{s.a, outerA, innerA, secondA}, {s.b, outerB, innerB, secondB}} {
		end.ns.Address("wan", end.outer+"/24")
		end.ns.Address("lo", end.inner+"/24", end.second+"/24") // on lo, a prefix is local as a whole
		if c.noUSO {
			end.ns.Run("ethtool", "-K", "wan", "tx-udp-segmentation", "off")
		}
	}
	s.from = s.a
	if c.lan != "" {
		s.behind(c.lan == lanMerged)
	}
	return s
}

// path opens the sockets of the load, from A to B.
func (s *site) path() *load.Path {
	source := innerA
	if s.from != s.a {
		source = lanHost
	}
	p, err := load.Open(s.from.Do, s.b.Do, netip.MustParseAddr(source), loadPort)
	if err != nil {
		s.Fatalf("load: %v", err)
	}
	s.Cleanup(p.Close)
	return p
}

// startNothing sends the packets over the cable as they are.
func startNothing(s *site) tunnel {
	s.a.Route(netB, outerB)
	s.b.Route(netA, outerA)
	s.a.Reaches(innerB)
	return tunnel{device: "wan"}
}

// through routes the inner prefixes into a device that the daemons have made.
func (s *site) through(device string) {
	for _, end := range []struct {
		ns *lab.Namespace
		to string
	}{{s.a, netB}, {s.b, netA}} {
		s.Await(lab.Patience, "the device "+device, func() (bool, string) {
			out, err := end.ns.Try("ip", "link", "set", device, "up")
			return err == nil, out
		})
		end.ns.Run("ip", "route", "add", end.to, "dev", device)
	}
}

func startRelay(s *site) tunnel {
	const device, port = "relay0", "5000"
	t := tunnel{device: device}
	for _, end := range []struct {
		ns   *lab.Namespace
		peer string
	}{{s.a, outerB}, {s.b, outerA}} {
		t.daemons = append(t.daemons, end.ns.Start("relay", s.relay, device, port, end.peer+":"+port))
	}
	s.through(device)
	s.a.Run("ping", "-n", "-c", "1", "-I", innerA, "-W", "2", innerB)
	return t
}

func startFloor(s *site) tunnel {
	const device = "floor0"
	t := tunnel{device: device}
	for _, end := range []struct {
		ns   *lab.Namespace
		peer string
	}{{s.a, outerB}, {s.b, outerA}} {
		t.daemons = append(t.daemons, end.ns.Start("floor", s.floor, device, end.peer+":4500"))
	}
	s.through(device)
	s.a.Run("ping", "-n", "-c", "1", "-I", innerA, "-W", "2", innerB)
	return t
}
