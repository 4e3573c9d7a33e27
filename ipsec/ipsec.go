// Package ipsec has the types of RFC 4301 that IKE and ESP share: algorithms
// and proposals, traffic selectors, identities, keys, and the Child SA, which IKE hands to
// ESP. It does no I/O and keeps no protocol state.
package ipsec

import (
	"net/netip"
	"time"
)

// Datagram is one packet on the underlay, or a run of packets of one size, as
// sockets, ESP and IKE exchange it.
//
// Data aliases a buffer of the code that made the Datagram and is valid only
// until control returns to that code.
type Datagram struct {
	Local  netip.AddrPort // our address; the zero address lets the route choose. Port 0: raw ESP (protocol 50)
	Remote netip.AddrPort // the peer's address; port 0: raw ESP
	Data   []byte         // payload of UDP or of protocol 50, without the outer IP and UDP headers
	// Segment is 0 if Data is one packet. Otherwise Data is a run of packets of Segment
	// bytes each; the last may be shorter (UDP_SEGMENT, UDP_GRO).
	Segment int
	// TOS is the outer IPv4 TOS or IPv6 traffic class: DSCP and ECN.
	TOS uint8
}

// Path is where the packets of an SA go on the underlay.
type Path struct {
	Local, Remote netip.AddrPort // with UDP: ports of the NAT-T socket pair (ours 4500); raw: ports are 0
	UDP           bool           // RFC 3948 encapsulation
}

// Lifetime limits an SA. A zero field sets no limit.
type Lifetime struct {
	Time    time.Duration // the SA ends then; rekeying starts earlier
	Bytes   uint64        // of each direction
	Packets uint64        // of each direction
}

// ChildSA is a pair of ESP SAs as IKE negotiated it and hands it to ESP. Nobody changes it
// after that.
type ChildSA struct {
	Tunnel string // the tunnel (TUN device) whose traffic it carries
	Child  string // the configured child that it serves, for status

	SPIIn  uint32 // chosen by us, in packets that we receive
	SPIOut uint32 // chosen by the peer, in packets that we send
	Suite  Suite  // its Encr, Integ and ESN
	// SilentESN says that the peer named no form of sequence numbers, which RFC 7296 wants: they have 32 bits.
	SilentESN bool
	In        Keys
	Out       Keys
	// Trunc96 truncates HMAC-SHA-256 to 96 bits instead of RFC 4868's 128, as some old peers do.
	Trunc96 bool

	Local, Remote []Selector // negotiated; outbound: source in Local, destination in Remote
	Path          Path
	// Follow has ESP, if Path.UDP, send to where the newest authenticated packet came from instead of to
	// Path.Remote. Only an end that is not behind a NAT itself does so (RFC 7296 section 2.23).
	Follow   bool
	Lifetime Lifetime
	Created  time.Time
}

// Keys are the keys of one direction. The salt of an AEAD is at the end of
// Encr, as in KEYMAT (RFC 7296 section 2.17, RFC 4106 section 8.1).
type Keys struct {
	Encr  Secret
	Integ Secret
}

// Clear overwrites the keys.
func (k *Keys) Clear() { k.Encr.Clear(); k.Integ.Clear() }
