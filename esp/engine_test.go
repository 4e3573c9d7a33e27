package esp

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/esp/esptest"
	"vpngw/ipsec"
)

// The packets of an SA can come by UDP and by protocol 50 at once, to two Engines: each
// packet gets through once, whatever comes twice.
func TestOneSAComesToTwoEngines(t *testing.T) {
	a, b, _, _ := ends(t, "aes128-sha256", udp4, nil)
	const n = 300
	var sent []ipsec.Datagram
	for range n {
		for _, d := range split(a.out(udpPacket(false, 1, 2, 100))[0]) {
			sent = append(sent, from(endAddrs[0][udp4], []ipsec.Datagram{d})...)
		}
	}
	var both sync.WaitGroup
	for _, k := range []transport{udp4, raw4} {
		r := b.plane.NewEngine(b.poller).receiver
		both.Go(func() {
			for i := 0; i < len(sent); i += 10 {
				batch := r.room(10)
				for j := range batch {
					batch[j] = sent[i+j]
					batch[j].Data = bytes.Clone(sent[i+j].Data)
				}
				r.batch(k, batch, b.now)
				r.flush()
			}
		})
	}
	both.Wait()
	if got := len(b.tun.take()); got != n {
		t.Errorf("%d packets got through, want %d", got, n)
	}
	if got := b.tunnel.Counters().PacketsIn; got != n {
		t.Errorf("%d counted, want %d", got, n)
	}
}

// An idle Engine takes a turn when it is woken, and one that cannot go on takes none.
func TestEngineTurnsWhenItIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		poller := esptest.NewPoller()
		e := New(Config{Slots: 2}).NewEngine(poller)
		ctx, end := context.WithCancel(t.Context())
		go e.Run(ctx)
		for want := range uint64(3) {
			synctest.Wait()
			if got := e.Turns(); got != want {
				t.Errorf("woken %d times: %d turns", want, got)
			}
			e.Wake()
		}
		synctest.Wait()
		poller.Deaf.Store(true)
		e.Wake()
		time.Sleep(time.Second)
		if got := e.Turns(); got != 3 {
			t.Errorf("stuck: %d turns, want 3", got)
		}
		poller.Deaf.Store(false)
		e.Wake()
		synctest.Wait()
		if got := e.Turns(); got != 4 {
			t.Errorf("going on: %d turns, want 4", got)
		}
		end()
	})
}
