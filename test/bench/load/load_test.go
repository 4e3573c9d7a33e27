package load

import (
	"net/netip"
	"os"
	"testing"
	"time"
)

func here(f func()) { f() }

var loopback = netip.MustParseAddr("127.0.0.1")

func open(t *testing.T) *Path {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NEEDS ROOT: for a large receive buffer")
	}
	p, err := Open(here, here, loopback, 19000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// tries bounds the repetitions of a measurement until nothing is lost: on a busy machine packets are
// lost even on the loopback device, because a packet that has not come after 100 ms counts as lost.
const tries = 50

func TestEveryPacketIsCountedOnce(t *testing.T) {
	p := open(t)
	to := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:19000"), netip.MustParseAddrPort("127.0.0.2:19000")}
	for _, s := range []Stream{
		{To: to[:1], Sizes: []int{64}, Rate: 20_000, For: 100 * time.Millisecond},
		{To: to, Sizes: []int{64, 1300}, Rate: 5_000, For: 100 * time.Millisecond},
		{To: to[:1], Sizes: []int{64}, Rate: 200, For: 100 * time.Millisecond},
		{To: to[:1], Sizes: []int{64}, For: 10 * time.Millisecond},
	} {
		var o Outcome
		for range tries {
			var err error
			if o, err = p.Run(s); err != nil {
				t.Fatal(err)
			}
			if o.Received > o.Sent {
				t.Errorf("%+v: got %d of %d", s, o.Received, o.Sent)
			}
			if o.Received == o.Sent {
				break
			}
		}
		if o.Sent == 0 || o.Received != o.Sent || o.Aborted {
			t.Errorf("%+v: got %d of %d", s, o.Received, o.Sent)
		}
		if s.Rate > 0 && o.Rate() > 1.05*s.Rate {
			t.Errorf("%+v: sent %.0f a second", s, o.Rate())
		}
	}
}

func TestStreamToNowhereIsAllLost(t *testing.T) {
	p := open(t)
	o, err := p.Run(Stream{To: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")}, Sizes: []int{64}, Rate: 1000, For: 20 * time.Millisecond})
	if err == nil && o.Lost() != 1 {
		t.Errorf("got %v", o)
	}
}

func TestCounterTakesDuplicatesAndDisorder(t *testing.T) {
	var c counter
	for _, n := range []uint64{0, 2, 2, 1, 5, 1 << 40} {
		c.count(n)
	}
	if c.unique.Load() != 4 || c.next != 6 {
		t.Errorf("got %d packets below %d, want 4 below 6", c.unique.Load(), c.next)
	}
}

func TestPingsAreAnswered(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NEEDS ROOT: for a raw socket")
	}
	var got Pings
	for range tries {
		var err error
		if got, err = Ping(here, loopback, loopback, 50, time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if got.Lost() == 0 {
			break
		}
	}
	if got.Sent != 50 || got.Lost() != 0 {
		t.Errorf("%d of %d answered", len(got.Times), got.Sent)
	}
}
