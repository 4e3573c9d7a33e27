package gateway

import (
	"time"

	"vpngw/diag"
	"vpngw/doctor"
	"vpngw/esp"
	"vpngw/tunnel"
)

// Status is the state of all connections, as `vpngw status --json` prints it.
type Status struct {
	Connections []ConnectionStatus `json:"connections"`
	// Obstacles are what of this host is in the way of all tunnels, and changes only by a person.
	Obstacles []doctor.Finding `json:"obstacles,omitempty"`
}

// ConnectionStatus is one connection of the config file.
type ConnectionStatus struct {
	Name    string         `json:"name"`
	Dialect string         `json:"dialect"`
	Side    string         `json:"side"`
	Tunnels []TunnelStatus `json:"tunnels"`
	// Unserved lists features that the connection asks for and that vpngw does not serve yet.
	Unserved []string `json:"unserved,omitempty"`
}

// TunnelStatus is one tunnel of a connection.
type TunnelStatus struct {
	Name        string         `json:"name"`
	Role        string         `json:"role"`
	Active      bool           `json:"active"` // of two tunnels, the one that has the traffic; one alone is active
	State       tunnel.State   `json:"state"`
	Since       time.Time      `json:"since"`
	diag.Report                // the last failure; empty when up
	diag.Advice                // who has to change what; empty when up
	Device      string         `json:"device"`
	Local       string         `json:"local"`                 // outer address; empty while there is no route to the peer
	Remote      string         `json:"remote"`                // outer address; empty while the peer's name has none
	RemoteName  string         `json:"remote_name,omitempty"` // the name that is looked up for it
	RemoteNth   int            `json:"remote_nth,omitempty"`  // which of the addresses of that name, from 1; none where it has one
	RemoteOf    int            `json:"remote_of,omitempty"`   // of how many
	IKE         *IKEStatus     `json:"ike"`                   // null: no IKE SA
	Children    []ChildStatus  `json:"children"`
	Traffic     TrafficStatus  `json:"traffic"`
	Health      *HealthStatus  `json:"health,omitempty"`  // this end does not ping: none
	BFD         *BFDStatus     `json:"bfd,omitempty"`     // no BFD: none
	Session     *SessionStatus `json:"session,omitempty"` // of BGP; no BGP: none
	// Exposed says what of the tunnel leaves the daemon for somebody who looks for a mistake.
	Exposed []ExposureStatus `json:"exposed,omitempty"`
	// Obstacles are what of this host is in the way of this tunnel.
	Obstacles []doctor.Finding `json:"obstacles,omitempty"`
	// Leak says where the kernel would send packets that the tunnel's routes cover: "none", all go into a tunnel or are
	// dropped, or "possible", some leave in clear. Empty: there are too many tunnels to ask for all.
	Leak     Leak      `json:"leak,omitempty"`
	LeakWhy  string    `json:"leak_why,omitempty"` // empty when none is possible
	LeakCode diag.Code `json:"leak_code,omitempty"`
}

// ExposureStatus is a key log or a capture of a tunnel.
type ExposureStatus struct {
	What  Exposure   `json:"what"`
	Until *time.Time `json:"until,omitempty"` // none: as long as the daemon runs (`run --insecure-keylog`)
}

// IKEStatus is the IKE SA of a tunnel. SPIs are hexadecimal.
type IKEStatus struct {
	Version  int    `json:"version"`
	Mode     string `json:"mode,omitempty"` // of IKEv1: "main", "aggressive"
	State    string `json:"state"`
	Proposal string `json:"proposal"`
	NAT      string `json:"nat"`
	Encap    bool   `json:"encap"`
	SPIi     string `json:"spi_i"`
	SPIr     string `json:"spi_r"`
}

// TrafficStatus counts the inner packets of a tunnel over all its SAs since the daemon's start.
type TrafficStatus struct {
	BytesIn    uint64 `json:"bytes_in"`
	BytesOut   uint64 `json:"bytes_out"`
	PacketsIn  uint64 `json:"packets_in"`
	PacketsOut uint64 `json:"packets_out"`
}

func (t *TrafficStatus) add(c esp.Counters) {
	t.BytesIn += c.BytesIn
	t.BytesOut += c.BytesOut
	t.PacketsIn += c.PacketsIn
	t.PacketsOut += c.PacketsOut
}

// ChildStatus is one pair of ESP SAs.
type ChildStatus struct {
	SPIIn      string            `json:"spi_in"`
	SPIOut     string            `json:"spi_out"`
	Proposal   string            `json:"proposal"`
	LocalTS    []string          `json:"local_ts"`
	RemoteTS   []string          `json:"remote_ts"`
	BytesIn    uint64            `json:"bytes_in"`
	BytesOut   uint64            `json:"bytes_out"`
	PacketsIn  uint64            `json:"packets_in"`
	PacketsOut uint64            `json:"packets_out"`
	Drops      map[string]uint64 `json:"drops"`
	Note       string            `json:"note,omitempty"` // what the peer left out, and what is done in place of it
}

// RefusedStatus is a prefix that a BGP peer tells and that is not accepted.
type RefusedStatus struct {
	Prefix string `json:"prefix"`
	diag.Report
}

// SessionStatus is the BGP session of a tunnel.
type SessionStatus struct {
	State    string    `json:"state"` // idle, connecting, opening, established
	Since    time.Time `json:"since"`
	Local    string    `json:"local"` // addresses in the tunnel
	Remote   string    `json:"remote"`
	LocalAS  uint32    `json:"local_as"`
	RemoteAS uint32    `json:"remote_as"`
	In       int       `json:"prefixes_in"` // accepted
	Out      int       `json:"prefixes_out"`
	Refused  int       `json:"prefixes_refused"`
	Complete bool      `json:"complete"` // the peer has told all that it has
	Stale    bool      `json:"stale"`    // the routes are those of before a start of the peer's or of our child
	Flaps    int       `json:"flaps"`
	Hold     float64   `json:"hold_s"` // as negotiated; 0: not yet
	// Which prefixes were refused, and why: the newest, at most bgp.MaxRefused.
	Reasons     []RefusedStatus `json:"refused,omitempty"`
	diag.Report                 // why it is not established, or why it last ended
}
