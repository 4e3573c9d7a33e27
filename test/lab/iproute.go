package lab

import (
	"encoding/json"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
)

// KernelRoute is one route of a namespace's kernel.
type KernelRoute struct {
	Type     string      `json:"type"` // empty: unicast
	Dst      string      `json:"dst"`
	Gateway  string      `json:"gateway"`
	Dev      string      `json:"dev"`
	Protocol string      `json:"protocol"`
	Metric   int         `json:"metric"`
	PrefSrc  string      `json:"prefsrc"`
	NextHops []KernelHop `json:"nexthops"`
}

// KernelHop is one of several equal ones.
type KernelHop struct {
	Gateway string `json:"gateway"`
	Dev     string `json:"dev"`
}

// KernelRoutes are the IPv4 routes of the main table, host routes as /32.
func (n *Namespace) KernelRoutes() []KernelRoute {
	n.lab.Helper()
	out, err := exec.Command("ip", "-j", "-n", n.Name, "-d", "-4", "route", "show").Output()
	if err != nil {
		n.lab.Fatalf("%s: ip route: %v", n.role, err)
	}
	var routes []KernelRoute
	if err := json.Unmarshal(out, &routes); err != nil {
		n.lab.Fatalf("%s: ip route: %v", n.role, err)
	}
	for i := range routes {
		if r := &routes[i]; !strings.Contains(r.Dst, "/") && r.Dst != "default" {
			r.Dst += "/32"
		}
	}
	return routes
}

// Leads returns the prefixes that lead into a device, or into any vpngw's device if it is empty, but for the network of the
// address in the tunnel.
func (n *Namespace) Leads(device string) []string {
	n.lab.Helper()
	var out []string
	for _, r := range n.KernelRoutes() {
		into := func(dev string) bool {
			if device == "" {
				return strings.HasPrefix(dev, "vpngw")
			}
			return dev == device
		}
		hops := slices.ContainsFunc(r.NextHops, func(h KernelHop) bool { return into(h.Dev) })
		own, err := netip.ParsePrefix(r.Dst)
		if src, err2 := netip.ParseAddr(r.PrefSrc); err == nil && err2 == nil && own.Contains(src) {
			continue
		}
		if r.Protocol != "kernel" && r.Type != "unreachable" && (into(r.Dev) || hops) {
			out = append(out, r.Dst)
		}
	}
	return out
}
