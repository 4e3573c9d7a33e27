package show

import (
	"fmt"
	"time"

	"vpngw/gateway"
)

// Exposed says what of a tunnel leaves the daemon.
func Exposed(tunnel string, x gateway.ExposureStatus) string {
	return Plain(tunnel) + ": " + exposed(x)
}

func exposed(x gateway.ExposureStatus) string {
	until := "as long as the daemon runs (run --insecure-keylog)"
	if x.Until != nil {
		until = "until " + x.Until.Local().Format(time.TimeOnly) + " at most"
	}
	if x.What == gateway.Packets {
		return fmt.Sprintf("its packets are recorded in clear %s (vpngw capture)", until)
	}
	if x.Until != nil {
		until += " (vpngw keylog)"
	}
	return "its keys are written down " + until
}
