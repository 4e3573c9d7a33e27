package config

import (
	"net/netip"
	"reflect"
	"testing"

	"vpngw/ipsec"
)

// What is equal is shared, and what is not stays.
func TestShare(t *testing.T) {
	load := func(mtu int) *Config {
		return &Config{Connections: []*Connection{
			{Name: "a", Tunnels: []Tunnel{{Name: "a", MTU: 1400}}},
			{Name: "b", Tunnels: []Tunnel{{
				Name: "b", MTU: mtu, PSK: ipsec.Secret("not a real key"), Routes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
			}}},
		}}
	}
	was, is, want := load(1400), load(1300), load(1300)
	before := is.Connections[1]
	if n := is.Share(was); n != 1 {
		t.Errorf("%d connections are equal to none, want 1", n)
	}
	if !reflect.DeepEqual(is, want) {
		t.Errorf("got %+v, want %+v", is, want)
	}
	if is.Connections[0] != was.Connections[0] {
		t.Error("a connection that is equal is in memory twice")
	}
	if is.Connections[1] != before {
		t.Error("a connection that differs is another one than was loaded")
	}
}
