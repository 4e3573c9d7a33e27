package load

import (
	"fmt"
	"testing"

	"vpngw/config"
)

// FuzzAlibaba: no file of a body makes a panic; a complete connection comes out if and only
// if no problem is an error; and the cloud's side has the same tunnels, mirrored.
func FuzzAlibaba(f *testing.F) {
	addPages(f, "alibaba")
	text := func(side string) []byte { return fmt.Appendf(nil, alibabaPages, side, "body") }
	f.Fuzz(func(t *testing.T, in []byte) {
		read := files{"body": string(in)}.read
		here, ps := parseText(read, "f", text("customer"))
		there, _ := parseText(read, "f", text("cloud"))
		if (here == nil) != ps.Failed() || (here == nil) != (there == nil) {
			t.Fatalf("one side loads and the other does not, or an error does:\n%s", lines(ps))
		}
		for _, p := range ps {
			if p.File == "" || p.Code == "" || p.Message == "" {
				t.Fatalf("incomplete: %+v", p)
			}
		}
		if here == nil {
			return
		}
		a, b := here.Connections[0], there.Connections[0]
		if len(a.Tunnels) != len(b.Tunnels) || len(a.Tunnels) == 0 {
			t.Fatalf("%d tunnels and %d", len(a.Tunnels), len(b.Tunnels))
		}
		for i := range a.Tunnels {
			x, y := &a.Tunnels[i], &b.Tunnels[i]
			if !sound(x) || !sound(y) {
				t.Fatalf("no such session can be: %+v, %+v", x.BGP, y.BGP)
			}
			if !mirrored(x, y) {
				t.Fatalf("not mirrored:\n%s\n%s", described(here.Drafts[0]), described(there.Drafts[0]))
			}
			if len(x.IKEProposals) == 0 || len(x.ESPProposals) == 0 || !x.Remote.Address.IsValid() || x.Remote.ID.Type == 0 {
				t.Fatalf("incomplete:\n%s", described(here.Drafts[0]))
			}
			if len(x.PSK) == 0 && !ps.Refused() {
				t.Fatal("run takes a customer's tunnel without a key")
			}
		}
	})
}

func mirrored(x, y *config.Tunnel) bool {
	return fmt.Sprint(x.Local, x.Remote, x.IKEProposals, x.ESPProposals, x.IKELifetime, x.ESPLifetime) ==
		fmt.Sprint(y.Remote, y.Local, y.IKEProposals, y.ESPProposals, y.IKELifetime, y.ESPLifetime) && x.PSK.Equal(y.PSK)
}
