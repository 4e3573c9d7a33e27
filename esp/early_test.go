package esp

import (
	"bytes"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/ipsec"
)

// offered returns two ends: a has the SA, and b has its SPI on offer only.
func offered(t *testing.T, proposal string, k transport) (a, b *end, sb *ipsec.ChildSA) {
	t.Helper()
	a, b = newEnd(t, 0), newEnd(t, 1)
	sa, sb := agree(t, a, b, suite{Suite: named(t, proposal)}, k, nil)
	for _, err := range []error{a.plane.InstallIn(sa), a.plane.InstallOut(sa)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return a, b, sb
}

func (e *end) install(sa *ipsec.ChildSA) [][]byte {
	e.t.Helper()
	if err := e.plane.InstallIn(sa); err != nil {
		e.t.Fatal(err)
	}
	return e.tun.take()
}

func TestPacketsBeforeTheirSAWaitForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for i := range 2 * numTransports {
			k := i / 2
			a, b, sb := offered(t, []string{"aes128gcm16", "aes128-sha256"}[i%2], k)
			var sent [][]byte
			for i := range 5 {
				sent = append(sent, udpPacket(false, 1, byte(i+1), 100+i))
			}
			if got := b.in(k, from(endAddrs[0][k], a.out(sent...))...); len(got) != 0 {
				t.Fatalf("carried without an SA: %x", got)
			}
			if got := b.install(sb); !reflect.DeepEqual(got, sent) {
				t.Errorf("transport %d: %d packets come with the SA, want %d", k, len(got), len(sent))
			}
			last := udpPacket(false, 1, 9, 200)
			if got := b.in(k, from(endAddrs[0][k], a.out(last))...); len(got) != 1 || !bytes.Equal(got[0], last) {
				t.Errorf("the next: %x", got)
			}
			seen := 0
			for _, e := range b.told() {
				switch e.(type) {
				case SeenInbound:
					seen++
				case InvalidSPI:
					t.Error("an SPI that we have offered is called invalid")
				}
			}
			if n := b.plane.PlaneCounters().Drops["no-sa"]; n != 0 || seen != 1 {
				t.Errorf("%d dropped, told %d times that the SA is used", n, seen)
			}
			if c := b.plane.Counters(sb.SPIIn); c.PacketsIn != 6 {
				t.Errorf("%d packets are counted", c.PacketsIn)
			}
			if b.plane.early.bytes != 0 || len(b.plane.early.packets) != 0 {
				t.Errorf("kept on: %+v", b.plane.early)
			}
		}
	})
}

// What anybody sends to an SPI that was seen is bounded, is opened like any packet, and is gone with the SPI.
func TestWhatWaitsForAnSAIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, sb := offered(t, "aes128gcm16", udp4)
		good := from(endAddrs[0][udp4], a.out(udpPacket(false, 1, 2, 100)))
		forged := from("203.0.113.66:1234", a.out(udpPacket(false, 1, 3, 100)))
		forged[0].Data = bytes.Clone(forged[0].Data)
		forged[0].Data[20] ^= 1
		b.in(udp4, good...)
		b.in(udp4, good...) // repeated
		for range 1000 {
			b.in(udp4, forged...)
		}
		if n := len(b.plane.early.packets[sb.SPIIn]); n != earlyOf {
			t.Errorf("%d packets wait", n)
		}
		if got := b.install(sb); len(got) != 1 {
			t.Errorf("%d packets are carried", len(got))
		}
		wantDrops(t, b, sb.SPIIn, map[string]uint64{"replay": 1, "bad-icv": earlyOf - 2})
		if n := b.plane.PlaneCounters().Drops["no-sa"]; n != 1002-earlyOf {
			t.Errorf("%d no-sa", n)
		}

		// Many SPIs: 1 MB in all. What is given back takes its packets with it.
		b = newEnd(t, 1)
		var spis []uint32
		d := forged[0]
		d.Data = make([]byte, 30000)
		for range 100 {
			spi, err := b.plane.AllocSPI()
			if err != nil {
				t.Fatal(err)
			}
			spis = append(spis, spi)
			d.Data[0], d.Data[1], d.Data[2], d.Data[3] = byte(spi>>24), byte(spi>>16), byte(spi>>8), byte(spi)
			b.in(udp4, d)
		}
		if n := b.plane.early.bytes; n > earlyBytes || n < earlyBytes-30000 {
			t.Errorf("%d bytes wait", n)
		}
		for _, spi := range spis {
			b.plane.FreeSPI(spi)
		}
		if e := &b.plane.early; e.bytes != 0 || len(e.packets) != 0 {
			t.Errorf("%d bytes of %d SPIs wait for nothing", e.bytes, len(e.packets))
		}
		if n := b.plane.PlaneCounters().Drops["no-sa"]; n != 100 {
			t.Errorf("%d no-sa", n)
		}
	})
}

func TestWhatWaitsForAnSADoesNotWaitLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, sb := offered(t, "aes128gcm16", udp4)
		old := from(endAddrs[0][udp4], a.out(udpPacket(false, 1, 2, 100)))
		fresh := from(endAddrs[0][udp4], a.out(udpPacket(false, 1, 3, 100)))
		b.now = time.Now().Add(-2 * earlyTime)
		b.in(udp4, old...)
		b.now = time.Now()
		b.in(udp4, fresh...)
		if n := len(b.plane.early.packets[sb.SPIIn]); n != 1 {
			t.Errorf("%d packets wait", n)
		}
		if got := b.install(sb); len(got) != 1 || got[0][19] != 3 {
			t.Errorf("%d packets come with the SA", len(got))
		}
		if n := b.plane.PlaneCounters().Drops["no-sa"]; n != 1 {
			t.Errorf("%d no-sa", n)
		}
	})
}
