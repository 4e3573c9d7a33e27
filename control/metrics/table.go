package metrics

// kind is a metric's type.
type kind string

const (
	gauge     kind = "gauge"
	counter   kind = "counter"
	histogram kind = "histogram"
)

// row is one metric of ours.
type row struct {
	name   string
	kind   kind
	labels []string
	help   string
}

// ofTunnel are the labels of a tunnel's metric.
func ofTunnel(more ...string) []string { return append([]string{"connection", "tunnel"}, more...) }

// table is every metric of ours. Names stay; docs/metrics.md has the same table.
func table() []row {
	return []row{
		{"vpngw_tunnel_info", gauge, ofTunnel("group", "dialect", "side", "role", "device", "remote"), "What a configured tunnel is; always 1. group is the pair, or else the connection."},
		{"vpngw_tunnel_state", gauge, ofTunnel("state"), "1 for the present state of the tunnel, 0 for the others: up, degraded, connecting, waiting, down."},
		{"vpngw_tunnel_state_start_time_seconds", gauge, ofTunnel(), "When the tunnel came into its state, as Unix time."},
		{"vpngw_tunnel_cause_info", gauge, ofTunnel("code", "severity"), "Why the tunnel is as it is, by the code in docs/diagnosis.md; 1, and absent where nothing is wrong."},
		{"vpngw_tunnel_active", gauge, ofTunnel(), "1: the tunnel has the traffic; 0: it is a standby at present."},
		{"vpngw_tunnel_ike_sa_age_seconds", gauge, ofTunnel(), "Age of the IKE SA; absent without one."},
		{"vpngw_tunnel_child_sas", gauge, ofTunnel(), "Child SAs that carry packets both ways."},
		{"vpngw_tunnel_child_sa_age_seconds", gauge, ofTunnel(), "Age of the oldest Child SA; absent without one."},
		{"vpngw_tunnel_ike_handshakes_total", counter, ofTunnel("outcome"), "IKE SAs with the tunnel's peer: established, whoever began, and failed attempts of this end."},
		{"vpngw_tunnel_rekeys_total", counter, ofTunnel("sa", "outcome"), "Rekeys of the ike and child SAs: done, whoever began, and failed ones of this end (refused, not answered, or not in time)."},
		{"vpngw_tunnel_bytes_total", counter, ofTunnel("direction"), "Bytes of inner packets that were carried, in and out, over all SAs and devices of the tunnel."},
		{"vpngw_tunnel_packets_total", counter, ofTunnel("direction"), "Inner packets that were carried, likewise."},
		{"vpngw_tunnel_dropped_packets_total", counter, ofTunnel("reason"), "Packets of the tunnel that were dropped, likewise; the reasons are those of vpngw counters."},
		{"vpngw_tunnel_device_dropped_packets_total", counter, ofTunnel(), "Packets that the kernel dropped because the queue of the TUN device was full, since the device was made."},
		{"vpngw_tunnel_liveness_checks_total", counter, ofTunnel("outcome"), "Liveness checks of this end (DPD): answered, and lost, after which the peer counts as dead."},
		{"vpngw_tunnel_liveness_round_trip_seconds", gauge, ofTunnel(), "Time to the last answer to a liveness check, repetitions included; absent before the first one."},
		{"vpngw_tunnel_health_state", gauge, ofTunnel("state"), "1 for what the health check says, 0 for the others: unknown, healthy, ill; absent without a health check of this end."},
		{"vpngw_tunnel_health_pings_total", counter, ofTunnel("outcome"), "Pings of the health check: answered in time, and lost."},
		{"vpngw_tunnel_health_round_trip_seconds", gauge, ofTunnel(), "Round trip of the last ping that was answered."},
		{"vpngw_tunnel_switches_total", counter, ofTunnel(), "How often the traffic of two tunnels moved to this one: failovers, and returns to the active tunnel."},
		{"vpngw_tunnel_bgp_state", gauge, ofTunnel("state"), "1 for the state of the BGP session, 0 for the others: idle, connecting, opening, established; absent without BGP."},
		{"vpngw_tunnel_bgp_state_start_time_seconds", gauge, ofTunnel(), "When the BGP session came into its state, as Unix time."},
		{"vpngw_tunnel_bgp_prefixes", gauge, ofTunnel("kind"), "Prefixes of the BGP session: accepted, announced, and refused."},
		{"vpngw_tunnel_bgp_flaps_total", counter, ofTunnel(), "How often the BGP session ended."},
		{"vpngw_tunnel_bfd_state", gauge, ofTunnel("state"), "1 for the state of the BFD session, 0 for the others: rests, down, init, up; absent without BFD."},
		{"vpngw_tunnel_bfd_discarded_packets_total", counter, ofTunnel(), "Packets of BFD that were not the neighbour's or came through a router, since the device was made."},

		{"vpngw_group_tunnels", gauge, []string{"group"}, "Tunnels that stand in for each other: those of a connection with two, or of a pair."},
		{"vpngw_group_tunnels_up", gauge, []string{"group"}, "How many of them are up."},

		{"vpngw_ike_half_open_sas", gauge, nil, "IKE SAs that somebody has begun and not finished."},
		{"vpngw_ike_cookies_sent_total", counter, nil, "First messages of IKEv2 that were answered by a cookie, because too many IKE SAs were half-open."},
		{"vpngw_ike_refused_messages_total", counter, []string{"reason"}, "IKE messages that were refused or dropped; queue-full: they came faster than they could be handled."},
		{"vpngw_ike_handshake_seconds", histogram, nil, "From the begin of an attempt of this end to the established IKE SA."},
		{"vpngw_rekey_seconds", histogram, []string{"sa"}, "Exchanges of this end that rekeyed a child or ike SA; the latter of IKEv2."},
		{"vpngw_liveness_round_trip_seconds", histogram, nil, "Liveness checks of this end (DPD), repetitions included."},
		{"vpngw_health_round_trip_seconds", histogram, nil, "Pings of health checks."},
		{"vpngw_dropped_packets_total", counter, []string{"reason"}, "Packets that the data plane dropped, those of tunnels included."},
		{"vpngw_cleartext_dropped_packets_total", counter, nil, "Packets that came in clear from networks behind the tunnels, and that the kernel dropped."},
		{"vpngw_engine_cpu_seconds_total", counter, []string{"engine"}, "Processor time of each thread that carries packets. Its rate is the thread's load, 1 at most."},
		{"vpngw_control_loop_busy_seconds_total", counter, nil, "Time for which the control loop was at work. Its rate is the loop's load, 1 at most."},
		{"vpngw_socket_kernel_dropped_packets_total", counter, []string{"socket", "local"}, "Packets that the kernel dropped at a socket: ike (port 500), natt (ESP on port 4500), natt-ike (IKE on port 4500), esp (protocol 50)."},
		{"vpngw_socket_send_errors_total", counter, []string{"socket", "local"}, "Datagrams that the kernel refused to send."},
		{"vpngw_reload_pending", gauge, []string{"state"}, "1: what runs is not what the file says for good: unconfirmed (reload --confirm waits for vpngw confirm), gone-back (none came)."},
		{"vpngw_build_info", gauge, []string{"version", "goversion"}, "The running version; always 1."},
	}
}
