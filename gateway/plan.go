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
	"vpngw/ipsec"
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
		own := peerOf(w, local)
		k := own.PeerKey
		k.Local = t.Local.Address // as configured
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
		p.Children = append(p.Children, childrenOf(t)...)
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

func peerOf(w *wanted, local func(netip.Addr) netip.Addr) *sa.Peer {
	t := w.tunnel
	encap := sa.EncapAuto
	switch t.Encap {
	case config.EncapAlways:
		encap = sa.EncapAlways
	case config.EncapNever:
		encap = sa.EncapNever
	}
	return &sa.Peer{
		Name: w.conn.Name,
		PeerKey: sa.PeerKey{
			Local:    local(t.Local.Address),
			Remote:   t.Remote.Address,
			LocalID:  t.Local.ID,
			RemoteID: t.Remote.ID,
		},
		Settings: sa.Settings{
			Version: t.IKEVersion, Aggressive: t.Aggressive,
			PSK:       t.PSK,
			Proposals: t.IKEProposals,
			Lifetime:  t.IKELifetime,
			NATT:      t.NATT,
			Encap:     encap,
			DPD:       t.DPD,
		},
	}
}

// childrenOf is the Child SAs that a tunnel wants: one for all its subnets, or one for
// each pair that it lists, or each pair of subnets of one family. IKEv1 knows only pairs.
func childrenOf(t *config.Tunnel) []*sa.Child {
	child := func(name string, local, remote []netip.Prefix) *sa.Child {
		return &sa.Child{
			Name:      name,
			Tunnel:    t.Name,
			Initiate:  t.Initiate,
			Local:     ipsec.SelectorsOf(local),
			Remote:    ipsec.SelectorsOf(remote),
			Proposals: t.ESPProposals,
			Lifetime:  t.ESPLifetime,
			Trunc96:   t.Trunc96,
		}
	}
	if t.Pairs == nil && t.Children != config.Pairs && t.IKEVersion != 1 {
		return []*sa.Child{child(t.Name, t.Local.Subnets, t.Remote.Subnets)}
	}
	var out []*sa.Child
	for _, p := range t.EachPair() {
		name := fmt.Sprintf("%s/%d", t.Name, len(out)+1)
		out = append(out, child(name, []netip.Prefix{p.Local}, []netip.Prefix{p.Remote}))
	}
	return out
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
