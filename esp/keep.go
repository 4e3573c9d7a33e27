package esp

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"vpngw/ipsec"
)

// A tunnel may have policies for packets without an SA: such a packet is not dropped. It asks the control plane for
// an SA (Acquire; RFC 4301 section 4.4.1 leaves it open what becomes of the packet) and waits for one.

const (
	maxKept      = 64        // packets of a tunnel that wait
	maxKeptBytes = 256 << 10 // of them, with maxTrailer for each
	maxKeptAll   = 16 << 20  // of all tunnels
	keptFor      = 10 * time.Second

	// settleTime is how much longer packets that have waited for an SA wait for the peer, which may have to handle the last
	// message still (in IKEv1), or to set its routes. What is sent too early is lost.
	settleTime = 250 * time.Millisecond

	// expireEvery is the least time between two looks of ExpireKept at the tunnels. It drops what expires until the next look.
	expireEvery = 100 * time.Millisecond
)

// Policy is a pair of selectors whose packets may wait for an SA.
type Policy struct{ Local, Remote []ipsec.Selector }

// Acquire says that a packet of the tunnel waits for an SA, or would if there were room. A tunnel tells it once a
// second at most, while such packets come, and again after each change of its SAs.
type Acquire struct {
	Tunnel         string
	Source, Target netip.Addr // of the packet
}

func (Acquire) event() {}

// waiting are packets of a tunnel that wait for an SA, the oldest first. For the holder of Tunnel.sending.
type waiting struct {
	packets []kept
	bytes   int
	listed  bool    // in keeping.tunnels
	asked   limiter // Acquire
}

type kept struct {
	packet []byte // with room for maxTrailer
	since  time.Time
}

// keeping are the tunnels in which packets wait.
type keeping struct {
	mu      sync.Mutex // locked after Tunnel.sending
	bytes   int        // of all tunnels
	tunnels []*Tunnel
	settle  []settling
	due     time.Time // when ExpireKept looks at the tunnels; zero: never
}

// settling is an SA on hold until its peer is surely ready.
type settling struct {
	*outbound
	at time.Time
}

// Keep has packets wait for an SA that no SA covers, and one of the policies does. Without policies none waits any
// longer.
func (t *Tunnel) Keep(policies ...Policy) error {
	var outs []*outbound
	for i, p := range policies {
		local, err := compile(p.Local)
		if err != nil {
			return fmt.Errorf("%w (local)", err)
		}
		remote, err := compile(p.Remote)
		if err != nil {
			return fmt.Errorf("%w (remote)", err)
		}
		outs = append(outs, &outbound{local: local, remote: remote, order: uint64(i)})
	}
	if len(outs) > 0 {
		t.policies.Store(new(spd).change(outs, nil))
		return nil
	}
	t.policies.Store(nil)
	t.change(func() { t.dropKept(t.uncoveredReason()) })
	return nil
}

// uncovered has the packet b, which no SA covers, wait for one, or counts it as dropped. r.flow describes it.
func (r *reader) uncovered(b []byte) {
	near := neighbours.has(r.flow.dst, r.flow.v6)
	if policies := r.policies.Load(); policies == nil || near || policies.lookup(&r.flow) == nil || !r.keep(b, time.Now()) {
		why := r.uncoveredReason()
		if near && why == dropNoPolicy {
			why = dropNeighbour
		}
		r.drop(why, 1)
	}
}

func (t *Tunnel) uncoveredReason() reason {
	if t.spd.Load().empty() {
		return dropNoSA
	}
	return dropNoPolicy
}

// neighbours are multicast, broadcast and IPv6's link-local addresses: a kernel sends packets to them into a device by
// itself, and these must not raise a tunnel for all networks, nor look as if subnets differed.
var neighbours = spansOf("224.0.0.0/4", "255.255.255.255/32", "fe80::/10", "ff00::/8")

// keep has b wait, and asks for an SA. false: there is no room.
func (r *reader) keep(b []byte, now time.Time) bool {
	w, all := &r.waiting, &r.plane.keeping
	if w.asked.allow(now, 1, 1) && !r.plane.cfg.Notify(acquireFor(r.Name, b)) {
		w.asked = limiter{} // the next packet asks again
	}
	size := len(b) + maxTrailer
	if len(w.packets) == maxKept || w.bytes+size > maxKeptBytes {
		return false
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.bytes+size > maxKeptAll {
		return false
	}
	all.bytes += size
	if !w.listed {
		w.listed, all.tunnels = true, append(all.tunnels, r.Tunnel)
	}
	all.expect(now.Add(keptFor))
	w.bytes += size
	w.packets = append(w.packets, kept{append(make([]byte, 0, size), b...), now})
	return true
}

func acquireFor(tunnel string, b []byte) Acquire {
	src, dst := b[12:16], b[16:20]
	if b[0]>>4 == 6 {
		src, dst = b[8:24], b[24:40]
	}
	a := Acquire{Tunnel: tunnel}
	a.Source, _ = netip.AddrFromSlice(src)
	a.Target, _ = netip.AddrFromSlice(dst)
	return a
}

// settle puts new SAs on hold for settleTime, if packets wait that would go out at once.
func (t *Tunnel) settle(added []*outbound, now time.Time) {
	if len(t.waiting.packets) == 0 {
		return
	}
	all := &t.plane.keeping
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, o := range added {
		if t.bar(o) {
			all.settle = append(all.settle, settling{o, now.Add(settleTime)})
			all.expect(now.Add(settleTime))
		}
	}
}

// unsettle forgets that o settles, and reports whether it did. It is for the holder of the tunnel's sending.
func (k *keeping) unsettle(o *outbound) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := len(k.settle)
	k.settle = slices.DeleteFunc(k.settle, func(s settling) bool { return s.outbound == o })
	return len(k.settle) < before
}

// expect has ExpireKept look at the time given, for the holder of mu.
func (k *keeping) expect(at time.Time) {
	if k.due.IsZero() || at.Before(k.due) {
		k.due = at
	}
}

// sendKept sends the waiting packets that an SA covers now; the others go on waiting. It is for the holder of
// Tunnel.sending, as the methods below.
func (r *reader) sendKept(now time.Time) {
	r.retain(func(k kept) bool {
		switch {
		case !r.flow.parse(k.packet), now.Sub(k.since) >= keptFor:
			r.drop(r.uncoveredReason(), 1)
		case r.spd.lookup(&r.flow) == nil:
			return true
		default:
			r.packet(k.packet)
		}
		return false
	})
}

// dropKept drops the waiting packets.
func (t *Tunnel) dropKept(why reason) {
	t.retain(func(kept) bool { t.drop(why, 1); return false })
}

// retain calls f with each waiting packet, and goes on with those for which it returns true.
func (t *Tunnel) retain(f func(kept) bool) {
	if len(t.waiting.packets) == 0 {
		return
	}
	was, bytes := t.waiting.packets, t.waiting.bytes
	t.waiting.packets, t.waiting.bytes = nil, 0
	var stay []kept
	left := 0
	for _, k := range was {
		if f(k) {
			stay, left = append(stay, k), left+len(k.packet)+maxTrailer
		}
	}
	// A packet that is sent in fragments may have left some that no SA covers.
	t.waiting.packets, t.waiting.bytes = append(stay, t.waiting.packets...), t.waiting.bytes+left
	all := &t.plane.keeping
	all.mu.Lock()
	defer all.mu.Unlock()
	all.bytes -= bytes - left
}

// ExpireKept drops the packets that have waited for 10 s, and sends those that have an SA and whose peer is ready by now. next is when to call it
// again; zero: after the next Acquire or InstallOut.
func (p *Plane) ExpireKept(now time.Time) (next time.Time) {
	all := &p.keeping
	all.mu.Lock()
	due, tunnels := all.due, all.tunnels
	if due.IsZero() || now.Before(due) {
		all.mu.Unlock()
		return due
	}
	all.due, tunnels = time.Time{}, slices.Clone(tunnels)
	var ready []settling
	all.settle = slices.DeleteFunc(all.settle, func(s settling) bool {
		if s.at.After(now) {
			all.expect(s.at)
			return false
		}
		ready = append(ready, s)
		return true
	})
	all.mu.Unlock()
	for _, s := range ready {
		s.tunnel.resume(s.outbound)
	}
	for _, t := range tunnels {
		t.expireKept(now)
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.due
}

func (t *Tunnel) expireKept(now time.Time) {
	t.sending.Lock()
	defer t.release()
	t.retain(func(k kept) bool {
		if k.since.Add(keptFor).After(now.Add(expireEvery)) {
			return true
		}
		t.drop(t.uncoveredReason(), 1)
		return false
	})
	all := &t.plane.keeping
	all.mu.Lock()
	defer all.mu.Unlock()
	if len(t.waiting.packets) == 0 {
		t.waiting.listed = false
		all.tunnels = slices.DeleteFunc(all.tunnels, func(o *Tunnel) bool { return o == t })
		return
	}
	all.expect(t.waiting.packets[0].since.Add(keptFor))
}
