package ike

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// manyPeers is n peers for one end, and the n peers that fit them for the other.
func manyPeers(n int) (as, bs []*sa.Peer) {
	for i := range n {
		a, b := addr(10, i).String(), addr(11, i).String()
		pa, pb := peerFor(fmt.Sprint("a", i), a, b), peerFor(fmt.Sprint("b", i), b, a)
		pa.Local, pb.Local = addr(10, i), addr(11, i)
		pa.Children[0].Local, pa.Children[0].Remote = selectors("10.1.0.0/16"), selectors("10.2.0.0/16")
		pb.Children[0].Local, pb.Children[0].Remote = selectors("10.2.0.0/16"), selectors("10.1.0.0/16")
		pb.Children[0].Initiate = false
		as, bs = append(as, pa), append(bs, pb)
	}
	return as, bs
}

func addr(net byte, i int) netip.Addr {
	return netip.AddrFrom4([4]byte{net, byte(i >> 16), byte(i >> 8), byte(i)})
}

// BenchmarkOnePeerChanges changes a child of one peer among N, takes the tunnel down and up, and hears an invalid
// SPI from the peer. The cost must not depend on N.
func BenchmarkOnePeerChanges(b *testing.B) {
	for _, n := range []int{1, 100, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWorld(b, 0)
			end := w.host("192.0.2.1", 0x1000)
			_, peers := manyPeers(n)
			end.SetPeers(w.now, peers)
			given := peers[n/2]
			name := given.Children[0].Tunnel
			changed := *given.Children[0]
			changed.Local = selectors("10.3.0.0/16")
			for i := 0; b.Loop(); i++ {
				next := *given
				next.Children = []*sa.Child{given.Children[0]}
				if i%2 == 0 {
					next.Children = []*sa.Child{&changed}
				}
				end.SetPeer(w.now, given, &next)
				given = &next
				end.Do(w.now, sa.Lower{Tunnel: name})
				end.Do(w.now, sa.Raise{Tunnel: name})
				end.Do(w.now, sa.InvalidSPI{Remote: netip.AddrPortFrom(given.Remote, 0)})
				if _, ok := end.Tunnel(name); !ok {
					b.Fatal("the tunnel is gone")
				}
				end.Advance(w.now)
				for end.Next() != nil {
				}
			}
		})
	}
}

// fabric carries the messages of two Endpoints that have an address for each peer.
type fabric struct {
	now  time.Time
	a, b *end
}

func (f *fabric) deliver() (moved bool) {
	for _, x := range [...][2]*end{{f.a, f.b}, {f.b, f.a}} {
		for act := x[0].Next(); act != nil; act = x[0].Next() {
			moved = true
			if s, ok := act.(sa.Send); ok {
				x[1].Handle(f.now, ipsec.Datagram{Local: s.Path.Remote, Remote: s.Path.Local, Data: s.Data})
			}
			if r, ok := act.(sa.Remove); ok {
				x[0].release(r.SPIIn)
			}
		}
	}
	return moved
}

func (f *fabric) deliverAll() {
	for {
		f.a.Advance(f.now)
		f.b.Advance(f.now)
		if !f.deliver() {
			return
		}
	}
}

// BenchmarkManyTunnels brings up N tunnels between two Endpoints and shuts one down: the time for each must not depend on N.
func BenchmarkManyTunnels(b *testing.B) {
	for _, n := range []int{250, 1000, 4000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var up, down time.Duration
			for b.Loop() {
				w := newWorld(b, 0)
				f := &fabric{now: w.now, a: w.host("192.0.2.1", 0x1000), b: w.host("192.0.2.2", 0x1000000)}
				as, bs := manyPeers(n)
				f.b.cfg.MaxHalfOpen, f.b.cfg.CookieThreshold = 4*n, 4*n // all begin in the same instant
				start := time.Now()
				f.b.SetPeers(f.now, bs)
				f.a.SetPeers(f.now, as)
				f.deliverAll()
				up += time.Since(start)
				if len(f.a.Endpoint.installed) != n {
					b.Fatalf("%d Child SAs, want %d", len(f.a.Endpoint.installed), n)
				}
				start = time.Now()
				f.a.Do(f.now, sa.Shutdown{})
				for !f.a.Idle() {
					if !f.deliver() {
						b.Fatal("the shutdown does not end")
					}
				}
				down += time.Since(start)
			}
			b.ReportMetric(float64(up.Microseconds())/float64(b.N)/float64(n), "µs-up/tunnel")
			b.ReportMetric(float64(down.Microseconds())/float64(b.N)/float64(n), "µs-down/tunnel")
		})
	}
}
