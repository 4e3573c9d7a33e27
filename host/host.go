// Package host is the gateway's access to the operating system: UDP and raw ESP
// sockets that move batches, TUN devices, and the addresses, routes and rules
// of the kernel as one desired state. No other package calls the operating
// system for these.
//
// It decides nothing: its caller says which tunnel has which route. It protects the
// machine it runs on. Every object that it puts into the kernel carries a mark
// (Protocol, Group, Alias, the name of a table of nftables), by which a later run recognises it after a crash. An object
// without the mark is foreign: it is never changed, replaced or removed. The package
// writes sysctls of its own devices only.
//
// It serves Linux only. A Host belongs to the network namespace of the thread
// that called New; CreateTUN and Open take the namespace of their own caller.
package host

import (
	"log/slog"
	"net/netip"

	"vpngw/diag"
)

// Marks of our objects in the kernel.
const (
	// Protocol is the originator (rtm_protocol, FRA_PROTOCOL) of our routes and rules.
	Protocol = 73
	// Table holds the routes that would otherwise capture our own packets.
	Table = 7373
	// Metric is the metric of our routes where a State names no other; while one route replaces another,
	// one of the two has a metric of one more. It is high, so that a foreign route to the same prefix
	// wins, unless its own is still worse (guardStep).
	Metric = 7300
	// Mark is on every packet that our sockets send ("vpng").
	Mark = 0x76706e67
	// Group and Alias are on our devices.
	Group = 7373
	Alias = "vpngw"
)

// Ports and protocol of the underlay.
const (
	PortIKE  = 500  // RFC 7296 section 2
	PortNATT = 4500 // RFC 3948
	protoESP = 50   // RFC 4303
)

// Config configures a Host.
type Config struct {
	Log *slog.Logger // nil: discard
}

// State lists the addresses, routes, guards and peers of one owner. The zero State is empty.
type State struct {
	Devices []DeviceState
	// Peers are outer addresses that no route of any owner may capture.
	Peers []netip.Addr
	// Guards are prefixes whose packets leave by a device of ours or not at all: an unreachable route, of a
	// worse metric than ours, stands beside each, whether its devices exist or not.
	Guards []Guard
}

// Guard is a prefix to guard.
type Guard struct {
	Prefix netip.Prefix
	Metric int // of the routes that it stands beside; 0: Metric
}

// DeviceState is one TUN device of ours; CreateTUN made it.
type DeviceState struct {
	Name string
	MTU  int // 0: as it is
	// Metric is that of the device's routes, and one more is theirs while a route replaces another; 0: the
	// package's Metric.
	Metric int
	// Addresses get a route to their prefix, as any interface address does. It is
	// subject to the same rule as Routes: a foreign one for the same prefix blocks it.
	Addresses []netip.Prefix
	Routes    []Route
	// ByFlow shares Routes by flow with the next device of the owner that has ByFlow and a route to the same prefix: the kernel gets one
	// route into both, with the Source and the metric of the first device.
	ByFlow bool
	// Sources are the networks whose packets use the device. If two devices have a route to one
	// prefix, the first device gets the route, and the other gets it only for packets from its
	// Sources. The comment of Set says which device is the first.
	Sources []netip.Prefix
}

// Route sends a prefix into a device.
type Route struct {
	Prefix netip.Prefix
	Source netip.Addr // of packets that this host itself originates; unset: the kernel chooses
}

// Result says which routes and addresses Set left out because a foreign object
// or another owner has them, and which other owners the call affected.
type Result struct {
	Blocked []BlockedRoute // of the owner that called
	Others  []string       // sorted: owners whose own Set would now have another Result or error than their last
}

// DeviceError is an error of Set that concerns one device. Set has set up the
// other devices.
type DeviceError struct {
	Device string
	Err    error
}

func (e *DeviceError) Error() string { return "device " + e.Device + ": " + e.Err.Error() }

func (e *DeviceError) Unwrap() error { return e.Err }

// Cause returns the error as a diag.Cause.
func (e *DeviceError) Cause() diag.Cause {
	return diag.Cause{Code: diag.DeviceFailed, Device: e.Device, Err: e.Err.Error()}
}

// BlockedRoute is a route, or an address as a route to itself, that was left out.
type BlockedRoute struct {
	Device string
	Route  Route
	Cause  diag.Cause // diag.RouteBlocked, RouteTaken, RouteSource or AddressTaken
}

// Finding is one thing about the host that stops the gateway or a part of it.
type Finding struct {
	Cause diag.Cause // diag.NetAdmin, NetRaw, NoTUN, TUNDenied, PortInUse, IPForward, ForwardDrop, FilterUnread, RPFilter, ForwardOff, SNAT, OldFlows, IPv6Off or ForeignPolicy
	Fatal bool       // the gateway cannot start
}

func (f Finding) String() string { return f.Cause.String() }
