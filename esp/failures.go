package esp

import (
	"errors"
	"net"
	"os"
)

// failures counts the reads that failed one after another. Some errors are of
// one packet (an ICMP error that was queued on a UDP socket, a packet the
// device could not cut); a device or socket that only fails is broken.
type failures int

const maxFailures = 100

// end reports whether a loop must end over err: without an error where what it
// read from was closed.
func (f *failures) end(err error) (bool, error) {
	if errors.Is(err, os.ErrClosed) || errors.Is(err, net.ErrClosed) {
		return true, nil
	}
	*f++
	if *f >= maxFailures {
		return true, err
	}
	return false, nil
}
