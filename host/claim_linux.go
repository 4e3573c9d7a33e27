package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"vpngw/diag"
)

// claimName is an abstract Unix socket. The kernel keeps such names by network namespace and frees
// one when its process ends, however that ends.
const claimName = "vpngw"

// ClaimedError says that another process is the vpngw of this network namespace, or holds its name.
type ClaimedError struct{ Holder string }

func (e *ClaimedError) Error() string { return e.Cause().String() }

// Cause returns the error as a diag.Cause.
func (e *ClaimedError) Cause() diag.Cause { return diag.Cause{Code: diag.Running, Name: e.Holder} }

// Claim makes h the only vpngw of its caller's network namespace until Close, or the end of the
// process. It returns a *ClaimedError if another process is that. Whatever else h may do here, it
// must do after Claim: objects with our marks are an earlier run's only if no other run is alive.
func (h *Host) Claim() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.claim()
}

func (h *Host) claim() error {
	if h.claimed != nil {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("claim the network namespace: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: "@" + claimName})
	if err == nil {
		err = unix.Listen(fd, 16) // so that whoever connects learns who holds it; nobody is accepted
	}
	switch {
	case err == nil:
		h.claimed = os.NewFile(uintptr(fd), "claim")
		return nil
	case errors.Is(err, unix.EADDRINUSE):
		err = &ClaimedError{claimant()}
	default:
		err = fmt.Errorf("claim the network namespace: %w", err)
	}
	unix.Close(fd)
	return err
}

// claimant describes the process that holds the claim: `vpngw (pid 815, uid 0)`. The processes that have
// the socket open come before the one that made it, which may have ended; the kernel remembers its
// user in any case.
func claimant() string {
	inode, uid := claimSocket()
	name, pid := socketProcess(fmt.Sprint(inode))
	if c := claimMaker(); c != nil && pid == 0 {
		uid, pid = int64(c.Uid), int(c.Pid)
	}
	switch {
	case pid == 0 && uid < 0:
		return "another process"
	case pid == 0:
		return fmt.Sprintf("a process that is not visible here (uid %d)", uid)
	case name == "":
		name = "a process"
	}
	if uid < 0 {
		return fmt.Sprintf("%s (pid %d)", name, pid)
	}
	return fmt.Sprintf("%s (pid %d, uid %d)", name, pid, uid)
}

// claimSocket returns the inode and the user of the socket that has the name; 0 and -1: the kernel does
// not tell.
func claimSocket() (inode uint32, uid int64) {
	const size, show, name, user = 24, 1 | 0x40, 0, 7 // struct unix_diag_req, UDIAG_SHOW_NAME|UID, UNIX_DIAG_NAME, _UID
	b := make([]byte, size)
	b[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(b[4:], ^uint32(0)) // in every state
	binary.NativeEndian.PutUint32(b[12:], show)
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	req.AddRawData(b)
	sockets, _ := req.Execute(unix.NETLINK_SOCK_DIAG, 0)
	for _, s := range sockets {
		const header = 16 // struct unix_diag_msg
		found, owner := false, int64(-1)
		for _, a := range attributes(s, header) {
			switch {
			case a.Attr.Type == name:
				found = string(a.Value) == "\x00"+claimName
			case a.Attr.Type == user && len(a.Value) == 4:
				owner = int64(binary.NativeEndian.Uint32(a.Value))
			}
		}
		if found && s[1] == unix.SOCK_STREAM { // each type of socket has names of its own
			return binary.NativeEndian.Uint32(s[4:]), owner
		}
	}
	return 0, -1
}

// claimMaker returns the process that listens under the name, as it was when it began; nil: none does, or
// too many wait for its answer.
func claimMaker() *unix.Ucred {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	if unix.Connect(fd, &unix.SockaddrUnix{Name: "@" + claimName}) != nil {
		return nil
	}
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil
	}
	return c
}
