package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// portOwner names the process that holds a UDP port, or "another process" if it may not look.
func portOwner(v6 bool, port uint16) string {
	for _, inode := range udpInodes(v6, port) {
		if name, pid := socketProcess(inode); pid > 0 {
			return fmt.Sprintf("%s (pid %d)", name, pid)
		}
	}
	return "another process"
}

// udpInodes lists the sockets of this network namespace that are bound to a port.
func udpInodes(v6 bool, port uint16) []string {
	table := "/proc/thread-self/net/udp"
	if v6 {
		table += "6"
	}
	b, err := os.ReadFile(table)
	if err != nil {
		return nil
	}
	var inodes []string
	for line := range strings.Lines(string(b)) {
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …
		f := strings.Fields(line)
		if len(f) < 10 {
			continue
		}
		_, hex, _ := strings.Cut(f[1], ":")
		if p, err := strconv.ParseUint(hex, 16, 16); err == nil && uint16(p) == port {
			inodes = append(inodes, f[9])
		}
	}
	return inodes
}

// socketProcess returns the process that holds a socket open; pid 0: none that we may look at.
func socketProcess(inode string) (name string, pid int) {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err != nil || to != "socket:["+inode+"]" {
			continue
		}
		dir := filepath.Dir(filepath.Dir(fd))
		comm, _ := os.ReadFile(filepath.Join(dir, "comm"))
		pid, _ = strconv.Atoi(filepath.Base(dir))
		return strings.TrimSpace(string(comm)), pid
	}
	return "", 0
}
