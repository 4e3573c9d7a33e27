package ike

import (
	"testing"
	"time"

	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// Each liveness check and each rekey that a peer answers is a Fact with its time, once, and so is one that it does not answer.
func TestAnsweredAndLostRequestsAreFacts(t *testing.T) {
	for name, change := range map[string]func(a, b *sa.Peer){"IKEv2": nil, "main mode": v1, "aggressive mode": aggressive} {
		t.Run(name, func(t *testing.T) {
			w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
				if change != nil {
					change(pa, pb)
				}
				pa.DPD, pb.DPD = dpd.Config{Interval: 10 * time.Second}, dpd.Config{}
			})
			count := func(what sa.Exchange) (answered, lost int) {
				for _, f := range a.mirror.exchanged {
					switch {
					case f.What != what:
					case f.Done && (f.Took < 0 || f.Took > 3*time.Second):
						t.Errorf("%v answered after %v", what, f.Took)
					case f.Done:
						answered++
					default:
						lost++
					}
				}
				return answered, lost
			}
			w.run(15 * time.Second)
			dropped := false
			w.filter = func(*ipsec.Datagram) bool { // the second question comes when it is repeated
				was := dropped
				dropped = true
				return was
			}
			w.run(10 * time.Second)
			w.filter = nil
			if n := len(a.mirror.exchanged); n == 0 || a.mirror.exchanged[n-1].Took < 500*time.Millisecond {
				t.Errorf("the question was repeated, and yet: %+v", a.mirror.exchanged)
			}
			if answered, lost := count(sa.LivenessCheck); answered != 2 || lost != 0 {
				t.Errorf("%d liveness checks answered and %d lost, want 2 and 0", answered, lost)
			}
			a.Do(w.now, sa.Rekey{Tunnel: "a"})
			w.run(time.Second)
			if answered, _ := count(sa.ChildRekey); answered != 1 {
				t.Errorf("%d rekeys of the Child SA answered, want 1", answered)
			}
			a.Do(w.now, sa.RekeyIKE{Tunnel: "a"})
			w.run(time.Second)
			if answered, _ := count(sa.IKERekey); change == nil && answered != 1 {
				t.Errorf("%d rekeys of the IKE SA answered, want 1", answered)
			}
			w.filter = func(*ipsec.Datagram) bool { return false }
			w.run(3 * time.Minute)
			if _, lost := count(sa.LivenessCheck); lost != 1 {
				t.Errorf("%d liveness checks lost, want 1", lost)
			}
			if len(b.mirror.exchanged) != 0 {
				t.Errorf("the responder asked nothing, and tells of %v", b.mirror.exchanged)
			}
		})
	}
}
