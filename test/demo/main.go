// Command demo shows vpngw at work, on this machine and in network namespaces only: an
// office whose gateway runs vpngw, a cloud whose gateway runs strongSwan, and
// the internet between them. Both ends come from one CreateVpnConnection
// request body of Alibaba Cloud.
//
// It runs as root. DEMO_KEEP=1 leaves everything up and says how to look around.
package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"vpngw/test/lab"
)

//go:embed body.json
var body []byte

const (
	cloudGateway    = "vpn-bp1q8bgx4xnkm"
	customerGateway = "cgw-p0w2jemrcj5u6"
)

func main() { os.Exit(run(show)) }

func show(c *console) {
	keep := os.Getenv("DEMO_KEEP") != ""
	var request lab.AlibabaBody
	if err := json.Unmarshal(body, &request); err != nil {
		c.Fatalf("body.json: %v", err)
	}

	var n *lab.Net
	c.step("Five hosts in network namespaces: chost - customer - internet - cloud - vhost", func() string {
		n = lab.Direct(c, append(lab.CharonTools, "iperf3")...)
		if keep {
			n.Keep()
		}
		return fmt.Sprintf("%s (%s) ... %s (%s)", lab.CustomerHost, lab.CustomerLAN, lab.CloudHost, lab.CloudLAN)
	})
	c.step("Building vpngw", func() string { return n.Binary() })

	var cloud *lab.Charon
	c.step("The cloud: strongSwan, set up from test/demo/body.json", func() string {
		cloud = n.Cloud.Charon()
		conn := cloud.Cloud(request, lab.CloudAddr, lab.CustomerAddr)
		return "IKEv2 " + conn.Proposals[0] + ", ESP " + conn.Children[conn.Name].ESPProposals[0]
	})

	var office *lab.Vpngw
	c.step("The customer: vpngw, with the same body in its configuration", func() string {
		office = n.Customer.Vpngw(lab.Config{
			VPNGateways:      map[string]lab.Entry{cloudGateway: {Address: lab.CloudAddr}},
			CustomerGateways: map[string]lab.Entry{customerGateway: {Address: lab.CustomerAddr}},
			Connections:      []lab.Connection{{Alibaba: request}},
		})
		return ""
	})
	c.step("The tunnel comes up", func() string {
		t := office.AwaitUp(request.Name)
		return t.Device + ", " + t.IKE.Proposal
	})
	c.step("200 pings from the office's host to the cloud's host", func() string {
		p := n.Host.Ping(lab.CloudHost, 200)
		if p.Lost() != 0 {
			c.Fatalf("%v", p)
		}
		return p.String()
	})
	c.step("iperf3 from the office to the cloud", func() string {
		return n.Host.IPerf(n.CloudHost, lab.CloudHost, 3*time.Second).String()
	})
	c.step("iperf3 from the cloud to the office", func() string {
		return n.Host.IPerf(n.CloudHost, lab.CloudHost, 3*time.Second, "-R").String()
	})
	fmt.Println("\n$ vpngw status")
	fmt.Println(strings.TrimRight(office.Command("status"), "\n"))
	fmt.Println()

	if keep {
		lookAround(n, office)
		return
	}
	c.step("vpngw ends and says so to the cloud", func() string {
		office.Stop()
		n.Await(lab.Patience, "strongSwan has deleted its SAs", func() (bool, string) {
			sas := cloud.SAs()
			return len(sas) == 0, fmt.Sprintf("%+v", sas)
		})
		if left := leftBehind(n); left != guard {
			c.Fatalf("it left behind:\n%s\nwant only %s", left, guard)
		}
		return "so that nothing leaves in clear there is: " + guard
	})
	c.step("vpngw clean", func() string {
		n.Customer.Run(n.Binary(), "clean")
		if left := leftBehind(n); left != "" {
			c.Fatalf("it left behind:\n%s", left)
		}
		return "no device and no route is left"
	})
}

// guard is what the end of the daemon leaves.
const guard = "unreachable 10.10.0.0/16 metric 7310"

// leftBehind is what there is of vpngw's in the customer's kernel.
func leftBehind(n *lab.Net) string {
	out := n.Customer.Run("sh", "-c", "ip -br link show type tun; ip route show proto 73")
	return strings.Join(strings.Fields(out), " ")
}

func lookAround(n *lab.Net, office *lab.Vpngw) {
	at := func(ns *lab.Namespace) string { return "sudo ip netns exec " + ns.Name }
	vpngw := fmt.Sprintf("sudo %s", n.Binary())
	fmt.Println("All of it stays up. Look around:")
	fmt.Printf("  %s status --control %s\n", vpngw, office.Control)
	fmt.Printf("  %s ping %s            # office to cloud\n", at(n.Host), lab.CloudHost)
	fmt.Printf("  %s tcpdump -ni cloud              # the internet's view\n", at(n.Internet))
	fmt.Printf("  %s ip addr; cat %s\n", at(n.Customer), office.Config)
	fmt.Printf("  less %s/*.log\n", n.Dir)
	fmt.Println("Remove it, as root:")
	fmt.Printf("  %s\n", n.Remove())
}
