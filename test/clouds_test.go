package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

// page is the example request of a cloud's page, with its placeholders filled in.
func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "config", "load", "testdata", "pages", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// pageGateways is a configuration with the gateways that the pages' examples name.
func pageGateways(side string, c lab.Connection) lab.Config {
	return lab.Config{
		Side: side,
		VPNGateways: map[string]lab.Entry{
			"b32d91a4-demo-a8df-va86-e907174eb11d": {Addresses: map[string]string{"0c464dad-demo-a8df-va86-c22bb0eb0bde": lab.CloudAddr}},
			"vpngw-1w9tue3d":                       {Address: lab.CloudAddr},
		},
		CustomerGateways: map[string]lab.Entry{
			"5247ae10-demo-a8df-va86-dd36659a7f5d": {Address: lab.CustomerAddr, ASN: 65010},
			"cgw-qa9sxpy7":                         {Address: lab.CustomerAddr, ASN: 65010},
		},
		Connections: []lab.Connection{c},
	}
}

// behind gives the two hosts an address in each of these subnets: .10, and .1 to their gateway.
func behind(n *lab.Net, customer, cloud []string) {
	for _, c := range []struct {
		gateway, host *lab.Namespace
		subnets       []string
	}{{n.Customer, n.Host, customer}, {n.Cloud, n.CloudHost, cloud}} {
		for _, s := range c.subnets {
			c.gateway.Address("lan", hostIn(s, 1)+"/24")
			c.host.Address("eth0", hostIn(s, 10)+"/24")
		}
	}
}

// hostIn is a host's address in a /24.
func hostIn(subnet string, host int) string {
	return fmt.Sprint(strings.TrimSuffix(subnet, "0/24"), host)
}

// The unchanged examples of Huawei's page make a tunnel between two hosts, one of which
// is the cloud. The page does not say the customer's routes: the test adds them.
func TestHuaweisPageOnBothHosts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		page            string
		customer, cloud []string
		routes          []string // of the customer
	}{
		{"static", []string{"192.168.44.0/24"}, []string{"10.0.0.0/24"}, []string{"10.0.0.0/24"}},
		{"policy", []string{"192.168.0.0/24"}, []string{"10.0.0.0/24"}, nil},
		{"bgp", []string{"192.168.44.0/24"}, []string{"10.0.0.0/24"}, []string{"10.0.0.0/24"}},
	} {
		t.Run(tt.page, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t)
			behind(n, tt.customer, tt.cloud)
			c := lab.Connection{Huawei: page(t, "huawei-"+tt.page+".txt"), Name: "hq"}
			cloud := n.Cloud.Vpngw(pageGateways("cloud", c))
			c.Routes = tt.routes
			customer := n.Customer.Vpngw(pageGateways("customer", c))
			customer.AwaitUp("hq")
			cloud.AwaitUp("hq")
			for _, p := range []lab.Pings{
				n.Host.Ping(hostIn(tt.cloud[0], 10), 100, lab.Echo{Source: hostIn(tt.customer[0], 10)}),
				n.CloudHost.Ping(hostIn(tt.customer[0], 10), 100, lab.Echo{Source: hostIn(tt.cloud[0], 10)}),
			} {
				if p.Lost() != 0 {
					t.Errorf("ping: %v", p)
				}
			}
			customer.Stop()
			cloud.Stop()
		})
	}
}

// The body of Tencent's page with pairs of subnets of our own.
func tencentPage(t *testing.T, policies map[string][]string) map[string]any {
	t.Helper()
	_, text, _ := strings.Cut(page(t, "tencent.txt"), "<Common request parameters>")
	var body map[string]any
	if err := json.Unmarshal([]byte(text), &body); err != nil {
		t.Fatal(err)
	}
	body["SecurityPolicyDatabases"] = policies
	return body
}

// eachCarries waits until each pair of subnets has one Child SA, which carries all 50 pings of its pair there and back. Both ends begin,
// perhaps at once: then two IKE SAs stand side by side for a while, each end may send on another one's Child SAs, and one of them goes.
func eachCarries(n *lab.Net, gw *lab.Vpngw, tunnel string, policies map[string][]string) {
	n.Helper()
	pairs := 0
	for _, remotes := range policies {
		pairs += len(remotes)
	}
	n.Await(lab.Patience, fmt.Sprintf("each of %d pairs has one Child SA, which carries it", pairs), func() (bool, string) {
		was := gw.Tunnel(tunnel).Children
		if len(was) != pairs {
			return false, fmt.Sprintf("%d Child SAs", len(was))
		}
		for local, remotes := range policies {
			for _, s := range remotes {
				if p := n.Host.Ping(hostIn(local, 10), 50, lab.Echo{Source: hostIn(s, 10), Wait: 2 * time.Second}); p.Received != 50 {
					return false, fmt.Sprintf("%s to %s: %v", s, local, p)
				}
			}
		}
		is := gw.Tunnel(tunnel).Children
		for _, b := range was {
			i := slices.IndexFunc(is, func(a lab.ChildStatus) bool { return a.SPIIn == b.SPIIn })
			if i < 0 {
				return false, "a Child SA has gone meanwhile"
			}
			if in, out := is[i].PacketsIn-b.PacketsIn, is[i].PacketsOut-b.PacketsOut; in != 50 || out != 50 {
				return false, fmt.Sprintf("%v === %v carried %d in and %d out, want 50 each", b.LocalTS, b.RemoteTS, in, out)
			}
		}
		return true, ""
	})
}

// Tencent's example has a Child SA for each pair of subnets: for all 2 × 3 pairs, or for a
// list of three, and then the other pairs carry nothing. With IKEv2 too, and with NULL
// encryption.
func TestTencentsPageOnBothHosts(t *testing.T) {
	t.Parallel()
	customers, clouds := []string{"58.211.1.0/24", "192.168.5.0/24", "192.168.6.0/24"}, []string{"10.8.4.0/24", "10.8.5.0/24"}
	for _, tt := range []struct {
		name     string
		policies map[string][]string
		version  string
		cipher   string
	}{
		{"2 x 3", map[string][]string{clouds[0]: customers, clouds[1]: customers}, "IKEV1", "3DES-CBC"},
		{"2 x 3, IKEv2", map[string][]string{clouds[0]: customers, clouds[1]: customers}, "IKEV2", "3DES-CBC"},
		{"a list", map[string][]string{clouds[0]: customers[:2], clouds[1]: customers[2:]}, "IKEV1", "3DES-CBC"},
		{"a list, IKEv2", map[string][]string{clouds[0]: customers[:2], clouds[1]: customers[2:]}, "IKEV2", "AES128GCM128"},
		{"NULL", map[string][]string{clouds[0]: customers}, "IKEV2", "NULL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t)
			behind(n, customers, clouds)
			body := tencentPage(t, tt.policies)
			body["IKEOptionsSpecification"].(map[string]any)["IKEVersion"] = tt.version
			body["IPSECOptionsSpecification"].(map[string]any)["EncryptAlgorithm"] = tt.cipher
			c := lab.Connection{Tencent: body}
			if tt.cipher == "NULL" {
				c.Allow = []string{"null-encryption"}
			}
			cloud := n.Cloud.Vpngw(pageGateways("cloud", c))
			customer := n.Customer.Vpngw(pageGateways("customer", c))
			customer.AwaitUp("TEST_CONN")
			cloud.AwaitUp("TEST_CONN")
			eachCarries(n, customer, "TEST_CONN", tt.policies)
			for local, remotes := range tt.policies {
				for _, s := range customers {
					if slices.Contains(remotes, s) {
						continue
					}
					if p := n.Host.Ping(hostIn(local, 10), 3, lab.Echo{Source: hostIn(s, 10), Wait: time.Second}); p.Received != 0 {
						t.Errorf("%s to %s, which is not listed: %v", s, local, p)
					}
				}
			}
			customer.Stop()
			cloud.Stop()
		})
	}
}
