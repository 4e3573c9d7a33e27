package lab

import (
	"encoding/json"
	"fmt"
)

// Config is vpngw's configuration file. It follows the documentation, and
// shares no type with the program.
type Config struct {
	Version          int              `json:"version"` // 0: 1 is written
	Side             string           `json:"side,omitempty"`
	Listen           []string         `json:"listen,omitempty"`
	Offload          *bool            `json:"offload,omitempty"`
	Discard          *bool            `json:"discard_cleartext,omitempty"`
	Threads          int              `json:"threads,omitempty"`
	Metrics          any              `json:"metrics,omitempty"`
	VPNGateways      map[string]Entry `json:"vpn_gateways,omitempty"`
	CustomerGateways map[string]Entry `json:"customer_gateways,omitempty"`
	Connections      []Connection     `json:"connections"`
}

// Entry is the address, or the addresses, of a gateway id.
type Entry struct {
	Address   string            `json:"address,omitempty"`
	Addresses map[string]string `json:"addresses,omitempty"` // instead: several, by their names
	ASN       uint32            `json:"asn,omitempty"`
	HAMode    string            `json:"ha_mode,omitempty"`
}

// Connection is one connection: a body and the keys beside it.
type Connection struct {
	Alibaba  any      `json:"alibaba,omitempty"` // the body
	Huawei   any      `json:"huawei,omitempty"`
	Tencent  any      `json:"tencent,omitempty"`
	Native   *Native  `json:"native,omitempty"`
	Name     string   `json:"name,omitempty"`
	Side     string   `json:"side,omitempty"`
	PSK      string   `json:"-"` // goes into a file that psk_file names
	PSKFile  string   `json:"psk_file,omitempty"`
	Start    string   `json:"start,omitempty"`
	Encap    string   `json:"encap,omitempty"`
	SHA25696 any      `json:"sha256_96,omitempty"`
	Device   string   `json:"device,omitempty"`
	Routes   []string `json:"routes,omitzero"`
	DPD      any      `json:"dpd,omitempty"`
	Lifetime any      `json:"lifetime,omitempty"`
	Allow    []string `json:"allow,omitempty"`
	BeforeUp string   `json:"before_up,omitempty"`
	MTU      int      `json:"mtu,omitempty"`
	DF       string   `json:"df,omitempty"`
	Pair     string   `json:"pair,omitempty"`
	Health   any      `json:"health,omitempty"`
	Failover any      `json:"failover,omitempty"`
	Balance  bool     `json:"balance,omitempty"`
	BGP      any      `json:"bgp,omitempty"`

	EarlyRekey bool `json:"early_rekey,omitempty"`
}

// Native is a connection in vpngw's own words.
type Native struct {
	IKEVersion int       `json:"ike_version"`
	Mode       string    `json:"mode,omitempty"` // of IKEv1
	NATT       *bool     `json:"natt,omitempty"`
	Initiate   *bool     `json:"initiate,omitempty"`
	Local      NativeEnd `json:"local"`
	Remote     NativeEnd `json:"remote"`
	IKE        NativeIKE `json:"ike"`
	ESP        NativeESP `json:"esp"`
	Children   string    `json:"children,omitempty"`

	Inside map[string]string `json:"inside,omitempty"` // the addresses in the tunnel, "local" and "remote"
}

// NativeEnd is one end of a Native.
type NativeEnd struct {
	Address string   `json:"address"`
	Port    int      `json:"port,omitempty"` // of the peer's IKE
	ASN     any      `json:"asn,omitempty"`  // a number, or in two halves with a dot
	ID      string   `json:"id,omitempty"`
	Subnets []string `json:"subnets"`
}

// NativeIKE is the IKE SA of a Native.
type NativeIKE struct {
	Proposals []string `json:"proposals"`
	Lifetime  string   `json:"lifetime,omitempty"`
}

// NativeESP is the Child SAs of a Native.
type NativeESP struct {
	Proposals []string `json:"proposals"`
	Lifetime  string   `json:"lifetime,omitempty"`
	Bytes     int64    `json:"bytes,omitempty"`
	Packets   int64    `json:"packets,omitempty"`
	ESN       string   `json:"esn,omitempty"`
}

// write puts the configuration and its keys into files of the Lab and returns
// the configuration's path. JSON is YAML.
func (c Config) write(l *Lab, role string) string {
	l.Helper()
	c.Version = max(c.Version, 1)
	conns := c.Connections
	c.Connections = nil
	for i, conn := range conns {
		if conn.PSK != "" {
			conn.PSKFile = l.File(fmt.Sprintf("%s-%d.psk", role, i), conn.PSK)
		}
		c.Connections = append(c.Connections, conn)
	}
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		l.Fatalf("lab: %v", err)
	}
	return l.File(role+".yaml", string(b)+"\n")
}
