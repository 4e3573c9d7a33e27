package esp

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vpngw/ipsec"
)

// numbered is a packet of a flow that carries its number and a filling that can be checked.
func numbered(v6 bool, flow byte, n uint32, size int) []byte {
	b := udpPacket(v6, flow, flow, size)
	body := b[len(b)-size+28:]
	if v6 {
		body = b[len(b)-size+48:]
	}
	binary.BigEndian.PutUint32(body, n)
	for i := range body[4:] {
		body[4+i] = byte(n) + byte(i)*flow
	}
	return b
}

// Two planes with goroutines, both ways at once: nothing is lost, changed or put
// out of order, on every transport, with runs whole and split.
func TestStreamsArriveWholeAndInOrder(t *testing.T) {
	for _, tt := range []struct {
		proposal string
		k        transport
		gro      bool
	}{
		{"aes128gcm16", udp4, true},
		{"aes256gcm16-esn", udp6, true},
		{"chacha20poly1305", udp4, false},
		{"aes128-sha256", raw4, true},
		{"aes256-sha512-esn", raw6, true},
		{"aes192-sha384", udp4, true},
		{"null-sha1", raw4, true},
	} {
		t.Run(fmt.Sprintf("%s/%d/gro=%v", tt.proposal, tt.k, tt.gro), func(t *testing.T) {
			a, b, sa, sb := ends(t, tt.proposal, tt.k, nil)
			for _, e := range []*end{a, b} {
				e.socks[tt.k].gro = tt.gro
			}
			a.socks[tt.k].peer, b.socks[tt.k].peer = b.socks[tt.k], a.socks[tt.k]
			const count, flows = 6000, 5
			ctx, cancel := context.WithCancel(context.Background())
			var arrived, loops sync.WaitGroup
			for i, e := range []*end{a, b} {
				loops.Go(func() {
					if err := e.tunnel.Run(context.Background()); err != nil {
						t.Error(err)
					}
				})
				e.addSocket(tt.k, func() {})
				loops.Go(func() {
					if err := e.engine.Run(ctx); err != nil {
						t.Error(err)
					}
				})
				arrived.Add(count)
				var last [flows + 1]uint32
				e.tun.arrived = func(p []byte) {
					defer arrived.Done()
					flow := p[15]
					if p[0]>>4 == 6 {
						flow = p[23]
					}
					last[flow]++
					if want := streamPacket(1-i, flow, last[flow]); !bytes.Equal(p, want) {
						t.Errorf("end %d, flow %d, packet %d:\ngot  %x\nwant %x", i, flow, last[flow], p, want)
					}
				}
			}
			for i, e := range []*end{a, b} {
				go func() {
					r := rng(t)
					var next [flows + 1]uint32
					for sent := 0; sent < count; {
						var batch [][]byte
						for range min(1+r.IntN(128), count-sent) {
							flow := byte(1 + r.IntN(flows))
							if r.IntN(4) > 0 {
								flow = 1 // runs of one flow
							}
							next[flow]++
							batch = append(batch, streamPacket(i, flow, next[flow]))
						}
						sent += len(batch)
						e.tun.kernel <- batch
					}
				}()
			}
			arrived.Wait()
			for i, e := range []*end{a, b} {
				e.tun.Close()
				e.socks[tt.k].Close()
				c := e.plane.Counters([]*ipsec.ChildSA{sa, sb}[i].SPIIn)
				if c.PacketsIn != count || c.PacketsOut != count || len(c.Drops) != 0 {
					t.Errorf("end %d counted %+v", i, c)
				}
			}
			cancel()
			loops.Wait()
			if n := a.socks[tt.k].batches; tt.k < raw4 && n > count/4 {
				t.Errorf("%d packets took %d writes", count, n)
			}
		})
	}
}

// streamPacket is packet n of a flow that end i sends. Flow 1 is full-sized; the
// others vary, flow 3 is IPv6.
func streamPacket(i int, flow byte, n uint32) []byte {
	size := 1400
	if flow != 1 || n%40 == 0 {
		size = 60 + int(n*uint32(flow)*37)%1340
	}
	p := numbered(flow == 3, flow, n, size)
	if i == 1 { // from the peer's side: swap the addresses
		if flow == 3 {
			p[9], p[25] = 2, 1
		} else {
			p[13], p[17] = 2, 1
		}
	}
	return p
}

// stream joins two ends and sends numbered packets from a to b, which all have to arrive in
// order: the function that it returns waits for that, and ends the two.
func stream(t *testing.T, a, b *end, count uint32) (arrived func()) {
	a.socks[udp4].peer, b.socks[udp4].peer = b.socks[udp4], a.socks[udp4]
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	for _, e := range []*end{a, b} {
		loops.Go(func() { e.tunnel.Run(ctx) })
		e.addSocket(udp4, func() {})
		loops.Go(func() { e.engine.Run(ctx) })
	}
	done := make(chan struct{})
	var last atomic.Uint32
	b.tun.arrived = func(p []byte) {
		if n := binary.BigEndian.Uint32(p[28:]); n != last.Load()+1 {
			t.Errorf("packet %d after %d", n, last.Load())
		}
		if last.Add(1) == count {
			close(done)
		}
	}
	go func() {
		for n := uint32(1); n <= count; {
			var batch [][]byte
			for range min(16, count-n+1) {
				batch = append(batch, numbered(false, 1, n, 200))
				n++
			}
			a.tun.kernel <- batch
		}
	}()
	return func() {
		select {
		case <-done:
		case <-time.After(2 * time.Minute):
			t.Errorf("lost packets: %d arrived, drops %v and %v", last.Load(), a.plane.PlaneCounters().Drops, b.plane.PlaneCounters().Drops)
		}
		cancel()
		for _, e := range []*end{a, b} {
			e.tun.Close()
			e.socks[udp4].Close()
		}
		loops.Wait()
	}
}

// SAs come, move and go while packets flow: for the race detector.
func TestRekeysWhilePacketsFlow(t *testing.T) {
	a, b, sa, sb := ends(t, "aes128gcm16", udp4, nil)
	arrived := stream(t, a, b, 20000)
	for range 30 {
		// The order of IKE's actions: in at both, out at both, then the old pair goes.
		na, nb := couple(t, a, b, suite{Suite: named(t, "aes128gcm16")}, udp4, nil)
		a.plane.Move(sa.SPIIn, sa.Path)
		a.plane.Counters(sa.SPIIn)
		b.plane.LastInbound(sb.SPIIn)
		// What is under way with the old SA arrives.
		for still := 0; still < 5; still++ {
			if a.plane.Counters(sa.SPIIn).PacketsOut != b.plane.Counters(sb.SPIIn).PacketsIn {
				still = 0
			}
			time.Sleep(time.Millisecond)
		}
		a.plane.Remove(sa.SPIIn)
		b.plane.Remove(sb.SPIIn)
		sa, sb = na, nb
	}
	arrived()
}
