package test

import (
	"fmt"
	"testing"

	"vpngw/test/lab"
)

// UDP 500 is closed on the way: after some seconds of silence the tunnel comes up on port 4500, whose answer is remembered; with
// the port in the configuration it comes up there at once. strongSwan goes by our export, port included.
func TestUDP500ClosedOnTheWay(t *testing.T) {
	for _, tt := range []struct {
		version int
		mode    string
		port    int
	}{{2, "", 0}, {1, "main", 0}, {2, "", 4500}, {1, "aggressive", 4500}} {
		t.Run(fmt.Sprintf("IKEv%d%s port %d", tt.version, tt.mode, tt.port), func(t *testing.T) {
			t.Parallel()
			n := lab.Direct(t, append(lab.CharonTools, "nft")...)
			n.Cloud.Run("nft", `table inet closed {
				chain in { type filter hook input priority 0; udp dport 500 drop; }
				chain out { type filter hook output priority 0; udp sport 500 drop; }
			}`)
			s := suites{ikeEncr: "aes256", ikeHash: "sha256", ikeGroup: "modp2048", espEncr: "aes256", espHash: "sha256", initiate: true}
			ours, theirs := native("closed", s), strongswan("closed", s)
			ours.Native.IKEVersion, ours.Native.Mode, ours.Native.Remote.Port = tt.version, tt.mode, tt.port
			theirs.Version, theirs.Aggressive = fmt.Sprint(tt.version), map[string]string{"aggressive": "yes"}[tt.mode]
			cloud := n.Cloud.Charon("i_dont_care_about_security_and_use_aggressive_mode_psk = yes")
			cloud.PSK(psk)
			cloud.Load(theirs)
			gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{ours}})
			gw.AwaitUp("closed")
			n.Host.Reaches(lab.CloudHost)
		})
	}
}

// strongSwan goes by our export of a port: it begins there, and from a port from which it sends the marker.
func TestTheExportedPortIsStrongswans(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, append(lab.CharonTools, "swanctl", "nft")...)
	n.Cloud.Filter("input", "udp dport 500", "drop")
	s := suites{ikeEncr: "aes256", ikeHash: "sha256", ikeGroup: "x25519", espEncr: "aes256", espHash: "sha256", initiate: true}
	ours := native("closed", s)
	ours.Native.Remote.Port = 4500
	config := lab.Config{Connections: []lab.Connection{ours}}
	other := turned(config)
	other.Connections[0].Native.Local.Port = 0
	other.Connections[0].Native.Initiate = nil
	gw := n.Cloud.Vpngw(other)
	gw.Write(config) // for the export alone
	text, err := gw.Try("export", "closed", "-c", gw.Config, "--format", "swanctl", "--side", "customer", "--reveal")
	if err != nil {
		t.Fatalf("export: %v\n%s", err, text)
	}
	peer := charonForAll(n.Customer, lab.CustomerLAN)
	peer.LoadText(text)
	gw.AwaitUp("closed")
	n.Host.Reaches(lab.CloudHost)
	if t.Failed() {
		t.Log(text)
	}
}
