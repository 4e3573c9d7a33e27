package dialect

import (
	"net/netip"

	"vpngw/config"
)

// Choice is a value that the body leaves to the cloud. Where this host is the cloud,
// the daemon makes the value once and keeps it; package chosen does that.
type Choice struct {
	What   What
	Tunnel int    // index of the tunnel
	Kept   string // the name under which the value is kept

	Letters string         // of a key: its alphabet
	Length  int            // of a key
	Within  netip.Prefix   // of addresses: the block they come from
	Not     []netip.Prefix // of addresses: blocks in Within that they avoid
}

// What says which value a Choice is.
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
