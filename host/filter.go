package host

import "net/netip"

// Passage is a packet of which an Examination asks the packet filter.
type Passage struct {
	Hook     Hook
	From, To netip.AddrPort // port 0: a packet without ports, as of Proto 50
	Proto    uint8
	In, Out  string // devices; empty: none
	Answer   bool   // connection tracking knows its flow
	// Sources and Targets are the networks that From and To stand for; invalid: themselves.
	Sources, Targets netip.Prefix
}

// covers reports whether the passage stands for a packet.
func (p Passage) covers(from, to netip.Addr) bool {
	in := func(n netip.Prefix, self, a netip.Addr) bool { return n.Contains(a) || a == self }
	return in(p.Sources, p.From.Addr(), from) && in(p.Targets, p.To.Addr(), to)
}

// Hook is where a packet passes the packet filter.
type Hook uint8

const (
	HookInput Hook = iota
	HookOutput
	HookForward
)

// Filtered is a Passage that the packet filter drops.
type Filtered struct {
	Passage
	Rule string // for people: the table and chain that drop it
	Sure bool   // false: a rule that cannot be read here might let it pass before
	Do   string // the command that lets it through; empty: none is known
	// Among says which of a tunnel's pairs of networks are concerned; empty: all.
	Among string
}

// Exam is what an Examination finds of one tunnel.
type Exam struct {
	Device    string     // of the route to the peer; empty: there is no route
	Source    netip.Addr // of packets to the peer
	NoRoute   error
	MTU       int          // of the tunnel's device; 0: unknown
	Addresses []netip.Addr // of this host
	Findings  []Finding    // IPForward, RPFilter, FilterUnread, and what is in the way of packets into the tunnel
	Others    []PortOwner  // other programs on our UDP ports
	Filtered  []Filtered
	Unsynced  bool // the clock is not kept by NTP
}

// FirstHost is the first address of a prefix that a host can have.
func FirstHost(p netip.Prefix) netip.Addr {
	p = p.Masked()
	if p.Bits() < p.Addr().BitLen()-1 {
		return p.Addr().Next()
	}
	return p.Addr()
}

// PortOwner is another program that has one of our ports.
type PortOwner struct {
	Port uint16
	Name string
}
