// Package esp is the data plane: ESP in tunnel mode (RFC 4303, RFC 4301) in
// user space, raw (IP protocol 50) or in UDP (RFC 3948), between TUN devices and
// the underlay's sockets. It knows nothing of IKE: keys and selectors arrive as
// ipsec.ChildSA, and what the data plane notices leaves as an Event.
//
// The ways of a packet, functions in the order in which it meets them:
//
//	OUT  Tunnel.Run     a batch from the TUN            tunnel.go
//	     parse          addresses, protocol, ports      packet.go
//	     spd.lookup     most specific, then newest      spd.go
//	     MTU, MSS       too big? SYN?                   icmp.go frag.go mss.go
//	     sealer.seal    straight into the send buffer   sealer.go
//	     outbox         runs of one size, one write     outbox.go
//
//	IN   Plane.RunSocket  a batch from a socket         socket.go
//	     demux          IKE, keepalive or ESP           socket.go
//	     sad.lookup     the slot number is in the SPI   sad.go
//	     window.check   replayed?                       replay.go
//	     opener.open    into the TUN buffer             opener.go
//	     window.accept  only now                        replay.go
//	     parse, selectors, ECN, MSS                     packet.go ecn.go mss.go
//	     Device.Write   a batch to the TUN              socket.go
//
// # Who owns what
//
// An outbound SA is used by one goroutine, the one in its tunnel's Run, so its
// sequence number and cipher state need no lock. An inbound SA is used by the
// goroutine of one socket at a time. That is nearly always the same one, but
// "all devices MUST be able to receive and process both UDP-encapsulated ESP and
// non-UDP-encapsulated ESP packets at any time" (RFC 7296 section 2.23): so a
// receiver holds the SA's lock from its first packet in a batch to the batch's end,
// or to the next SA's packet. Everything else meets through atomic pointers to immutable snapshots: installing,
// moving and removing an SA never waits for a packet, and a packet in flight
// finishes with the SA that it began with (its keys are left to the garbage
// collector, never overwritten under it).
//
// No packet costs an allocation or a log line, and none a lock of its own. A packet that is dropped
// is counted under a name (Counters).
//
// # Memory
//
// A tunnel owns the buffers it reads into: BatchSize() times its MTU, of which
// an idle tunnel touches one page or two. A socket owns 16 receive buffers of 64
// KiB (64 for raw ESP) and 128 TUN buffers of 64 KiB, touched as traffic needs them.
// Send buffers (192 KiB) come from a pool and are held only while a batch
// is sealed and written. A tunnel with one SA pair costs about 5 KB
// besides, 1 KB of it the replay window.
package esp
