package gateway

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
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
			Initiate:     true,
			Routes:       prefixes(remote),
		}},
	}
}

func configOf(cs ...*config.Connection) *config.Config { return &config.Config{Connections: cs} }

func itself(a netip.Addr) netip.Addr { return a }

func TestConnectionsOfOnePeerShareIt(t *testing.T) {
	c := configOf(
		connection("hq", "192.168.3.0/24", "10.10.0.0/16"),
		connection("lab", "192.168.4.0/24", "10.20.0.0/16"))
	other := connection("branch", "192.168.3.0/24", "10.30.0.0/16")
	other.Tunnels[0].Remote.ID = ipsec.ParseIdentity("branch.example.org")
	c.Connections = append(c.Connections, other)

	peers, err := peersOf(wantedOf(c), itself)
	if err != nil {
		t.Fatal(err)
	}
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
	again, _ := peersOf(wantedOf(c), itself)
	if !reflect.DeepEqual(peers, again) {
		t.Error("the same configuration made other peers")
	}
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
		c := configOf(
			connection("hq", "192.168.3.0/24", "10.10.0.0/16"),
			connection("lab", "192.168.4.0/24", "10.20.0.0/16"))
		change(&c.Connections[1].Tunnels[0])
		err := conflict(c)
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
	names, err := deviceNames(wantedOf(configOf(a, b, c)), nil)
	if want := map[string]string{"a": "vpngw0", "b": "office", "c": "vpngw1"}; err != nil || !reflect.DeepEqual(names, want) {
		t.Fatalf("got %v, %v; want %v", names, err, want)
	}
	d := connection("d", "192.168.3.0/24", "10.0.3.0/24")
	names, err = deviceNames(wantedOf(configOf(d, c)), names)
	if want := map[string]string{"c": "vpngw1", "d": "vpngw0"}; err != nil || !reflect.DeepEqual(names, want) {
		t.Errorf("after a was replaced by d: got %v, %v; want %v", names, err, want)
	}
	d.Tunnels[0].Device, c.Tunnels[0].Device = "office", "office"
	if _, err = deviceNames(wantedOf(configOf(d, c)), nil); err == nil {
		t.Error("two tunnels on one device: no error")
	}
}

func TestSourceLiesInTheLocalSubnets(t *testing.T) {
	own := []netip.Addr{addr("203.0.113.9"), addr("192.168.3.1"), addr("10.9.0.1"), addr("fe80::1"), addr("fd00:3::1")}
	for _, c := range []struct{ prefix, subnets, want string }{
		{"10.10.0.0/16", "192.168.3.0/24", "192.168.3.1"},
		{"10.10.0.0/16", "192.168.4.0/24", ""},
		{"10.10.0.0/16", "0.0.0.0/0", ""},
		{"10.10.0.0/16", "10.0.0.0/8 192.168.3.0/24", "192.168.3.1"},
		{"fd00:20::/64", "192.168.3.0/24 fd00:3::/64", "fd00:3::1"},
		{"fd00:20::/64", "fe80::/10", ""},
	} {
		want := netip.Addr{}
		if c.want != "" {
			want = addr(c.want)
		}
		if got := sourceFor(prefixes(c.prefix)[0], prefixes(strings.Fields(c.subnets)...), own); got != want {
			t.Errorf("to %s from %s: got %v, want %v", c.prefix, c.subnets, got, want)
		}
	}
}
