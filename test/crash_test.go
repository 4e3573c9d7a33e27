package test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

// dummyAddress is a device's own for the kernel alone, by its index, which is another one after a restart.
var dummyAddress = regexp.MustCompile(`127\.64\.\d+\.\d+`)

// kernelState lists everything that a daemon could leave behind in a namespace.
func kernelState(n *lab.Namespace) string {
	all := n.Run("sh", "-c", `ip -br link; ip -br addr; for f in -4 -6; do ip $f rule; ip $f route show table all; done`)
	return dummyAddress.ReplaceAllString(all, "127.64.0.0")
}

func upAgainstStrongswan(t *testing.T) (*lab.Net, *lab.Charon, *lab.Vpngw, string) {
	t.Helper()
	n := lab.Direct(t, lab.CharonTools...)
	clean := kernelState(n.Customer)
	cloud := n.Cloud.Charon()
	cloud.PSK(psk)
	c := strongswan("row", natSuites)
	c.Unique = "replace"
	cloud.Load(c)
	ours := native("row", natSuites)
	ours.DPD = map[string]any{"interval": "3s", "timeout": "9s"}
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{ours}})
	gw.AwaitUp("row")
	n.Host.Reaches(lab.CloudHost)
	return n, cloud, gw, clean
}

// A killed daemon works again soon after its restart (in a soak, within 3 s), and leaves
// nothing behind at its end but the unreachable route that `vpngw clean` takes out.
func TestKilledDaemonIsBack(t *testing.T) {
	t.Parallel()
	n, _, gw, clean := upAgainstStrongswan(t)
	before := kernelState(n.Customer)
	for range 3 {
		gw.Kill()
		start := time.Now()
		gw.Restart()
		gw.AwaitState("row", "up", lab.Patience)
		n.Host.Reaches(lab.CloudHost)
		took := time.Since(start)
		bar := within(3 * time.Second)
		t.Logf("back after %v, bar %v", took.Round(time.Millisecond), bar)
		if took > bar {
			t.Errorf("the tunnel was back after %v, want %v", took, bar)
		}
		n.Await(lab.Patience, "the kernel's state is as before", func() (bool, string) {
			after := lines(kernelState(n.Customer))
			return after == lines(before), "now:\n" + after + "\nbefore:\n" + lines(before)
		})
	}
	gw.Stop()
	if left := kernelState(n.Customer); !strings.Contains(left, "unreachable "+lab.CloudLAN) || len(strings.Split(lines(left), "\n")) != len(strings.Split(lines(clean), "\n"))+1 {
		t.Errorf("after the end:\n%s\nwas:\n%s", left, clean)
	}
	n.Customer.Run(n.Binary(), "clean")
	if left := kernelState(n.Customer); lines(left) != lines(clean) {
		t.Errorf("left behind:\n%s\nwas:\n%s", left, clean)
	}
}

func TestPeerRestartAndDelete(t *testing.T) {
	t.Parallel()
	n, cloud, gw, _ := upAgainstStrongswan(t)
	old := gw.Tunnel("row").IKE.SPIi
	if err := cloud.TerminateIKE("row"); err != nil {
		t.Fatalf("terminate: %v", err)
	}
	n.Await(lab.Patience, "a new IKE SA after the peer's DELETE", func() (bool, string) {
		row := gw.Tunnel("row")
		return row.State == "up" && row.IKE.SPIi != old, row.State + ": " + row.Why
	})
	n.Host.Reaches(lab.CloudHost)

	// A restarted peer knows nothing of the SA: dead peer detection finds out.
	old = gw.Tunnel("row").IKE.SPIi
	cloud.Kill()
	cloud.Restart()
	n.Await(3*time.Minute, "a new IKE SA after the peer's restart", func() (bool, string) {
		row := gw.Tunnel("row")
		return row.State == "up" && row.IKE.SPIi != old, row.State + ": " + row.Why
	})
	n.Host.Reaches(lab.CloudHost)
}

func TestDaemonStartedBeforeThePeer(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, lab.CharonTools...)
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{native("row", natSuites)}})
	gw.AwaitState("row", "connecting", lab.Patience)
	sent := n.Internet.Filter("forward", "udp dport 500", "")
	n.Await(lab.Patience, "it has tried", func() (bool, string) { return sent.Packets() >= 2, "" })
	cloud := n.Cloud.Charon()
	cloud.PSK(psk)
	cloud.Load(strongswan("row", natSuites))
	gw.AwaitState("row", "up", 2*time.Minute)
	n.Host.Reaches(lab.CloudHost)
}

// Two connections, one changed and reloaded: the other loses nothing.
func TestReloadSparesTheUnchanged(t *testing.T) {
	n := lab.Direct(t)
	n.Cloud.Address("lan", "10.11.0.1/16")
	n.CloudHost.Address("eth0", "10.11.0.10/16")
	kept, changed := native("kept", natSuites), native("changed", natSuites)
	n.Customer.Address("lan", "192.168.5.1/24")
	n.Host.Address("eth0", "192.168.5.10/24")
	changed.Native.Local.Subnets, changed.Native.Remote.Subnets = []string{"192.168.5.0/24"}, []string{"10.11.0.0/16"}
	changed.Native.Local.ID, changed.Native.Remote.ID = "c.example", "d.example"
	cloud := n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(kept), mirror(changed)}})
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{kept, changed}})
	gw.AwaitUp("kept")
	gw.AwaitUp("changed")
	spi := gw.Tunnel("kept").Children[0].SPIIn

	f := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 1000)
	other := changed
	o := *changed.Native
	other.Native = &o
	other.Native.ESP.Proposals = []string{"aes256gcm16"}
	cloud.Reload(lab.Config{Connections: []lab.Connection{mirror(kept), mirror(other)}})
	gw.Reload(lab.Config{Connections: []lab.Connection{kept, other}})
	n.Await(lab.Patience, "the changed connection has its new proposal", func() (bool, string) {
		row := gw.Tunnel("changed")
		return row.State == "up" && len(row.Children) == 1 && row.Children[0].Proposal[:6] == "aes256", row.State + ": " + row.Why
	})
	if p := n.Host.Ping("10.11.0.10", 50, lab.Echo{Source: "192.168.5.10"}); p.Lost() != 0 {
		t.Errorf("the changed connection: %v", p)
	}
	ab, ba := f.Stop()
	lossless(t, ab, ba) // the unchanged connection
	if got := gw.Tunnel("kept").Children[0].SPIIn; got != spi {
		t.Errorf("the unchanged connection has a new Child SA")
	}
}

// lines returns a state without interface numbers and link-local addresses,
// which differ between two devices of the same name.
func lines(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		if !strings.Contains(line, "fe80:") && !strings.Contains(line, "ff00::/8") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}
