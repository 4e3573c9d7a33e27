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
	// SetPeer replaces old, a pointer that an earlier call passed as next. A
	// nil old adds, a nil next removes.
	SetPeer(now time.Time, old, next *sa.Peer)
	Handle(now time.Time, d ipsec.Datagram)
	Do(now time.Time, c sa.Command)
	Advance(now time.Time)
	Deadline() time.Time
	Next() sa.Action
	Tunnel(name string) (ike.TunnelStatus, bool)
	Idle() bool // there is no IKE SA
	// LogKeys writes the present keys of a tunnel's IKE SAs, without those of their Child SAs.
	LogKeys(tunnel string, log sa.KeyLog)
	Counters() ike.Counters
	HalfOpen() int
}

// Host is the operating system, as the gateway uses it. System is the one that calls the kernel.
type Host interface {
	Check() []host.Finding
	TakeOver() error
	Retain()
	Release() error
	Leave() error
	Open(listen []netip.Addr) (*Sockets, error)
	CreateTUN(name string, mtu int) (TUN, error)
	Poller() (Poller, error)
	Set(owner string, s host.State) (host.Result, error)
	Left() []host.Guard                                      // guards that an earlier run has left, before the first Set
	Networks() (connected, kernel []netip.Prefix, err error) // what this host has beside our tunnels; from any goroutine
	Source(remote netip.Addr) (netip.Addr, error)
	PathMTU(remote netip.Addr) (int, error)
	Addresses() ([]netip.Addr, error)
	// Examine looks at what concerns a peer and the tunnel's device; from any goroutine. What concerns all peers may be from
	// an earlier call, but not from before since.
	Examine(since time.Time, peer netip.Addr, tun string, ask func(device string, source netip.Addr) []host.Passage) host.Exam
	AskNeighbor(host.Ask) host.Neighbor // takes up to a second; from any goroutine
	Watch(ctx context.Context, changed func(owners []string)) error
	Leak(prefixes, sources []netip.Prefix) (host.Leak, bool) // from any goroutine
	Discard(ctx context.Context) error
	Tap(sources []host.TapSource) (Tap, error) // from any goroutine
	Discarded() uint64                         // packets of cleartext; from any goroutine, for it asks the kernel
	TUNDrops() (map[string]uint64, error)      // by device; likewise
	ThreadTime() func() time.Duration          // processor time of the calling thread; the function may be called from any goroutine
}

// Tap sees packets: see host.Tap. One goroutine uses it.
type Tap interface {
	Aim(source int, peers []netip.Addr) error
	Read(wait time.Duration, take func(host.Tapped)) error
	Stats() []host.TapStats
	Close()
}

// TUN is one TUN device.
type TUN interface {
	esp.Framer
	Packets() (esp.Device, error) // packet by packet: slower, and excludes the frames
	Close() error
}

// Socket is one socket of the underlay.
type Socket interface {
	esp.Socket
	ReadBatch(ds []ipsec.Datagram) (int, error) // ReadReady that waits
	Local() netip.AddrPort                      // the address it is bound to
	WriteWhole(ipsec.Datagram) error            // sends one datagram that nobody may fragment
	Stats() host.SocketStats
}

// ICMPSocket gets the messages of one family that say that a packet was too big for its path.
type ICMPSocket interface {
	Read(b []byte) (int, error) // waits
	V6() bool
}

// Sockets are the sockets of the underlay. Each list has one for each address
// family, or one for each address that `listen` names.
type Sockets struct {
	IKE  []Socket // UDP port 500
	NATT []Socket // UDP port 4500: ESP in UDP, and what Marked does not get
	// Marked has the same port and gets the datagrams with the non-ESP marker, so that IKE has its
	// own queue. May be empty.
	Marked []Socket
	Raw    []Socket // protocol 50
	ICMP   []ICMPSocket
	// ForIKE returns the socket that sends an IKE message from local to remote,
	// chosen by local's port and address; nil: there is none.
	ForIKE func(local netip.AddrPort, remote netip.Addr) Socket
	// ForWhole is ForIKE for a message that must not be fragmented.
	ForWhole func(local netip.AddrPort, remote netip.Addr) Socket
	// Run makes sending from Raw faster where that is safe, until ctx ends.
	Run   func(ctx context.Context) error
	Close func() error
}
