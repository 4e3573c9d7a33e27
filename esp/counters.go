package esp

import (
	"slices"
	"sync/atomic"
)

// Counters count what an SA pair, a tunnel or the plane carried and dropped.
type Counters struct {
	BytesIn, BytesOut     uint64 // of inner packets
	PacketsIn, PacketsOut uint64
	Drops                 map[string]uint64 // packets by name; a name that counted nothing is left out
}

// reason is why a packet was not carried.
type reason uint8

const (
	carried reason = iota // not a drop
	onHold                // kept back, not a drop either: see Plane.Hold
	taken                 // a probe, its answer, or BFD, which ends here; not a drop either: see receiver.echo and bfd

	dropMalformed  // not a valid IP packet, or an ESP packet too short to be one
	dropNoPolicy   // outbound: no SA's selectors cover the packet
	dropNeighbour  // outbound: multicast or link-local, which a kernel sends by itself; no SA's selectors cover it
	dropNoSA       // outbound: the tunnel has no SA; inbound: unknown SPI
	dropNoSocket   // the SA's path needs a socket that the plane does not have
	dropTooBig     // larger than the tunnel's MTU; answered with ICMP where an answer is allowed
	dropUnderlay   // too big for the underlay; counts datagrams, each a packet or a run
	dropSend       // the socket refused it; counts datagrams too
	dropSequence   // the SA's sequence numbers are used up
	dropLifetime   // the SA's hard limit of bytes or packets is reached
	dropReplay     // seen before, or older than the window
	dropBadICV     // not authentic
	dropICVLength  // authentic with an ICV of HMAC-SHA-256 of the other length, 96 bits or 128, on an SA that has had no authentic packet
	dropPadding    // authentic, but its padding is wrong
	dropNextHeader // authentic, but neither IPv4 nor IPv6
	dropDummy      // a dummy packet, which its sender wants dropped (RFC 4303 section 2.6)
	dropInner      // authentic, but the inner packet is malformed
	dropSelector   // authentic, but outside the SA's selectors
	dropMartian    // authentic, but between addresses that only this host itself may use, or nobody
	dropECN        // congestion marked on a packet that cannot carry the mark (RFC 6040 section 4.2)
	dropWrite      // the TUN refused it
	dropKeepalive  // a NAT keepalive (RFC 3948 section 2.3): nothing is lost
	dropRead       // a read failed
	dropFrozen     // the plane is frozen

	numReasons
)

// names are stable: operators and dashboards rely on them.
var names = [numReasons]string{
	dropMalformed: "malformed", dropNoPolicy: "no-policy", dropNeighbour: "neighbour", dropNoSA: "no-sa", dropNoSocket: "no-socket",
	dropTooBig: "too-big", dropUnderlay: "underlay-too-big", dropSend: "send", dropSequence: "sequence",
	dropLifetime: "lifetime", dropReplay: "replay", dropBadICV: "bad-icv", dropICVLength: "icv-length",
	dropPadding: "padding", dropNextHeader: "next-header", dropDummy: "dummy", dropInner: "inner",
	dropSelector: "selector", dropMartian: "martian", dropECN: "ecn", dropWrite: "tun-write", dropKeepalive: "keepalive", dropRead: "read",
	dropFrozen: "frozen",
}

func (r reason) String() string { return names[r] }

// drops counts by reason. Any goroutine may add. Most SAs drop for no reason or for one, so it is a list, which only grows.
type drops struct {
	first atomic.Pointer[dropped]
}

type dropped struct {
	reason reason
	count  atomic.Uint64
	next   *dropped
}

func (d *drops) add(r reason, n int) {
	for {
		first := d.first.Load()
		for x := first; x != nil; x = x.next {
			if x.reason == r {
				x.count.Add(uint64(n))
				return
			}
		}
		d.first.CompareAndSwap(first, &dropped{reason: r, next: first})
	}
}

func (d *drops) addTo(m map[string]uint64) {
	for x := d.first.Load(); x != nil; x = x.next {
		if n := x.count.Load(); n > 0 {
			m[names[x.reason]] += n
		}
	}
}

// traffic counts the packets carried in one direction.
type traffic struct{ bytes, packets atomic.Uint64 }

func (t *traffic) add(bytes, packets uint64) {
	t.bytes.Add(bytes)
	t.packets.Add(packets)
}

// meter counts both directions and the drops.
type meter struct {
	in, out traffic
	drops   drops
}

func (m *meter) counters() Counters {
	c := Counters{
		BytesIn: m.in.bytes.Load(), PacketsIn: m.in.packets.Load(),
		BytesOut: m.out.bytes.Load(), PacketsOut: m.out.packets.Load(),
		Drops: make(map[string]uint64),
	}
	m.drops.addTo(c.Drops)
	return c
}

// add adds c. Drops under an unknown name are left out.
func (m *meter) add(c Counters) {
	m.in.add(c.BytesIn, c.PacketsIn)
	m.out.add(c.BytesOut, c.PacketsOut)
	for name, n := range c.Drops {
		if r := slices.Index(names[:], name); r >= int(dropMalformed) {
			m.drops.add(reason(r), int(n))
		}
	}
}

// A tally counts the packets of one SA after another in plain variables. It
// adds them to the meters when the SA changes or the batch ends. Not safe for concurrent use.
type tally struct {
	direction      func(*meter) *traffic // meter.in or meter.out
	pair           *pair
	bytes, packets uint64
}

func (t *tally) count(p *pair, bytes int) {
	if p != t.pair {
		t.publish()
		t.pair = p
	}
	t.bytes += uint64(bytes)
	t.packets++
}

func (t *tally) publish() {
	if t.pair == nil {
		return
	}
	for _, m := range [...]*meter{&t.pair.meter, &t.pair.tunnel.meter, &t.pair.plane.meter} {
		t.direction(m).add(t.bytes, t.packets)
	}
	t.pair, t.bytes, t.packets = nil, 0, 0
}

// drop counts n dropped packets of an SA, its tunnel and the plane.
func (p *pair) drop(why reason, n int) {
	p.meter.drops.add(why, n)
	p.tunnel.drop(why, n)
}

// drop counts n dropped packets of a tunnel and the plane.
func (t *Tunnel) drop(why reason, n int) {
	t.meter.drops.add(why, n)
	t.plane.meter.drops.add(why, n)
}
