package load

import (
	"slices"
	"strconv"
	"time"

	"vpngw/config"
	"vpngw/config/alibaba"
	"vpngw/config/dialect"
	"vpngw/config/huawei"
	"vpngw/config/native"
	"vpngw/config/tencent"
	"vpngw/dpd"
)

// dialects are the ways to write a connection down. Another cloud is one more entry.
var dialects = []*dialect.Dialect{native.Dialect, alibaba.Dialect, huawei.Dialect, tencent.Dialect}

// Table is the table of the whole file. All other tables are parts of it.
func Table() *dialect.Row { return fileRow }

// Dialects are the ways to write a connection down.
func Dialects() []*dialect.Dialect { return slices.Clone(dialects) }

// DialectOf is the dialect called name, or nil.
func DialectOf(name string) *dialect.Dialect {
	for _, d := range dialects {
		if d.Name == name {
			return d
		}
	}
	return nil
}

var sides = map[string]config.Side{"customer": config.Customer, "cloud": config.Cloud}

var side = dialect.Enum{Words: []string{"customer", "cloud"}}

// fileRow is the table of the file itself.
var fileRow = &dialect.Row{Name: "config", Type: &dialect.Object{Rows: []dialect.Row{
	{Name: "version", Type: dialect.Int{Min: 1, Max: 1}, Required: true, Doc: "version of the file's form: 1"},
	{Name: "side", Type: side, Default: "customer", Goes: "-", Doc: "which end this host is"},
	{Name: "listen", Type: dialect.List{Of: dialect.Addr{}, Max: 256}, Doc: "this host's underlay addresses that the daemon uses; all by default"},
	{Name: "offload", Type: dialect.Bool{}, Default: "true", Doc: "move super-packets between TUN and sockets in one pass; no: one packet at a time, which is slower"},
	{Name: "raw_frames", Type: dialect.Bool{}, Default: "true", Doc: "send ESP outside UDP as Ethernet frames where nothing but the speed differs; no: always through the IP stack"},
	{Name: "discard_cleartext", Type: dialect.Bool{}, Default: "true", Doc: "discard packets from networks that are routed into a tunnel unless they come through one; no: accept them from every device"},
	{Name: "threads", Type: dialect.Int{Min: 1, Max: 64}, Doc: "threads that carry packets; by default one, and one for protocol 50; with four or more processors one for each direction, with eight or more two for what goes out"},
	{Name: "metrics", Type: metricsObject, Doc: "metrics for Prometheus, which are always on the control socket too"},
	{Name: "vpn_gateways", Type: dialect.Table{Of: dialect.VPNGateway, Name: "vpn_gateways"}, Doc: "the cloud's gateways by id"},
	{Name: "customer_gateways", Type: dialect.Table{Of: dialect.CustomerGateway, Name: "customer_gateways"}, Doc: "the customer's gateways by id"},
	{Name: "connections", Type: dialect.List{Of: connectionObject(), Name: "connection", Max: 100_000}, Required: true, Doc: "the connections"},
}}}

// connectionObject is the table of one connection: a body in one dialect, and the
// parameters beside it.
func connectionObject() *dialect.Object {
	o := &dialect.Object{Rows: []dialect.Row{
		{Name: "name", Type: dialect.Text{Min: 1, Max: 100, Check: config.CheckName}, Goes: "name", Doc: "unique; the body's name by default, else DIALECT-N"},
		{Name: "side", Type: side, Goes: "-", Doc: "overrides the file's"},
		{Name: "psk_file", Type: oneOrMore(dialect.Text{Min: 1, Max: 4096}), Goes: "pre-shared key", Doc: "the pre-shared key, in a file that others can neither read nor change, or as credential:NAME, which systemd hands over; or a list, one for each tunnel"},
		{Name: "partial", Type: dialect.Bool{}, Default: "no", Goes: "partial", Doc: "run the connection without the features that are not served yet"},
		{Name: "pair", Type: dialect.Text{Min: 1, Max: 100, Check: config.CheckName}, Goes: "pair", Doc: "name of the pair, active and standby, that this connection and one other form; the same name beside both"},
		{Name: "start", Type: dialect.Enum{Words: []string{string(config.StartActive), string(config.StartPassive), string(config.StartOnTraffic)}}, Goes: "initiation", Doc: "when this end brings the tunnel up: at once, never, or when a packet is to go through it; the customer's end at once by default, the cloud's as the body says, else never"},
		{Name: "remote_port", Type: oneOrMore(dialect.Port), Goes: "remote port", Doc: dialect.PortDoc + "; or a list, one for each tunnel; in a native body it is remote.port"},
		{Name: "encap", Type: dialect.Enum{Words: []string{"auto", "always", "never"}}, Goes: "ESP encapsulation", Doc: "when ESP travels in UDP; auto: where there is a NAT"},
		{Name: "sha256_96", Type: dialect.Bool{}, Default: "no", Goes: "SHA-256 of ESP", Doc: "cut HMAC-SHA-256 of ESP to 96 bits"},
		{Name: "copy_dscp", Type: dialect.Bool{}, Default: "true", Goes: "DSCP", Doc: "copy the DSCP to the outer header"},
		{Name: "mtu", Type: dialect.Int{Min: 576, Max: 9216}, Goes: "MTU", Doc: "the largest packet inside the tunnel, in bytes; by default what fits on the path"},
		{Name: "df", Type: dialect.Enum{Words: []string{"auto", "set", "clear"}}, Default: "auto", Goes: "fragmentation", Doc: "set: ESP packets are never fragmented, and routers tell the path's MTU; auto: probes tell it too, where ICMP is filtered; clear: they may be fragmented"},
		{Name: "early_rekey", Type: dialect.Bool{}, Default: "no", Goes: "early rekey", Doc: "rekey the first Child SA of IKEv2 some seconds after it is up, so that a difference in PFS shows then and not after an hour"},
		{Name: "device", Type: oneOrMore(dialect.Text{Check: config.CheckDevice}), Goes: "device", Doc: "name of the TUN device; vpngwN by default; or a list, one for each tunnel"},
		{Name: "routes", Type: dialect.Prefixes{Max: 10_000, Empty: true}, Goes: "routes", Doc: "prefixes that are routed into the tunnel; the remote subnets by default"},
		{Name: "before_up", Type: dialect.Enum{Words: []string{"drop", "pass"}}, Default: "drop", Goes: "before up", Doc: "packets for the routes while no tunnel takes them, before it is first up and while the daemon does not run; drop: none leaves in clear; pass: they go where this host's other routes lead"},
		{Name: "metric", Type: dialect.Int{Min: 1, Max: config.MaxMetric}, Default: strconv.Itoa(config.DefaultMetric), Goes: "metric", Doc: "of the tunnel's routes, on this host; another program's route to the same prefix wins unless its metric is worse by more than 10"},
		{Name: "dpd", Type: dialect.Or{Scalar: dialect.Bool{}, Other: dpdObject}, Goes: "dead peer detection", Doc: "off, on, or interval, timeout and action"},
		{Name: "lifetime", Type: lifetimeObject, Doc: "overrides the body's"},
		{Name: "health", Type: healthObject, Goes: "own health check", Doc: "pings of this end through the tunnel, whatever the body has"},
		{Name: "bgp", Type: dialect.Or{Scalar: dialect.Bool{}, Other: bgpObject}, Goes: "BGP", Doc: "BGP in the tunnel: how its session is, yes for one by default, or no for none though the body asks for one"},
		{Name: "failover", Type: failoverObject, Doc: "how the traffic of two tunnels moves between them"},
		{Name: "balance", Type: dialect.Bool{}, Goes: "balance", Doc: "both tunnels of the connection, or of its pair, carry traffic at once, each flow through one of them; by default as ha_mode of the gateway in vpn_gateways says, else no"},
		{Name: "allow", Type: dialect.List{Of: dialect.Enum{Words: []string{allowNull}}, Name: "allow", Max: 8}, Goes: "-", Doc: "permits null-encryption, which is refused otherwise"},
	}}
	for _, d := range dialects {
		o.Rows = append(o.Rows, dialect.Row{Name: d.Name, Type: dialect.Request{Dialect: d}, Doc: "the connection, or the name of a file with it"})
	}
	return o
}

// oneOrMore is one value, or a list with one for each tunnel: of two, or of the connections of a batch.
func oneOrMore(t dialect.Type) dialect.Type {
	return dialect.Or{Scalar: t, Other: dialect.List{Of: t, Max: 1000}}
}

// ofTunnel is the i-th tunnel's value of a oneOrMore.
func ofTunnel(v *dialect.Value, i int) *dialect.Value {
	if items := v.Items(); i < len(items) {
		return items[i]
	}
	return v
}

var dpdObject = &dialect.Object{Rows: []dialect.Row{
	{Name: "interval", Type: dialect.Duration{Min: time.Second, Max: time.Hour}, Goes: "DPD interval", Doc: "silence after which the peer is asked"},
	{Name: "timeout", Type: dialect.Duration{Min: time.Second, Max: time.Hour}, Goes: "DPD timeout", Doc: "time without an answer after which the peer is dead; by default when retransmission ends"},
	{Name: "action", Type: dialect.Enum{Words: []string{"clear", "restart"}}, Goes: "DPD action", Doc: "restart: a dead peer is tried again at once; clear: its SAs go, and this end waits until the peer begins or the operator wants the tunnel up"},
	{Name: "message", Type: dialect.Enum{Words: []string{dpd.Mirror.String(), dpd.HashNotify.String(), dpd.NotifyHash.String()}}, Goes: "DPD messages", Doc: "order of the payloads in IKEv1's messages; auto: the peer's order"},
}}

var healthObject = &dialect.Object{Rows: []dialect.Row{
	{Name: "target", Type: dialect.Addr{}, Goes: "own health check target", Doc: "address that is pinged; by default the other end's in the tunnel"},
	{Name: "source", Type: dialect.Addr{}, Goes: "own health check source", Doc: "address that pings; by default this end's in the tunnel, else this host's in the local networks"},
	{Name: "interval", Type: dialect.Duration{Min: dpd.LeastInterval, Max: 24 * time.Hour}, Default: "5s", Goes: "own health check interval", Doc: "between pings"},
	{Name: "timeout", Type: dialect.Duration{Max: 24 * time.Hour}, Default: "0", Goes: "own health check timeout", Doc: "for the answer to one ping; 0: the interval"},
	{Name: "retries", Type: dialect.Int{Min: 1, Max: 86400}, Default: "3", Goes: "own health check retries", Doc: "unanswered pings in a row after which the tunnel is ill"},
	{Name: "policy", Type: native.HealthPolicy, Default: "revoke", Goes: "own health check policy", Doc: "revoke: the routes of an ill tunnel are taken away; reserve: they stay"},
}}

var failoverObject = &dialect.Object{Rows: []dialect.Row{
	{Name: "hold", Type: dialect.Duration{Min: time.Second, Max: 24 * time.Hour}, Default: "30s", Goes: "failover hold", Doc: "how long the active tunnel must have been well until the traffic goes back to it"},
	{Name: "switch_back", Type: dialect.Enum{Words: []string{"auto", "manual"}}, Default: "auto", Goes: "switch back", Doc: "manual: the traffic goes back by vpngw failback only"},
}}

const allowNull = "null-encryption"

var lifetimeObject = &dialect.Object{Rows: []dialect.Row{
	{Name: "ike", Type: native.Lifetime, Goes: "IKE lifetime", Doc: "of the IKE SA; 0: without end"},
	{Name: "esp", Type: native.Lifetime, Goes: "ESP lifetime", Doc: "of Child SAs; 0: without end"},
	{Name: "bytes", Type: native.Counter, Goes: "ESP bytes", Doc: "limit for what a Child SA carries; 0: none"},
	{Name: "packets", Type: native.Counter, Goes: "ESP packets", Doc: "limit for what a Child SA carries; 0: none"},
}}
