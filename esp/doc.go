// Package esp is the data plane: ESP in tunnel mode (RFC 4303, RFC 4301) in
// user space, raw (IP protocol 50) or in UDP (RFC 3948), between TUN devices and
// the underlay's sockets. It knows nothing of IKE: keys and selectors arrive as
// ipsec.ChildSA, and what the data plane notices leaves as an Event.
//
// A packet's path, functions in the order in which a packet meets them:
//
//	    Engine.Run          which member can be read?      engine.go
//
//	OUT reader.step         a batch of frames              super.go
//	    parse               addresses, protocol, ports     packet.go
//	    spd.lookup          most specific, then newest     spd.go trie.go
//	    segmenter           a super-packet's segments      segment.go
//	    MTU, MSS            too big? SYN?                  icmp.go frag.go mss.go
//	    sealer.stage        straight into the send buffer  sealer.go
//	    sealing.seal        16 packets with an HMAC        sealer.go
//	    outbox              runs of one size, one call     outbox.go
//
//	IN  socketSource.step   a batch of datagrams           engine.go
//	    demux               IKE, keepalive or ESP          socket.go
//	    sad.lookup          the slot number is in the SPI  sad.go
//	    window.check        replayed?                      replay.go
//	    checking            the HMACs of 16 packets        check.go
//	    opener.open         behind the payload before      opener.go
//	    window.accept       only now                       replay.go
//	    peerMoved           has the NAT moved the peer?    moves.go
//	    parse, selectors, ECN, MSS                         packet.go ecn.go mss.go
//	    echo                a probe, or its answer?        probe.go echo.go
//	    coalescer           a flow's packets, one frame    coalesce.go
//
// This is the frame path (Framer): the kernel gives a packet or a super-packet of up to 64 KB behind
// a virtio_net_hdr. It is read once, cut where it lies and sealed from there into the send
// buffer. The payloads of packets that come in are opened side by side, and become one
// super-packet again. The packet path (Device) leaves cutting and merging to
// wireguard/tun: Tunnel.Run reads, and packets collects what Device.Write takes.
//
// # Checksums
//
// The kernel may leave the transport checksum of a frame partial: the field holds the sum of the
// pseudo-header. It is completed once, by the segmenter for each segment, or for a packet that is
// whole. A single packet is written to the TUN with its own checksum, right or wrong, and
// claims nothing about it. A super-packet asks the kernel to make the checksums of its
// segments. The ICV proves that a packet is as the other gateway sealed it, not that it had reached that
// gateway whole: so a packet is merged only if its own checksum is right, and a packet that arrived
// damaged is forwarded damaged, for its receiver to see. VIRTIO_NET_HDR_F_DATA_VALID is never written.
//
// # Ownership
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
// user is the goroutine that calls InstallOut, Hold, Resume, Remove, RemoveTunnel, Keep or ExpireKept: it seals the packets that its
// change frees from the backlog, and those that have waited for an SA. Without the lock both could seal with one sequence number, and an AEAD would
// use a nonce twice. The goroutine that calls Probe takes it too. A receiver that answers a peer's probe only tries the
// lock: whoever has it sends the waiting answers on releasing it.
//
// Tunnel.building is held while a change of the tunnel's SPD is built and published. Packets do not wait for it, nor do
// other tunnels.
//
// Everything else meets through atomic pointers to immutable snapshots: a packet in flight
// finishes with the SA that it began with. The keys of an SA that was removed are overwritten after that.
//
// No packet costs a lock, an allocation or a log line, but for one that proves that its peer has moved, and a
// probe that is answered. A packet that is dropped is counted under a name (Counters).
//
// # Fairness and memory
//
// The members of an Engine that can be read carry one batch each in turn: at most
// 128 KB or 256 frames of a TUN, or about 128 datagrams of a socket. Further packets wait in the kernel's queues,
// which are bounded and drop what they cannot hold.
//
// A tunnel has a buffer of 64 KB, which an idle tunnel has never touched. An Engine that reads sockets has
// 128 buffers of 66 KB, touched as traffic needs them, and two of 128 KB for the frame under way. Send buffers
// (256 KB) come from a pool and are held only while a batch is sealed and written. A tunnel with one SA pair
// costs about 5 KB besides, 1 KB of it the replay window.
package esp
