package ike

import (
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// BenchmarkResponder is what the responder's end of an IKEv2 handshake costs, with X25519, a pre-shared key and a Child SA.
func BenchmarkResponder(b *testing.B) {
	w := newWorld(b, 0)
	f := &fabric{now: w.now, a: w.host("192.0.2.1", 0x1000), b: w.host("192.0.2.2", 0x1000000)}
	as, bs := manyPeers(1)
	f.b.SetPeers(f.now, bs)
	var took time.Duration
	toB := func() (moved bool) {
		for act := f.a.Next(); act != nil; act = f.a.Next() {
			if s, ok := act.(sa.Send); ok {
				moved = true
				d := ipsec.Datagram{Local: s.Path.Remote, Remote: s.Path.Local, Data: s.Data}
				began := time.Now()
				f.b.Handle(f.now, d)
				f.b.Advance(f.now)
				took += time.Since(began)
			}
		}
		return moved
	}
	toA := func() {
		for act := f.b.Next(); act != nil; act = f.b.Next() {
			if s, ok := act.(sa.Send); ok {
				f.a.Handle(f.now, ipsec.Datagram{Local: s.Path.Remote, Remote: s.Path.Local, Data: s.Data})
			}
			if r, ok := act.(sa.Remove); ok {
				f.b.release(r.SPIIn)
			}
		}
	}
	for b.Loop() {
		f.a.SetPeers(f.now, as)
		f.a.Advance(f.now)
		for toB() {
			toA()
			f.a.Advance(f.now)
		}
		if len(f.b.Endpoint.installed) != 1 {
			b.Fatalf("%d Child SAs, want 1", len(f.b.Endpoint.installed))
		}
		b.StopTimer()
		f.a.SetPeers(f.now, nil) // it deletes its IKE SA
		for i := 0; i < 20; i++ {
			f.now = f.now.Add(10 * time.Second)
			f.a.Advance(f.now)
			f.b.Advance(f.now)
			f.deliver()
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(took.Microseconds())/float64(b.N), "µs/responder")
}
