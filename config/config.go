// Package config is the model of a configuration: what connections and tunnels
// are, in neutral words and seen from this host, and what makes one valid. It knows
// no file, no cloud and no running daemon: package config/load makes a Config of a
// file, and package gateway runs one.
package config

import (
	"net/netip"
	"reflect"
	"strings"
	"time"
)

// Config is a whole, valid configuration. The Configs of two equal files are
// reflect.DeepEqual.
type Config struct {
	Startup
	Metrics     Metrics
	Connections []*Connection
}

// Share has c refer to the connections of other that are equal to its own, so that they are in memory once. It returns how many of
// c's are equal to none.
func (c *Config) Share(other *Config) (others int) {
	named := make(map[string]*Connection, len(other.Connections))
	for _, conn := range other.Connections {
		named[conn.Name] = conn
	}
	for i, conn := range c.Connections {
		if same := named[conn.Name]; reflect.DeepEqual(conn, same) {
			c.Connections[i] = same
		} else {
			others++
		}
	}
	return others
}

// Metrics says where metrics are served beside the control socket.
type Metrics struct {
	Listen netip.AddrPort // TCP; zero: nowhere
	Page   bool           // the status page too
}

// Side is which end of the connection this host is.
type Side uint8

const (
	Customer Side = iota
	Cloud
)

func (s Side) String() string {
	if s == Cloud {
		return "cloud"
	}
	return "customer"
}

// Other is the side of the other end.
func (s Side) Other() Side {
	if s == Cloud {
		return Customer
	}
	return Cloud
}

// Connection is one connection, whichever dialect describes it.
type Connection struct {
	Name    string // unique
	Dialect string // "alibaba", "native"
	Side    Side
	Routing Routing
	Tunnels []Tunnel // one, or two of a dual-tunnel connection
	Partial bool     // it runs without the Features that the daemon does not serve
	// Pair names the pair that the connection forms with the one other connection of the
	// same Pair; empty: none. Both have one tunnel, one of them active and one standby.
	Pair string
	// Switching is how the traffic moves between the tunnels of the connection or its pair; zero where
	// there is one tunnel.
	Switching Switching
}

// Switching says when the traffic of two tunnels goes back from the standby to the active one.
type Switching struct {
	Hold   time.Duration // how long the active tunnel must have been well
	Manual bool          // it goes back on request only
	// Balance is `balance: true`: both tunnels carry traffic, each flow through one of them; a tunnel that left comes back as above.
	Balance bool
}

// DefaultSwitching is the Switching of two tunnels for which nothing is said.
var DefaultSwitching = Switching{Hold: 30 * time.Second}

// Feature is something that a connection can ask for beyond carrying packets. The
// daemon says which features it serves.
type Feature string

const (
	HealthChecks Feature = "health checks"
	BGPSessions  Feature = "BGP"
	Failover     Feature = "failover between its tunnels"
)

// Features is a list of features in the order of their constants.
type Features []Feature

func (fs Features) String() string {
	out := make([]string, len(fs))
	for i, f := range fs {
		out[i] = string(f)
	}
	return strings.Join(out, ", ")
}

// Features are the features that the connection asks for.
func (c *Connection) Features() Features {
	var health, bgp bool
	for i := range c.Tunnels {
		health = health || c.Tunnels[i].Health != nil || c.Tunnels[i].OwnHealth != nil
		bgp = bgp || c.Tunnels[i].BGP != nil
	}
	var out Features
	if health {
		out = append(out, HealthChecks)
	}
	if bgp {
		out = append(out, BGPSessions)
	}
	if len(c.Tunnels) > 1 || c.Pair != "" {
		out = append(out, Failover)
	}
	return out
}

// Routing says how packets are chosen for the tunnels.
type Routing string

const (
	RouteFlows       Routing = "flows"       // protected data flows: the selectors, which the routes follow
	RouteDestination Routing = "destination" // the selectors are 0.0.0.0/0; static routes decide
	RouteBGP         Routing = "bgp"         // the selectors are 0.0.0.0/0; routes that BGP learns decide
)

// RoutingOf returns the Routing of tunnels with these selectors.
func RoutingOf(bgp bool, local, remote []netip.Prefix) Routing {
	switch {
	case bgp:
		return RouteBGP
	case CarriesAll(local, remote):
		return RouteDestination
	}
	return RouteFlows
}

// CarriesAll reports whether a tunnel with these selectors carries every packet of
// a family.
func CarriesAll(local, remote []netip.Prefix) bool {
	all := func(ps []netip.Prefix) bool { return len(ps) == 1 && ps[0].Bits() == 0 }
	return all(local) && all(remote)
}
