package test

import (
	"net"
	"time"

	"vpngw/test/lab"
)

var (
	initiators = []int{mainInitiator, v2Initiator}
	responders = []int{mainResponder, v2Responder}
	mains      = []int{mainInitiator, mainResponder, v2Initiator, v2Responder}
)

// up waits until the tunnel is up, and sends some packets into it.
func up(p *patient) {
	for range 80 {
		if p.gw.Tunnel("row").State == "up" {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	ping(p.n.CloudHost, lab.CustomerHost)
	ping(p.n.Host, lab.CloudHost)
}

// ping sends some packets that need no answer.
func ping(from *lab.Namespace, to string) { from.Try("ping", "-c", "5", "-i", "0.05", "-W", "1", to) }

// weRekey has this end rekey the Child SA, and theyRekey strongSwan.
func weRekey(p *patient) {
	up(p)
	p.gw.Command("rekey", "row")
}

func theyRekey(p *patient) {
	up(p)
	p.cloud.RekeyChild("row")
}

// proposals is what an initiator and a responder say of proposals that do not fit.
func proposals(phase string, kinds ...int) map[int]explained {
	m := map[int]explained{}
	for _, k := range kinds {
		if k%2 == 0 {
			m[k] = explained{phase + "-refused", "either", phase + ".proposals"}
		} else {
			m[k] = explained{phase + "-proposal", "either", phase + ".proposals"}
		}
	}
	return m
}

var mistakes = []mistake{
	{what: "pre-shared key", spoil: func(p *patient) { p.key = "another key altogether" }, want: and(
		of("either", "psk", "not-decrypted", mainInitiator, mainResponder), of("either", "psk", "auth-refused", v2Initiator),
		of("either", "psk", "psk-mismatch", v2Responder), of("either", "psk", "hash-wrong not-decrypted", aggressiveInitiator, aggressiveResponder))},
	{what: "our identity", spoil: func(p *patient) { p.theirs.Remote.ID = "nobody.example" }, want: and(
		of("either", "local.id", "identity-disbelieved", mainInitiator, mainResponder, aggressiveInitiator, aggressiveResponder),
		of("either", "local.id", "auth-refused", v2Initiator), of("either", "local.id", "our-identity", v2Responder))},
	{what: "the peer's identity", spoil: func(p *patient) { p.theirs.Local.ID = "stranger.example" }, want: and(
		of("either", "remote.id", "peer-identity", mainInitiator, mainResponder, v2Responder, aggressiveInitiator, aggressiveResponder),
		of("either", "remote.id", "auth-refused", v2Initiator))},
	{what: "the peer has our identity", spoil: func(p *patient) { p.theirs.Local.ID = lab.CustomerAddr }, want: and(
		of("either", "remote.id", "peer-identity same-identity", mainInitiator, mainResponder, v2Responder),
		of("either", "remote.id", "auth-refused", v2Initiator))},
	{what: "IKE encryption", spoil: func(p *patient) { p.theirs.Proposals = []string{"aes128-sha256-modp2048"} }, want: proposals("ike", mains...)},
	{what: "IKE hash", spoil: func(p *patient) { p.theirs.Proposals = []string{"aes256-sha384-modp2048"} }, want: proposals("ike", mains...)},
	{what: "IKE group", spoil: func(p *patient) { p.theirs.Proposals = []string{"aes256-sha256-modp3072"} }, want: proposals("ike", mainInitiator, mainResponder, v2Initiator, v2Responder, aggressiveInitiator, aggressiveResponder)},
	{what: "ESP encryption", spoil: func(p *patient) { p.esp("aes256-sha256") }, want: proposals("esp", mains...)},
	{what: "ESP hash", spoil: func(p *patient) { p.esp("aes128-sha1") }, want: proposals("esp", mains...)},
	{what: "PFS group", spoil: func(p *patient) {
		p.ours.Native.ESP.Proposals = []string{"aes128-sha256-modp2048"}
		p.esp("aes128-sha256-modp3072")
	}, want: proposals("esp", mainInitiator, mainResponder)},
	{what: "PFS at our end only", spoil: func(p *patient) { p.ours.Native.ESP.Proposals = []string{"aes128-sha256-modp2048"} }, want: proposals("esp", mainInitiator, mainResponder)},
	{what: "PFS at the peer only", spoil: func(p *patient) { p.esp("aes128-sha256-modp2048") }, want: proposals("esp", mainInitiator, mainResponder)},
	{what: "PFS at our end only, found at a rekey", after: weRekey, spoil: func(p *patient) { p.ours.Native.ESP.Proposals = []string{"aes128-sha256-modp2048"} }, want: proposals("esp", v2Initiator)},
	{what: "PFS at our end only, tried by the doctor", after: up, rekey: true, spoil: func(p *patient) { p.ours.Native.ESP.Proposals = []string{"aes128-sha256-modp2048"} }, want: of("either", "esp.proposals", "pfs-mismatch", v2Initiator, v2Responder)},
	{what: "PFS group, found at the peer's rekey", after: theyRekey, spoil: func(p *patient) {
		p.ours.Native.ESP.Proposals = []string{"aes128-sha256-modp2048"}
		p.esp("aes128-sha256-modp3072")
	}, want: proposals("esp", v2Responder)},
	{what: "our subnet", spoil: func(p *patient) {
		child(&p.theirs, func(c *lab.Child) { c.RemoteTS = []string{"192.168.99.0/24"} })
	}, want: and(of("either", "local.subnets", "selectors-refused", initiators...), of("either", "local.subnets", "selectors", responders...))},
	{what: "the peer's subnet", spoil: func(p *patient) {
		child(&p.theirs, func(c *lab.Child) { c.LocalTS = []string{"10.99.0.0/16"} })
	}, want: and(of("either", "remote.subnets", "selectors-refused", initiators...), of("either", "remote.subnets", "selectors", responders...))},
	{what: "a smaller subnet at the peer", spoil: func(p *patient) {
		child(&p.theirs, func(c *lab.Child) { c.LocalTS = []string{"10.10.0.0/24"} })
	}, want: and(of("either", "remote.subnets", "selectors-not-offered", mainInitiator), of("either", "remote.subnets", "selectors selectors-not-covered", mainResponder),
		of("either", "remote.subnets", "selectors-not-covered", v2Initiator, v2Responder))},
	{what: "a pair of subnets is missing at the peer", spoil: func(p *patient) { p.ours.Native.Remote.Subnets = []string{lab.CloudLAN, "10.77.0.0/16"} }, want: of(
		"either", "remote.subnets", "selectors-not-covered", mains...)},
	{what: "the peer has the other IKE version", spoil: func(p *patient) { p.theirs.Version = map[string]string{"1": "2", "2": "1"}[p.theirs.Version] }, want: and(
		of("either", "ike_version", "ike-refused", initiators...), of("either", "ike_version", "ike-version", responders...))},
	{what: "main mode here, aggressive there", spoil: func(p *patient) { p.theirs.Aggressive = "yes" }, want: and(
		of("either", "mode", "identity-disbelieved", mainInitiator), of("either", "mode", "ike-mode", mainResponder))},
	{what: "aggressive mode here, main there", spoil: func(p *patient) { p.theirs.Aggressive = "no" }, want: and(
		of("either", "mode", "identity-disbelieved", aggressiveInitiator), of("either", "mode", "ike-mode", aggressiveResponder))},
	{what: "the peer's address", spoil: func(p *patient) { p.ours.Native.Remote.Address = "198.51.100.77" }, want: and(
		of("path", "remote.address", "no-answer no-answer-yet", initiators...), of("either", "remote.address", "nobody-begins", responders...))},
	{what: "encap never behind a NAT", spoil: func(p *patient) { p.ours.Encap = "never" }, want: of("ours", "encap", "nat-forbidden", mains...)},
	{what: "nobody begins", spoil: func(p *patient) {}, want: of("either", "initiate", "nobody-begins", responders...)},

	// The host and the way.
	{what: "our filter drops UDP 500 that comes in", spoil: func(p *patient) { p.filter(p.n.Customer, "input", "udp dport 500") }, want: of("ours", "", "filter-in", mains...)},
	{what: "our filter drops UDP 500 that goes out", spoil: func(p *patient) { p.filter(p.n.Customer, "output", "udp sport 500 ip daddr "+lab.CloudAddr) }, want: of("ours", "", "filter-out", initiators...)},
	{what: "our filter drops UDP 4500", spoil: func(p *patient) { p.filter(p.n.Customer, "input", "udp dport { 4500, 4501 }") }, want: of("ours", "", "filter-in", mains...)},
	{what: "our filter forwards nothing", after: up, spoil: func(p *patient) { p.filter(p.n.Customer, "forward", "ip saddr "+lab.CustomerLAN) }, want: of("ours", "", "filter-forward", v2Initiator)},
	{what: "UDP 500 is filtered on the way", spoil: func(p *patient) { p.filter(p.n.Internet, "forward", "udp dport 500") }, want: and(
		of("path", "remote.address", "no-answer no-answer-yet", initiators...), of("either", "initiate", "nobody-begins", responders...))},
	{what: "UDP 4500 is filtered on the way", spoil: func(p *patient) { p.filter(p.n.Internet, "forward", "udp dport 4500") }, want: and(
		of("path", "", "natt-silent", initiators...), of("path", "", "natt-silent peer-stopped", responders...))},
	{what: "ESP is filtered on the way back", after: up, spoil: func(p *patient) {
		p.filter(p.n.Internet, "forward", "ip saddr "+lab.CloudAddr+" udp dport 4500 @th,64,32 != 0")
	}, want: of("theirs", "", "nothing-back", mains...)},
	{what: "no route to the peer", spoil: func(p *patient) {
		p.run(p.n.Customer, "ip route del default via 203.0.113.254", "ip route add default via 203.0.113.254")
	}, want: of("ours", "", "no-route", initiators...)},
	{what: "ip_forward", after: up, spoil: func(p *patient) { p.sysctl(p.n.Customer, "net.ipv4.ip_forward", "0", "1") }, want: of("ours", "", "ip-forward", v2Initiator)},
	{what: "rp_filter", after: up, spoil: func(p *patient) { p.sysctl(p.n.Customer, "net.ipv4.conf.wan.rp_filter", "1", "0") }, want: of("ours", "", "rp-filter", v2Initiator)},
	{what: "another route into the peer's network", spoil: func(p *patient) {
		p.run(p.n.Customer, "ip route add "+lab.CloudLAN+" via 203.0.113.254", "ip route del "+lab.CloudLAN+" via 203.0.113.254")
	}, want: of("ours", "routes", "route-blocked", initiators...)},
	{what: "everything is carried and routed nowhere", spoil: func(p *patient) {
		everything := []string{"0.0.0.0/0"}
		p.ours.Native.Local.Subnets, p.ours.Native.Remote.Subnets, p.ours.Routes = everything, everything, []string{}
		child(&p.theirs, func(c *lab.Child) { c.LocalTS, c.RemoteTS = everything, everything })
	}, want: of("ours", "routes", "no-routes", initiators...)},
	{what: "a network that the tunnel does not carry", spoil: func(p *patient) { p.ours.Routes = []string{lab.CloudLAN, "10.88.0.0/16"} }, after: func(p *patient) {
		up(p)
		ping(p.n.Host, "10.88.0.1")
	}, want: of("either", "remote.subnets", "outside-selectors", initiators...)},
	{what: "an address in the tunnel that this host has already", spoil: func(p *patient) {
		p.ours.Native.Inside = map[string]string{"local": "169.254.20.2/30", "remote": "169.254.20.1"}
		p.run(p.n.Customer, "ip addr add 169.254.20.2/30 dev lan", "ip addr del 169.254.20.2/30 dev lan")
	}, want: of("ours", "inside.local", "address-taken", v2Initiator)},
	{what: "the wrong side", spoil: func(p *patient) { wrongSide(p) }, want: of("ours", "side", "peer-is-own", v2Initiator, mainInitiator)},
	{what: "a program on the port at another address", spoil: func(p *patient) {
		p.config.Listen = []string{lab.CustomerAddr}
		p.n.Customer.Do(func() {
			if c, err := net.ListenPacket("udp", "127.0.0.1:500"); err == nil {
				p.later(func() { c.Close() })
			}
		})
	}, after: up, want: of("ours", "listen", "port-shared", v2Initiator)},
	{what: "the peer ends the tunnel early", spoil: func(p *patient) {
		child(&p.theirs, func(c *lab.Child) { c.LifeTime, c.RekeyTime = "2s", "0s" })
	}, want: of("either", "lifetime", "peer-ends-early", v2Initiator)},
	{what: "held down", after: func(p *patient) { p.gw.Command("down", "row") }, spoil: func(p *patient) {}, want: of("ours", "", "operator-down", v2Initiator)},
	{what: "forwarding is off on the LAN's device", after: up, spoil: func(p *patient) { p.sysctl(p.n.Customer, "net.ipv4.conf.lan.forwarding", "0", "1") }, want: of("ours", "", "forward-off", v2Initiator, mainInitiator)},
	{what: "masquerading of everything", after: up, spoil: func(p *patient) {
		p.run(p.n.Customer, "nft 'table ip masq { chain out { type nat hook postrouting priority 100; masquerade; }; }'", "nft delete table ip masq")
	}, want: of("ours", "", "snat", v2Initiator, mainInitiator)},
	{what: "a flow from before the tunnel", spoil: func(p *patient) {
		p.run(p.n.Customer, "conntrack -I -s "+lab.CustomerHost+" -d "+lab.CloudHost+" -p udp --sport 5000 --dport 53 --src-nat "+lab.CustomerAddr+" -t 300", "conntrack -F")
	}, after: up, want: of("ours", "", "old-flows", v2Initiator, mainInitiator)},
	{what: "another IKE daemon's policies", after: up, spoil: func(p *patient) {
		p.run(p.n.Customer, "ip xfrm policy add src "+lab.CustomerLAN+" dst "+lab.CloudLAN+" dir out tmpl src 192.0.2.1 dst 192.0.2.2 proto esp mode tunnel", "ip xfrm policy flush")
	}, want: of("ours", "", "foreign-policy", v2Initiator, mainInitiator)},
}

// wrongSide turns our end into the peer's, as `side: cloud` does at the customer.
func wrongSide(p *patient) {
	c := *p.ours.Native
	c.Local, c.Remote = c.Remote, c.Local
	p.ours.Native = &c
}

// mistakesOfTwo are between two vpngw, where strongSwan's ESP in user space cannot make the mistake.
var mistakesOfTwo = []mistake{
	{what: "the peer cuts SHA-256 to 96 bits", after: up, spoil: func(p *patient) { p.peer.SHA25696 = true }, want: of("ours", "sha256_96", "icv-length", mains...)},
	{what: "only this end cuts SHA-256 to 96 bits", after: up, spoil: func(p *patient) { p.ours.SHA25696 = true }, want: of("ours", "sha256_96", "icv-length", mains...)},
	{what: "protocol 50 is filtered on the way", after: up, spoil: func(p *patient) { p.filter(p.n.Internet, "forward", "meta l4proto 50") }, want: of("path", "encap", "raw-esp-blocked", initiators...)},
	{what: "our filter drops protocol 50", after: up, spoil: func(p *patient) { p.filter(p.n.Customer, "input", "meta l4proto 50") }, want: of("ours", "", "filter-in", initiators...)},
}

// mistakesBehindNAT are those of an end that has a private address.
var mistakesBehindNAT = []mistake{
	{what: "NAT traversal is off behind a NAT", spoil: func(p *patient) { p.ours.Native.NATT = new(false) }, want: of("ours", "natt", "natt-off", initiators...)},
}
