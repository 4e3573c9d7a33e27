package ike

import (
	"net/netip"
	"time"

	"vpngw/ike/wire"
	"vpngw/ipsec"
)

const (
	// maxOpenings is how many main modes may wait for message 3 (they take 16 MB), and maxOpeningBytes how much their messages may be
	// together. When there are more, the oldest is forgotten: a flood of 20 000 false ones a second
	// leaves a true sender 0.8 s to go on.
	maxOpenings     = 16384
	maxOpeningBytes = 8 << 20
	openingTime     = 30 * time.Second
)

// opening is a main mode that was answered with message 2: no ISAKMP SA yet, only what it is made of when its sender
// goes on. Anybody can send a first message in anybody's name, and IKEv1 has no cookie that comes back with it; but
// whoever says our cookie in message 3 has heard message 2.
type opening struct {
	key    firstKey
	cookie uint64         // ours
	first  ipsec.Datagram // message 1
	answer [][]byte       // message 2
	at     time.Time
}

func (o *opening) size() int {
	n := len(o.first.Data)
	for _, m := range o.answer {
		n += len(m)
	}
	return n
}

// openings are all of them.
type openings struct {
	byKey    map[firstKey]*opening
	byCookie map[uint64]*opening
	queue    []*opening // oldest first, with some among them that have gone on
	from     map[netip.Addr]int
	bytes    int
}

func newOpenings() openings {
	return openings{byKey: map[firstKey]*opening{}, byCookie: map[uint64]*opening{}, from: map[netip.Addr]int{}}
}

// add keeps one, and returns how many others it has displaced.
func (os *openings) add(o *opening) (displaced uint64) {
	os.byKey[o.key], os.byCookie[o.cookie] = o, o
	os.queue = append(os.queue, o)
	os.from[o.key.remote.Addr().Unmap()]++
	os.bytes += o.size()
	for len(os.byKey) > maxOpenings || os.bytes > maxOpeningBytes {
		os.remove(os.queue[0])
		displaced++
	}
	return displaced
}

func (os *openings) remove(o *opening) {
	delete(os.byKey, o.key)
	delete(os.byCookie, o.cookie)
	os.bytes -= o.size()
	a := o.key.remote.Addr().Unmap()
	if os.from[a]--; os.from[a] == 0 {
		delete(os.from, a)
	}
	o.first, o.answer = ipsec.Datagram{}, nil
	for len(os.queue) > 0 && os.byCookie[os.queue[0].cookie] != os.queue[0] {
		os.queue[0] = nil
		os.queue = os.queue[1:]
	}
}

// find is the one that a message is of, or nil.
func (os *openings) find(h wire.Header, d ipsec.Datagram) *opening {
	if o := os.byCookie[h.SPIr]; o != nil && h.SPIi == o.key.spiI && d.Remote == o.key.remote {
		return o
	}
	return nil
}

// Deadline implements timed.
func (os *openings) Deadline() time.Time {
	if len(os.queue) == 0 {
		return time.Time{}
	}
	return os.queue[0].at.Add(openingTime)
}

// Advance implements timed.
func (os *openings) Advance(now time.Time) {
	for len(os.queue) > 0 && !now.Before(os.Deadline()) {
		os.remove(os.queue[0])
	}
}
