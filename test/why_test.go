package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"vpngw/test/lab"
)

// The status of a tunnel names the fault of a negotiation. As responder vpngw
// knows both sides' values and names them; as initiator it names its own values
// and the notify of the peer.
func TestStatusSaysWhyThereIsNoTunnel(t *testing.T) {
	t.Parallel()
	good := suites{ikeEncr: "aes128", ikeHash: "sha256", ikeGroup: "modp2048", espEncr: "aes128", espHash: "sha256"}
	tests := []struct {
		name  string
		spoil func(*lab.Conn, *string) // strongSwan's side and its key
		// What `why` must contain, in any case of letters.
		initiator, responder []string
		keeps                bool // the IKE SA
	}{
		{
			"wrong PSK",
			func(_ *lab.Conn, key *string) { *key = "not the key" },
			[]string{"AUTHENTICATION_FAILED"},
			[]string{"pre-shared key"},
			false,
		},
		{
			// strongSwan has another identity, and expects another identity of vpngw.
			"wrong id",
			func(c *lab.Conn, _ *string) { c.Local.ID, c.Remote.ID = "stranger.example", "nobody.example" },
			[]string{"AUTHENTICATION_FAILED", lab.CustomerAddr},
			[]string{"stranger.example", lab.CloudAddr},
			false,
		},
		{
			"no common IKE proposal",
			func(c *lab.Conn, _ *string) { c.Proposals = []string{"aes256-sha384-ecp256"} },
			[]string{"NO_PROPOSAL_CHOSEN", "aes128"},
			[]string{"aes128", "aes256"},
			false,
		},
		{
			"no common ESP proposal",
			func(c *lab.Conn, _ *string) { child(c, func(ch *lab.Child) { ch.ESPProposals = []string{"3des-md5"} }) },
			[]string{"NO_PROPOSAL_CHOSEN", "aes128"},
			[]string{"aes128", "3des"},
			true,
		},
		{
			"unacceptable selectors",
			func(c *lab.Conn, _ *string) { child(c, func(ch *lab.Child) { ch.LocalTS = []string{"10.99.0.0/16"} }) },
			[]string{"TS_UNACCEPTABLE", lab.CloudLAN},
			[]string{"10.99.0.0/16", lab.CloudLAN},
			true,
		},
	}
	for _, initiate := range []bool{true, false} {
		role := "responder"
		if initiate {
			role = "initiator"
		}
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, lab.CharonTools...)
			cloud := n.Cloud.Charon()
			for _, tt := range tests {
				t.Run(tt.name, func(t *testing.T) {
					n.Use(t)
					s := good
					s.initiate = initiate
					conn, key := strongswan("row", s), psk
					tt.spoil(&conn, &key)
					cloud.PSK(key)
					cloud.Load(conn)
					gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{native("row", s)}})
					defer gw.Stop()
					want := tt.initiator
					if !initiate {
						want = tt.responder
						if err := cloud.Initiate("row"); err == nil {
							t.Errorf("strongSwan's initiate succeeds")
						}
					}
					row := gw.AwaitWhy("row", want...)
					t.Logf("%s: %s", row.State, row.Why)
					if row.State == "up" {
						t.Errorf("the tunnel is up")
					}
					if tt.keeps { // both ends keep the IKE SA, for the next attempt at a Child SA
						has := func(sas []lab.IKESA) bool {
							return slices.ContainsFunc(sas, func(s lab.IKESA) bool { return row.IKE != nil && s.InitiatorSP == row.IKE.SPIi })
						}
						if sas := cloud.SAs(); !has(sas) || row.IKE.State != "established" {
							t.Errorf("IKE SAs: ours is %+v, strongSwan's %+v", row.IKE, sas)
						}
						gw.Stop()
						n.Await(lab.Patience, "strongSwan has the IKE SA no more", func() (bool, string) {
							sas := cloud.SAs()
							return !has(sas), fmt.Sprintf("%+v", sas)
						})
					}
					if strings.Contains(row.Why, psk) || strings.Contains(row.Why, key) {
						t.Errorf("why tells a key: %q", row.Why)
					}
					cloud.TerminateIKE("row")
				})
			}
		})
	}
}

// child changes the one child of a connection.
func child(c *lab.Conn, change func(*lab.Child)) {
	for name, ch := range c.Children {
		change(&ch)
		c.Children[name] = ch
	}
}
