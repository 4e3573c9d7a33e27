package esp

import (
	"bytes"
	"sync"
	"testing"

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
