package lab

// Narrow puts a second router between the internet and the cloud, with a link
// of that MTU to the first. Neither gateway is on that link, so each learns the
// MTU from a router:
//
//	customer ── internet ──[ mtu ]── transit ── cloud
//
// Call it before anything runs on the cloud's side.
func (n *Net) Narrow(mtu int) {
	n.Helper()
	transit := n.Namespace("transit")
	n.Cloud.Run("ip", "link", "del", "wan")
	n.Link(n.Cloud, "wan", transit, "cloud")
	n.Cloud.Address("wan", CloudAddr+"/24", CloudAddr6+"/64")
	n.Cloud.Route("default", "198.51.100.254")
	n.Cloud.Route("default", "2001:db8:a::fe")
	transit.Address("cloud", "198.51.100.254/24", "2001:db8:a::fe/64")

	n.Link(n.Internet, "transit", transit, "internet")
	n.Internet.Address("transit", "192.0.2.1/30", "2001:db8:f::1/64")
	transit.Address("internet", "192.0.2.2/30", "2001:db8:f::2/64")
	n.Internet.Route("198.51.100.0/24", "192.0.2.2")
	n.Internet.Route("2001:db8:a::/64", "2001:db8:f::2")
	transit.Route("default", "192.0.2.1")
	transit.Route("default", "2001:db8:f::1")
	n.Internet.MTU("transit", mtu)
	transit.MTU("internet", mtu)
	n.awaitLinks()
}
