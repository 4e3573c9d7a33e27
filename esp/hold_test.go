package esp

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"

	"vpngw/ipsec"
)

// spiOf is the SPI of a datagram's first packet.
func spiOf(d ipsec.Datagram) uint32 { return binary.BigEndian.Uint32(d.Data) }

// heldPair is a with one SA on hold, and n packets of it kept back.
func heldPair(t *testing.T, n int) (a, b *end, sa, sb *ipsec.ChildSA, kept [][]byte) {
	t.Helper()
	a, b, sa, sb = ends(t, "aes128gcm16", udp4, nil)
	a.plane.Hold(sa.SPIIn)
	for i := range n {
		kept = append(kept, numbered(false, 1, uint32(i+1), 200))
		if ds := a.out(kept[i]); len(ds) != 0 {
			t.Fatalf("packet %d went out", i+1)
		}
	}
	if got := a.plane.Counters(sa.SPIIn); got.PacketsOut != 0 || len(got.Drops) != 0 {
		t.Fatalf("what is kept back is counted: %+v", got)
	}
	return a, b, sa, sb, kept
}

func TestWhatIsKeptBackTakesTheNextSA(t *testing.T) {
	a, b, sa, _, kept := heldPair(t, 3)
	na, _ := couple(t, a, b, suite{Suite: named(t, "aes128gcm16")}, udp4, nil) // installs it at a too
	ds := a.socks[udp4].take()
	same(t, b.in(udp4, from(endAddrs[0][udp4], ds)...), kept)
	for _, d := range ds {
		if spiOf(d) != na.SPIOut {
			t.Errorf("sent on SPI %08x, want %08x", spiOf(d), na.SPIOut)
		}
	}
	if ds := a.out(numbered(false, 1, 4, 200)); len(ds) != 1 || spiOf(ds[0]) != na.SPIOut {
		t.Errorf("the next packet went out in %d datagrams", len(ds))
	}
	a.plane.Remove(na.SPIIn) // and the old one is still on hold
	if ds := a.out(kept[0]); len(ds) != 0 {
		t.Error("the hold has ended by itself")
	}
	a.plane.Resume(sa.SPIIn)
	if ds := a.socks[udp4].take(); len(ds) != 1 || spiOf(ds[0]) != sa.SPIOut {
		t.Errorf("%d datagrams after the hold", len(ds))
	}
}

func TestResumeSendsInOrder(t *testing.T) {
	a, b, sa, _, kept := heldPair(t, 5)
	a.plane.Hold(sa.SPIIn) // twice is once
	a.plane.Resume(sa.SPIIn)
	ds := append(a.socks[udp4].take(), a.out(numbered(false, 1, 6, 200))...)
	same(t, b.in(udp4, from(endAddrs[0][udp4], ds)...), append(kept, numbered(false, 1, 6, 200)))
	a.plane.Resume(sa.SPIIn)
	if ds := a.socks[udp4].take(); len(ds) != 0 || len(a.tunnel.backlog.held) != 0 {
		t.Errorf("%d datagrams more, %d SAs on hold", len(ds), len(a.tunnel.backlog.held))
	}
}

func TestMoreThanABacklogGoesOnTheOldSA(t *testing.T) {
	a, b, sa, _, kept := heldPair(t, 0)
	var ds []ipsec.Datagram
	for n := uint32(1); len(ds) == 0; n++ {
		kept = append(kept, numbered(false, 1, n, 1400))
		ds = a.out(kept[n-1])
		if n*1400 > 2*maxBacklog {
			t.Fatal("there is no end to it")
		}
	}
	if n := len(kept) * 1400; n < maxBacklog/2 {
		t.Errorf("it ends after %d bytes", n)
	}
	kept = append(kept, numbered(false, 1, uint32(len(kept)+1), 1400))
	ds = append(ds, a.out(kept[len(kept)-1])...)
	same(t, b.in(udp4, from(endAddrs[0][udp4], ds)...), kept)
	if spi := spiOf(ds[0]); spi != sa.SPIOut {
		t.Errorf("sent on SPI %08x, want %08x", spi, sa.SPIOut)
	}
	if a.tunnel.backlog.packets != nil || a.tunnel.backlog.held != nil {
		t.Error("something is left of it")
	}
}

func TestHoldConcernsItsSAOnly(t *testing.T) {
	a, b, sa, _ := ends(t, "aes128gcm16", udp4, func(c *ipsec.ChildSA) { c.Remote = sels(t, "10.2.0.9/32") })
	couple(t, a, b, suite{Suite: named(t, "aes128gcm16")}, udp4, nil)
	a.plane.Hold(sa.SPIIn)
	if ds := a.out(udpPacket(false, 1, 9, 100), udpPacket(false, 1, 2, 100)); len(ds) != 1 || spiOf(ds[0]) == sa.SPIOut {
		t.Errorf("%d datagrams", len(ds))
	}
	a.plane.Remove(sa.SPIIn)
	if ds := a.socks[udp4].take(); len(ds) != 1 {
		t.Errorf("%d datagrams once the SA on hold is gone", len(ds))
	}
	a.plane.Hold(0x1234567) // unknown
	a.plane.Resume(0x1234567)
	if n := len(a.tunnel.backlog.held); n != 0 {
		t.Errorf("%d SAs are still on hold", n)
	}
}

func TestRemovedTunnelDropsWhatItKept(t *testing.T) {
	a, _, _, _, _ := heldPair(t, 3)
	a.plane.RemoveTunnel("t")
	if got, want := a.tunnel.Counters().Drops, map[string]uint64{"no-sa": 3}; !reflect.DeepEqual(got, want) {
		t.Errorf("dropped %v, want %v", got, want)
	}
}

// Super-packets are kept as the packets that they are cut into.
func TestSuperPacketsAreKeptBackToo(t *testing.T) {
	a, b := newEnd(t, 0), newEnd(t, 1)
	d := a.useFramer()
	sa, _ := couple(t, a, b, suite{Suite: named(t, "aes128gcm16")}, udp4, nil)
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var want [][]byte
		for range 1 + r.IntN(3) {
			f := randomFrame(r, 1<<r.IntN(16))
			d.frames = append(d.frames, f)
			want = append(want, plainSegments(f)...)
		}
		a.plane.Hold(sa.SPIIn)
		ds := a.outFrames()
		a.plane.Resume(sa.SPIIn)
		ds = append(ds, a.socks[udp4].take()...)
		same(t, b.in(udp4, from(endAddrs[0][udp4], ds)...), want)
		if t.Failed() {
			return
		}
	}
}

// A peer that removes the old SA as soon as it has the new one loses no packet, if our old SA was
// on hold by then: all packets that were sent on it have arrived.
func TestNothingIsLostByAPeerThatRemovesTheOldSAAtOnce(t *testing.T) {
	a, b, sa, sb := ends(t, "aes128gcm16", udp4, nil)
	arrived := stream(t, a, b, maxBacklog/(200+maxTrailer)-1) // on a slow machine they may all come during one hold
	for range 30 {
		na, nb := agree(t, a, b, suite{Suite: named(t, "aes128gcm16")}, udp4, nil)
		do := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		do(a.plane.InstallIn(na))
		a.plane.Hold(sa.SPIIn)
		sent := a.plane.Counters(sa.SPIIn).PacketsOut
		eventually(t, func() bool { return b.plane.Counters(sb.SPIIn).PacketsIn >= sent }) // message 2 comes to b
		do(b.plane.InstallIn(nb))
		b.plane.Remove(sb.SPIIn)
		do(b.plane.InstallOut(nb))
		do(a.plane.InstallOut(na)) // message 3 comes to a
		a.plane.Resume(sa.SPIIn)
		a.plane.Remove(sa.SPIIn)
		sa, sb = na, nb
	}
	arrived()
}

// The tunnel's reader and a caller of Hold and Resume both seal. Were there no lock between them, the
// race detector would see two users of one sealer, and without it two packets might have one number.
func TestOneGoroutineAtATimeSeals(t *testing.T) {
	for _, frames := range []bool{false, true} {
		t.Run(fmt.Sprintf("frames=%v", frames), func(t *testing.T) {
			a, b := newEnd(t, 0), newEnd(t, 1)
			carry := func() { a.reader.batch(8) }
			if frames {
				a.useFramer()
				frame := append(make([]byte, vnetHeader), udpPacket(false, 1, 2, 200)...)
				carry = func() {
					for range 8 {
						a.reader.frame(append(make([]byte, 0, len(frame)+maxTrailer), frame...))
					}
					a.reader.end()
				}
			} else {
				a.reader.makeRoom()
				for i := range 8 {
					a.reader.sizes[i] = copy(a.reader.bufs[i][headroom:], udpPacket(false, 1, 2, 200))
				}
			}
			sa, _ := couple(t, a, b, suite{Suite: named(t, "aes128gcm16")}, udp4, nil)
			const batches = 500
			var done atomic.Bool
			var changes sync.WaitGroup
			changes.Go(func() {
				for !done.Load() {
					a.plane.Hold(sa.SPIIn)
					a.plane.Resume(sa.SPIIn)
				}
			})
			for range batches {
				carry()
			}
			done.Store(true)
			changes.Wait()
			seen := map[uint32]bool{}
			for _, d := range a.socks[udp4].take() {
				for _, d := range split(d) {
					if n := sequence(d.Data); seen[n] {
						t.Fatalf("two packets have sequence number %d", n)
					} else {
						seen[n] = true
					}
				}
			}
			if len(seen) != 8*batches {
				t.Errorf("%d of %d packets went out", len(seen), 8*batches)
			}
		})
	}
}
