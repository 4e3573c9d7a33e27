package lab

import (
	"fmt"
	"path/filepath"
)

// TwoHosts makes Direct's network with a second gateway beside the customer's, Customer2. Neither has the addresses that
// belong to both, CustomerAddr and 192.168.3.1: they are for VRRP.
func TwoHosts(t T, tools ...string) *Net {
	t.Helper()
	n := cloudSide(New(t, tools...))
	n.Customer, n.Customer2, n.Host = n.Namespace("customer"), n.Namespace("customer2"), n.Namespace("chost")
	n.Internet.Run("ip", "link", "add", "name", "customer", "type", "bridge")
	n.Host.Run("ip", "link", "add", "name", "eth0", "type", "bridge")
	for _, g := range []struct {
		gateway  *Namespace
		wan, lan string
		port     string
	}{{n.Customer, "203.0.113.11", "192.168.3.2", "one"}, {n.Customer2, "203.0.113.12", "192.168.3.3", "two"}} {
		n.Link(g.gateway, "wan", n.Internet, g.port)
		n.Internet.Run("ip", "link", "set", g.port, "master", "customer")
		n.Link(g.gateway, "lan", n.Host, g.port)
		n.Host.Run("ip", "link", "set", g.port, "master", "eth0")
		g.gateway.Address("wan", g.wan+"/24")
		g.gateway.Address("lan", g.lan+"/24")
		g.gateway.Route("default", "203.0.113.254")
	}
	n.Internet.Run("ip", "link", "set", "customer", "up")
	n.Internet.Address("customer", "203.0.113.254/24")
	n.Host.Run("ip", "link", "set", "eth0", "up")
	n.Host.Address("eth0", CustomerHost+"/24")
	n.Host.Route("default", "192.168.3.1")
	n.awaitLinks()
	return n
}

// Unplug takes the cables of a gateway's two devices out, and Plug puts them in again.
func (n *Net) Unplug(gateway *Namespace) { n.cables(gateway, "down") }
func (n *Net) Plug(gateway *Namespace)   { n.cables(gateway, "up") }

func (n *Net) cables(gateway *Namespace, state string) {
	n.Helper()
	port := "one"
	if gateway == n.Customer2 {
		port = "two"
	}
	n.Internet.Run("ip", "link", "set", port, state)
	n.Host.Run("ip", "link", "set", port, state)
	if state == "up" {
		n.awaitLinks()
		gateway.Run("ip", "route", "replace", "default", "via", "203.0.113.254")
	}
}

// Keepalived starts keepalived with a configuration. Each has a log of its own.
func (n *Namespace) Keepalived(conf string) *Process {
	n.lab.Helper()
	name := fmt.Sprintf("keepalived%d", n.number())
	pid := filepath.Join(n.lab.Dir, n.role+"-"+name)
	own := n.lab.File(n.role+"-"+name+".conf", conf)
	return n.Start(name, "keepalived", "--dont-fork", "--log-console", "--log-detail", "--vrrp", "--use-file", own,
		"--pid", pid+".pid", "--vrrp_pid", pid+"-vrrp.pid")
}
