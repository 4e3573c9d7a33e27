package host

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A process's memory is in /proc/PID/statm, which nobody else may see where /proc hides other processes (hidepid, a
// unit's ProtectProc=). So the child opens its own before it speaks with anybody, and hands it over.

// handOverMemory sends the parent this process's statm.
func handOverMemory() error {
	f, err := os.Open("/proc/self/statm")
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Sendmsg(childHold, []byte{0}, unix.UnixRights(int(f.Fd())), nil, unix.MSG_NOSIGNAL)
}

// RSS returns how many bytes of memory the child holds; 0 when that cannot be read.
func (c *Child) RSS() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.statm == nil {
		c.statm = c.takeMemory()
	}
	if c.statm == nil {
		return 0
	}
	var text [128]byte
	n, _ := c.statm.ReadAt(text[:], 0)
	fields := strings.Fields(string(text[:n]))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// takeMemory receives what handOverMemory sent, and nothing after that.
func (c *Child) takeMemory() (f *os.File) {
	socket, err := c.hold.SyscallConn()
	if err != nil {
		return nil
	}
	socket.Control(func(fd uintptr) {
		control := make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := unix.Recvmsg(int(fd), make([]byte, 1), control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			return
		}
		unix.Shutdown(int(fd), unix.SHUT_RD)
		messages, err := unix.ParseSocketControlMessage(control[:n])
		if err != nil || len(messages) == 0 {
			return
		}
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
			f = os.NewFile(uintptr(fds[0]), "statm")
		}
	})
	return f
}

// forgetMemory is called when the child has ended.
func (c *Child) forgetMemory() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.statm != nil {
		c.statm.Close()
	}
}
