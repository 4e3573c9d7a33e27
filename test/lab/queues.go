package lab

import (
	"os"
	"strconv"
	"strings"
)

// queueDrops returns how many packets the kernel has dropped in the namespace because a queue was
// full: a device's (the TUN device that a program does not read in time, the processor's backlog
// behind a veth), or the receive buffer of a socket for UDP or ESP. A dropped packet of several
// segments counts once. Port 500 does not count: IKE messages alone fill it.
func (n *Namespace) queueDrops() int {
	n.lab.Helper()
	total := n.deviceDrops()
	n.Do(func() {
		sockets := func(name string, counts func(port string) bool) {
			for row := range table(name) {
				if len(row) > 2 && counts(row[1][strings.LastIndex(row[1], ":")+1:]) {
					total += number(row[len(row)-1])
				}
			}
		}
		for _, version := range []string{"", "6"} {
			sockets("udp"+version, func(port string) bool { return port != "01F4" })
			sockets("raw"+version, func(protocol string) bool { return protocol == "0032" }) // charon has other raw sockets, which it does not read
		}
	})
	return total
}

// deviceDrops are those of queueDrops that a device's queue has dropped.
func (n *Namespace) deviceDrops() int {
	n.lab.Helper()
	total := 0
	n.Do(func() {
		for row := range table("dev") {
			if len(row) > 12 { // receive: bytes packets errs drop …; transmit, from 9: bytes packets errs drop
				total += number(row[12])
			}
		}
	})
	return total
}

// table yields the rows of a file below /proc/net, in the namespace of the calling thread.
func table(name string) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		text, err := os.ReadFile("/proc/thread-self/net/" + name)
		if err != nil {
			return // a kernel without IPv6
		}
		for line := range strings.Lines(string(text)) {
			// In "dev" nothing need stand between the colon and a number.
			if name == "dev" {
				line = strings.Replace(line, ":", " ", 1)
			}
			if !yield(strings.Fields(line)) {
				return
			}
		}
	}
}

// number is a column's value; a heading is 0.
func number(field string) int {
	n, _ := strconv.Atoi(field)
	return n
}

// queueDrops is the sum over all hosts.
func (l *Lab) queueDrops() int {
	l.Helper()
	total := 0
	for _, n := range l.names {
		total += n.queueDrops()
	}
	return total
}

// DeviceDrops is how many packets full queues of devices have dropped in the whole Lab.
func (l *Lab) DeviceDrops() int {
	l.Helper()
	total := 0
	for _, n := range l.names {
		total += n.deviceDrops()
	}
	return total
}
