package esp

import (
	"errors"
	"net"
	"os"
	"time"
)

func isClosed(err error) bool {
	return errors.Is(err, os.ErrClosed) || errors.Is(err, net.ErrClosed)
}

const (
	maxFailures  = 100
	failurePause = 10 * time.Millisecond
)

// pauseAfter keeps a loop from spinning when its reads fail one after another.
// The loop goes on: an error concerns a single packet (an ICMP error that was
// queued on a UDP socket, a packet that the device could not cut), and a host
// behind us could send such packets only.
func pauseAfter(failed int) {
	if failed >= maxFailures {
		time.Sleep(failurePause)
	}
}
