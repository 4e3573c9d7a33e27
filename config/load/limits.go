package load

import (
	"net/netip"
	"slices"
	"time"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/config/native"
)

// The least that an SA must be able to carry, and live. What the host hands over in one piece has up to 64 KB and up to 64
// packets, and a handshake with a message sent again takes some seconds.
const (
	leastBytes   = 64 << 10
	leastPackets = 64
	leastLife    = 5 * time.Second
)

// limits refuses limits with which a tunnel can carry nothing.
func (l *loader) limits(v *dialect.Value, at *dialect.Place, t *config.Tunnel) {
	given := v.Field("lifetime")
	place := func(beside string, body *dialect.Value, names ...string) *dialect.Value {
		if given.OK() && given.Field(beside).Given {
			return given.Field(beside)
		}
		for _, name := range names {
			if body != nil && body.Has(name) && body.Field(name).Given {
				return body.Field(name)
			}
		}
		return body
	}
	body := at.ESP
	if isNative(v) {
		body = v.Field(native.Name).Field("esp")
	}
	life := t.ESPLifetime
	if life.Bytes > 0 && life.Bytes < leastBytes {
		l.Fail(place("bytes", body, "bytes", "IPSECSaLifetimeTraffic"), dialect.Illegal, "with %d bytes a Child SA can end before one packet is through: at least %d, or 0 for no limit", life.Bytes, leastBytes)
	}
	if life.Packets > 0 && life.Packets < leastPackets {
		l.Fail(place("packets", body, "packets"), dialect.Illegal, "with %d packets a Child SA can end before what the host sends at once is through: at least %d, or 0 for no limit", life.Packets, leastPackets)
	}
	if life.Time > 0 && life.Time < leastLife {
		l.Fail(place("esp", body, "lifetime", "IpsecLifetime"), dialect.Illegal, "a Child SA of %v can end before the next one is up: at least %v", life.Time, leastLife)
	}
	for _, side := range [][]netip.Prefix{t.Local.Subnets, t.Remote.Subnets} {
		if len(side) > 0 && !slices.ContainsFunc(side, func(p netip.Prefix) bool { return !inNowhere(p) }) {
			l.Fail(at.Subnets, dialect.Illegal, "no packet from or to %v goes through a tunnel: hosts keep it to themselves, or it is no network of hosts", side[0])
			break
		}
	}
	if d := t.IKELifetime; d > 0 && d < leastLife {
		l.Fail(place("ike", at.IKE, "lifetime", "IkeLifetime"), dialect.Illegal, "an IKE SA of %v can end before the next one is up: at least %v", d, leastLife)
	}
}

// nowhere are the blocks of which no packet is routed: loopback, multicast, reserved.
var nowhere = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("224.0.0.0/3"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("ff00::/8"), netip.MustParsePrefix("fe80::/10"),
}

func inNowhere(p netip.Prefix) bool {
	return slices.ContainsFunc(nowhere, func(n netip.Prefix) bool { return p.Bits() >= n.Bits() && n.Contains(p.Addr()) })
}

// shared is the address space that carriers and clouds use inside (RFC 6598): a host there is hard to reach from a cloud.
var shared = netip.MustParsePrefix("100.64.0.0/10")

// sharedSpace warns of the shared address space in the customer's own networks.
func (l *loader) sharedSpace(at *dialect.Place, d *dialect.Draft, t *config.Tunnel) {
	if d.Side != config.Customer {
		return
	}
	own := slices.Clone(t.Local.Subnets)
	if t.BGP != nil {
		own = append(own, t.BGP.Announce...)
	}
	for _, p := range own {
		if p.Bits() > 0 && p.Overlaps(shared) {
			l.Warn(at.Subnets, dialect.Conflict, "%v is behind this end, and in %v, which clouds and carriers use for services of their own: hosts at the other end may not reach it, so give it other addresses, or translate them", p, shared)
			return
		}
	}
}
