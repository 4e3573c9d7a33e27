package host

import (
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
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
	table := "udp"
	if v6 {
		table += "6"
	}
	var inodes []string
	for so := range procSockets(table) {
		if so.local.Port() == port {
			inodes = append(inodes, so.inode)
		}
	}
	return inodes
}

// procSocket is a socket as the kernel lists it.
type procSocket struct {
	local        netip.AddrPort
	state, inode string
}

// procSockets reads a table of /proc/net: the sockets of this network namespace.
func procSockets(table string) iter.Seq[procSocket] {
	return func(yield func(procSocket) bool) {
		b, err := os.ReadFile("/proc/thread-self/net/" + table)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(b)) {
			// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …
			f := strings.Fields(line)
			if len(f) < 10 {
				continue
			}
			if local, ok := procAddress(f[1]); ok && !yield(procSocket{local, f[3], f[9]}) {
				return
			}
		}
	}
}

// procAddress reads an address as /proc/net has it: words of the machine's order, in hexadecimal.
func procAddress(s string) (netip.AddrPort, bool) {
	host, hex, _ := strings.Cut(s, ":")
	port, err := strconv.ParseUint(hex, 16, 16)
	var b []byte
	for ; len(host) >= 8 && err == nil; host = host[8:] {
		var word uint64
		word, err = strconv.ParseUint(host[:8], 16, 32)
		b = binary.NativeEndian.AppendUint32(b, uint32(word))
	}
	a, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a.Unmap(), uint16(port)), ok && err == nil && host == ""
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
