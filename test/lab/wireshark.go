package lab

import (
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// CaptureCommand is a running `vpngw capture`.
type CaptureCommand struct {
	File string // the pcapng file
	Keys string // the directory of keys

	proc *Process
}

// Capture starts `vpngw capture`, and returns when the daemon has begun to record.
func (v *Vpngw) Capture(name string, args ...string) *CaptureCommand {
	v.ns.lab.Helper()
	file := filepath.Join(v.ns.lab.Dir, v.ns.role+"-"+name+".pcapng")
	c := &CaptureCommand{File: file, Keys: file + ".keys"}
	c.proc = v.ns.Start("capture", v.ns.lab.Binary(), append([]string{"capture", name, "--control", v.Control, "-o", file}, args...)...)
	v.ns.lab.Await(Patience, "the capture has begun", func() (bool, string) {
		c.proc.mustRun()
		return grown(file), c.proc.Log()
	})
	return c
}

func grown(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() > 0
}

// Stop interrupts it, and returns what it has said.
func (c *CaptureCommand) Stop() string {
	c.proc.lab.Helper()
	if !c.proc.end(syscall.SIGINT) || c.proc.err != nil {
		c.proc.lab.Fatalf("vpngw capture: %v\n%s", c.proc.err, c.proc.Log())
	}
	return c.proc.Log()
}

// TsharkWith reads a capture file with a directory of keys. args are those behind -r FILE.
func (l *Lab) TsharkWith(keys, pcap string, args ...string) string {
	l.Helper()
	return l.tool(2*time.Minute, "", "env", append([]string{"WIRESHARK_CONFIG_DIR=" + keys, "tshark", "-r", pcap}, args...)...)
}
