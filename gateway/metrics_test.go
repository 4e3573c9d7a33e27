package gateway

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/tunnel"
)

func (h *fakeHost) TUNDrops() (map[string]uint64, error) { return map[string]uint64{"vpngw0": 5}, nil }

func (h *fakeHost) ThreadTime() func() time.Duration {
	return func() time.Duration { return time.Second }
}
func (s *script) HalfOpen() int { return 2 }

func (r *running) metrics() Metrics {
	r.Helper()
	m, err := r.Metrics(context.Background())
	if err != nil {
		r.Fatal(err)
	}
	return m
}

// A Child SA that only receives any more is none that carries.
func TestAChildSAWithoutItsOutboundHalfIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		c := r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		for i, do := range [][]sa.Action{nil, {sa.RemoveOut{SPIIn: c.SPIIn}}, {sa.Remove{SPIIn: c.SPIIn}}} {
			r.do(do...)
			if n := r.metrics().Tunnels[0].Children; n != max(2-i, 1) {
				t.Errorf("after %v: %d Child SAs", do, n)
			}
			r.wantState("hq", tunnel.Up)
		}
	})
}

// Every configured tunnel is in the snapshot, up or not, and the daemon's own figures are.
func TestMetricsHaveEveryTunnelAndTheDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq(), lab()), Options{})
		defer r.stop()
		time.Sleep(time.Minute)
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		time.Sleep(10 * time.Second)
		m := r.metrics()
		if len(m.Tunnels) != 2 {
			t.Fatalf("%d tunnels, want 2", len(m.Tunnels))
		}
		hq, lab := m.Tunnels[0], m.Tunnels[1]
		if hq.Conn != "hq" || hq.State != tunnel.Up || hq.Children != 1 || time.Since(hq.Child) != 10*time.Second || !hq.Cause.OK() || hq.TUNDrops != 5 {
			t.Errorf("hq: %+v", hq)
		}
		if lab.Conn != "lab" || lab.State != tunnel.Connecting || lab.Children != 0 || time.Since(lab.Since) < time.Minute {
			t.Errorf("lab: %+v", lab)
		}
		if m.HalfOpen != 2 || m.IKE["unknown-spi"] != 7 || len(m.Engines) < 2 || m.Engines[0] != time.Second || len(m.Sockets) != 3 || m.Sockets[1].Kind != "natt" || m.Sockets[1].KernelDrops != 3 {
			t.Errorf("the daemon: %+v", m)
		}
		if m.Loop != 0 { // the bubble's clock stands still while the loop works
			t.Errorf("the loop was at work for %v", m.Loop)
		}
	})
}

// A rekey, a lost device and a reload take nothing from a tunnel's counts.
func TestMetricsOutliveRekeysDevicesAndReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		drop := func() {
			r.host.tun("vpngw0").put(udpPacket(addr("192.168.3.7"), addr("192.168.9.9"), 1))
			synctest.Wait()
		}
		first := r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		drop()
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		r.do(sa.Remove{SPIIn: first.SPIIn, Why: diag.Cause{Code: diag.Replaced}})
		drop()
		r.host.tun("vpngw0").Close()
		synctest.Wait()
		time.Sleep(time.Minute)
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		drop()
		changed := hq()
		changed.Tunnels[0].Metric = 99
		r.adopt(changed)
		m := r.metrics().Tunnels[0]
		if m.Drops["no-policy"] != 3 || m.ChildRekeys != 1 {
			t.Errorf("drops %v, %d rekeys; want 3 of no-policy, and 1", m.Drops, m.ChildRekeys)
		}
	})
}

// What IKE tells of its attempts, rekeys and liveness checks is counted by tunnel, and its durations for the daemon.
func TestMetricsCountTheFactsOfIKE(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		defer r.stop()
		s := sa.IKESA{Peer: r.ike.peers[0], Initiator: true, SPIi: 1, SPIr: 2}
		failed := func(connecting bool, code diag.Code) sa.IKEFailed {
			return sa.IKEFailed{Peer: s.Peer, Connecting: connecting, Cause: diag.Cause{Code: code}}
		}
		r.do(sa.IKEConnecting{SA: s})
		time.Sleep(2 * time.Second)
		r.do(failed(true, diag.NoAnswerYet), failed(false, diag.NoAnswer), failed(false, diag.NoAnswer))
		r.do(sa.IKEConnecting{SA: s}, sa.IKEConnecting{SA: s}) // it goes on on port 4500
		time.Sleep(20 * time.Millisecond)
		r.do(sa.IKEEstablished{SA: s}, sa.IKEEstablished{SA: s}) // the second one is the peer's own
		r.do(
			sa.Exchanged{SA: s, What: sa.LivenessCheck, Done: true, Took: 3 * time.Millisecond}, sa.Exchanged{SA: s, What: sa.LivenessCheck},
			sa.Exchanged{SA: s, What: sa.ChildRekey, Done: true, Took: time.Minute}, sa.Exchanged{SA: s, What: sa.ChildRekey},
			sa.Exchanged{SA: s, What: sa.IKERekey, Done: true, Took: time.Second}, sa.Exchanged{SA: s, What: sa.IKERekey},
			sa.IKERekeyed{SA: s, Old: s}, sa.IKEEnded{SA: s, Why: diag.Cause{Code: diag.IKELifetimeEnded}},
		)
		m := r.metrics()
		got := m.Tunnels[0].Tally
		want := Tally{
			Established: 2, Failed: 1, IKERekeys: 1, IKERekeysFailed: 2, ChildRekeysFailed: 1,
			LivenessAnswered: 1, LivenessLost: 1, LivenessTook: 3 * time.Millisecond,
		}
		if got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		in := func(h Histogram, bucket int, sum time.Duration) bool { return h.Counts[bucket] == 1 && h.Sum == sum }
		if !in(m.Handshakes, 4, 20*time.Millisecond) || !in(m.Liveness, 2, 3*time.Millisecond) || !in(m.IKERekeys, 9, time.Second) || !in(m.ChildRekeys, len(Bounds), time.Minute) {
			t.Errorf("durations: %+v %+v %+v %+v", m.Handshakes, m.Liveness, m.IKERekeys, m.ChildRekeys)
		}
		if len(r.Gateway.attempts) != 0 {
			t.Errorf("attempts are left over: %v", r.Gateway.attempts)
		}
	})
}

// Only tunnels that stand in for each other make a group.
func TestMetricsOfAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := hq(), lab()
		a.Pair, b.Pair = "p", "p"
		a.Tunnels[0].Role, b.Tunnels[0].Role = config.Active, config.Standby
		r := start(t, officeHost(), configOf(a, b, connection("alone", "192.168.9.0/24", "10.99.0.0/16")), Options{})
		defer r.stop()
		r.up("hq", "192.168.3.0/24", "10.10.0.0/16")
		want := []GroupMetrics{{Name: config.PairGroup("p"), Tunnels: 2, Up: 1}}
		if got := r.metrics().Groups; !slices.Equal(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}
