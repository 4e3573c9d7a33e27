package gateway

import (
	"net/netip"

	"vpngw/host"
)

func (h *fakeHost) Examine(netip.Addr, string, func(string, netip.Addr) []host.Passage) host.Exam {
	return host.Exam{Device: "eth0", Source: h.addresses[0], Addresses: h.addresses, Findings: h.findings}
}
