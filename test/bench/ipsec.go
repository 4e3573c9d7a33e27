package main

import (
	"vpngw/test/lab"
)

const psk = "a-key-for-the-benchmark"

// ikeProposal is the same for everybody; it does not matter once a tunnel is up.
const ikeProposal = "aes128gcm16-prfsha256-x25519"

// startVpngw joins the two ends by vpngw with its defaults.
func startVpngw(proposal, encap string) func(*site) tunnel {
	return func(s *site) tunnel {
		b := s.vpngwEnd(s.b, connection("bench", proposal, encap, false, netB, netA))
		a := s.vpngwEnd(s.a, connection("bench", proposal, encap, true, netA, netB))
		t := a.AwaitUp("bench")
		b.AwaitUp("bench")
		s.a.Run("ping", "-n", "-c", "1", "-I", innerA, "-W", "5", innerB)
		return tunnel{daemons: []*lab.Process{a.Process, b.Process}, device: t.Device}
	}
}

// vpngwEnd starts one end, with the log level of real life.
func (s *site) vpngwEnd(ns *lab.Namespace, conns ...lab.Connection) *lab.Vpngw {
	return ns.Vpngw(lab.Config{Connections: conns}, "--log-level", "info")
}

// connection is one end of a tunnel; the initiator is A. Each tunnel has
// different identities, so each has its own IKE SA.
func connection(name, proposal, encap string, initiate bool, local, remote string) lab.Connection {
	ends := [2]lab.NativeEnd{
		{Address: outerB, ID: name + ".b.example.net", Subnets: []string{local}},
		{Address: outerA, ID: name + ".a.example.net", Subnets: []string{remote}},
	}
	if initiate {
		ends[0].Address, ends[1].Address = outerA, outerB
		ends[0].ID, ends[1].ID = ends[1].ID, ends[0].ID
	}
	return lab.Connection{
		Name: name, PSK: psk, Encap: encap, DPD: false,
		Native: &lab.Native{
			IKEVersion: 2, Initiate: &initiate, Local: ends[0], Remote: ends[1],
			IKE: lab.NativeIKE{Proposals: []string{ikeProposal}, Lifetime: "24h"},
			ESP: lab.NativeESP{Proposals: []string{proposal}, Lifetime: "24h"},
		},
	}
}

// startStrongswan joins the two by strongSwan with its user-space ESP, without rekeying.
// The lab makes the queues of its sockets and its device longer than strongSwan does.
func startStrongswan(s *site) tunnel {
	t := tunnel{device: "ipsec0"}
	for _, end := range []struct {
		ns                         *lab.Namespace
		local, remote, subnet, far string
	}{{s.b, outerB, outerA, netB, netA}, {s.a, outerA, outerB, netA, netB}} {
		c := end.ns.Charon()
		c.PSK(psk)
		c.Load(strongswanConn(end.local, end.remote, end.subnet, end.far))
		t.daemons = append(t.daemons, c.Process)
		if end.ns == s.a {
			if err := c.Initiate("bench"); err != nil {
				s.Fatalf("strongSwan: %v", err)
			}
			c.AwaitUp("bench", lab.Patience)
		}
	}
	s.a.Run("ping", "-n", "-c", "1", "-I", innerA, "-W", "5", innerB)
	return t
}

// strongswanConn is one end, without rekeying.
func strongswanConn(local, remote, subnet, far string) lab.Conn {
	return lab.Conn{
		Name: "bench", Version: "2", LocalAddrs: []string{local}, RemoteAddrs: []string{remote},
		Proposals: []string{ikeProposal}, Mobike: "no", RekeyTime: "0", ReauthTime: "0",
		Local: &lab.Auth{Auth: "psk", ID: local}, Remote: &lab.Auth{Auth: "psk", ID: remote},
		Children: map[string]lab.Child{"bench": {
			LocalTS: []string{subnet}, RemoteTS: []string{far}, ESPProposals: []string{"aes128gcm16"},
			RekeyTime: "0", LifeTime: "0",
		}},
	}
}
