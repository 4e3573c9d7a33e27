package dialect

import "net/netip"

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

// Chosen is about v, a value that is absent and that the cloud chooses then. On the
// customer's side a daemon can't run without it: that is noted, with answer, the
// cloud's request that tells it. On the cloud's side it is this host's to choose.
func (c *Check) Chosen(v *Value, conn *Connection, what Choice, answer string) {
	if conn.Side == Cloud {
		conn.Choices = append(conn.Choices, what)
		return
	}
	c.WarnRun(v, Missing, "%s is not given: the cloud chose this value; copy it from %s", v.Row.Name, answer)
}
