// Package esp is the data plane: ESP in tunnel mode (RFC 4303, RFC 4301) in
// user space, raw (IP protocol 50) or in UDP (RFC 3948), between TUN devices and
// the underlay's sockets. It knows nothing of IKE: keys and selectors arrive as
// ipsec.ChildSA, and what the data plane notices leaves as an Event.
//
// The ways of a packet, functions in the order in which it meets them:
//
//	    Engine.Run     which has something to read?    engine.go
//
//	OUT reader.step    frames, until there are none    super.go
//	    parse          addresses, protocol, ports      packet.go
//	    spd.lookup     most specific, then newest      spd.go
//	    segmenter         a super-packet's segments       cut.go
//	    MTU, MSS       too big? SYN?                   icmp.go frag.go mss.go
//	    sealer.seal    straight into the send buffer   sealer.go
//	    outbox         runs of one size, one call      outbox.go
//
//	IN  socketSource.step  a batch of datagrams        engine.go
//	    demux          IKE, keepalive or ESP           socket.go
//	    sad.lookup     the slot number is in the SPI   sad.go
//	    window.check   replayed?                       replay.go
//	    opener.open    behind the payload before       opener.go
//	    window.accept  only now                        replay.go
//	    parse, selectors, ECN, MSS                     packet.go ecn.go mss.go
//	    gather         a flow's packets, one frame     gather.go
//
// That is the way by frames (Framer): what the kernel gives is a packet or a
// super-packet of up to 64 KB behind a virtio_net_hdr, read once, cut where it lies, sealed from there
// into the send buffer; what comes in is opened so that payloads lie side by side, and is one
// super-packet again. The way by packets (Device) leaves cutting and merging to
// wireguard/tun: Tunnel.Run reads, and packets gathers what Device.Write takes.
//
// # Checksums
//
// A frame of the kernel's may leave the transport checksum to be done (its field holds the
// pseudo-header's sum): it is completed once, by the segmenter for each segment, or for a packet that is
// whole. What is written to the TUN has either the packet's own checksum, untouched, right or
// wrong, with nothing claimed of it; or it is a super-packet that asks the
// kernel to do the checksums of its segments, of which every one had been found right before. The ICV
// tells only that a packet is as the other gateway sealed it, not that it had reached that one whole: so
// a packet is merged only if its own checksum is right, and one that arrived
// damaged is forwarded damaged, for its receiver to see. VIRTIO_NET_HDR_F_DATA_VALID is never written.
//
// # Who owns what
//
// An Engine is one thread. Its members carry a batch at a time, and a batch holds one lock:
//
// Plane.receiving is held while a batch of datagrams is opened. It owns every inbound SA: "all
// devices MUST be able to receive and process both UDP-encapsulated ESP and
// non-UDP-encapsulated ESP packets at any time" (RFC 7296 section 2.23), so the packets of one SA may come to
// the Engines of two sockets.
//
// Tunnel.sending is held while a batch of the tunnel's packets is sealed and sent. It owns the tunnel's
// outbound SAs: their sealers, sequence numbers and quotas, and the backlog of packets kept back. A tunnel has
// one reader, an Engine or its Run, which takes the lock without waiting as a rule. The other
// user is the goroutine that calls InstallOut, Hold, Resume, Remove or RemoveTunnel: it seals the backlog that
// its change lets go. Without the lock both could seal with one sequence number, and an AEAD would
// use a nonce twice.
//
// Everything else meets through atomic pointers to immutable snapshots: a packet in flight
// finishes with the SA that it began with (its keys are left to the garbage
// collector, never overwritten under it).
//
// No packet costs a lock, an allocation or a log line. A packet that is dropped
// is counted under a name (Counters).
//
// # Fairness and memory
//
// Each member of an Engine that has something to read carries one batch in turn: at most
// 128 KB or 256 frames of a TUN, or some 128 datagrams of a socket. What there is more waits in the kernel's queues, which
// are bounded, and is dropped there.
//
// A tunnel has a buffer of 64 KB, of which an idle one has touched nothing. An Engine that reads sockets has 128 of 66 KB, touched
// as traffic needs them, and two of 128 KB for the frame under way. Send buffers (256 KB) come from a pool and are held only while a batch
// is sealed and written. A tunnel with one SA pair costs about 5 KB
// besides, 1 KB of it the replay window.
package esp
