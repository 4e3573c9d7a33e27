package test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"vpngw/test/lab"
)

// A second daemon in the network namespace, with other addresses and another control socket, ends
// and says which process is the first. The first loses nothing.
func TestSecondDaemonLeavesTheFirstAlone(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t)
	n.Customer.Address("wan", "203.0.113.10/24")
	row := native("row", natSuites)
	n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(row)}})
	first := n.Customer.Vpngw(lab.Config{Listen: []string{lab.CustomerAddr}, Connections: []lab.Connection{row}})
	first.AwaitUp("row")
	n.Host.Reaches(lab.CloudHost)
	before := lines(kernelState(n.Customer))

	file := n.File("second.yaml", "version: 1\nlisten: [203.0.113.10]\nconnections:\n  - native: {psk: "+psk+
		", local: {address: 203.0.113.10, subnets: [192.168.5.0/24]}, remote: {address: "+lab.CloudAddr+", subnets: [10.11.0.0/16]}}\n")
	out, err := n.Customer.Try("timeout", "20", n.Binary(), "run", "-c", file, "--control", filepath.Join(n.Dir, "second.sock"), "--state", filepath.Join(n.Dir, "second"))
	if want := fmt.Sprintf("vpngw (pid %d, uid 0) is the vpngw of this network namespace", first.PID()); err == nil || !strings.Contains(out, want) {
		t.Errorf("the second daemon: %v, want %q\n%s", err, want, out)
	}
	if after := lines(kernelState(n.Customer)); after != before {
		t.Errorf("now:\n%s\nbefore:\n%s", after, before)
	}
	first.AwaitUp("row")
	n.Host.Reaches(lab.CloudHost)
}
