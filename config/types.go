package config

import (
	"net/netip"

	"vpngw/config/dialect"
)

// Config is a whole, valid configuration. Two Configs of equal files are
// reflect.DeepEqual.
type Config struct {
	Listen      []netip.Addr // underlay addresses; empty: all
	Packets     bool         // offload is no: TUN devices are used by packets
	NoFrames    bool         // raw_frames is no: ESP is never sent as Ethernet frames
	Threads     int          // that carry packets; 0: as many as suits this machine
	Connections []*Connection
}

// The words of a Config are those that the dialects speak; they live below
// them, in config/dialect.
type (
	Connection = dialect.Connection
	Tunnel     = dialect.Tunnel
	End        = dialect.End
	Side       = dialect.Side
	Role       = dialect.Role
	Encap      = dialect.Encap
	Children   = dialect.Children
	Pair       = dialect.Pair
	Routing    = dialect.Routing
	BGP        = dialect.BGP
	Health     = dialect.Health
)

const (
	Customer = dialect.Customer
	Cloud    = dialect.Cloud

	Single  = dialect.Single
	Active  = dialect.Active
	Standby = dialect.Standby

	EncapAuto   = dialect.EncapAuto
	EncapAlways = dialect.EncapAlways
	EncapNever  = dialect.EncapNever

	Lists = dialect.Lists
	Pairs = dialect.Pairs

	RouteFlows       = dialect.RouteFlows
	RouteDestination = dialect.RouteDestination
	RouteBGP         = dialect.RouteBGP
)
