package lab

// Addresses of the standard networks. The customer's addresses are those of its
// gateway towards the internet, of its gateway towards the host, and of the
// host.
const (
	CustomerAddr  = "203.0.113.9"
	CustomerAddr6 = "2001:db8:c::9"
	CloudAddr     = "198.51.100.1"
	CloudAddr6    = "2001:db8:a::1"

	CustomerLAN   = "192.168.3.0/24"
	CustomerLAN6  = "fd00:3::/64"
	CustomerHost  = "192.168.3.10"
	CustomerHost6 = "fd00:3::10"
	CloudLAN      = "10.10.0.0/16"
	CloudLAN6     = "fd00:10::/64"
	CloudHost     = "10.10.0.10"
	CloudHost6    = "fd00:10::10"

	// With the customer behind NAT, CustomerAddr is the NAT router's.
	CustomerPrivate = "172.16.5.2"
	// The second customer behind the same NAT.
	Customer2Private = "172.16.5.3"
	Customer2LAN     = "192.168.4.0/24"
	Customer2Host    = "192.168.4.10"
)

// Net is one of the standard networks:
//
//	chost ── customer ──[ nat ]── internet ── cloud ── vhost
//	c2host ─ customer2 ──┘
//
// The devices are called "lan" on a gateway towards its host, "wan" towards the
// internet, and "eth0" on a host.
type Net struct {
	*Lab
	Host, Customer, Internet, Cloud, CloudHost *Namespace
	NAT                                        *Namespace // nil without NAT
	Customer2, Host2                           *Namespace // nil with one customer
}

// Direct makes the network without NAT, with IPv4 and IPv6 on every link.
func Direct(t T, tools ...string) *Net {
	t.Helper()
	n := cloudSide(New(t, tools...))
	n.customerSide()
	n.awaitLinks()
	return n
}

// DirectToGuest makes Direct's network but for the cloud: whoever is the cloud's gateway boots it with Internet.Guest.
func DirectToGuest(t T, tools ...string) *Net {
	t.Helper()
	n := &Net{Lab: New(t, append(tools, GuestTools...)...)}
	n.Internet = n.Namespace("internet")
	n.customerSide()
	n.awaitLinks()
	return n
}

func (n *Net) customerSide() {
	n.Helper()
	n.Customer, n.Host = n.Namespace("customer"), n.Namespace("chost")
	n.Link(n.Customer, "wan", n.Internet, "customer")
	n.Customer.Address("wan", CustomerAddr+"/24", CustomerAddr6+"/64")
	n.Internet.Address("customer", "203.0.113.254/24", "2001:db8:c::fe/64")
	n.Customer.Route("default", "203.0.113.254")
	n.Customer.Route("default", "2001:db8:c::fe")
	n.lan(n.Customer, n.Host, "192.168.3", "fd00:3::", "24")
}

// BehindNAT makes the network in which the customer's gateway has a private
// address, behind a masquerading router with the public one. The outer network
// has IPv4 only.
func BehindNAT(t T, tools ...string) *Net {
	t.Helper()
	n := cloudSide(New(t, append(tools, "conntrack")...))
	n.NAT = n.Namespace("nat")
	n.Link(n.NAT, "wan", n.Internet, "customer")
	n.NAT.Address("wan", CustomerAddr+"/24")
	n.Internet.Address("customer", "203.0.113.254/24")
	n.NAT.Route("default", "203.0.113.254")
	n.NAT.Masquerade("wan", "")

	n.Customer, n.Host = n.Namespace("customer"), n.Namespace("chost")
	n.Link(n.Customer, "wan", n.NAT, "office")
	n.Customer.Address("wan", CustomerPrivate+"/24")
	n.NAT.Address("office", "172.16.5.254/24")
	n.Customer.Route("default", "172.16.5.254")
	n.lan(n.Customer, n.Host, "192.168.3", "fd00:3::", "24")
	n.awaitLinks()
	return n
}

// TwoBehindNAT makes BehindNAT with a second customer on the office network.
func TwoBehindNAT(t T, tools ...string) *Net {
	t.Helper()
	n := BehindNAT(t, tools...)
	n.Customer2, n.Host2 = n.Namespace("customer2"), n.Namespace("c2host")
	// A veth has two ends: the office network is a bridge on the NAT router.
	n.NAT.Run("ip", "link", "add", "name", "floor", "type", "bridge")
	n.Link(n.Customer2, "wan", n.NAT, "office2")
	for _, port := range []string{"office", "office2"} {
		n.NAT.Run("ip", "link", "set", port, "master", "floor")
	}
	n.NAT.Run("ip", "addr", "flush", "dev", "office")
	n.NAT.Run("ip", "link", "set", "floor", "up")
	n.NAT.Address("floor", "172.16.5.254/24")
	n.Customer2.Address("wan", Customer2Private+"/24")
	n.Customer2.Route("default", "172.16.5.254")
	n.lan(n.Customer2, n.Host2, "192.168.4", "fd00:4::", "24")
	n.awaitLinks()
	return n
}

func cloudSide(l *Lab) *Net {
	l.Helper()
	n := &Net{Lab: l}
	n.Internet, n.Cloud, n.CloudHost = l.Namespace("internet"), l.Namespace("cloud"), l.Namespace("vhost")
	l.Link(n.Cloud, "wan", n.Internet, "cloud")
	n.Cloud.Address("wan", CloudAddr+"/24", CloudAddr6+"/64")
	n.Internet.Address("cloud", "198.51.100.254/24", "2001:db8:a::fe/64")
	n.Cloud.Route("default", "198.51.100.254")
	n.Cloud.Route("default", "2001:db8:a::fe")
	n.lan(n.Cloud, n.CloudHost, "10.10.0", "fd00:10::", "16")
	return n
}

// lan puts a host behind a gateway: .10 behind .1.
func (l *Lab) lan(gateway, host *Namespace, v4, v6, bits string) {
	l.Helper()
	l.Link(gateway, "lan", host, "eth0")
	gateway.Address("lan", v4+".1/"+bits, v6+"1/64")
	host.Address("eth0", v4+".10/"+bits, v6+"10/64")
	host.Route("default", v4+".1")
	host.Route("default", v6+"1")
}
