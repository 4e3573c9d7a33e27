package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/ipsec"
	"vpngw/tryout"
)

// A peer to probe is an address, or a name that is looked up; what is found is written with the name.
func TestProbeTakesNames(t *testing.T) {
	ctx := t.Context()
	a, b := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1")
	for _, c := range []struct {
		text, name string
		addrs      []netip.Addr
		err        string
	}{
		{"198.51.100.1", "", []netip.Addr{a}, ""},
		{"::ffff:198.51.100.1", "", []netip.Addr{a}, ""},
		{"GW.example.net.", "gw.example.net", []netip.Addr{a, b}, ""},
		{"none.example.net", "", nil, "none.example.net: DNS knows no such name"},
		{"empty.example.net", "", nil, "empty.example.net has no address"},
		{"198.51.100.300", "", nil, "neither an address nor a name"},
		{"https://gw.example.net/", "", nil, "neither an address nor a name"},
		{"", "", nil, "neither an address nor a name"},
	} {
		name, addrs, err := peerOf(ctx, c.text, func(_ context.Context, name string) ([]netip.Addr, time.Duration, error) {
			switch name {
			case "gw.example.net":
				return []netip.Addr{a, b}, 0, nil
			case "empty.example.net":
				return nil, 0, nil
			}
			return nil, 0, errors.New("DNS knows no such name")
		})
		if name != c.name || !slices.Equal(addrs, c.addrs) || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %q, %v, %v", c.text, name, addrs, err)
		}
	}
	var out strings.Builder
	ike, err := ipsec.ParseProposal(ipsec.ProtoIKE, "aes256-sha256-modp2048")
	if err != nil {
		t.Fatal(err)
	}
	printProbe(&out, tryout.Config{Remote: config.End{Address: a, Host: "gw.example.net", ID: ipsec.IdentityOf(a)}}, tryout.Result{Version: 2, IKE: ipsec.Suite{Encr: ike.Of(ipsec.Encr)[0]}, Attempts: 1})
	if got := out.String(); !strings.Contains(got, "probe of gw.example.net:") || !strings.Contains(got, `remote: {address: gw.example.net, id: "198.51.100.1"`) {
		t.Error(got)
	}
}
