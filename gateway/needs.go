package gateway

import (
	"context"
	"net/netip"
	"time"

	"vpngw/esp"
	"vpngw/host"
	"vpngw/ike"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// IKE is an *ike.Endpoint, as the gateway uses it. Only the control loop calls it.
type IKE interface {
	// SetPeer puts next in the place of old, which is a pointer that was handed
	// over before. A nil old adds, a nil next removes.
	SetPeer(now time.Time, old, next *sa.Peer)
	Handle(now time.Time, d ipsec.Datagram)
	Do(now time.Time, c sa.Command)
	Advance(now time.Time)
	Deadline() time.Time
	Next() sa.Action
	Tunnel(name string) (ike.TunnelStatus, bool)
	Idle() bool // no IKE SA is left
	Counters() ike.Counters
}

// Host is the operating system, as the gateway uses it: System is the real one.
type Host interface {
	Check() []host.Finding
	Clean() error
	Leave() error
	Open(listen []netip.Addr) (*Sockets, error)
	CreateTUN(name string, mtu int) (TUN, error)
	Poller() (Poller, error)
	Set(owner string, s host.State) (host.Result, error)
	Source(remote netip.Addr) (netip.Addr, error)
	PathMTU(remote netip.Addr) (int, error)
	Addresses() ([]netip.Addr, error)
	Watch(ctx context.Context, changed func(owners []string)) error
}

// TUN is one TUN device.
type TUN interface {
	esp.Framer
	Packets() (esp.Device, error) // the slower way to use it, instead
	Close() error
}

// Socket is one socket of the underlay.
type Socket interface {
	esp.Socket
	ReadBatch(ds []ipsec.Datagram) (int, error) // ReadReady that waits
	Local() netip.AddrPort                      // what it is bound to
}

// Sockets are the underlay's, in each list one for each address family, or one
// for each address that `listen` names.
type Sockets struct {
	IKE  []Socket // UDP port 500
	NATT []Socket // UDP port 4500: ESP in UDP, and what Marked does not get
	// Marked is port 4500 again: what has the non-ESP marker, so that IKE has a queue of its own. May be empty.
	Marked []Socket
	Raw    []Socket // protocol 50
	// ForIKE is the socket to send an IKE message from local to remote, chosen by
	// local's port and address; nil: there is none.
	ForIKE func(local netip.AddrPort, remote netip.Addr) Socket
	// Run makes sending from Raw faster where that is safe, until ctx ends.
	Run   func(ctx context.Context) error
	Close func() error
}
