package tunnel

import (
	"net/netip"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/ike/sa"
)

// lazy is hq with start: onTraffic.
func lazy() Config {
	c := hq()
	c.Tunnel.Start = config.StartOnTraffic
	return c
}

var packet = Acquire{"hq", addr("192.168.3.10"), addr("10.10.0.10")}

func TestAPacketRaisesTheTunnel(t *testing.T) {
	s := newScript(t, lazy())
	s.trace = nil
	s.facts(device("hq")) // the routes are there at once: without them no packet would come
	s.wants("want dev-hq/1400 10.10.0.0/16 src 192.168.3.1", "hq: down -> waiting (awaits-traffic)")
	if s.Initiates("hq") {
		t.Error("it is initiated without a packet")
	}
	s.wait(time.Hour)
	s.wants()

	s.facts(packet)
	s.wants("hq: initiate anew", "hq: waiting -> connecting")
	if !s.Initiates("hq") {
		t.Error("it is not initiated")
	}
	s.facts(packet, IKE{"hq", sa.IKEConnecting{SA: ikeSAOf(1)}}, packet)
	s.wants()
	s.facts(IKE{"hq", sa.IKEEstablished{SA: ikeSAOf(1)}})
	c := s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
	s.wants(
		"measure 198.51.100.1", "fit hq 1440", "hq: the peer initiates", "want dev-hq/1440 10.10.0.0/16 src 192.168.3.1",
		"hq: connecting -> up",
	)
	s.facts(packet) // it was on its way
	s.wants()

	// The peer's Delete is not followed by an attempt; the next packet is.
	s.wait(10 * time.Minute)
	s.trace = nil
	deleted := sa.IKEFailed{Cause: diag.Cause{Code: diag.PeerDeletedIKE}}
	s.facts(gone(c), IKE{"hq", sa.IKEEnded{SA: ikeSAOf(1)}}, IKE{"hq", deleted})
	s.wants("hq: up -> waiting (peer-deleted-ike)")
	s.facts(packet)
	s.wants("hq: initiate anew", "hq: waiting -> connecting (peer-deleted-ike)")
}

// A tunnel without an answer is tried for a minute after its last packet. What was wrong stays its cause.
func TestATunnelIsTriedWhilePacketsCome(t *testing.T) {
	s := newScript(t, lazy())
	s.facts(device("hq"), packet, IKE{"hq", refusedBy(diag.NoAnswer)})
	s.trace = nil
	for range 10 {
		s.wait(30 * time.Second)
		s.facts(packet)
	}
	s.wait(wantedFor - time.Millisecond)
	s.wants()
	s.wait(time.Millisecond)
	s.wants("hq: the peer initiates", "hq: connecting -> waiting (no-answer)")
	s.facts(packet)
	s.wants("hq: initiate anew", "hq: waiting -> connecting (no-answer)")
}

// A peer that accepts and deletes at once is not asked anew with each packet: IKE's waits go on growing.
func TestAPeerThatDeletesAtOnceIsBackedOffFrom(t *testing.T) {
	s := newScript(t, lazy())
	s.facts(device("hq"))
	s.trace = nil
	for _, want := range []string{"hq: initiate anew", "hq: initiate"} {
		s.facts(packet)
		s.wants(want, "hq: waiting -> connecting")
		c := s.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		s.facts(gone(c))
		s.trace = nil
		s.wait(30 * time.Second)
	}
	s.wait(31 * time.Second)
	s.facts(packet)
	s.wants("hq: initiate anew", "hq: waiting -> connecting")
}

// A part that lacks its SA keeps the tunnel tried.
func TestAPairThatIsMissingIsAskedFor(t *testing.T) {
	s := newScript(t, lazy())
	s.facts(device("hq"))
	s.facts(installed(s.child("hq", "192.168.3.0/25", "10.10.0.0/16"))...)
	s.stands("hq", Degraded, diag.Uncovered)
	s.facts(packet)
	s.wants("hq: initiate anew")
	s.facts(installed(s.child("hq", "192.168.3.128/25", "10.10.0.0/16"))...)
	s.wants("hq: the peer initiates", "hq: degraded -> up")
}

func TestTheOperatorRaisesAndHoldsATunnelThatWaits(t *testing.T) {
	s := newScript(t, lazy())
	s.facts(device("hq"))
	s.trace = nil
	s.facts(Raised{"hq"})
	s.wants("hq: initiate anew", "hq: waiting -> connecting")
	s.wait(wantedFor)
	s.wants("hq: the peer initiates", "hq: connecting -> waiting (awaits-traffic)")
	s.facts(packet)
	s.trace = nil
	s.facts(Held{"hq", true})
	s.wants("hq: the peer initiates", "want dev-hq/1400", "hq: connecting -> down (operator-down)")
	s.facts(packet)
	s.wants()
	s.facts(Held{"hq", false})
	s.wants("want dev-hq/1400 10.10.0.0/16 src 192.168.3.1", "hq: down -> waiting (awaits-traffic)")
}

// Another configuration changes the start of a tunnel that runs.
func TestStartChanges(t *testing.T) {
	s := newScript(t, lazy())
	s.facts(device("hq"), packet)
	s.stands("hq", Connecting, "")
	next := func(start config.Start) {
		c := hq()
		c.Tunnel.Start, c.From = start, s.Take("hq")
		s.Group = New(s.now, []Config{c}, []netip.Addr{addr("203.0.113.9"), addr("192.168.3.1")}, inner)
		s.step()
	}
	next(config.StartOnTraffic) // a packet still wants it
	s.stands("hq", Connecting, "")
	next(config.StartPassive)
	s.stands("hq", Waiting, "")
	s.facts(packet)
	s.stands("hq", Waiting, "")
	s.facts(Raised{"hq"})
	s.stands("hq", Connecting, "")
	next(config.StartOnTraffic)
	s.stands("hq", Waiting, diag.AwaitsTraffic)
	next(config.StartActive)
	s.facts(packet)
	s.wait(time.Hour)
	s.stands("hq", Connecting, "")
}
