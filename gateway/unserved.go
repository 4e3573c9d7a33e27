package gateway

import (
	"slices"

	"vpngw/config"
)

// served are the features of a connection that this daemon serves.
var served = config.Features{config.HealthChecks, config.BGPSessions, config.Failover}

// Unserved returns the features that a connection asks for and that this daemon does not serve yet.
func Unserved(c *config.Connection) config.Features {
	return slices.DeleteFunc(c.Features(), func(f config.Feature) bool { return slices.Contains(served, f) })
}
