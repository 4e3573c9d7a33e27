package lab_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"vpngw/test/lab"
)

const psk = "a key that two charons share"

// charons brings up an IKEv2 tunnel between two strongSwan daemons.
func charons(t *testing.T, n *lab.Net) (customer, cloud *lab.Charon) {
	t.Helper()
	conn := func(local, remote, localTS, remoteTS string) lab.Conn {
		return lab.Conn{
			Name: "net", Version: "2", LocalAddrs: []string{"%any"}, RemoteAddrs: []string{remote},
			Proposals: []string{"aes128-sha256-modp2048"},
			Local:     &lab.Auth{Auth: "psk", ID: local}, Remote: &lab.Auth{Auth: "psk", ID: remote},
			Children: map[string]lab.Child{"net": {
				LocalTS: []string{localTS}, RemoteTS: []string{remoteTS}, ESPProposals: []string{"aes128gcm16"},
			}},
		}
	}
	cloud = n.Cloud.Charon()
	cloud.PSK(psk, lab.CloudAddr, lab.CustomerAddr)
	c := conn(lab.CloudAddr, lab.CustomerAddr, lab.CloudLAN, lab.CustomerLAN)
	cloud.Load(c)
	customer = n.Customer.Charon()
	customer.PSK(psk, lab.CloudAddr, lab.CustomerAddr)
	customer.Load(conn(lab.CustomerAddr, lab.CloudAddr, lab.CustomerLAN, lab.CloudLAN))
	if err := customer.Initiate("net"); err != nil {
		t.Fatalf("initiate: %v", err)
	}
	cloud.AwaitUp("net", lab.Patience)
	return customer, cloud
}

// The lab works between two daemons that are known to work, so a failure in
// another test is not the lab's.
func TestTwoCharonsCarryTraffic(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, append(lab.CharonTools, "iperf3", "tcpdump", "tshark")...)
	customer, cloud := charons(t, n)

	wire := n.Internet.Capture("cloud", "")
	if p := n.Host.Ping(lab.CloudHost, 200); p.Lost() != 0 {
		t.Errorf("ping through the tunnel: %v", p)
	}
	out := n.Tshark(wire.Stop(), "-Y", "esp")
	if got := strings.Count(out, "\n"); got < 400 {
		t.Errorf("%d ESP packets on the wire, want at least 400", got)
	}
	if r := n.Host.IPerf(n.CloudHost, lab.CloudHost, time.Second); r.Bytes == 0 {
		t.Errorf("iperf3: %v", r)
	}

	f := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 500)
	if err := customer.RekeyChild("net"); err != nil {
		t.Errorf("rekey: %v", err)
	}
	n.Await(lab.Patience, "a thousand numbered packets each way", func() (bool, string) {
		ab, ba := f.Received()
		return ab > 1000 && ba > 1000, ""
	})
	ab, ba := f.Stop()
	if !ab.Excused() || !ba.Excused() {
		t.Errorf("numbered packets: %v; back: %v", ab, ba)
	}

	cloud.Kill()
	cloud.Restart()
	if err := cloud.Initiate("net"); err != nil {
		t.Errorf("initiate after the restart: %v", err)
	}
	n.Host.Reaches(lab.CloudHost)
	if sas := cloud.SAs(); len(sas) != 1 || sas[0].State != "ESTABLISHED" || len(sas[0].Children) != 1 {
		t.Errorf("the restarted cloud has %+v, want one IKE SA with one Child SA", sas)
	}
	if err := cloud.TerminateIKE("net"); err != nil {
		t.Errorf("terminate: %v", err)
	}
}

// A Flow counts exactly the packets that a filter drops.
func TestFlowCountsLoss(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t)
	n.Customer.Route(lab.CloudLAN, "203.0.113.254") // no tunnel: plain routing
	n.Internet.Route(lab.CloudLAN, lab.CloudAddr)
	n.Internet.Route(lab.CustomerLAN, lab.CustomerAddr)
	drop := n.Internet.Filter("forward", "iifname cloud udp length 72 numgen inc mod 10 == 0", "drop")
	f := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 1000)
	n.Await(lab.Patience, "2000 packets", func() (bool, string) {
		ab, _ := f.Received()
		return ab >= 2000, ""
	})
	ab, ba := f.Stop()
	if !ab.Excused() || ab.Duplicated != 0 || ab.Reordered != 0 {
		t.Errorf("there: %v, want none lost", ab)
	}
	if want := drop.Packets(); ba.Lost < want || ba.Lost != want && ba.Queues == 0 || want == 0 {
		t.Errorf("back: %v, want %d lost", ba, want)
	}
	if ba.Queues == 0 && ba.Excused() {
		t.Errorf("back: %v are excused", ba)
	}
}

func TestNATMovesToANewPort(t *testing.T) {
	t.Parallel()
	n := lab.BehindNAT(t)
	seen := n.Internet.Filter("forward", "udp sport 41000-41009", "")
	n.NAT.Masquerade("wan", "40000-40009")
	f := n.StartFlow(n.Customer, lab.CustomerPrivate, n.Cloud, lab.CloudAddr, 100)
	n.Await(lab.Patience, "packets through the NAT", func() (bool, string) {
		ab, _ := f.Received()
		return ab > 10, ""
	})
	if got := seen.Packets(); got != 0 {
		t.Errorf("%d packets from the second port range before the change, want 0", got)
	}
	n.NAT.Masquerade("wan", "41000-41009")
	n.Await(lab.Patience, "packets from the second port range", func() (bool, string) { return seen.Packets() > 10, "" })
	f.Stop()
}

func TestTwoCustomersReachTheCloudThroughOneNAT(t *testing.T) {
	t.Parallel()
	n := lab.TwoBehindNAT(t)
	n.Customer.Reaches(lab.CloudAddr)
	n.Customer2.Reaches(lab.CloudAddr)
	n.Host.Reaches("192.168.3.1")
	n.Host2.Reaches("192.168.4.1")
}

// A Flow distinguishes a stopped program, which does not read its queue, from a program that loses
// packets.
func TestFlowTellsFullQueuesApart(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, lab.CharonTools...)
	customer, _ := charons(t, n)
	n.Customer.Run("ip", "link", "set", "ipsec0", "txqueuelen", "10")
	f := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 1000)
	customer.Signal(syscall.SIGSTOP)
	n.Await(lab.Patience, "the queue is full", func() (bool, string) {
		dropped := n.Customer.Run("cat", "/sys/class/net/ipsec0/statistics/tx_dropped")
		return strings.TrimSpace(dropped) != "0", dropped
	})
	customer.Signal(syscall.SIGCONT)
	n.Host.Reaches(lab.CloudHost)
	ab, ba := f.Stop()
	t.Logf("there: %v; back: %v", ab, ba)
	if ab.Lost == 0 || !ab.Excused() {
		t.Errorf("there: %v, want losses in a full queue", ab)
	}
}
