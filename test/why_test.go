package test

import (
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
	}{
		{
			"wrong PSK",
			func(_ *lab.Conn, key *string) { *key = "not the key" },
			[]string{"AUTHENTICATION_FAILED"},
			[]string{"pre-shared key"},
		},
		{
			// strongSwan has another identity, and expects another identity of vpngw.
			"wrong id",
			func(c *lab.Conn, _ *string) { c.Local.ID, c.Remote.ID = "stranger.example", "nobody.example" },
			[]string{"AUTHENTICATION_FAILED", lab.CustomerAddr},
			[]string{"stranger.example", lab.CloudAddr},
		},
		{
			"no common IKE proposal",
			func(c *lab.Conn, _ *string) { c.Proposals = []string{"aes256-sha384-ecp256"} },
			[]string{"NO_PROPOSAL_CHOSEN", "aes128"},
			[]string{"aes128", "aes256"},
		},
		{
			"no common ESP proposal",
			func(c *lab.Conn, _ *string) { child(c, func(ch *lab.Child) { ch.ESPProposals = []string{"3des-md5"} }) },
			[]string{"NO_PROPOSAL_CHOSEN", "aes128"},
			[]string{"aes128", "3des"},
		},
		{
			"unacceptable selectors",
			func(c *lab.Conn, _ *string) { child(c, func(ch *lab.Child) { ch.LocalTS = []string{"10.99.0.0/16"} }) },
			[]string{"TS_UNACCEPTABLE", lab.CloudLAN},
			[]string{"10.99.0.0/16", lab.CloudLAN},
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
