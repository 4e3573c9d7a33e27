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
// The loop goes on: an error concerns a single packet, such as one that the device could not
// cut, and a host behind us could send such packets only; or the kernel is short of memory.
func pauseAfter(failed int) {
	if failed >= maxFailures {
		time.Sleep(failurePause)
	}
}
