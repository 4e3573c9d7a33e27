package lab

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// widen gives the UDP sockets of a program a receive buffer of 16 MB. charon
// has no setting for it, and the kernel's default holds 90 full packets: with
// one TCP stream beside it, a program that does not run for 10 ms loses some.
// Such a loss would say nothing about vpngw.
func (p *Process) widen() error {
	pidfd, err := unix.PidfdOpen(p.PID(), 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID()))
	if err != nil {
		return err
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			continue // closed since
		}
		if t, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil && t == unix.SOCK_DGRAM {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
			if err != nil {
				unix.Close(fd)
				return err
			}
		}
		unix.Close(fd)
	}
	return nil
}
