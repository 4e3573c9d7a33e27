package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Speakers are the ids of the processes `vpngw bgpd` that the daemon has started, in ascending order.
func (v *Vpngw) Speakers() []int {
	var out []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		f := stat(pid)
		if len(f) < 2 || f[0] == "Z" || f[1] != strconv.Itoa(v.PID()) {
			continue
		}
		args, _ := os.ReadFile(dir + "/cmdline")
		if slices.Contains(strings.Split(string(args), "\x00"), "bgpd") {
			out = append(out, pid)
		}
	}
	slices.Sort(out)
	return out
}

// AwaitSpeakers waits until the daemon has so many children that speak BGP, none of which is one of old, and returns
// their ids.
func (v *Vpngw) AwaitSpeakers(count int, old ...int) []int {
	v.ns.lab.Helper()
	var now []int
	v.ns.lab.Await(Patience, fmt.Sprintf("%s has %d children for BGP other than %v", v.Name, count, old), func() (bool, string) {
		now = v.Speakers()
		return len(now) == count && !slices.ContainsFunc(now, func(pid int) bool { return slices.Contains(old, pid) }), fmt.Sprint(now)
	})
	return now
}

// Exists reports whether a process has not ended. A zombie has.
func Exists(pid int) bool {
	f := stat(pid)
	return len(f) > 0 && f[0] != "Z"
}

// SignalTo sends a signal to a process that the Lab has not started itself.
func (l *Lab) SignalTo(pid int, s syscall.Signal) {
	l.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		l.Fatalf("signal %v to %d: %v", s, pid, err)
	}
}

// ProcessMemory is a line of /proc/PID/smaps_rollup in bytes, such as Rss or Private_Dirty.
func ProcessMemory(pid int, line string) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	_, rest, _ := strings.Cut(string(b), "\n"+line+":")
	var kilobytes int
	fmt.Sscan(rest, &kilobytes)
	return kilobytes * 1024
}
