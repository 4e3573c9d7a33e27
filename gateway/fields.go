package gateway

import (
	"reflect"
	"strings"

	"vpngw/config"
)

// field is one setting of a connection or a tunnel, with its name for people.
type field struct {
	path string // of the struct's field, from a judged
	name string
	idle bool // nothing that runs depends on it
	bgp  bool // only BGP depends on it
}

// fields are all settings. A reflection test fails when one is missing, and another when a class that Plan
// gives is not what happens.
var fields = []field{
	{path: "Conn.Name", name: "name"},
	{path: "Conn.Dialect", name: "dialect", idle: true},
	{path: "Conn.Side", name: "side", idle: true}, // what it turns round differs by itself
	{path: "Conn.Routing", name: "routing", idle: true},
	{path: "Conn.Partial", name: "partial", idle: true},
	{path: "Conn.Pair", name: "pair"},
	{path: "Conn.Switching.Hold", name: "failover hold"},
	{path: "Conn.Switching.Manual", name: "switch back"},
	{path: "Conn.Switching.Balance", name: "balance"},

	{path: "Tunnel.Name", name: "name of the tunnel"},
	{path: "Tunnel.Role", name: "role"},
	{path: "Tunnel.Local.Address", name: "local address"},
	{path: "Tunnel.Local.Host", name: "local name", idle: true},
	{path: "Tunnel.Local.Any", name: "local end anywhere", idle: true},
	{path: "Tunnel.Local.Port", name: "local port", idle: true},
	{path: "Tunnel.Local.ID", name: "local identity"},
	{path: "Tunnel.Local.ASN", name: "local AS", bgp: true},
	{path: "Tunnel.Local.Subnets", name: "local networks"},
	{path: "Tunnel.Remote.Address", name: "remote address"},
	{path: "Tunnel.Remote.Host", name: "remote name"},
	{path: "Tunnel.Remote.Any", name: "peer from anywhere"},
	{path: "Tunnel.Remote.Port", name: "remote port"},
	{path: "Tunnel.Remote.ID", name: "remote identity"},
	{path: "Tunnel.Remote.ASN", name: "remote AS", bgp: true},
	{path: "Tunnel.Remote.Subnets", name: "remote networks"},
	{path: "Tunnel.Inside", name: "local inside address"},
	{path: "Tunnel.Peer", name: "remote inside address", bgp: true},
	{path: "Tunnel.IKEVersion", name: "IKE version"},
	{path: "Tunnel.Aggressive", name: "IKEv1 mode"},
	{path: "Tunnel.PSK", name: "pre-shared key"},
	{path: "Tunnel.IKEProposals", name: "IKE proposals"},
	{path: "Tunnel.IKELifetime", name: "IKE lifetime"},
	{path: "Tunnel.ESPProposals", name: "ESP proposals"},
	{path: "Tunnel.ESPLifetime", name: "ESP lifetime"},
	{path: "Tunnel.Children", name: "Child SAs"},
	{path: "Tunnel.Pairs", name: "pairs of networks"},
	{path: "Tunnel.Trunc96", name: "SHA-256 of ESP"},
	{path: "Tunnel.NATT", name: "NAT traversal"},
	{path: "Tunnel.Encap", name: "ESP encapsulation"},
	{path: "Tunnel.CopyDSCP", name: "DSCP"},
	{path: "Tunnel.DPD", name: "dead peer detection"},
	{path: "Tunnel.Start", name: "initiation"},
	{path: "Tunnel.Device", name: "device", idle: true}, // the device that it gets counts
	{path: "Device", name: "device"},
	{path: "Tunnel.Routes", name: "routes"},
	{path: "Tunnel.EarlyRekey", name: "early rekey"},
	{path: "Tunnel.MTU", name: "MTU"},
	{path: "Tunnel.DF", name: "fragmentation"},
	{path: "Tunnel.Pass", name: "before up"},
	{path: "Tunnel.Metric", name: "metric"},
	{path: "Tunnel.BGP", name: "BGP"},
	{path: "Tunnel.Health", name: "health check"},
	{path: "Tunnel.OwnHealth", name: "health check of our own"},
}

// judged are the settings that a tunnel runs with.
type judged struct {
	Conn   config.Connection // without its Tunnels
	Tunnel config.Tunnel
	Device string // the TUN's name
}

func judgedOf(c *config.Connection, t *config.Tunnel, device string) *judged {
	j := &judged{Conn: *c, Tunnel: *t, Device: device}
	j.Conn.Tunnels = nil
	return j
}

// of is the field's value in j.
func (f field) of(j *judged) reflect.Value {
	v := reflect.ValueOf(j).Elem()
	for name := range strings.SplitSeq(f.path, ".") {
		v = v.FieldByName(name)
	}
	return v
}

// equal reports whether two tunnels have the same value of the field.
func (f field) equal(a, b *judged) bool {
	return reflect.DeepEqual(f.of(a).Interface(), f.of(b).Interface())
}

// with is j with the field's value in o.
func (j judged) with(f field, o *judged) *judged {
	f.of(&j).Set(f.of(o))
	return &j
}
