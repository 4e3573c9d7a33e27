// Package lab builds small networks out of Linux network namespaces and runs
// real programs in them: vpngw, strongSwan's charon, BIRD, FRR, ping, iperf3,
// tcpdump.
// The whole-system tests and the demo are written on top of it.
//
// Everything a Lab makes carries the id of the process that made it, is removed
// when the test ends or is interrupted, and, if that process was killed
// outright, by the next Lab to start. A Lab leaves nothing outside its
// namespaces and its temporary directory, but for the images of an Engine and
// the systems that a Booted, a Guest and a Rooted begin with, in /var/cache/vpngw-lab.
//
// A Lab is to be used from one goroutine, except where a method says otherwise.
package lab

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// T is the part of testing.TB that a Lab needs. The demo brings its own.
type T interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
	Failed() bool
	Cleanup(func())
}

// Lab is one network and the processes in it.
type Lab struct {
	T
	Dir string // temporary files; removed with the Lab

	tag    string // prefix of the names of its namespaces
	keep   bool
	binary string // the vpngw to run, if not the one of Binary
	mu     sync.Mutex
	undo   []func()
	names  map[string]*Namespace
}

// New makes an empty Lab that lives as long as the test. It skips the test, or
// fails it where CI=true, when the process is not root or a tool is missing.
func New(t T, tools ...string) *Lab {
	t.Helper()
	require(t, append([]string{"ip", "nft", "ping", "unshare"}, tools...))
	sweepOnce.Do(sweep)
	tag := fmt.Sprintf("%s%s-%d", prefix, self(), serial.Add(1))
	dir := filepath.Join(os.TempDir(), tag)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatalf("lab: %v", err)
	}
	l := &Lab{T: t, Dir: dir, tag: tag, names: map[string]*Namespace{}}
	l.onClose(func() { os.RemoveAll(dir) })
	running.add(l)
	t.Cleanup(l.close)
	return l
}

// Use redirects failures from the test that made the Lab to a subtest, until
// the subtest ends.
func (l *Lab) Use(t T) {
	outer := l.T
	l.T = t
	t.Cleanup(func() { l.T = outer })
}

// Keep makes the Lab outlive the process. Remove returns the command that removes it.
func (l *Lab) Keep() {
	l.keep = true
	l.File(keepFile, "this lab outlives the process that made it\n")
}

// Remove returns a shell command that removes a kept Lab.
func (l *Lab) Remove() string {
	return fmt.Sprintf("for n in $(ip netns list | grep -o '^%s-[^ ]*'); do ip netns pids $n | xargs -r kill; ip netns del $n; done; rm -rf %s", l.tag, l.Dir)
}

// onClose registers f to run when the Lab is closed, in reverse order.
func (l *Lab) onClose(f func()) {
	Hold()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.undo = append(l.undo, f)
}

func (l *Lab) close() {
	running.remove(l)
	if l.keep {
		return
	}
	for {
		l.mu.Lock()
		n := len(l.undo)
		if n == 0 {
			l.mu.Unlock()
			return
		}
		f := l.undo[n-1]
		l.undo = l.undo[:n-1]
		l.mu.Unlock()
		f()
	}
}

// File writes a file into the Lab's directory and returns its path.
func (l *Lab) File(name, content string) string {
	l.Helper()
	path := filepath.Join(l.Dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		l.Fatalf("lab: %v", err)
	}
	return path
}

const prefix = "vpngw-"

var serial atomic.Int64

// self identifies this process until the next boot: its id and start time,
// because the kernel reuses ids.
func self() string { return fmt.Sprintf("%dx%s", os.Getpid(), started(os.Getpid())) }

// started is field 22 of /proc/PID/stat, or empty when there is no such process.
func started(pid int) string {
	if f := stat(pid); len(f) > 19 {
		return f[19]
	}
	return ""
}

// stat is /proc/PID/stat from its third field on, behind the program's name; nil when there is no such process.
func stat(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.Fields(rest)
}

// labs are the Labs to close when the process is interrupted.
type labs struct {
	mu   sync.Mutex
	set  map[*Lab]bool
	once sync.Once
}

var running = labs{set: map[*Lab]bool{}}

func (r *labs) add(l *Lab) {
	r.once.Do(func() {
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		go func() {
			s := <-c
			interrupted.Store(true)
			for _, l := range r.all() {
				l.close()
			}
			fmt.Fprintf(os.Stderr, "lab: %v: cleaned up\n", s)
			os.Exit(1)
		}()
	})
	Hold()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set[l] = true
}

func (r *labs) remove(l *Lab) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.set, l)
}

func (r *labs) all() []*Lab {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*Lab
	for l := range r.set {
		out = append(out, l)
	}
	return out
}

var sweepOnce sync.Once

// sweep removes the namespaces, the processes in them, their files and control
// groups, and the directories of Labs whose process is dead.
func sweep() {
	for _, made := range []struct {
		dir    string
		remove func(path string)
	}{
		{"/run/netns", func(path string) { removeNamespace(filepath.Base(path)) }},
		{netnsFiles, func(path string) { os.RemoveAll(path) }},
		{controlGroups, removeGroup},
		{controlGroups + "/*", removeGroup},
		{os.TempDir(), func(path string) { os.RemoveAll(path) }},
	} {
		paths, _ := filepath.Glob(filepath.Join(made.dir, prefix+"*"))
		for _, path := range paths {
			if abandoned(filepath.Base(path)) {
				made.remove(path)
			}
		}
	}
}

// abandoned reports whether a Lab made name and the process of that Lab is gone.
// A kept Lab has a file "keep" in its directory.
func abandoned(name string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return false
	}
	owner, rest, ok := strings.Cut(rest, "-")
	if !ok {
		return false
	}
	pid, start, ok := strings.Cut(owner, "x")
	if !ok {
		return false
	}
	n, err := strconv.Atoi(pid)
	if err != nil || started(n) == start {
		return false
	}
	num, _, _ := strings.Cut(rest, "-")
	_, err = os.Stat(filepath.Join(os.TempDir(), prefix+owner+"-"+num, keepFile))
	return err != nil
}

const keepFile = "keep"

// removeNamespace ends every process in a namespace of ours and deletes it.
func removeNamespace(name string) {
	out, _ := exec.Command("ip", "netns", "pids", name).Output()
	for _, f := range strings.Fields(string(out)) {
		if pid, err := strconv.Atoi(f); err == nil && pid != os.Getpid() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	exec.Command("ip", "netns", "del", name).Run()
}
