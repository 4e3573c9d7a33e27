// Package ipsec holds the words of RFC 4301 that IKE and ESP share: algorithms
// and proposals, traffic selectors, identities, keys, and the Child SA on which
// the two meet. It does no I/O and keeps no protocol state.
package ipsec

import (
	"net/netip"
	"time"
)

// Datagram is one packet on the underlay, or a run of packets of one size, as
// sockets, ESP and IKE exchange it.
//
// Data aliases a buffer of whoever produced the Datagram and is valid only
// until control returns to it.
type Datagram struct {
	Local  netip.AddrPort // ours; the zero address lets the route choose. Port 0: raw ESP (protocol 50).
	Remote netip.AddrPort // the peer's; port 0: raw ESP.
	Data   []byte         // payload of UDP or of protocol 50, without the outer IP and UDP headers
	// Segment is 0 for one packet. Otherwise Data is a run of packets of Segment
	// bytes each, of which the last may be shorter (UDP_SEGMENT, UDP_GRO).
	Segment int
	// TOS is the outer IPv4 TOS or IPv6 traffic class: DSCP and ECN.
	TOS uint8
}

// Path is where the packets of an SA go on the underlay.
type Path struct {
	Local, Remote netip.AddrPort // with UDP: ports of the NAT-T socket pair (ours 4500); raw: ports are 0
	UDP           bool           // RFC 3948 encapsulation
}

// Lifetime is when an SA ends. Zero fields never end it.
type Lifetime struct {
	Time    time.Duration // hard; rekeying starts before it
	Bytes   uint64        // in either direction, counted separately
	Packets uint64
}

// ChildSA is a pair of ESP SAs as IKE negotiated it: the one thing that IKE
// hands to ESP. It is immutable once handed over.
type ChildSA struct {
	Tunnel string // the tunnel (TUN device) whose traffic it carries
	Child  string // the configured child it serves, for status

	SPIIn  uint32 // ours: in packets that we receive
	SPIOut uint32 // the peer's: in packets that we send
	Suite  Suite  // Encr, Integ and ESN; what was negotiated
	In     Keys
	Out    Keys
	// Trunc96 cuts HMAC-SHA-256 to 96 bits instead of RFC 4868's 128, as some old peers do.
	Trunc96 bool

	Local, Remote []Selector // negotiated; outbound: source in Local, destination in Remote
	Path          Path
	// Follow lets ESP change Path.Remote, if Path is by UDP, to where the newest authenticated packet came
	// from. IKE says so of an end that is not behind a NAT itself (RFC 7296 section 2.23).
	Follow   bool
	Lifetime Lifetime
	Created  time.Time
}

// Keys are the keys of one direction, with the salt of an AEAD at the end of
// Encr, as KEYMAT gives them (RFC 7296 section 2.17, RFC 4106 section 8.1).
type Keys struct {
	Encr  Secret
	Integ Secret
}

// Clear overwrites the keys.
func (k *Keys) Clear() { k.Encr.Clear(); k.Integ.Clear() }
