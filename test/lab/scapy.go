package lab

import "time"

// python is Debian's own interpreter, to which python3-scapy belongs.
const python = "/usr/bin/python3"

// Scapy runs a Python script and returns its output.
func (l *Lab) Scapy(script string, args ...string) string {
	l.Helper()
	return l.tool(2*time.Minute, script, python, append([]string{"-"}, args...)...)
}

// Scapy runs a Python script in the namespace and returns its output.
func (n *Namespace) Scapy(script string, args ...string) string {
	n.lab.Helper()
	return n.lab.tool(2*time.Minute, script, "ip", append([]string{"netns", "exec", n.Name, python, "-"}, args...)...)
}
