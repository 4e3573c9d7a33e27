package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Capture is a running tcpdump.
type Capture struct {
	Path string // the pcap file; whole once Stop has returned
	proc *Process
}

// Capture records the packets of a device ("any": of all devices) that match a filter of tcpdump;
// an empty filter matches all.
func (n *Namespace) Capture(device, filter string) *Capture {
	n.lab.Helper()
	for _, host := range n.lab.names {
		host.Segment()
	}
	name := fmt.Sprintf("tcpdump%d", n.number())
	c := &Capture{Path: filepath.Join(n.lab.Dir, n.role+"-"+name+".pcap")}
	c.proc = n.Start(name, "tcpdump", "-i", device, "-U", "--immediate-mode", "-B", "16384", "-Z", "root", "-w", c.Path, filter)
	c.proc.AwaitLog("listening on")
	return c
}

// Segment has the host's kernel cut runs of UDP packets before they leave by its present
// devices: a cable between two namespaces carries such a run as one large packet, and so
// would a capture show it.
func (n *Namespace) Segment() {
	n.lab.Helper()
	require(n.lab.T, []string{"ethtool"})
	n.Run("sh", "-c", `for d in /sys/class/net/*; do d=${d##*/}; [ "$d" = lo ] || ethtool -K "$d" tx-udp-segmentation off; done`)
}

// Stop ends the recording and returns the file's path. First it waits until the
// file no longer grows and tcpdump sleeps, because then tcpdump has read every
// packet. On SIGTERM, tcpdump loses the packets that it has not read; on a busy
// machine these can be all.
func (c *Capture) Stop() string {
	c.proc.lab.Helper()
	size, since := int64(-1), time.Now()
	c.proc.lab.Await(Patience, "the capture is complete", func() (bool, string) {
		info, err := os.Stat(c.Path)
		if err != nil {
			return false, err.Error()
		}
		if now := info.Size(); now != size {
			size, since = now, time.Now()
		}
		if c.proc.Running() && !c.proc.sleeps() {
			since = time.Now()
		}
		return time.Since(since) > 500*time.Millisecond, fmt.Sprintf("%d bytes", size)
	})
	c.proc.Stop()
	return c.Path
}

// Tshark reads a capture file; args are those behind -r FILE.
func (l *Lab) Tshark(pcap string, args ...string) string {
	l.Helper()
	return l.tool(2*time.Minute, "", "tshark", append([]string{"-r", pcap}, args...)...)
}

// Tcpdump reads a capture file, a line for each packet that matches the filter.
func (l *Lab) Tcpdump(pcap, filter string) string {
	l.Helper()
	return l.tool(2*time.Minute, "", "tcpdump", "-n", "-r", pcap, filter)
}

// Tar lists an archive.
func (l *Lab) Tar(archive string) string {
	l.Helper()
	return l.tool(time.Minute, "", "tar", "-tf", archive)
}
