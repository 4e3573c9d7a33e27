package lab

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A process can have a wall clock of its own. A Go program reads both clocks by clock_gettime of the vDSO, code that the
// kernel maps into each process. At the exec, before the program's first instruction, the Lab puts another
// clock_gettime there: it asks the kernel, and adds to CLOCK_REALTIME an offset that lies behind it. No other process sees
// that, the program is the one that is shipped, and its monotonic clock is the kernel's. Unlike a real
// move of the clock, what the kernel itself does by CLOCK_REALTIME is not moved.

// ownClock is clock_gettime by architecture. The offset in seconds follows it, at a multiple of 8 bytes.
var ownClock = map[string][]byte{
	"amd64": {
		0xb8, 228, 0, 0, 0, // mov eax, clock_gettime
		0x0f, 0x05, // syscall
		0x85, 0xff, // test edi, edi: CLOCK_REALTIME is 0
		0x75, 0x0a, // jne past the addition
		0x48, 0x8b, 0x15, 6, 0, 0, 0, // mov rdx, [rip+6]
		0x48, 0x01, 0x16, // add [rsi], rdx
		0xc3,       // ret
		0xcc, 0xcc, // int3
	},
}

// OwnClocks says that OwnClock works on this machine.
var OwnClocks = ownClock[runtime.GOARCH] != nil

// clock is the wall clock of one process.
type clock struct {
	pid    int
	offset int64 // where it is in the process's memory
}

// startWithClock starts a command that ends in an exec of the program, and gives that a clock of its own.
func startWithClock(cmd *exec.Cmd, program string) (*clock, error) {
	program, err := filepath.EvalSymlinks(program)
	if err != nil {
		return nil, err
	}
	runtime.LockOSThread() // which is the tracer
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr.Ptrace = true // it stops at each exec
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	pid := cmd.Process.Pid
	for signal := 0; ; {
		var ws unix.WaitStatus
		if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != nil {
			return nil, err
		}
		if !ws.Stopped() {
			return nil, fmt.Errorf("it ended before its exec of %s: %v", program, ws)
		}
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err == nil && exe == program {
			break
		}
		if signal = int(ws.StopSignal()); ws.StopSignal() == unix.SIGTRAP {
			signal = 0
		}
		if err := unix.PtraceCont(pid, signal); err != nil {
			return nil, err
		}
	}
	c, err := newClock(pid)
	if detach := unix.PtraceDetach(pid); err == nil {
		err = detach
	}
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
	}
	return c, err
}

// newClock puts the Lab's clock_gettime into a process that has not begun to run.
func newClock(pid int) (*clock, error) {
	start, size, err := vdso(pid)
	if err != nil {
		return nil, err
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	image, err := elf.NewFile(io.NewSectionReader(mem, start, size))
	if err != nil {
		return nil, fmt.Errorf("the vDSO: %w", err)
	}
	symbols, err := image.DynamicSymbols()
	if err != nil {
		return nil, fmt.Errorf("the vDSO: %w", err)
	}
	code := append(ownClock[runtime.GOARCH], make([]byte, 8)...)
	for _, s := range symbols {
		if s.Name != "__vdso_clock_gettime" {
			continue
		}
		at := start + int64(s.Value)
		if s.Size < uint64(len(code)) || at%8 != 0 {
			return nil, fmt.Errorf("the vDSO's clock_gettime has %d bytes at %#x, want %d at a multiple of 8", s.Size, at, len(code))
		}
		_, err := mem.WriteAt(code, at)
		return &clock{pid, at + int64(len(code)) - 8}, err
	}
	return nil, fmt.Errorf("the vDSO has no clock_gettime")
}

// vdso says where a process has its vDSO.
func vdso(pid int) (start, size int64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		var end int64
		if _, err := fmt.Sscanf(line, "%x-%x", &start, &end); err == nil && strings.HasSuffix(line, "[vdso]\n") {
			return start, end - start, nil
		}
	}
	return 0, 0, fmt.Errorf("the process has no vDSO")
}

// SetClock has the program's wall clock be so far ahead of the machine's. The program was started after OwnClock.
func (p *Process) SetClock(ahead time.Duration) {
	p.lab.Helper()
	if p.clock == nil {
		p.lab.Fatalf("%s has no clock of its own", p.Name)
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", p.clock.pid), os.O_RDWR, 0)
	if err == nil {
		defer mem.Close()
		_, err = mem.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(ahead/time.Second)), p.clock.offset)
	}
	if err != nil {
		p.lab.Fatalf("%s: cannot move its clock: %v", p.Name, err)
	}
}

// OwnClock gives each daemon that starts in the namespace from now on a wall clock of its own, for SetClock. It skips the test where that can't be.
func (n *Namespace) OwnClock() {
	n.lab.Helper()
	if !OwnClocks {
		n.lab.Skipf("NEEDS amd64: the lab has no code for a clock of its own on %s", runtime.GOARCH)
	}
	n.ownClock = true
}
