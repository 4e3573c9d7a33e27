package gateway

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/config"
	"vpngw/ipsec"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefixes(ss ...string) (out []netip.Prefix) {
	for _, s := range ss {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func proposals(proto ipsec.Protocol, s string) []ipsec.Proposal {
	p, err := ipsec.ParseProposal(proto, s)
	if err != nil {
		panic(err)
	}
	return []ipsec.Proposal{p}
}

// connection is a customer's end between 203.0.113.9 and 198.51.100.1.
func connection(name, local, remote string) *config.Connection {
	return &config.Connection{
		Name: name, Dialect: "native", Side: config.Customer,
		Tunnels: []config.Tunnel{{
			Name: name, Role: config.Single,
			Local:        config.End{Address: addr("203.0.113.9"), ID: ipsec.ParseIdentity("203.0.113.9"), Subnets: prefixes(local)},
			Remote:       config.End{Address: addr("198.51.100.1"), ID: ipsec.ParseIdentity("198.51.100.1"), Subnets: prefixes(remote)},
			IKEVersion:   2,
			PSK:          ipsec.Secret("correct horse"),
			IKEProposals: proposals(ipsec.ProtoIKE, "aes128-sha256-x25519"),
			IKELifetime:  time.Hour,
			ESPProposals: proposals(ipsec.ProtoESP, "aes128gcm16"),
			Children:     config.Lists,
			NATT:         true,
			Encap:        config.EncapAuto,
			CopyDSCP:     true,
			Start:        config.StartActive,
			Routes:       prefixes(remote),
		}},
	}
}

func configOf(cs ...*config.Connection) *config.Config { return &config.Config{Connections: cs} }

// plan plans a configuration for a gateway without tunnels.
func plan(cs ...*config.Connection) ([]plannedTunnel, error) {
	return planOf(configOf(cs...), &fleet{})
}

func TestConnectionsOfOnePeerShareIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := connection("branch", "192.168.3.0/24", "10.30.0.0/16")
		other.Tunnels[0].Remote.ID = ipsec.ParseIdentity("branch.example.org")
		r := start(t, officeHost(), configOf(hq(), lab(), other), Options{})
		defer r.stop()
		peers := slices.Clone(r.ike.peers)
		if len(peers) != 2 || peers[0].Name != "hq,lab" || peers[1].Name != "branch" {
			t.Fatalf("got %d peers, first %q; want hq,lab and branch", len(peers), peers[0].Name)
		}
		var tunnels []string
		for _, ch := range peers[0].Children {
			tunnels = append(tunnels, ch.Tunnel)
		}
		if want := []string{"hq", "lab"}; !reflect.DeepEqual(tunnels, want) {
			t.Errorf("got tunnels %v, want %v", tunnels, want)
		}
		set := r.ike.set
		if r.adopt(hq(), lab(), other); r.ike.set != set {
			t.Error("the same configuration made other peers")
		}
	})
}

func TestSharedPeerMustAgreeOnItsIKESA(t *testing.T) {
	for want, change := range map[string]func(*config.Tunnel){
		"pre-shared key":        func(t *config.Tunnel) { t.PSK = ipsec.Secret("other") },
		"IKE proposals":         func(t *config.Tunnel) { t.IKEProposals = proposals(ipsec.ProtoIKE, "aes256-sha256-x25519") },
		"IKE lifetime":          func(t *config.Tunnel) { t.IKELifetime = time.Minute },
		"NAT traversal setting": func(t *config.Tunnel) { t.NATT = false },
		"encap":                 func(t *config.Tunnel) { t.Encap = config.EncapAlways },
		"DPD settings":          func(t *config.Tunnel) { t.DPD.Interval = time.Second },
	} {
		second := lab()
		change(&second.Tunnels[0])
		_, err := plan(hq(), second)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"lab"`) {
			t.Errorf("got %v, want an error that names %s and lab", err, want)
		}
		if err != nil && strings.Contains(err.Error(), "horse") {
			t.Errorf("the error tells the key: %v", err)
		}
	}
}

func TestDeviceNamesAreKeptAndFilledUp(t *testing.T) {
	a, b, c := connection("a", "192.168.3.0/24", "10.0.0.0/24"), connection("b", "192.168.3.0/24", "10.0.1.0/24"),
		connection("c", "192.168.3.0/24", "10.0.2.0/24")
	b.Tunnels[0].Device = "office"
	tunnels := func(cs ...*config.Connection) (out []*config.Tunnel) {
		for _, c := range cs {
			out = append(out, &c.Tunnels[0])
		}
		return out
	}
	names, err := deviceNames(tunnels(a, b, c), nil)
	if want := map[string]string{"a": "vpngw0", "b": "office", "c": "vpngw1"}; err != nil || !reflect.DeepEqual(names, want) {
		t.Fatalf("got %v, %v; want %v", names, err, want)
	}
	d := connection("d", "192.168.3.0/24", "10.0.3.0/24")
	names, err = deviceNames(tunnels(d, c), names)
	if want := map[string]string{"c": "vpngw1", "d": "vpngw0"}; err != nil || !reflect.DeepEqual(names, want) {
		t.Errorf("after a was replaced by d: got %v, %v; want %v", names, err, want)
	}
	d.Tunnels[0].Device, c.Tunnels[0].Device = "office", "office"
	if _, err = deviceNames(tunnels(d, c), nil); err == nil {
		t.Error("two tunnels on one device: no error")
	}
}

func selectors(s string) []ipsec.Selector { return ipsec.SelectorsOf(prefixes(strings.Fields(s)...)) }
