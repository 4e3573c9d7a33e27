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

	"vpngw/config"
	"vpngw/ipsec"
	"vpngw/tunnel"
)

// sum is the Internet checksum.
func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	s = s&0xffff + s>>16
	return ^uint16(s&0xffff + s>>16)
}

// echoRequest is a ping.
func echoRequest(src, dst netip.Addr) []byte {
	b := udpPacket(src, dst, 0)
	b[9], b[10], b[11] = 1, 0, 0
	binary.BigEndian.PutUint16(b[10:], sum(b[:20]))
	copy(b[20:], []byte{8, 0, 0, 0, 0, 7, 0, 1})
	binary.BigEndian.PutUint16(b[22:], sum(b[20:]))
	return b
}

// out counts the ESP packets of c that were sent since the last call.
func (r *running) out(c *ipsec.ChildSA) (n int) {
	r.host.net.mu.Lock()
	defer r.host.net.mu.Unlock()
	for _, d := range r.host.net.sent {
		if len(d.Data) > 4 && binary.BigEndian.Uint32(d.Data) == c.SPIOut {
			n++
		}
	}
	r.host.net.sent = nil
	return n
}

// The data plane answers the peer at this end's address in the tunnel and at that of the health check, as they are in the
// present configuration. Other addresses are the host's.
func TestThePeersPingsToOurAddressesAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := func(inside, target, source string) *config.Connection {
			c := hq()
			c.Partial = true
			if inside != "" {
				c.Tunnels[0].Inside = netip.MustParsePrefix(inside)
			}
			switch {
			case target != "":
				c.Tunnels[0].Health = &config.Health{Source: addr("10.10.0.7"), Target: addr(target)}
			case source != "":
				c.Tunnels[0].Health = &config.Health{Source: addr(source), Target: addr("10.10.0.7"), Ours: true}
			}
			return c
		}
		first := conn("169.254.9.2/30", "192.168.3.77", "")
		r := start(t, officeHost(), configOf(first), Options{})
		defer r.stop()
		c := r.up("hq", "0.0.0.0/0", "0.0.0.0/0")
		seq := uint64(0)
		answered := func(to string) bool {
			t.Helper()
			seq++
			r.host.socket(4500).put(ipsec.Datagram{Local: c.Path.Local, Remote: c.Path.Remote, Data: sealed(c, seq, echoRequest(addr("10.10.0.7"), addr(to)))})
			synctest.Wait()
			n, passed := r.out(c), 0
			select {
			case <-r.host.tun("vpngw0").to:
				passed++
			default:
			}
			if n+passed != 1 {
				t.Errorf("%s: %d answers, and the TUN gets %d packets", to, n, passed)
			}
			return n == 1
		}
		check := func(when string, want map[string]bool) {
			t.Helper()
			for to, want := range want {
				if got := answered(to); got != want {
					t.Errorf("%s: %s is answered: %v, want %v", when, to, got, want)
				}
			}
		}
		check("first", map[string]bool{"169.254.9.2": true, "192.168.3.77": true, "192.168.3.1": false, "169.254.9.1": false})
		r.adopt(conn("", "192.168.3.78", ""))
		c = r.up("hq", "0.0.0.0/0", "0.0.0.0/0")
		seq = 0
		check("another target", map[string]bool{"169.254.9.2": false, "192.168.3.77": false, "192.168.3.78": true})
		r.adopt(conn("", "", "192.168.3.79"))
		c = r.up("hq", "0.0.0.0/0", "0.0.0.0/0")
		seq = 0
		check("our own check", map[string]bool{"192.168.3.78": false, "192.168.3.79": true, "10.10.0.7": false})
		if n := r.host.made; n != 1 {
			t.Errorf("%d devices were made", n)
		}
		r.host.tun("vpngw0").Close()
		time.Sleep(6 * time.Second) // until the device is made again
		synctest.Wait()
		c = r.up("hq", "0.0.0.0/0", "0.0.0.0/0")
		seq = 0
		check("a new device", map[string]bool{"192.168.3.79": true, "192.168.3.1": false})
	})
}

func TestAPingThatCannotBeSentIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r := start(t, officeHost(), configOf(hq()), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer r.stop()
		ping := func(target string) {
			r.loop(func() {
				for seq := range uint16(3) {
					r.ping(r.fleet.byName["hq"], tunnel.Ping{Tunnel: "hq", Source: addr("192.168.3.1"), Target: addr(target), ID: 7, Seq: seq})
				}
				r.ping(nil, tunnel.Ping{Tunnel: "gone"})
			})
		}
		said := func(what string) int { return strings.Count(log.String(), what) }
		ping("10.10.0.7")
		if said("has no SA") != 1 || said("conn=hq") == 0 {
			t.Errorf("log:\n%s", log.String())
		}
		c := r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		ping("10.10.0.7")
		if n := r.out(c); n != 3 {
			t.Errorf("%d of 3 pings were sent", n)
		}
		ping("10.20.0.7")
		ping("10.10.0.7")
		ping("10.20.0.7") // again
		if said("no SA of tunnel") != 2 || said("a health check cannot ask") != 3 {
			t.Errorf("log:\n%s", log.String())
		}
	})
}

// One end asks and the other answers, over rekeys too; no TUN sees any of it. Once the other end's configuration does not
// have the address any more, the question reaches its TUN, and is lost there.
func TestAHealthCheckBetweenTwoGateways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, ours := newNet(), hq()
		theirs := mirror(ours)
		check := config.Health{Source: addr("192.168.3.5"), Target: addr("10.10.0.5"), Interval: time.Second, Retries: 3, Ours: true}
		ours.Tunnels[0].OwnHealth = &check
		asked := check
		asked.Ours = false
		theirs.Tunnels[0].Health = &asked
		cloud := startReal(t, newHost(n, "198.51.100.1", "10.10.0.1"), configOf(theirs), Options{})
		defer cloud.stop()
		customer := startReal(t, newHost(n, "203.0.113.9", "192.168.3.1"), configOf(ours), Options{})
		defer customer.stop()
		time.Sleep(30 * time.Second)
		customer.wantState("hq", tunnel.Up)
		for i := range 20 {
			if err := customer.Rekey(t.Context(), "hq", []Rekeying{RekeyIKE, RekeyChildren}[i%2]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(1500 * time.Millisecond)
		}
		h := customer.tunnelStatus("hq").Health
		if h == nil || h.State != "healthy" || h.Answered < 50 || h.Lost != 0 || h.Sent-h.Answered > 1 {
			t.Errorf("health is %+v", h)
		}
		if s := cloud.tunnelStatus("hq").Health; s != nil {
			t.Errorf("the end that answers asks, too: %+v", s)
		}
		here, there := customer.host.tun("vpngw0"), cloud.host.tun("vpngw0")
		if a, b := len(here.to), len(there.to); a+b > 0 {
			t.Errorf("%d packets of it came to our TUN, %d to the peer's", a, b)
		}
		cloud.adopt(mirror(hq()))
		time.Sleep(10 * time.Second)
		if h := customer.tunnelStatus("hq").Health; h.State != "ill" || h.Lost < 3 || len(there.to) < 3 {
			t.Errorf("nobody answers, and health is %+v; the peer's TUN got %d questions", h, len(there.to))
		}
	})
}

// Of two tunnels, either answers at the host's own addresses in its networks, as they are at present.
func TestEitherOfTwoTunnelsAnswersAtTheHostsAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(dual()), Options{})
		defer r.stop()
		one, two := r.up("hq-1", "192.168.3.0/24", "10.10.0.0/16"), r.up("hq-2", "192.168.3.0/24", "10.10.0.0/16")
		seq := uint64(0)
		answered := func(c *ipsec.ChildSA, to string) bool {
			seq++
			r.host.socket(4500).put(ipsec.Datagram{Local: c.Path.Local, Remote: c.Path.Remote, Data: sealed(c, seq, echoRequest(addr("10.10.0.7"), addr(to)))})
			synctest.Wait()
			return r.out(c) == 1
		}
		for _, c := range []*ipsec.ChildSA{one, two} {
			if !answered(c, "192.168.3.1") || answered(c, "192.168.3.2") {
				t.Errorf("%s does not answer at the host's address alone", c.Tunnel)
			}
		}
		r.loop(func() { r.host.addresses = []netip.Addr{addr("203.0.113.9"), addr("192.168.3.2")} })
		r.host.changed()
		synctest.Wait()
		for _, c := range []*ipsec.ChildSA{one, two} {
			if answered(c, "192.168.3.1") || !answered(c, "192.168.3.2") {
				t.Errorf("%s does not follow the host's address", c.Tunnel)
			}
		}
	})
}
