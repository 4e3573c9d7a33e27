package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Process is a program that runs until it ends or is stopped.
// The Lab stops it at its own end, and prints its output if the test has
// failed.
type Process struct {
	Name string // for people
	Out  string // path of the file that takes standard output and standard error

	lab   *Lab
	ns    *Namespace
	cmd   *exec.Cmd
	clock *clock        // its own; nil: it has the machine's
	done  chan struct{} // closed when it has ended; then err is set
	err   error
}

// Start runs a program in the namespace. Programs write to one log file each,
// which a restarted program appends to.
func (n *Namespace) Start(name, program string, args ...string) *Process {
	n.lab.Helper()
	return n.start(name, n.command(program, args...), n.ownClock && program == n.lab.Binary())
}

// start starts a command under the namespace's name. With ownClock the command's program has a clock of its own.
func (n *Namespace) start(name string, cmd *exec.Cmd, ownClock bool) *Process {
	n.lab.Helper()
	p := &Process{Name: n.role + "/" + name, Out: n.role + "-" + name, lab: n.lab, ns: n, cmd: cmd}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	start := cmd.Start
	if ownClock {
		program := n.lab.Binary()
		start = func() (err error) {
			p.clock, err = startWithClock(cmd, program)
			return err
		}
	}
	p.launch(start)
	return p
}

// launch runs a Process whose Out is a name until then. start starts the command; the goroutine that it is called in stays until
// the command has ended.
func (p *Process) launch(start func() error) {
	p.lab.Helper()
	Hold()
	p.Out, p.done = filepath.Join(p.lab.Dir, p.Out+".log"), make(chan struct{})
	out, err := os.OpenFile(p.Out, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		p.lab.Fatalf("lab: %v", err)
	}
	defer out.Close()
	p.cmd.Stdout, p.cmd.Stderr = out, out
	started := make(chan error)
	go func() {
		err := start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		p.lab.Fatalf("lab: starting %s: %v", p.Name, err)
	}
	p.lab.onClose(func() {
		if p.lab.Failed() {
			p.lab.Logf("---- log of %s ----\n%s", p.Name, tail(p.Log(), 200))
		}
		p.end(syscall.SIGTERM)
	})
}

// mustRun fails the test when the program has ended.
func (p *Process) mustRun() {
	p.lab.Helper()
	if !p.Running() {
		p.lab.Fatalf("%s ended: %v\n%s", p.Name, p.err, tail(p.Log(), 40))
	}
}

// Namespace is where the program runs.
func (p *Process) Namespace() *Namespace { return p.ns }

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop asks the program to end and waits for it. It kills a program that does
// not end within Patience, and fails the test.
func (p *Process) Stop() {
	p.lab.Helper()
	if !p.end(syscall.SIGTERM) {
		p.lab.Errorf("%s did not end within %v of SIGTERM", p.Name, Patience)
	}
}

// Kill ends the program with SIGKILL, as a crash would.
func (p *Process) Kill() { p.end(syscall.SIGKILL) }

// Signal sends a signal, if the program still runs.
func (p *Process) Signal(s syscall.Signal) {
	if p.Running() {
		p.cmd.Process.Signal(s)
	}
}

func (p *Process) end(s syscall.Signal) bool {
	p.Signal(s)
	select {
	case <-p.done:
		return true
	case <-time.After(Patience):
		p.Signal(syscall.SIGKILL)
		<-p.done
		return false
	}
}

// Running reports whether the program has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait waits for the program to end by itself and returns its error.
func (p *Process) Wait(within time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(within):
		return fmt.Errorf("%s still runs after %v", p.Name, within)
	}
}

// CPU is the processor time that the program has used, user and system.
func (p *Process) CPU() time.Duration {
	f := stat(p.PID())
	var ticks int64
	if len(f) > 12 {
		var user, system int64
		fmt.Sscan(f[11], &user)
		fmt.Sscan(f[12], &system)
		ticks = user + system
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 on every Linux
}

// Memory is a line of /proc/PID/status in bytes: VmRSS is the present value, VmHWM the highest.
func (p *Process) Memory(line string) float64 {
	p.lab.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		p.lab.Fatalf("%s: %v", p.Name, err)
	}
	_, rest, _ := strings.Cut(string(b), line+":")
	var kilobytes float64
	if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
		p.lab.Fatalf("%s: %s: %v", p.Name, line, err)
	}
	return kilobytes * 1024
}

// sleeps reports whether the program waits for an event; a program that waits for a processor does not sleep.
func (p *Process) sleeps() bool {
	f := stat(p.PID())
	return len(f) > 0 && f[0] == "S"
}

// Log returns the output of the program so far.
func (p *Process) Log() string {
	b, _ := os.ReadFile(p.Out)
	return string(b)
}

// AwaitLog waits until the program has written the text, and fails the test
// when the program ends before.
func (p *Process) AwaitLog(text string) {
	p.lab.Helper()
	p.lab.Await(Patience, fmt.Sprintf("%s writes %q", p.Name, text), func() (bool, string) {
		running, log := p.Running(), p.Log()
		if strings.Contains(log, text) {
			return true, ""
		}
		if !running {
			p.lab.Fatalf("%s ended (%v) before it wrote %q:\n%s", p.Name, p.err, text, tail(log, 40))
		}
		return false, tail(log, 10)
	})
}

// tail returns the end of a log, without the lines that the Lab's own requests caused.
func tail(s string, lines int) string {
	b := slices.DeleteFunc(bytes.Split(bytes.TrimSpace([]byte(s)), []byte("\n")), func(line []byte) bool {
		return bytes.Contains(line, []byte("[CFG] vici client"))
	})
	if len(b) > lines {
		b = b[len(b)-lines:]
	}
	return string(bytes.Join(b, []byte("\n")))
}
