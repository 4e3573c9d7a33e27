package gateway

import (
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
)

// Tally counts what happens to one tunnel. It outlives SAs, devices and reloads.
type Tally struct {
	Established, Failed            uint64 // IKE SAs, whoever began them; attempts of ours
	IKERekeys, IKERekeysFailed     uint64 // whoever began them; ours
	ChildRekeys, ChildRekeysFailed uint64 // likewise
	LivenessAnswered, LivenessLost uint64 // checks of ours
	LivenessTook                   time.Duration
	Switches                       uint64 // the traffic of two tunnels has moved here
	pongs                          uint64 // answers to health checks that times has
}

// times are the durations that the daemon counts over all tunnels.
type times struct {
	handshakes             Histogram // from the begin of an attempt of ours to the established IKE SA
	childRekeys, ikeRekeys Histogram // exchanges of ours
	liveness, health       Histogram // round trips
}

// Histogram counts durations. Counts[i] are those of at most Bounds[i], and no more than Bounds[i-1]; its last element
// counts the longer ones.
type Histogram struct {
	Counts [len(Bounds) + 1]uint64
	Sum    time.Duration
}

// Bounds are the upper bounds of a Histogram's buckets.
var Bounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
	30 * time.Second,
}

func (h *Histogram) add(d time.Duration) {
	i, _ := slices.BinarySearch(Bounds[:], d)
	h.Counts[i]++
	h.Sum += max(d, 0)
}

// attempts are the IKE SAs that this end has begun and that are neither established nor given up, by their peer, with
// when they began.
type attempts map[*sa.Peer]time.Time

// replace follows a peer to its new settings; a nil next is a peer that was removed.
func (a attempts) replace(old, next *sa.Peer) {
	if began, ok := a[old]; ok && next != nil {
		a[next] = began
	}
	delete(a, old)
}

// count counts a Fact of IKE.
func (g *Gateway) count(now time.Time, f sa.Fact) {
	switch f := f.(type) {
	case sa.IKEConnecting:
		if _, ok := g.attempts[f.SA.Peer]; !ok {
			g.attempts[f.SA.Peer] = now
		}
	case sa.IKEEstablished:
		g.each(f.SA.Peer.Tunnels(), func(t *Tally) { t.Established++ })
		if began, ok := g.attempts[f.SA.Peer]; ok && f.SA.Initiator {
			g.times.handshakes.add(now.Sub(began))
			delete(g.attempts, f.SA.Peer)
		}
	case sa.IKEFailed:
		if _, ok := g.attempts[f.Peer]; !ok || f.Connecting {
			return
		}
		delete(g.attempts, f.Peer)
		if !f.Cause.OK() {
			g.each(f.Peer.Tunnels(), func(t *Tally) { t.Failed++ })
		}
	case sa.IKERekeyed:
		g.each(f.SA.Peer.Tunnels(), func(t *Tally) { t.IKERekeys++ })
	case sa.IKEEnded:
		if f.Why.Is(diag.IKELifetimeEnded) {
			g.each(f.SA.Peer.Tunnels(), func(t *Tally) { t.IKERekeysFailed++ })
		}
	case sa.ChildGone:
		if f.Why.Is(diag.Replaced) {
			g.each([]string{f.SA.Tunnel}, func(t *Tally) { t.ChildRekeys++ })
		}
	case sa.Exchanged:
		g.exchanged(f)
	}
}

func (g *Gateway) exchanged(f sa.Exchanged) {
	tunnels := f.SA.Peer.Tunnels()
	switch {
	case f.What == sa.LivenessCheck && f.Done:
		g.times.liveness.add(f.Took)
		g.each(tunnels, func(t *Tally) { t.LivenessAnswered, t.LivenessTook = t.LivenessAnswered+1, f.Took })
	case f.What == sa.LivenessCheck:
		g.each(tunnels, func(t *Tally) { t.LivenessLost++ })
	case f.What == sa.IKERekey && f.Done:
		g.times.ikeRekeys.add(f.Took)
	case f.What == sa.IKERekey:
		g.each(tunnels, func(t *Tally) { t.IKERekeysFailed++ })
	case f.Done:
		g.times.childRekeys.add(f.Took)
	default:
		g.each(tunnels, func(t *Tally) { t.ChildRekeysFailed++ })
	}
}

func (g *Gateway) each(tunnels []string, f func(*Tally)) {
	for _, name := range tunnels {
		if e := g.fleet.byName[name]; e != nil {
			f(&e.tally)
		}
	}
}

// countPong counts the round trip of a health check that was answered in time.
func (g *Gateway) countPong(e *entry) {
	if h := e.status().Health; h != nil && h.Count.Answered != e.tally.pongs {
		e.tally.pongs = h.Count.Answered
		g.times.health.add(h.Count.Last)
	}
}
