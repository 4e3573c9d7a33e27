package gateway

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/ipsec"
)

// message is an IKE message with a number; first: it has no responder's SPI.
func message(from netip.Addr, number int, first bool) ipsec.Datagram {
	b := make([]byte, 300)
	binary.BigEndian.PutUint64(b, uint64(number))
	if !first {
		b[15] = 1
	}
	return ipsec.Datagram{Remote: netip.AddrPortFrom(from, uint16(number)), Data: b}
}

func TestFloodOfIKEIsBoundedAndCounted(t *testing.T) {
	i := newInbox()
	peers := map[netip.Addr]bool{}
	for n := range 2000 {
		peers[netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)})] = true
	}
	i.know(peers)
	sent, taken := 0, 0
	for a := range peers {
		for n := range 20 {
			i.deliver(message(a, n, n%2 == 0))
			sent++
		}
	}
	for range 10_000 {
		i.deliver(message(addr("203.0.113.66"), 1, true))
		sent++
	}
	if i.queued > maxQueued || i.queued < maxQueued*9/10 {
		t.Errorf("%d bytes wait, want at most %d", i.queued, maxQueued)
	}
	for _, ok := i.next(); ok; _, ok = i.next() {
		taken++
	}
	if dropped := int(i.dropped.Load()); taken+dropped != sent {
		t.Errorf("%d messages came, %d were handled and %d dropped", sent, taken, dropped)
	}
	if i.queued != 0 || len(i.lines) != 0 || len(i.turns) != 0 {
		t.Errorf("%d bytes and %d lines are left", i.queued, len(i.lines))
	}
}

// A message waits for one message of each other sender at most, whatever the others have sent.
func TestFloodOfIKEDelaysItsOwnSenderOnly(t *testing.T) {
	us, them := addr("198.51.100.1"), addr("198.51.100.2")
	for name, flood := range map[string]ipsec.Datagram{
		"from strangers":                  message(addr("203.0.113.66"), 1, true),
		"with any SPI":                    message(addr("203.0.113.66"), 1, false),
		"in another peer's name":          message(them, 1, true),
		"in the peer's name":              message(us, 1, true),
		"in its name, mapped to IPv6":     message(netip.AddrFrom16(us.As16()), 1, true),
		"in another's, who is there, too": message(them, 1, false),
	} {
		i := newInbox()
		i.know(map[netip.Addr]bool{us: true, them: true})
		for range 20_000 {
			i.deliver(flood)
		}
		if i.dropped.Load() == 0 {
			t.Fatalf("%s: it is no flood", name)
		}
		i.deliver(message(us, 7, false))
		for n := 1; ; n++ {
			d, ok := i.next()
			if !ok || n > 2 {
				t.Errorf("%s: the peer's message is not among the next two", name)
				break
			}
			if d.Remote.Port() == 7 {
				break
			}
		}
	}
}

// The copy is the inbox's own, and a reader goes on with its buffer.
func TestQueuedIKEMessagesAreCopies(t *testing.T) {
	i := newInbox()
	d := message(addr("198.51.100.1"), 1, true)
	i.deliver(d)
	clear(d.Data)
	if got, _ := i.next(); got.Data[7] != 1 {
		t.Errorf("got % x", got.Data[:8])
	}
}

func TestAFloodOfIKEMakesFewLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r := start(t, officeHost(), configOf(hq()), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer r.stop()
		for range 100 { // in a minute
			r.loop(func() {
				for range 10_000 {
					r.in.deliver(message(addr("203.0.113.66"), 1, true))
				}
			})
			time.Sleep(time.Minute / 100)
		}
		if n := strings.Count(log.String(), "IKE messages dropped"); n < 5 || n > 7 {
			t.Errorf("%d lines about dropped messages in a minute, want one each 10 s", n)
		}
	})
}
