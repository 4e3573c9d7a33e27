package metrics

import (
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vpngw/bgp"
	"vpngw/dpd"
	"vpngw/gateway"
	"vpngw/tunnel"
)

// snapshot is what a collector tells.
type snapshot struct {
	gateway.Metrics
	reload  string // the state of a reload that is pending; empty: none is
	version string
	at      time.Time
}

// collector is a prometheus.Collector of the snapshots that it is given. take returns the present one.
type collector struct {
	take  func() *snapshot
	descs map[string]*prometheus.Desc
	kinds map[string]prometheus.ValueType
}

func newCollector(take func() *snapshot) *collector {
	c := &collector{take, map[string]*prometheus.Desc{}, map[string]prometheus.ValueType{}}
	for _, r := range table() {
		c.descs[r.name] = prometheus.NewDesc(r.name, r.help, r.labels, nil)
		c.kinds[r.name] = prometheus.GaugeValue
		if r.kind == counter {
			c.kinds[r.name] = prometheus.CounterValue
		}
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.take()
	t := teller{c, ch, s, nil}
	t.daemon()
	for i := range s.Tunnels {
		t := teller{c, ch, s, []string{s.Tunnels[i].Conn, s.Tunnels[i].Name}}
		t.tunnel(&s.Tunnels[i])
	}
	for _, g := range s.Groups {
		t.tell("vpngw_group_tunnels", float64(g.Tunnels), g.Name)
		t.tell("vpngw_group_tunnels_up", float64(g.Up), g.Name)
	}
}

// teller tells one snapshot.
type teller struct {
	*collector
	ch    chan<- prometheus.Metric
	s     *snapshot
	first []string // labels
}

// tell tells a metric, whose labels are first and more.
func (t *teller) tell(name string, value float64, more ...string) {
	labels := append(append(make([]string, 0, len(t.first)+len(more)), t.first...), more...)
	t.ch <- prometheus.MustNewConstMetric(t.descs[name], t.kinds[name], value, labels...)
}

func (t *teller) count(name string, n uint64, more ...string) { t.tell(name, float64(n), more...) }

// counts tells what was counted by name.
func (t *teller) counts(name string, by map[string]uint64) {
	for label, n := range by {
		t.count(name, n, label)
	}
}

// states tells 1 for one of some states, and 0 for the others.
func (t *teller) states(name, is string, all ...string) {
	for _, s := range all {
		t.tell(name, truth(s == is), s)
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// since tells a time, unless it is zero.
func (t *teller) since(name string, at time.Time) {
	if !at.IsZero() {
		t.tell(name, float64(at.UnixMilli())/1000)
	}
}

// age tells the age of what came at a time, unless that is zero.
func (t *teller) age(name string, at time.Time) {
	if !at.IsZero() {
		t.tell(name, max(0, t.s.at.Sub(at).Seconds()))
	}
}

// took tells the last duration of something that happened n times.
func (t *teller) took(name string, n uint64, d time.Duration) {
	if n > 0 {
		t.tell(name, d.Seconds())
	}
}

func (t *teller) durations(name string, h gateway.Histogram, labels ...string) {
	buckets, n := make(map[float64]uint64, len(gateway.Bounds)), uint64(0)
	for i, bound := range gateway.Bounds {
		n += h.Counts[i]
		buckets[bound.Seconds()] = n
	}
	n += h.Counts[len(gateway.Bounds)]
	t.ch <- prometheus.MustNewConstHistogram(t.descs[name], n, h.Sum.Seconds(), buckets, labels...)
}

func (t *teller) daemon() {
	s := t.s
	t.tell("vpngw_build_info", 1, s.version, runtime.Version())
	t.tell("vpngw_ike_half_open_sas", float64(s.HalfOpen))
	t.count("vpngw_ike_cookies_sent_total", s.Cookies)
	t.counts("vpngw_ike_refused_messages_total", s.IKE)
	t.durations("vpngw_ike_handshake_seconds", s.Handshakes)
	t.durations("vpngw_rekey_seconds", s.ChildRekeys, "child")
	t.durations("vpngw_rekey_seconds", s.IKERekeys, "ike")
	t.durations("vpngw_liveness_round_trip_seconds", s.Liveness)
	t.durations("vpngw_health_round_trip_seconds", s.Health)
	t.counts("vpngw_dropped_packets_total", s.Drops)
	t.count("vpngw_cleartext_dropped_packets_total", s.Discards)
	for i, d := range s.Engines {
		t.tell("vpngw_engine_cpu_seconds_total", d.Seconds(), strconv.Itoa(i))
	}
	t.tell("vpngw_control_loop_busy_seconds_total", s.Loop.Seconds())
	for _, so := range s.Sockets {
		t.count("vpngw_socket_kernel_dropped_packets_total", so.KernelDrops, so.Kind, so.Local)
		t.count("vpngw_socket_send_errors_total", so.SendErrors, so.Kind, so.Local)
	}
	t.states("vpngw_reload_pending", s.reload, "unconfirmed", "gone-back")
}

func (t *teller) tunnel(m *gateway.TunnelMetrics) {
	t.tell("vpngw_tunnel_info", 1, m.Group, m.Dialect, m.Side, m.Role, m.Device, m.Remote)
	t.states("vpngw_tunnel_state", string(m.State), string(tunnel.Up), string(tunnel.Degraded), string(tunnel.Connecting), string(tunnel.Waiting), string(tunnel.Down))
	t.since("vpngw_tunnel_state_start_time_seconds", m.Since)
	if !m.Cause.OK() {
		t.tell("vpngw_tunnel_cause_info", 1, string(m.Cause.Code), string(m.Cause.Severity()))
	}
	t.tell("vpngw_tunnel_active", truth(m.Active))
	t.age("vpngw_tunnel_ike_sa_age_seconds", m.IKE)
	t.tell("vpngw_tunnel_child_sas", float64(m.Children))
	t.age("vpngw_tunnel_child_sa_age_seconds", m.Child)
	t.count("vpngw_tunnel_ike_handshakes_total", m.Established, "established")
	t.count("vpngw_tunnel_ike_handshakes_total", m.Failed, "failed")
	t.count("vpngw_tunnel_rekeys_total", m.IKERekeys, "ike", "done")
	t.count("vpngw_tunnel_rekeys_total", m.IKERekeysFailed, "ike", "failed")
	t.count("vpngw_tunnel_rekeys_total", m.ChildRekeys, "child", "done")
	t.count("vpngw_tunnel_rekeys_total", m.ChildRekeysFailed, "child", "failed")
	t.count("vpngw_tunnel_bytes_total", m.Traffic.BytesIn, "in")
	t.count("vpngw_tunnel_bytes_total", m.Traffic.BytesOut, "out")
	t.count("vpngw_tunnel_packets_total", m.Traffic.PacketsIn, "in")
	t.count("vpngw_tunnel_packets_total", m.Traffic.PacketsOut, "out")
	t.counts("vpngw_tunnel_dropped_packets_total", m.Drops)
	t.count("vpngw_tunnel_device_dropped_packets_total", m.TUNDrops)
	t.count("vpngw_tunnel_liveness_checks_total", m.LivenessAnswered, "answered")
	t.count("vpngw_tunnel_liveness_checks_total", m.LivenessLost, "lost")
	t.took("vpngw_tunnel_liveness_round_trip_seconds", m.LivenessAnswered, m.LivenessTook)
	if m.Health != nil {
		t.states("vpngw_tunnel_health_state", m.Health.String(), dpd.Unknown.String(), dpd.Healthy.String(), dpd.Ill.String())
		t.count("vpngw_tunnel_health_pings_total", m.Pings.Answered, "answered")
		t.count("vpngw_tunnel_health_pings_total", m.Pings.Lost, "lost")
		t.took("vpngw_tunnel_health_round_trip_seconds", m.Pings.Answered, m.Pings.Last)
	}
	t.count("vpngw_tunnel_switches_total", m.Switches)
	if b := m.BGP; b != nil {
		t.states("vpngw_tunnel_bgp_state", b.State, string(bgp.Idle), string(bgp.Connecting), string(bgp.Opening), string(bgp.Established))
		t.since("vpngw_tunnel_bgp_state_start_time_seconds", b.Since)
		t.tell("vpngw_tunnel_bgp_prefixes", float64(b.In), "accepted")
		t.tell("vpngw_tunnel_bgp_prefixes", float64(b.Out), "announced")
		t.tell("vpngw_tunnel_bgp_prefixes", float64(b.Refused), "refused")
		t.count("vpngw_tunnel_bgp_flaps_total", uint64(max(0, b.Flaps)))
	}
	if m.BFD != nil {
		t.states("vpngw_tunnel_bfd_state", m.BFD.String(), dpd.BFDState(0).String(), dpd.BFDState(1).String(), dpd.BFDState(2).String(), dpd.BFDState(3).String())
		t.count("vpngw_tunnel_bfd_discarded_packets_total", m.BFDSpoilt)
	}
}
