package config

import (
	"fmt"
	"net/netip"

	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// PeerKey returns the key of the tunnel's IKE SA: tunnels with equal keys share one.
// Local is the address as configured, invalid where the route chooses it.
func (t *Tunnel) PeerKey() sa.PeerKey {
	remote := t.Remote.Address
	if t.Remote.Any {
		remote = netip.Addr{}
	}
	return sa.PeerKey{
		Local:    t.Local.Address,
		Remote:   remote,
		Host:     t.Remote.Host,
		LocalID:  t.Local.ID,
		RemoteID: t.Remote.ID,
	}
}

// Settings are the settings of the tunnel's IKE SA. Tunnels that share one must have
// equal Settings.
func (t *Tunnel) Settings() sa.Settings {
	return sa.Settings{
		Version:    t.IKEVersion,
		Aggressive: t.Aggressive,
		PSK:        t.PSK,

		Proposals: t.IKEProposals,
		Lifetime:  t.IKELifetime,
		NATT:      t.NATT,
		Encap:     encaps[t.Encap],
		DPD:       t.DPD,
		Port:      t.Remote.Port,
	}
}

var encaps = map[Encap]sa.Encap{EncapAuto: sa.EncapAuto, EncapAlways: sa.EncapAlways, EncapNever: sa.EncapNever}

// ChildSAs are the Child SAs that the tunnel wants: one for all its subnets; or one for
// each pair that it lists, else for each pair of subnets of one family. IKEv1 has pairs only.
func (t *Tunnel) ChildSAs() []*sa.Child {
	if t.Pairs == nil && t.Children != Pairs && t.IKEVersion != 1 {
		return []*sa.Child{t.child(t.Name, t.Local.Subnets, t.Remote.Subnets)}
	}
	var out []*sa.Child
	for i, p := range t.EachPair() {
		out = append(out, t.child(fmt.Sprintf("%s/%d", t.Name, i+1), []netip.Prefix{p.Local}, []netip.Prefix{p.Remote}))
	}
	return out
}

func (t *Tunnel) child(name string, local, remote []netip.Prefix) *sa.Child {
	return &sa.Child{
		Name:      name,
		Tunnel:    t.Name,
		Initiate:  t.Start == StartActive,
		Local:     ipsec.SelectorsOf(local),
		Remote:    ipsec.SelectorsOf(remote),
		Proposals: t.ESPProposals,
		Lifetime:  t.ESPLifetime,
		Trunc96:   t.Trunc96,

		EarlyRekey: t.EarlyRekey,
	}
}
