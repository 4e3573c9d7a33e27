package esp

import (
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"vpngw/ipsec"
)

const (
	sendBuffer   = 256 << 10 // holds a sealed batch of 128 KB and one more frame
	maxDatagrams = 128
	// The kernel's limits for one UDP_SEGMENT call, and a little room below 65535 for headers.
	maxSegments = 64
	maxRun      = 65000
)

// An outbox seals packets back to back into one buffer and sends them in few
// calls: consecutive packets of one size to one peer become one Datagram with
// Segment (UDP_SEGMENT wants equal sizes; only the last packet may be shorter). It keeps
// the order. Not safe for concurrent use; a reader has one for a single batch.
type outbox struct {
	buf    []byte
	used   int
	ds     []ipsec.Datagram
	pairs  []*pair // the SA of each datagram in ds
	socket Socket  // where all of ds go out
	cut    bool    // ds may be fragmented

	sealing sealing // the last packets in buf

	// The last datagram in ds, which a packet can still join.
	route    *route
	segments int
	first    int  // size of the first segment
	closed   bool // the last segment is shorter: no packet can follow

	sent tally
}

// outboxes are a pool for all tunnels: an idle tunnel has no outbox. The pool keeps as many as can
// be in use at once.
type outboxes chan *outbox

func newOutboxes() outboxes { return make(outboxes, 2*runtime.GOMAXPROCS(0)) }

func (xs outboxes) take() *outbox {
	select {
	case x := <-xs:
		return x
	default:
		return &outbox{
			sent:  tally{direction: func(m *meter) *traffic { return &m.out }},
			buf:   make([]byte, sendBuffer),
			ds:    make([]ipsec.Datagram, 0, maxDatagrams),
			pairs: make([]*pair, 0, maxDatagrams),
		}
	}
}

func (xs outboxes) put(x *outbox) {
	select {
	case xs <- x:
	default:
	}
}

// add seals the inner packet b with o, to be sent by flush. b's capacity leaves room for maxTrailer bytes.
func (x *outbox) add(o *outbound, b []byte, tos uint8) reason {
	r := o.route.Load()
	if r.socket == nil {
		return dropNoSocket
	}
	size := o.sealer.sealed(len(b))
	if size > len(x.buf) {
		return dropTooBig
	}
	seq, why := o.admit(len(b))
	if why != carried {
		return why
	}
	joins := x.joins(r, size, tos)
	if r.socket != x.socket || x.used+size > len(x.buf) || !joins && len(x.ds) == cap(x.ds) {
		x.flush()
		x.socket, joins = r.socket, false
	}
	next := uint8(protoIPv4)
	if b[0]>>4 == 6 {
		next = protoIPv6
	}
	sealed := o.sealer.stage(x.buf[x.used:], b, next, seq)
	if sealed == nil {
		return dropSequence
	}
	if o.sealer.mac != nil {
		x.sealing.add(o.sealer, sealed, seq)
	}
	x.used += size
	if joins {
		d := &x.ds[len(x.ds)-1]
		d.Segment, d.Data = x.first, d.Data[:len(d.Data)+size]
		x.segments++
		x.closed = size < x.first
	} else {
		x.ds = append(x.ds, ipsec.Datagram{Local: r.Local, Remote: r.Remote, Data: sealed, TOS: tos})
		x.pairs = append(x.pairs, o.pair)
		x.route, x.segments, x.first, x.closed = r, 1, size, false
	}
	x.sent.count(o.pair, len(b))
	return carried
}

// joins reports whether a packet can be one more segment of the last datagram.
func (x *outbox) joins(r *route, size int, tos uint8) bool {
	if len(x.ds) == 0 || x.route != r || !r.UDP || x.closed || size > x.first || x.segments == maxSegments {
		return false
	}
	d := &x.ds[len(x.ds)-1]
	return d.TOS == tos && len(d.Data)+size <= maxRun
}

// flush sends the datagrams.
func (x *outbox) flush() {
	x.sealing.seal()
	x.sent.publish()
	if len(x.ds) > 0 {
		write := x.socket.WriteBatch
		if x.cut {
			write = x.socket.WriteCut
		}
		if n, err := write(x.ds); err != nil {
			x.refused(len(x.ds)-n, err)
		}
	}
	x.clear()
}

// flushFragmentable sends the datagrams as ones that the underlay may fragment.
func (x *outbox) flushFragmentable() {
	x.sealing.seal()
	x.sent.publish()
	for _, d := range x.ds {
		if err := x.socket.WriteFragmentable(d); err != nil {
			x.refused(1, err)
		}
	}
	x.clear()
}

func (x *outbox) clear() {
	clear(x.ds)
	clear(x.pairs)
	x.ds, x.pairs, x.used = x.ds[:0], x.pairs[:0], 0
	x.socket, x.route = nil, nil
}

// tooBig is the error of a Socket that refused a packet as larger than its path's MTU.
type tooBig interface {
	error
	TooBig() (netip.AddrPort, bool)
}

// refused counts n datagrams, each a packet or a run, that the socket did not
// send, and tells if one was too big for its path. Nobody knows which datagrams they were, so they count
// for an SA only if all datagrams are of this one SA.
func (x *outbox) refused(n int, err error) {
	p, why := x.pairs[0], dropSend
	var big tooBig
	if errors.As(err, &big) {
		if remote, ok := big.TooBig(); ok {
			why = dropUnderlay
			if p.tunnel.pathMTUs.allow(time.Now(), 1, 3) {
				p.plane.cfg.Notify(PathMTU{Remote: remote.Addr()})
			}
		}
	}
	if slices.ContainsFunc(x.pairs, func(q *pair) bool { return q != p }) {
		p.tunnel.drop(why, n)
	} else {
		p.drop(why, n)
	}
}
