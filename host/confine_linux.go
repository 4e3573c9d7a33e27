package host

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// childFiles bounds a child's open descriptors: a listener and a connection for each session, and what the
// runtime needs.
const childFiles = 256

// Undumpable keeps the memory of this process, which holds keys, from other processes of its user and from core
// dumps.
func Undumpable() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("not dumpable: %w", err)
	}
	return nil
}

// BeginChild is a child's first call. It returns a channel that is closed when the parent has ended.
func BeginChild() (ended <-chan struct{}, err error) {
	if err := Undumpable(); err != nil {
		return nil, err
	}
	unix.Umask(0o077)
	for resource, n := range map[int]uint64{unix.RLIMIT_NOFILE: childFiles, unix.RLIMIT_CORE: 0} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			return nil, fmt.Errorf("limits: %w", err)
		}
	}
	hold := os.NewFile(childHold, "parent")
	if info, err := hold.Stat(); err != nil || info.Mode().Type() != os.ModeSocket {
		return nil, errors.New("this command is for `vpngw run`, which starts it itself")
	}
	unix.CloseOnExec(childHold)
	if err := handOverMemory(); err != nil {
		return nil, fmt.Errorf("hand over statm: %w", err)
	}
	c := make(chan struct{})
	go func() {
		defer close(c)
		hold.Read(make([]byte, 1)) // nothing is ever written
	}()
	return c, nil
}

// Confine takes from this process for good: files, other programs, processes and the machine's name. TCP is left to it,
// on one port where the kernel can tell (Landlock). It returns what this kernel cannot take away.
func Confine(port uint16) (missing []error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		missing = append(missing, fmt.Errorf("privileges: %w", err))
	}
	if err := landlock(port); err != nil {
		missing = append(missing, fmt.Errorf("no Landlock: %w", err))
	}
	if err := filterCalls(); err != nil {
		missing = append(missing, fmt.Errorf("no seccomp: %w", err))
	}
	return missing
}

// landlockRights are the rights about files that came with each version of Landlock's interface.
var landlockRights = []uint64{
	1: 1<<13 - 1, // EXECUTE to MAKE_SYM
	2: unix.LANDLOCK_ACCESS_FS_REFER,
	3: unix.LANDLOCK_ACCESS_FS_TRUNCATE,
	5: unix.LANDLOCK_ACCESS_FS_IOCTL_DEV,
}

// landlockNetPort is struct landlock_net_port_attr.
type landlockNetPort struct{ access, port uint64 }

const landlockRuleNetPort = 2

// landlock leaves no file, and TCP from any port and to one.
func landlock(port uint16) error {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return errno
	}
	var attr unix.LandlockRulesetAttr
	size := unsafe.Sizeof(attr.Handled_access_fs)
	for v, rights := range landlockRights {
		if v <= int(version) {
			attr.Handled_access_fs |= rights
		}
	}
	if version >= 4 {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		size += unsafe.Sizeof(attr.Handled_access_net)
	}
	if version >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
		size += unsafe.Sizeof(attr.Scoped)
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return errno
	}
	defer unix.Close(int(fd))
	if version >= 4 {
		for _, rule := range []landlockNetPort{
			{unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, uint64(port)},
			{unix.LANDLOCK_ACCESS_NET_BIND_TCP, 0}, // a port of the kernel's choice
		} {
			if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, fd, landlockRuleNetPort, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
				return errno
			}
		}
	}
	// It counts for a thread and those that it makes.
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// refusedCalls fail with EPERM. uname is among them, as GoBGP tells every peer the machine's name.
var refusedCalls = append([]uint32{
	unix.SYS_UNAME,
	unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_TREE,
	unix.SYS_UNLINKAT, unix.SYS_RENAMEAT2, unix.SYS_MKDIRAT, unix.SYS_MKNODAT, unix.SYS_LINKAT, unix.SYS_SYMLINKAT,
	unix.SYS_FCHMODAT, unix.SYS_FCHOWNAT, unix.SYS_FCHMOD, unix.SYS_FCHOWN, unix.SYS_TRUNCATE, unix.SYS_UTIMENSAT,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_CHDIR, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN,
	unix.SYS_SETNS, unix.SYS_UNSHARE, unix.SYS_EXECVE, unix.SYS_EXECVEAT,
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_IO_URING_SETUP, unix.SYS_USERFAULTFD, unix.SYS_KEXEC_LOAD,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_MEMFD_CREATE,
	// The daemon may be of the same user: no signal, limit, priority or place in memory for another process, and no socket that
	// reaches one.
	unix.SYS_TKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO, unix.SYS_PIDFD_SEND_SIGNAL,
	unix.SYS_SETPRIORITY, unix.SYS_IOPRIO_SET, unix.SYS_SCHED_SETAFFINITY, unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_SETATTR,
	unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES, unix.SYS_PROCESS_MADVISE, unix.SYS_SETPGID,
	unix.SYS_SOCKETPAIR, unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_MSGGET, unix.SYS_SEMGET, unix.SYS_MQ_OPEN, unix.SYS_MQ_UNLINK,
}, refusedCallsHere...)

// Calls that name a process in their first argument, and may name this one only. 0 is this one too: it is alone in its
// group.
var ownCalls = []uint32{unix.SYS_KILL, unix.SYS_TGKILL, unix.SYS_PRLIMIT64}

// Commands that have the kernel signal a process when something comes in: its second argument.
var signalCommands = map[uint32][]uint32{
	unix.SYS_FCNTL: {unix.F_SETOWN, unix.F_SETOWN_EX, unix.F_SETSIG},
	unix.SYS_IOCTL: {fiosetown, siocspgrp},
}

const (
	fiosetown = 0x8901
	siocspgrp = 0x8902
)

// Offsets in struct seccomp_data, on a little-endian machine.
const (
	seccompNumber = 0
	seccompArch   = 4
	seccompArg0   = 16
	seccompArg1   = 24
)

// filterCalls sets a filter of system calls on all threads.
func filterCalls() error {
	if seccompAudit == 0 {
		return fmt.Errorf("no filter is written for %s", runtime.GOARCH)
	}
	filter := callFilter(os.Getpid())
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return errno
	}
	return nil
}

func callFilter(pid int) []unix.SockFilter {
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	// when skips the next n instructions unless the test holds.
	when := func(test uint16, k uint32, n uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, K: k, Jf: n}
	}
	unless := func(test uint16, k uint32, n uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, K: k, Jt: n}
	}
	end := func(result uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: result}
	}
	refuse := func(e unix.Errno) unix.SockFilter { return end(unix.SECCOMP_RET_ERRNO | uint32(e)) }

	f := []unix.SockFilter{
		load(seccompArch),
		unless(unix.BPF_JEQ, seccompAudit, 1),
		end(unix.SECCOMP_RET_KILL_PROCESS),
		load(seccompNumber),
		when(unix.BPF_JGE, 1<<30, 1), // the numbers of x32
		end(unix.SECCOMP_RET_KILL_PROCESS),
		// A thread, but no process. The flags of clone3 lie in memory: Go's runtime uses clone.
		when(unix.BPF_JEQ, unix.SYS_CLONE3, 1),
		refuse(unix.ENOSYS),
		when(unix.BPF_JEQ, unix.SYS_CLONE, 4),
		load(seccompArg0),
		when(unix.BPF_JSET, unix.CLONE_THREAD, 1),
		end(unix.SECCOMP_RET_ALLOW),
		refuse(unix.EPERM),
		when(unix.BPF_JEQ, unix.SYS_SOCKET, 5),
		load(seccompArg0),
		unless(unix.BPF_JEQ, unix.AF_INET, 2),
		unless(unix.BPF_JEQ, unix.AF_INET6, 1),
		refuse(unix.EPERM),
		end(unix.SECCOMP_RET_ALLOW),
	}
	for _, nr := range ownCalls {
		f = append(f,
			when(unix.BPF_JEQ, nr, 5),
			load(seccompArg0),
			unless(unix.BPF_JEQ, uint32(pid), 2),
			unless(unix.BPF_JEQ, 0, 1),
			refuse(unix.EPERM),
			end(unix.SECCOMP_RET_ALLOW))
	}
	for _, nr := range slices.Sorted(maps.Keys(signalCommands)) {
		commands := signalCommands[nr]
		f = append(f, when(unix.BPF_JEQ, nr, uint8(2*len(commands)+2)), load(seccompArg1))
		for _, c := range commands {
			f = append(f, when(unix.BPF_JEQ, c, 1), refuse(unix.EPERM))
		}
		f = append(f, end(unix.SECCOMP_RET_ALLOW))
	}
	for _, nr := range refusedCalls {
		f = append(f, when(unix.BPF_JEQ, nr, 1), refuse(unix.EPERM))
	}
	return append(f, end(unix.SECCOMP_RET_ALLOW))
}
