package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine describes the machine of the run, one property a line.
func (b *bench) machine() []string {
	out := []string{
		fmt.Sprintf("Date: %s; the run took %v", time.Now().Format(time.DateOnly), b.took.Round(time.Second)),
		fmt.Sprintf("CPU: %s, %d cores, %s of memory", cpuModel(), runtime.NumCPU(), totalMemory()),
		fmt.Sprintf("System: %s, Linux %s, %s", systemName(), release(), runtime.Version()),
		"vpngw: commit " + commit + firstLine(b.programs.vpngw, "version"),
	}
	if b.programs.other != "" {
		out = append(out, "The other vpngw: "+b.programs.other+firstLine(b.programs.other, "version"))
	}
	return append(out,
		"wireguard-go: "+wireguardModule+" "+b.programs.wireguardVersion(),
		"strongSwan: "+debianVersion("strongswan-charon")+", kernel-libipsec; iperf3: "+debianVersion("iperf3"),
	)
}

// busy returns how many processors were busy, with any work, during a time.
func busy(d time.Duration) float64 { return busyDuring(func() { time.Sleep(d) }) }

// busyDuring is busy for as long as do takes.
func busyDuring(do func()) float64 {
	idle, start := idleTicks(), time.Now()
	do()
	return max(0, float64(runtime.NumCPU())-float64(idleTicks()-idle)/userHZ/time.Since(start).Seconds())
}

const userHZ = 100 // on every Linux

// idleTicks returns the sum of the time that the processors were idle or waited
// for a disk.
func idleTicks() (ticks int64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	var cpu string
	var user, nice, system, idle, wait int64
	if _, err := fmt.Sscan(string(b), &cpu, &user, &nice, &system, &idle, &wait); err != nil {
		return 0
	}
	return idle + wait
}

// field returns the value of the first line of a file that begins with a key.
func field(path, key, separator string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, separator); ok && strings.TrimSpace(k) == key {
			return strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return "unknown"
}

func cpuModel() string    { return field("/proc/cpuinfo", "model name", ":") }
func systemName() string  { return field("/etc/os-release", "PRETTY_NAME", "=") }
func totalMemory() string { return field("/proc/meminfo", "MemTotal", ":") }

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

func debianVersion(name string) string {
	out, err := exec.Command("dpkg-query", "-W", "-f=${Version}", name).Output()
	if err != nil {
		return "unknown"
	}
	return string(out)
}

// firstLine returns the first line of a program's output in brackets, or nothing.
func firstLine(program string, args ...string) string {
	out, err := exec.Command(program, args...).Output()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil || line == "" {
		return ""
	}
	return " (" + line + ")"
}
