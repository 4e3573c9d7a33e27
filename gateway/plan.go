package gateway

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"vpngw/config"
	"vpngw/ike/sa"
)

// peersOf turns tunnels into the peers that IKE talks to. An IKE SA belongs to
// (addresses, identities): tunnels that share these share one Peer, each with
// its own Child SAs. local answers which of the host's addresses a configured
// one stands for; the zero address lets the route choose.
//
// The result depends on nothing but its arguments and keeps their order, so
// that a reload of an unchanged file yields equal peers.
func peersOf(tunnels []*wanted, local func(netip.Addr) netip.Addr) ([]*sa.Peer, error) {
	var peers []*sa.Peer
	byKey := map[sa.PeerKey]*sa.Peer{}
	for _, w := range tunnels {
		t := w.tunnel
		own := &sa.Peer{Name: w.conn.Name, PeerKey: t.PeerKey(), Settings: t.Settings()}
		k := own.PeerKey
		own.Local = local(t.Local.Address)
		p := byKey[k]
		switch {
		case p == nil:
			p = own
			byKey[k] = p
			peers = append(peers, p)
		default:
			if fields := p.Settings.Diff(&own.Settings); len(fields) > 0 {
				return nil, fmt.Errorf("connections %q and %q have the same addresses and identities, so they share one IKE SA: their %s must be the same too",
					p.Name, w.conn.Name, fields[0])
			}
			p.Name += "," + w.conn.Name
		}
		p.Children = append(p.Children, t.ChildSAs()...)
	}
	return peers, nil
}

// conflict is why the connections of c can't run beside each other, or nil.
// package config sees to it that there is none; here it would be a wrong key in use.
func conflict(c *config.Config) error {
	_, err := peersOf(wantedOf(c), func(a netip.Addr) netip.Addr { return a })
	return err
}

// wanted is one tunnel of the configuration with the connection that it is of.
type wanted struct {
	conn   *config.Connection
	tunnel *config.Tunnel
}

func wantedOf(c *config.Config) []*wanted {
	var out []*wanted
	for _, conn := range c.Connections {
		for i := range conn.Tunnels {
			out = append(out, &wanted{conn, &conn.Tunnels[i]})
		}
	}
	return out
}

// same reports whether w and v say the same, so that a reload from one to the
// other leaves the tunnel alone.
func (w *wanted) same(v *wanted) bool {
	return w.conn.Name == v.conn.Name && w.conn.Side == v.conn.Side && w.conn.Dialect == v.conn.Dialect &&
		reflect.DeepEqual(w.tunnel, v.tunnel)
}

// deviceNames gives every tunnel its TUN device: the configured name, or the
// one it has in taken, or the lowest vpngwN that nobody else has.
func deviceNames(tunnels []*wanted, taken map[string]string) (map[string]string, error) {
	names := make(map[string]string, len(tunnels))
	owner := make(map[string]string, len(tunnels))
	for _, w := range tunnels {
		if d := w.tunnel.Device; d != "" {
			if other, ok := owner[d]; ok {
				return nil, fmt.Errorf("tunnels %q and %q both want device %s", other, w.tunnel.Name, d)
			}
			names[w.tunnel.Name], owner[d] = d, w.tunnel.Name
		}
	}
	for _, w := range tunnels {
		if d := taken[w.tunnel.Name]; w.tunnel.Device == "" && strings.HasPrefix(d, devicePrefix) && owner[d] == "" {
			names[w.tunnel.Name], owner[d] = d, w.tunnel.Name
		}
	}
	n := 0
	for _, w := range tunnels {
		if names[w.tunnel.Name] != "" {
			continue
		}
		d := fmt.Sprintf("%s%d", devicePrefix, n)
		for ; owner[d] != ""; d = fmt.Sprintf("%s%d", devicePrefix, n) {
			n++
		}
		names[w.tunnel.Name], owner[d] = d, w.tunnel.Name
	}
	return names, nil
}

const devicePrefix = "vpngw"

// sourceFor is the address that this host's own packets into prefix should
// come from: one of its addresses that lies in the tunnel's local subnets, for
// only those the peer accepts. Narrow subnets are asked first; the all-zero one
// says nothing. The zero address leaves the choice to the kernel.
func sourceFor(prefix netip.Prefix, subnets []netip.Prefix, addresses []netip.Addr) netip.Addr {
	sorted := slices.SortedStableFunc(slices.Values(subnets), func(a, b netip.Prefix) int {
		return cmp.Compare(b.Bits(), a.Bits())
	})
	for _, s := range sorted {
		if s.Bits() == 0 || s.Addr().Is4() != prefix.Addr().Is4() {
			continue
		}
		for _, a := range addresses {
			if s.Contains(a) && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
				return a
			}
		}
	}
	return netip.Addr{}
}
