package esp

import (
	"slices"
	"time"
)

// maxBacklog bounds the memory of a backlog, in bytes: at a gigabit per second
// it takes the packets of 30 ms.
const maxBacklog = 4 << 20

// A backlog keeps back the packets of a tunnel whose SAs are on hold, in the order in which
// the packets came. Each is looked up again when it is sent, so it takes the SA that has replaced
// the one on hold. For the holder of Tunnel.sending.
type backlog struct {
	held    []*outbound // on hold
	packets [][]byte    // each with room for maxTrailer
	bytes   int
}

// hold is for the holder of the plane's lock.
func (t *Tunnel) hold(o *outbound) {
	t.change(func() {
		t.bar(o)
		t.plane.keeping.unsettle(o) // the hold lasts longer
	})
}

// bar puts o on hold unless it is barred already, and reports whether it did. It is for the holder of sending.
func (t *Tunnel) bar(o *outbound) bool {
	if o.barred != carried {
		return false
	}
	o.barred = onHold
	t.backlog.held = append(t.backlog.held, o)
	return true
}

func (t *Tunnel) resume(o *outbound) {
	t.change(func() {
		if o.barred == onHold {
			o.barred = carried
		}
		t.backlog.held = slices.DeleteFunc(t.backlog.held, func(h *outbound) bool { return h == o })
	})
}

// change calls f between two batches of the tunnel's reader: f may change which SA a packet
// takes. Then it seals, on the caller's goroutine, the packets that wait for an SA and have one now, and those of the
// backlog that no SA on hold keeps back any longer.
func (t *Tunnel) change(f func()) {
	t.sending.Lock()
	defer t.release()
	f()
	if len(t.backlog.packets) > 0 || len(t.waiting.packets) > 0 {
		r := &reader{Tunnel: t, scratch: new(scratch)}
		r.open()
		r.sendKept(time.Now())
		r.sendBacklog()
		r.close()
	}
}

// sendBacklog sends the backlog. A packet whose SA is still on hold goes into the next backlog.
func (r *reader) sendBacklog() {
	packets := r.backlog.packets
	r.backlog.packets, r.backlog.bytes = nil, 0
	r.sendAll(packets)
}

// sendAll sends packets that are whole and fit.
func (r *reader) sendAll(packets [][]byte) {
	for _, b := range packets {
		if r.flow.parse(b) {
			r.send(b, int(r.mtu.Load()))
		}
	}
}

// notSealed keeps back a packet whose SA is on hold, and counts any other as dropped.
func (r *reader) notSealed(out *outbound, b []byte, why reason) {
	if why != onHold {
		out.drop(why, 1)
		return
	}
	k := &r.backlog
	k.packets = append(k.packets, append(make([]byte, 0, len(b)+maxTrailer), b...))
	if k.bytes += len(b) + maxTrailer; k.bytes < maxBacklog {
		return
	}
	for _, o := range k.held {
		o.barred = carried
	}
	k.held = nil
	r.sendBacklog()
}
