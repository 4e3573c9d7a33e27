package main

import (
	"fmt"
	"slices"
)

// contender is one row of the table.
type contender struct {
	name  string // as in the table; BENCH_ONLY matches it
	start func(*site) tunnel

	main  bool   // the bars use it: it takes part in every round and in the UDP searches
	mixed bool   // in the search with 16 flows too
	noTCP bool   // it carries datagrams only
	noUSO bool   // no UDP segmentation on the link
	relay string // the row of the relay on the same link
	other bool   // run by the other vpngw
	far   *far   // the link between the ends; nil: a cable
	lan   string // of the plan
}

// The rows that the bars use.
const (
	plainRelay    = "relay"
	plainRelayOff = "relay, USO off"
	gcmUDP        = "aes128gcm16 udp"
	gcmUDPOff     = "aes128gcm16 udp, USO off"
	gcmESP        = "aes128gcm16 esp"
	floorUDP      = "floor"
	wireguardGo   = "wireguard-go"
	strongSwan    = "strongswan"
)

// contenders lists all contenders, in the order of a round.
func contenders() []contender {
	all := []contender{
		{name: plainRelay, start: startRelay, main: true, mixed: true},
		{name: gcmUDP, start: startVpngw("aes128gcm16", "always"), main: true, mixed: true},
		{name: floorUDP, start: startFloor, main: true, mixed: true, noTCP: true},
		{name: wireguardGo, start: startWireguard, main: true, mixed: true},
		{name: strongSwan, start: startStrongswan, main: true, mixed: true},
		{name: gcmESP, start: startVpngw("aes128gcm16", "never"), main: true, mixed: true},
		{name: plainRelayOff, start: startRelay, main: true, noUSO: true, relay: plainRelayOff},
		{name: gcmUDPOff, start: startVpngw("aes128gcm16", "always"), main: true, noUSO: true, relay: plainRelayOff},
		{name: "veth", start: startNothing},
	}
	for _, proposal := range []string{"aes256gcm16", "chacha20poly1305", "aes128-sha256", "aes128-sha1", "aes128-md5", "3des-md5"} {
		all = append(all,
			contender{name: proposal + " udp", start: startVpngw(proposal, "always")},
			contender{name: proposal + " esp", start: startVpngw(proposal, "never")})
	}
	for i := range all {
		if all[i].relay == "" {
			all[i].relay = plainRelay
		}
	}
	return all
}

// isVpngw reports whether the contender is a vpngw.
func (c contender) isVpngw() bool {
	return !slices.Contains([]string{plainRelay, plainRelayOff, floorUDP, wireguardGo, strongSwan, "veth", noTunnel}, c.name)
}

// chosen returns the contenders of the plan, and with BENCH_OTHER the other
// vpngw beside each of ours.
func (p plan) chosen() ([]contender, error) {
	var out []contender
	for _, c := range contenders() {
		if p.only != nil && !p.only.MatchString(c.name) {
			continue
		}
		if p.lan == lanMerged && c.name == floorUDP {
			continue // it takes no super-packets
		}
		c.lan = p.lan
		out = append(out, c)
		if p.other != "" && c.isVpngw() {
			c.name, c.other = otherPrefix+c.name, true
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("BENCH_ONLY matches no contender")
	}
	return out, nil
}

const otherPrefix = "other: "
