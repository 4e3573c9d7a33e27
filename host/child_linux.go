package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ChildUser is the user that a child of root runs as, if the machine has it; otherwise nobody.
const ChildUser = "vpngw-bgp"

// childHold is the child's end of a socket that ends with this process.
const childHold = 3

// ChildSpec describes a child process, which runs this very program.
type ChildSpec struct {
	Program string   // empty: this one
	Args    []string // behind the program's name; every local user can read them
	// Dir is made for the child's files, and nobody else's.
	Dir string
	// Stderr takes what the child writes; a slow one holds the child up.
	Stderr io.Writer
	Memory int64 // bytes of Go's heap that the child's collector aims to stay within
}

// Child is a process that speaks with strangers for us. It has no file of ours, no capability but
// CAP_NET_BIND_SERVICE, and it ends with this process. Its methods are safe for concurrent use.
type Child struct {
	process *os.Process
	hold    *os.File // our end of a socket: its end is the child's
	owner   int      // the user it runs as
	done    chan struct{}
	err     error // once done is closed

	mu    sync.Mutex
	statm *os.File // its /proc/PID/statm, once it has handed it over
}

// StartChild starts a child in the Host's network namespace. The child has to call Confine.
func (h *Host) StartChild(spec ChildSpec) (*Child, error) {
	c := &Child{owner: os.Geteuid(), done: make(chan struct{})}
	started := make(chan error, 1)
	// The parent-death signal follows the thread that forks, and what it changes is the thread's alone: so
	// the thread stays with the child, and goes with it.
	go func() {
		runtime.LockOSThread() // never unlocked
		defer close(c.done)
		cmd, err := h.startChild(c, spec)
		started <- err
		if err != nil {
			return
		}
		c.err = cmd.Wait()
		c.hold.Close()
		c.forgetMemory()
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

// startChild runs on a thread of its own.
func (h *Host) startChild(c *Child, spec ChildSpec) (*exec.Cmd, error) {
	attr := &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // a terminal's ^C is for us
	}
	var gid int
	if c.owner == 0 {
		var err error
		if c.owner, gid, err = childUser(); err != nil {
			return nil, err
		}
		attr.Credential = &syscall.Credential{Uid: uint32(c.owner), Gid: uint32(gid)}
	}
	if err := ownDir(spec.Dir, c.owner, gid); err != nil {
		return nil, err
	}
	if err := h.enterSpace(); err != nil {
		return nil, err
	}
	// A program with capabilities of its own, or a thread with ambient ones, would hand them on.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("no new privileges: %w", err)
	}
	kept, err := onlyAmbient(unix.CAP_NET_BIND_SERVICE)
	if err != nil {
		return nil, fmt.Errorf("ambient capabilities: %w", err)
	}
	if !kept || attr.Credential != nil { // a change of the user takes them away
		attr.AmbientCaps = []uintptr{unix.CAP_NET_BIND_SERVICE}
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	hold, r := os.NewFile(uintptr(ends[0]), "child"), os.NewFile(uintptr(ends[1]), "parent")
	defer r.Close()
	program := spec.Program
	if program == "" {
		program = "/proc/self/exe" // also where the file has been replaced, or lies in a directory that is closed to the child
	}
	cmd := exec.Command(program, spec.Args...)
	cmd.Args[0] = "vpngw"
	cmd.Dir = "/"
	cmd.Env = []string{
		"GOMEMLIMIT=" + strconv.FormatInt(spec.Memory, 10), "GOGC=50", "GOMAXPROCS=1", "GOTRACEBACK=single",
		// go.mod says multipathtcp=0 too: TCP's MD5 option does nothing on an MPTCP socket. The table of a memory profile would be a third of
		// an idle child.
		"GODEBUG=multipathtcp=0,memprofilerate=0",
	}
	cmd.Stderr = spec.Stderr
	cmd.ExtraFiles = []*os.File{r}
	cmd.SysProcAttr = attr
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		hold.Close()
		if errors.Is(err, unix.EPERM) && c.owner != os.Geteuid() {
			return nil, fmt.Errorf("cannot start a process of user %d: %w: CAP_SETUID, CAP_SETGID and CAP_NET_BIND_SERVICE are needed", c.owner, err)
		}
		return nil, err
	}
	c.process, c.hold = cmd.Process, hold
	return cmd, nil
}

// onlyAmbient takes from the calling thread every ambient capability but one. It reports whether the thread has that one: then a
// program keeps it without capset(2), which a unit of systemd may not allow.
func onlyAmbient(keep uintptr) (bool, error) {
	for c := uintptr(0); ; c++ {
		if c == keep {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_LOWER, c, 0, 0); errors.Is(err, unix.EINVAL) && c > 0 {
			break // this kernel has no more of them
		} else if err != nil {
			return false, err
		}
	}
	set, err := unix.PrctlRetInt(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, keep, 0, 0)
	return set == 1, err
}

// enterSpace puts the calling thread into the Host's network namespace.
func (h *Host) enterSpace() error {
	var mine, wanted unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &mine); err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	if err := unix.Fstat(int(h.space.Fd()), &wanted); err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	if mine.Dev == wanted.Dev && mine.Ino == wanted.Ino {
		return nil
	}
	if err := unix.Setns(int(h.space.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	return nil
}

// childUser finds the user of root's children.
func childUser() (uid, gid int, err error) {
	for _, name := range []string{ChildUser, "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uerr := strconv.Atoi(u.Uid)
		gid, gerr := strconv.Atoi(u.Gid)
		if uerr == nil && gerr == nil && uid != 0 {
			return uid, gid, nil
		}
	}
	return 0, 0, fmt.Errorf("this machine has no user %s and no user nobody: BGP's process must not run as root", ChildUser)
}

// ownDir makes a directory that only its owner can use.
func ownDir(dir string, uid, gid int) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	// Whoever could write to the directory above might have put a link there.
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EACCES) {
		// Root without CAP_DAC_READ_SEARCH cannot open what it has given to the child already.
		var s unix.Stat_t
		if lerr := unix.Lstat(dir, &s); lerr == nil && s.Mode == unix.S_IFDIR|0o700 && int(s.Uid) == uid {
			return nil
		}
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	var s unix.Stat_t
	if err := unix.Fstat(fd, &s); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if s.Mode&0o777 != 0o700 {
		if err := unix.Fchmod(fd, 0o700); err != nil {
			return &os.PathError{Op: "chmod", Path: dir, Err: err}
		}
	}
	if int(s.Uid) == uid {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s belongs to another user", dir)
	}
	if err := unix.Fchown(fd, uid, gid); err != nil {
		return &os.PathError{Op: "chown", Path: dir, Err: err}
	}
	return nil
}

// Wait returns when the child has ended and the kernel has let go of it. The error says how it ended; nil is a
// proper end.
func (c *Child) Wait() error {
	<-c.done
	return c.err
}

// Stop asks the child to end, by ending its socket. Wait tells when it has.
func (c *Child) Stop() { c.hold.Close() }

// Kill ends the child at once. Wait tells when.
func (c *Child) Kill() error {
	err := c.process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// PID is the child's process id.
func (c *Child) PID() int { return c.process.Pid }

// Dial connects to a Unix socket of the child. Its directory is closed to root too, unless root has CAP_DAC_OVERRIDE.
func (c *Child) Dial(ctx context.Context, path string) (conn net.Conn, err error) {
	err = c.asOwner(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
		return err
	})
	return conn, err
}

// Remove removes a file of the child's.
func (c *Child) Remove(path string) error { return c.asOwner(func() error { return os.Remove(path) }) }

// asOwner calls f on a thread that the file system takes for the child's user.
func (c *Child) asOwner(f func() error) error {
	if c.owner == os.Geteuid() {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its user
		if err := unix.Setfsuid(c.owner); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}
