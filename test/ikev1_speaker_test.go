package test

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/ike"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
	"vpngw/test/lab"
)

// A speaker is vpngw's IKE in the process of the test, without ESP. The test can change its messages,
// and so shows how charon handles forms that neither end prefers.
type speaker struct {
	*ike.Endpoint
	t        *testing.T
	ports    map[uint16]*net.UDPConn
	arrived  chan ipsec.Datagram
	change   func([]byte) []byte // of sent and received messages; nil: none
	sent     map[wire.PayloadType]int
	heard    map[wire.PayloadType]int
	longest  int             // of the messages sent
	children map[uint32]bool // by our SPI: whether the outbound half is installed
}

func newSpeaker(t *testing.T, l *lab.Net) *speaker {
	t.Helper()
	s := &speaker{
		t: t, ports: map[uint16]*net.UDPConn{}, arrived: make(chan ipsec.Datagram, 64),
		sent: map[wire.PayloadType]int{}, heard: map[wire.PayloadType]int{}, children: map[uint32]bool{},
	}
	address, spi := netip.MustParseAddr(lab.CustomerAddr), uint32(0x1000)
	for _, port := range []uint16{sa.PortIKE, sa.PortNATT} {
		local := netip.AddrPortFrom(address, port)
		// A program that another test forks holds the previous speaker's socket until its exec.
		l.Await(lab.Patience, "the port is free", func() (ok bool, saw string) {
			l.Customer.Do(func() {
				c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(local))
				s.ports[port], ok, saw = c, err == nil, fmt.Sprint(err)
			})
			return ok, saw
		})
		ended := make(chan struct{})
		go func() { defer close(ended); s.read(local) }()
		t.Cleanup(func() {
			s.ports[port].Close()
			<-ended // the reader holds the address until then
		})
	}
	s.Endpoint = ike.New(ike.Config{
		Rand:     rand.Reader,
		AllocSPI: func() (uint32, error) { spi++; return spi, nil }, FreeSPI: func(uint32) {},
		LastInbound: func(uint32) time.Time { return time.Time{} },
		Source:      func(netip.Addr) (netip.Addr, error) { return address, nil },
	})
	return s
}

// marker stands before IKE on port 4500 (RFC 3948 section 2.2).
var marker = make([]byte, 4)

func (s *speaker) read(local netip.AddrPort) {
	b := make([]byte, 1<<16)
	for {
		n, remote, err := s.ports[local.Port()].ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		data := slices.Clone(b[:n])
		if local.Port() == sa.PortNATT {
			if !strings.HasPrefix(string(data), string(marker)) {
				continue // ESP, or a keepalive
			}
			data = data[len(marker):]
		}
		select {
		case s.arrived <- ipsec.Datagram{Local: local, Remote: remote, Data: data}:
		case <-s.t.Context().Done():
			return
		}
	}
}

// until runs the speaker until done returns true, and fails the test after Patience.
func (s *speaker) until(what string, done func() bool) {
	s.t.Helper()
	for end := time.Now().Add(lab.Patience); !done(); {
		now := time.Now()
		if now.After(end) {
			s.t.Fatalf("%s: not in %v: %+v", what, lab.Patience, s.Status())
		}
		select {
		case d := <-s.arrived:
			d.Data = s.pass(d.Data, s.heard)
			s.Handle(now, d)
		case <-time.After(10 * time.Millisecond):
		}
		if d := s.Deadline(); !d.IsZero() && !now.Before(d) {
			s.Advance(now)
		}
		s.perform()
	}
}

func (s *speaker) perform() {
	for a := s.Next(); a != nil; a = s.Next() {
		switch a := a.(type) {
		case sa.Send:
			data := s.pass(a.Data, s.sent)
			s.longest = max(s.longest, len(data))
			if a.Path.Local.Port() == sa.PortNATT {
				data = append(slices.Clone(marker), data...)
			}
			if _, err := s.ports[a.Path.Local.Port()].WriteToUDPAddrPort(data, a.Path.Remote); err != nil {
				s.t.Error(err)
			}
		case sa.InstallIn:
			s.children[a.SA.SPIIn] = false
		case sa.InstallOut:
			s.children[a.SA.SPIIn] = true
		case sa.Remove:
			delete(s.children, a.SPIIn)
		}
	}
}

// pass changes a message and counts its payloads, as far as they can be read.
func (s *speaker) pass(data []byte, count map[wire.PayloadType]int) []byte {
	if s.change != nil {
		data = s.change(data)
	}
	h, c, err := wire.Parse1(data)
	if err != nil || h.Flags&wire.FlagEncrypted != 0 {
		count[h.Next]++
		return data
	}
	for _, p := range c.Payloads {
		count[p.Type()]++
	}
	return data
}

// up reports whether the speaker has one Child SA, with both halves, and charon has one.
func (s *speaker) up(c *lab.Charon) bool {
	for _, out := range s.children {
		if sas := c.SAs(); out && len(s.children) == 1 && len(sas) == 1 && len(sas[0].Children) == 1 {
			return true
		}
	}
	return false
}

// end deletes everything, at both ends.
func (s *speaker) end(c *lab.Charon) {
	s.t.Helper()
	s.Do(time.Now(), sa.Shutdown{})
	s.perform()
	s.until("strongSwan has no SA left", func() bool { return len(c.SAs()) == 0 })
}

// peer1 is charon as a peer of a speaker.
func peer1(r row1) *sa.Peer {
	parse := func(p ipsec.Protocol, text string) []ipsec.Proposal {
		out, err := ipsec.ParseProposal(p, text)
		if err != nil {
			panic(err)
		}
		return []ipsec.Proposal{out}
	}
	local, remote := netip.MustParseAddr(lab.CustomerAddr), netip.MustParseAddr(lab.CloudAddr)
	return &sa.Peer{
		Name:    "row",
		PeerKey: sa.PeerKey{Remote: remote, LocalID: ipsec.IdentityOf(local), RemoteID: ipsec.IdentityOf(remote)},
		Settings: sa.Settings{
			Version: 1, Aggressive: r.aggressive, PSK: ipsec.Secret(psk), Proposals: parse(ipsec.ProtoIKE, r.ike()),
			Lifetime: time.Hour, NATT: true, Encap: sa.EncapAlways,
		},
		Children: []*sa.Child{{
			Name: "row", Tunnel: "row", Initiate: r.initiate, Proposals: parse(ipsec.ProtoESP, r.esp()), Lifetime: ipsec.Lifetime{Time: time.Hour},
			Local:  []ipsec.Selector{ipsec.SelectorOf(netip.MustParsePrefix(lab.CustomerLAN))},
			Remote: []ipsec.Selector{ipsec.SelectorOf(netip.MustParsePrefix(lab.CloudLAN))},
		}},
	}
}

// nattIDs are the vendor ids of NAT traversal.
var nattIDs = map[string]string{
	"RFC 3947":                "4a131c81070358455c5728f20e95452f",
	"draft 03":                "7d9419a65310ca6f2c179d9215529d56",
	"draft 02 with a newline": "90cb80913ebb696e086381b5ec427b1f",
	"draft 02":                "cd60464335df21f87cfdb2fc68b6a448",
}

// speakOnly removes the vendor ids of NAT traversal from a message, except one. Nothing
// authenticates them.
func speakOnly(keep string) func([]byte) []byte {
	return func(data []byte) []byte {
		h, c, err := wire.Parse1(data)
		if err != nil || h.Flags&wire.FlagEncrypted != 0 || c.Index(wire.TypeSA1) < 0 {
			return data
		}
		m := wire.Message{Header: h, Payloads: slices.DeleteFunc(c.Payloads, func(p wire.Payload) bool {
			r, ok := p.(*wire.Raw)
			if !ok || r.Kind != wire.TypeVendor1 {
				return false
			}
			for name, id := range nattIDs {
				if name != keep && hex.EncodeToString(r.Data) == id {
					return true
				}
			}
			return false
		})}
		return m.Marshal()
	}
}

// The numbers of the drafts are charon's too: the payload types of NAT-D, which it finds the NAT
// with, and the encapsulation mode, which it takes and offers. (NAT-OA is of transport mode.)
func TestNATTraversalDraftsAgainstStrongswan(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, lab.CharonTools...)
	cloud := charon1(n.Cloud)
	cloud.PSK(psk, lab.CloudAddr, lab.CustomerAddr)
	for _, c := range []struct {
		form     string
		initiate []bool // charon offers the RFC and draft 02 with a newline only
	}{
		{"RFC 3947", []bool{true, false}},
		{"draft 03", []bool{true}},
		{"draft 02 with a newline", []bool{true, false}},
		{"draft 02", []bool{true}},
	} {
		for _, aggressive := range []bool{false, true} {
			for _, initiate := range c.initiate {
				r := row1Default
				r.aggressive, r.initiate = aggressive, initiate
				t.Run(fmt.Sprintf("%s/%s/vpngw initiates=%v", c.form, r.mode(), initiate), func(t *testing.T) {
					n.Use(t)
					cloud.Load(strongswan1("row", r))
					s := newSpeaker(t, n)
					s.change = speakOnly(c.form)
					s.SetPeers(time.Now(), []*sa.Peer{peer1(r)})
					if !initiate {
						go cloud.Initiate("row")
					}
					s.until("a Child SA", func() bool { return s.up(cloud) })
					kind, other := wire.TypeNATD1Draft, wire.TypeNATD1
					if c.form == "RFC 3947" {
						kind, other = other, kind
					}
					mine, theirs := 2, 2
					if aggressive { // those of message 3 are encrypted
						mine, theirs = s.sent[kind], s.heard[kind]
						if initiate {
							theirs = 2
						} else {
							mine = 2
						}
					}
					if s.sent[kind] != mine || s.heard[kind] != theirs || s.sent[other]+s.heard[other] != 0 {
						t.Errorf("sent %d NAT-D of type %d and %d of type %d, heard %d and %d", s.sent[kind], kind, s.sent[other], other, s.heard[kind], s.heard[other])
					}
					in := s.Status()[0].IKE
					sas := cloud.SAs()
					t.Logf("payloads in the clear: sent %v, heard %v", s.sent, s.heard)
					// Our NAT-D hash covers another source address than ours, and so does
					// strongSwan's.
					if !in.Encap || !in.NAT.Any() || len(sas) != 1 || sas[0].NATRemote != "yes" || len(sas[0].Children) != 1 {
						t.Fatalf("NAT %s, we encapsulate: %v; strongSwan has %+v", in.NAT, in.Encap, sas)
					}
					for _, child := range sas[0].Children {
						if child.Encap != "yes" {
							t.Errorf("strongSwan's Child SA: %+v", child)
						}
					}
					s.end(cloud)
				})
			}
		}
	}
}

// No document describes IKEv1's fragments: vpngw must read charon's, and charon must read vpngw's.
func TestIKEv1FragmentsAgainstStrongswan(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, lab.CharonTools...)
	cloud := n.Cloud.Charon("delete_rekeyed = yes", "i_dont_care_about_security_and_use_aggressive_mode_psk = yes", "fragment_size = 512")
	cloud.PSK(psk, lab.CloudAddr, lab.CustomerAddr)
	for _, aggressive := range []bool{false, true} {
		for _, initiate := range []bool{true, false} {
			r := row1{suites{ikeEncr: "aes128", ikeHash: "sha256", ikeGroup: "modp4096", espEncr: "aes128", espHash: "sha256", espGroup: "modp4096", initiate: initiate}, aggressive}
			t.Run(fmt.Sprintf("%s/vpngw initiates=%v", r.mode(), initiate), func(t *testing.T) {
				n.Use(t)
				conn := strongswan1("row", r)
				conn.Fragments = "yes" // "force" would cut message 1 too, for which vpngw has no ISAKMP SA yet
				cloud.Load(conn)
				s := newSpeaker(t, n)
				r.espEncr, r.espHash = "aes256-aes192-aes128-3des-des", "sha512-sha384-sha256-sha1-md5" // makes our offer long
				s.SetPeers(time.Now(), []*sa.Peer{peer1(r)})
				if !initiate {
					go cloud.Initiate("row")
				}
				s.until("a Child SA", func() bool { return s.up(cloud) })
				made, taken := s.sent[wire.TypeFragment1], s.heard[wire.TypeFragment1]
				t.Logf("fragments: %d sent, %d heard; our longest message has %d bytes", made, taken, s.longest)
				if (made < 2) == initiate || taken < 2 || s.longest > 1280 {
					t.Errorf("fragments: %d sent, %d heard; our longest message has %d bytes", made, taken, s.longest)
				}
				s.end(cloud)
			})
		}
	}
}
