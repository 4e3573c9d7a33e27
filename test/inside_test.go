package test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vpngw/test/lab"
)

// inside is the address in the tunnel that a gateway's device has.
func inside(t *testing.T, n *lab.Namespace) netip.Prefix {
	t.Helper()
	f := strings.Fields(n.Run("ip", "-br", "-4", "addr", "show", "dev", "vpngw0", "scope", "global"))
	if len(f) != 3 {
		t.Fatalf("the device has not one address: %q", f)
	}
	return netip.MustParsePrefix(f[2])
}

// Each dialect's addresses in the tunnel are on the devices of both ends, and answer. What a gateway itself sends to a
// network behind the other comes from an address of its own network, not from that in the tunnel.
func TestAddressesInTheTunnel(t *testing.T) {
	t.Parallel()
	lans := [2][]string{{"192.168.44.0/24"}, {"10.0.0.0/24"}} // the customer's, the cloud's
	everything := []string{"0.0.0.0/0"}
	direct := native("hq", natSuites)
	direct.Native.Local.Subnets, direct.Native.Remote.Subnets = everything, everything
	direct.Native.Inside = map[string]string{"local": "169.254.20.2/30", "remote": "169.254.20.1"}
	tencent := tencentPage(t, nil)
	delete(tencent, "SecurityPolicyDatabases")
	tencent["RouteType"] = "Bgp"
	tencent["BgpConfig"] = map[string]string{"TunnelCidr": "169.254.128.8/30", "LocalBgpIp": "169.254.128.9", "RemoteBgpIp": "169.254.128.10"}
	for _, tt := range []struct {
		name            string
		ours            lab.Connection
		theirs          *lab.Connection // nil: the same body, at side cloud
		customer, cloud string
	}{
		{"native", direct, new(mirror(direct)), "169.254.20.2/30", "169.254.20.1/30"},
		{"huawei", lab.Connection{Huawei: page(t, "huawei-bgp.txt"), Name: "hq"}, nil, "169.254.56.226/30", "169.254.56.225/30"},
		{"alibaba", lab.Connection{
			Alibaba: "Action=CreateVpnConnection&RegionId=cn-shanghai&VpnGatewayId=" + lab.CloudAddr + "&CustomerGatewayId=cgw-p0w2jemrcj5u61un80001" +
				"&LocalSubnet=0.0.0.0/0&RemoteSubnet=0.0.0.0/0&BgpConfig=" + `{"EnableBgp":"true","LocalAsn":"45104","TunnelCidr":"169.254.30.0/30","LocalBgpIp":"169.254.30.1"}`,
			Name: "hq", PSK: psk,
		}, nil, "169.254.30.2/30", "169.254.30.1/30"},
		{"tencent", lab.Connection{Tencent: tencent, Name: "hq"}, nil, "169.254.128.10/30", "169.254.128.9/30"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t)
			behind(n, lans[0], lans[1])
			ours, theirs := tt.ours, tt.ours
			if tt.theirs != nil {
				theirs = *tt.theirs
			}
			// The gateways' own packets come from their first private address.
			ours.Routes, theirs.Routes = append(lans[1][:1:1], lab.CloudLAN), append(lans[0][:1:1], lab.CustomerLAN)
			config := func(side string, c lab.Connection) lab.Config {
				conf := pageGateways(side, c)
				for id, e := range alibabaGateways(side, c).CustomerGateways {
					conf.CustomerGateways[id] = e
				}
				return conf
			}
			cloud := n.Cloud.Vpngw(config("cloud", theirs))
			customer := n.Customer.Vpngw(config("customer", ours))
			customer.AwaitUp("hq")
			cloud.AwaitUp("hq")
			a, b := inside(t, n.Customer), inside(t, n.Cloud)
			if a.String() != tt.customer || b.String() != tt.cloud {
				t.Errorf("the customer's end has %v, the cloud's %v, want %s and %s", a, b, tt.customer, tt.cloud)
			}
			for _, p := range []lab.Pings{
				n.Customer.Ping(b.Addr().String(), 20, lab.Echo{}), n.Cloud.Ping(a.Addr().String(), 20, lab.Echo{}),
				n.Customer.Ping(hostIn(lans[1][0], 10), 20, lab.Echo{}), n.Cloud.Ping(hostIn(lans[0][0], 10), 20, lab.Echo{}),
			} {
				if p.Lost() != 0 {
					t.Errorf("ping: %v", p)
				}
			}
			customer.Command("down", "hq")
			if left := n.Customer.Run("ip", "-br", "-4", "addr", "show", "dev", "vpngw0"); slices.Contains(strings.Fields(left), tt.customer) {
				t.Errorf("the operator took it down, and its address is there: %s", left)
			}
			customer.Stop()
			cloud.Stop()
		})
	}
}
