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
	sendBuffer   = 192 << 10 // a whole TUN batch: 128 packets of 1500 bytes
	maxDatagrams = 128
	// The kernel's limits for one UDP_SEGMENT call, and a little room below 65535 for headers.
	maxSegments = 64
	maxRun      = 65000
)

// A gather seals packets back to back into one buffer and sends them in few
// calls: consecutive ones of one size to one peer become one Datagram with
// Segment (UDP_SEGMENT wants equal sizes, of which the last may be shorter). It keeps
// the order. Not safe for concurrent use; held for one batch only.
type gather struct {
	buf    []byte
	used   int
	ds     []ipsec.Datagram
	pairs  []*pair // of each of ds
	socket Socket  // of all of ds

	// The run that the last of ds is.
	route    *route
	segments int
	first    int  // size of its first segment
	closed   bool // a shorter segment ended it

	sent tally
}

// gathers are shared by all tunnels, so that an idle one has none. As many are
// kept as can be of use at once.
type gathers chan *gather

func newGathers() gathers { return make(gathers, 2*runtime.GOMAXPROCS(0)) }

func (gs gathers) take() *gather {
	select {
	case g := <-gs:
		return g
	default:
		return &gather{
			sent:  tally{way: func(m *meter) *traffic { return &m.out }},
			buf:   make([]byte, sendBuffer),
			ds:    make([]ipsec.Datagram, 0, maxDatagrams),
			pairs: make([]*pair, 0, maxDatagrams),
		}
	}
}

func (gs gathers) put(g *gather) {
	select {
	case gs <- g:
	default:
	}
}

// add seals the inner packet b, whose capacity leaves room for maxTrailer
// bytes, for sending by o.
func (g *gather) add(o *outbound, b []byte, tos uint8) reason {
	r := o.route.Load()
	if r.socket == nil {
		return dropNoSocket
	}
	size := o.sealer.sealed(len(b))
	if size > len(g.buf) {
		return dropTooBig
	}
	seq, why := o.admit(len(b))
	if why != carried {
		return why
	}
	joins := g.joins(r, size, tos)
	if r.socket != g.socket || g.used+size > len(g.buf) || !joins && len(g.ds) == cap(g.ds) {
		g.flush()
		g.socket, joins = r.socket, false
	}
	next := uint8(protoIPv4)
	if b[0]>>4 == 6 {
		next = protoIPv6
	}
	sealed := o.sealer.seal(g.buf[g.used:], b, next, seq)
	g.used += size
	if joins {
		d := &g.ds[len(g.ds)-1]
		d.Segment, d.Data = g.first, d.Data[:len(d.Data)+size]
		g.segments++
		g.closed = size < g.first
	} else {
		g.ds = append(g.ds, ipsec.Datagram{Local: r.Local, Remote: r.Remote, Data: sealed, TOS: tos})
		g.pairs = append(g.pairs, o.pair)
		g.route, g.segments, g.first, g.closed = r, 1, size, false
	}
	g.sent.count(o.pair, len(b))
	return carried
}

// joins reports whether a packet can be one more segment of the last datagram.
func (g *gather) joins(r *route, size int, tos uint8) bool {
	if len(g.ds) == 0 || g.route != r || !r.UDP || g.closed || size > g.first || g.segments == maxSegments {
		return false
	}
	d := &g.ds[len(g.ds)-1]
	return d.TOS == tos && len(d.Data)+size <= maxRun
}

// flush sends what was gathered.
func (g *gather) flush() {
	g.sent.publish()
	if len(g.ds) > 0 {
		if n, err := g.socket.WriteBatch(g.ds); err != nil {
			g.refused(len(g.ds)-n, err)
		}
	}
	g.clear()
}

// flushCut sends what was gathered so that the underlay may cut it.
func (g *gather) flushCut() {
	g.sent.publish()
	for _, d := range g.ds {
		if err := g.socket.WriteFragmentable(d); err != nil {
			g.refused(1, err)
		}
	}
	g.clear()
}

func (g *gather) clear() {
	clear(g.ds)
	clear(g.pairs)
	g.ds, g.pairs, g.used = g.ds[:0], g.pairs[:0], 0
	g.socket, g.route = nil, nil
}

// tooBig is an error of a Socket that knows about path MTUs.
type tooBig interface {
	error
	TooBig() (netip.AddrPort, bool)
}

// refused counts n datagrams, each a packet or a run, that the socket did not
// send, and tells when the path is too narrow for one. Which they were is not known unless
// all are of one SA.
func (g *gather) refused(n int, err error) {
	p, why := g.pairs[0], dropSend
	var big tooBig
	if errors.As(err, &big) {
		if remote, ok := big.TooBig(); ok {
			why = dropUnderlay
			if p.tunnel.told.take(time.Now(), 1, 3) {
				p.plane.cfg.Notify(PathMTU{Remote: remote.Addr()})
			}
		}
	}
	if slices.ContainsFunc(g.pairs, func(q *pair) bool { return q != p }) {
		p.tunnel.drop(why, n)
	} else {
		p.drop(why, n)
	}
}
