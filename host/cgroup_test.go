package host

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"vpngw/ipsec"
)

// refuseAll is a BPF program that refuses every packet of a control group.
var refuseAll = []uint64{0xb7, 0x95} // r0 = 0; exit

// bpf is the system call; attr is its argument.
func bpf[T any](t *testing.T, command uintptr, attr T) int {
	t.Helper()
	n, _, e := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if e != 0 {
		t.Fatalf("bpf %d: %v", command, e)
	}
	return int(n)
}

// A filter of this process's control group, such as IPAddressDeny= of its unit, is obeyed.
func TestNoFramesPastAFilterOfTheControlGroup(t *testing.T) {
	home := cgroup()
	if home == "" {
		t.Skip("no control groups of version 2")
	}
	group := filepath.Join(home, fmt.Sprint("vpngw-test-", os.Getpid()))
	move := func(to string) error {
		return os.WriteFile(filepath.Join(to, "cgroup.procs"), []byte(fmt.Sprint(os.Getpid())), 0)
	}
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { // the kernel removes the filter with the group
		if err := errors.Join(move(home), os.Remove(group)); err != nil {
			t.Error(err)
		}
	})
	if err := move(group); err != nil {
		t.Fatal(err)
	}
	f := newFraming(t)
	f.ask(right4)
	if !f.send("x", right4, 0) {
		t.Error("without a filter it went by the socket")
	}

	dir, err := unix.Open(group, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	f.must(err)
	defer unix.Close(dir)
	license := []byte("GPL\x00")
	const cgroupSKB, inetEgress = 8, 1
	program := bpf(t, unix.BPF_PROG_LOAD, struct {
		kind, count    uint32
		insns, license *byte
	}{cgroupSKB, uint32(len(refuseAll)), (*byte)(unsafe.Pointer(&refuseAll[0])), &license[0]})
	defer unix.Close(program)
	bpf(t, unix.BPF_PROG_ATTACH, struct{ target, program, kind, flags uint32 }{uint32(dir), uint32(program), inetEgress, 0})
	refused := func(what string) {
		for range 2 { // the first batch of a path goes by the socket in any case
			s := f.from.Raw[0]
			before := s.Stats().Frames
			_, err = s.WriteBatch([]ipsec.Datagram{{Remote: netip.AddrPortFrom(right4, 0), Data: []byte("refused")}})
			if frames := s.Stats().Frames - before; !errors.Is(err, unix.EPERM) || frames > 0 {
				t.Errorf("%s: %v, %d frames; want %v and none", what, err, frames, unix.EPERM)
			}
		}
	}
	f.search()
	refused("a filter that is seen")
	p, to := new(framePath), ends{remote: right4}
	if !f.find(p, to) {
		t.Fatal("there is no path")
	}
	f.frames.paths.Store(&map[ends]*framePath{to: p})
	refused("a filter that this process may not ask for")
}
