package main

import "time"

// Values of BENCH_LAN.
const (
	lanSingle = "single" // A's kernel forwards each datagram by itself, as kernels do unless they are told otherwise
	lanMerged = "merged" // A's kernel merges the datagrams of a flow that come in together
)

// The LAN's host and A's address there are in netA, whose other half stays local at A.
const (
	lanHost   = "10.1.0.130"
	lanRouter = "10.1.0.129"
	lanBits   = "/25"
)

// behind has the datagrams come from a host in a LAN behind A, whose device reports several packets at once.
func (s *site) behind(merged bool) {
	s.from = s.Namespace("lan")
	s.Link(s.from, "eth0", s.a, "lan")
	s.from.Address("eth0", lanHost+lanBits)
	s.from.Route(netB, lanRouter)
	s.a.Run("ip", "addr", "del", innerA+"/24", "dev", "lo")
	s.a.Address("lo", innerA+lanBits)
	s.a.Address("lan", lanRouter+lanBits)
	s.a.Coalesce("lan", 50*time.Microsecond)
	if merged {
		s.a.MergeUDP("lan")
	}
}
