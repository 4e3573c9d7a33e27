package esp

import (
	"slices"
	"sync"
)

// maxBacklog bounds the memory of a backlog, in bytes: at a gigabit per second
// it takes what comes in 30 ms.
const maxBacklog = 4 << 20

// A backlog is what a tunnel keeps back while SAs of it are on hold, in the order in which it
// came. It is looked up anew when it is sent, so it takes the SA that has come in place of the one on hold.
type backlog struct {
	mu      sync.Mutex  // held while packets of the tunnel are carried
	of      []*outbound // on hold
	packets [][]byte    // each with room for maxTrailer
	bytes   int
}

// hold and resume are for the holder of the plane's lock.
func (t *Tunnel) hold(o *outbound) {
	t.change(func() {
		if !o.held {
			o.held = true
			t.backlog.of = append(t.backlog.of, o)
		}
	})
}

func (t *Tunnel) resume(o *outbound) {
	t.change(func() {
		o.held = false
		t.backlog.of = slices.DeleteFunc(t.backlog.of, func(h *outbound) bool { return h == o })
	})
}

// change changes, between two batches, which SA takes what. Then it sends what was kept
// back, as far as that need not be kept any longer.
func (t *Tunnel) change(f func()) {
	t.backlog.mu.Lock()
	defer t.backlog.mu.Unlock()
	f()
	if len(t.backlog.packets) > 0 {
		r := &reader{Tunnel: t}
		r.open()
		r.letGo()
		r.close()
	}
}

// letGo sends what was kept back.
func (r *reader) letGo() {
	packets := r.backlog.packets
	r.backlog.packets, r.backlog.bytes = nil, 0
	for _, b := range packets {
		if r.flow.parse(b) {
			r.send(b, int(r.mtu.Load()))
		}
	}
}

// left deals with a packet that was not taken: it is kept back, or dropped.
func (r *reader) left(out *outbound, b []byte, why reason) {
	if why != onHold {
		out.drop(why, 1)
		return
	}
	k := &r.backlog
	k.packets = append(k.packets, append(make([]byte, 0, len(b)+maxTrailer), b...))
	if k.bytes += len(b) + maxTrailer; k.bytes < maxBacklog {
		return
	}
	for _, o := range k.of {
		o.held = false
	}
	k.of = nil
	r.letGo()
}
