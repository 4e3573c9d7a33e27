package dialect

import (
	"net/netip"

	"vpngw/config"
)

// Choice is a value that the body leaves to the cloud. Where this host is the cloud,
// it is made once, by the daemon, and kept; package chosen does that.
type Choice struct {
	What   What
	Tunnel int    // of the connection's
	Kept   string // the name under which it is kept; empty: one is made of the connection's

	Letters string         // of a key: what it is made of,
	Length  int            // and how long it is
	Within  netip.Prefix   // of addresses: where they lie,
	Not     []netip.Prefix // and where they don't
}

// What a Choice is of.
type What string

const (
	ChoosePSK    What = "psk"    // Tunnel.PSK
	ChooseInside What = "inside" // Tunnel.Inside and Peer: the hosts of a /30, the lower one the cloud's
	ChooseHealth What = "health" // Health.Source and Target: two addresses
)

// Chosen is called for v, an absent value that the cloud chooses then. On the cloud's
// side this host chooses it. On the customer's side the daemon can't run without it:
// the problem names answer, the cloud's answer that tells the value.
func (c *Check) Chosen(v *Value, d *Draft, what Choice, answer string) {
	if d.Side == config.Cloud {
		d.Choices = append(d.Choices, what)
		return
	}
	c.WarnRun(v, Missing, "%s is not given: the cloud chose this value; copy it from %s", v.Row.Name, answer)
}
