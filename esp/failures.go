package esp

import (
	"errors"
	"net"
	"os"
)

// maxFailures is how many reads may fail one after another. Some errors are of
// one packet (an ICMP error that was queued on a UDP socket, a packet that the
// device could not cut); what only fails is broken.
const maxFailures = 100

func isClosed(err error) bool {
	return errors.Is(err, os.ErrClosed) || errors.Is(err, net.ErrClosed)
}
