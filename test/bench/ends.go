package main

import (
	"fmt"
	"os"
	"strings"

	"vpngw/test/lab"
)

// ends is what happened at the two ends of a tunnel, apart from the link between them.
type ends struct {
	queue     int // frames that the full queue of the tunnel's device dropped
	socket    int // datagrams that the full buffer of a UDP socket dropped
	reordered int // times that a TCP sender found packets reordered
}

func (e ends) minus(before ends) ends {
	return ends{e.queue - before.queue, e.socket - before.socket, e.reordered - before.reordered}
}

func (e ends) plus(other ends) ends {
	return ends{e.queue + other.queue, e.socket + other.socket, e.reordered + other.reordered}
}

// ends reads the counters of both ends since their namespaces began.
func (r *row) ends() (sum ends) {
	for _, ns := range []*lab.Namespace{r.site.a, r.site.b} {
		ns.Do(func() {
			for _, c := range []struct {
				to         *int
				file, line string
				fields     []string
			}{
				{&sum.queue, "dev", r.device + ":", nil},
				{&sum.socket, "snmp", "Udp:", []string{"RcvbufErrors"}},
				{&sum.reordered, "netstat", "TcpExt:", []string{"TCPSACKReorder", "TCPRenoReorder", "TCPTSReorder"}},
			} {
				b, err := os.ReadFile("/proc/thread-self/net/" + c.file)
				if err != nil {
					r.Fatalf("%v", err)
				}
				*c.to += counted(string(b), c.line, c.fields)
			}
		})
	}
	return sum
}

// counted adds up counters of a line of a file of /proc/net. In snmp and netstat a line of names precedes that of the values; of a
// device, without names, it is the packets that it did not send.
func counted(text, line string, names []string) (sum int) {
	var titles []string
	for l := range strings.Lines(text) {
		f := strings.Fields(l)
		if len(f) == 0 || f[0] != line {
			continue
		}
		if names == nil {
			const transmitDropped = 12
			if len(f) > transmitDropped {
				fmt.Sscan(f[transmitDropped], &sum)
			}
			return sum
		}
		if titles == nil {
			titles = f
			continue
		}
		for i, title := range titles {
			for _, name := range names {
				if title == name && i < len(f) {
					n := 0
					fmt.Sscan(f[i], &n)
					sum += n
				}
			}
		}
		return sum
	}
	return sum
}
