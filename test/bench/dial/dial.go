// Package dial is an initiator of IKEv2 that builds and deletes one tunnel again and again, so that a responder's
// handshakes can be counted and their cost measured. All goes over port 4500, as behind a NAT. It carries no ESP.
package dial

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"vpngw/ike"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// A Call says whom to call, and as whom.
type Call struct {
	Local, Remote     netip.Addr
	LocalID, RemoteID ipsec.Identity
	PSK               string
	IKE, ESP          string // one proposal each
	Here, There       netip.Prefix
}

// A Dialer has port 4500 of its address.
type Dialer struct {
	call     Call
	conn     *net.UDPConn
	endpoint *ike.Endpoint
	got      [1 << 16]byte

	up       bool      // the Child SA is
	deadline time.Time // of this handshake
}

const tunnel = "dial"

// marker is in front of IKE on port 4500 (RFC 3948 section 2.2).
var marker = make([]byte, 4)

// patience is how long one handshake may take.
const patience = 5 * time.Second

// Open opens the socket, in the namespace that do enters.
func Open(do func(func()), c Call) (*Dialer, error) {
	forIKE, err := ipsec.ParseProposal(ipsec.ProtoIKE, c.IKE)
	if err != nil {
		return nil, err
	}
	forESP, err := ipsec.ParseProposal(ipsec.ProtoESP, c.ESP)
	if err != nil {
		return nil, err
	}
	d := &Dialer{call: c}
	do(func() {
		d.conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.Local, sa.PortNATT)))
	})
	if err != nil {
		return nil, err
	}
	d.endpoint = ike.New(ike.Config{
		Rand:        rand.Reader,
		AllocSPI:    d.spi,
		FreeSPI:     func(uint32) {},
		LastInbound: func(uint32) time.Time { return time.Time{} },
		Source:      func(netip.Addr) (netip.Addr, error) { return c.Local, nil },
	})
	d.endpoint.SetPeers(time.Now(), []*sa.Peer{{
		Name:    tunnel,
		PeerKey: sa.PeerKey{Local: c.Local, Remote: c.Remote, LocalID: c.LocalID, RemoteID: c.RemoteID},
		Settings: sa.Settings{
			Version: 2, PSK: ipsec.Secret(c.PSK), Proposals: []ipsec.Proposal{forIKE}, Lifetime: 24 * time.Hour,
			NATT: true, Encap: sa.EncapAlways, Port: sa.PortNATT,
		},
		Children: []*sa.Child{{
			Name: tunnel, Tunnel: tunnel, Initiate: true, Proposals: []ipsec.Proposal{forESP}, Lifetime: ipsec.Lifetime{Time: 24 * time.Hour},
			Local: []ipsec.Selector{ipsec.SelectorOf(c.Here)}, Remote: []ipsec.Selector{ipsec.SelectorOf(c.There)},
		}},
	}})
	return d, nil
}

// Close closes the socket.
func (d *Dialer) Close() { d.conn.Close() }

func (d *Dialer) spi() (uint32, error) {
	var b [4]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint32(b[:]) | 1<<31, nil
}

// Handshakes builds the tunnel n times, and deletes it each time: IKE_SA_INIT, IKE_AUTH and INFORMATIONAL.
func (d *Dialer) Handshakes(n int) error {
	for i := range n {
		d.deadline = time.Now().Add(patience)
		d.endpoint.Do(time.Now(), sa.Raise{Tunnel: tunnel})
		err := d.until(func() bool { return d.up })
		if err == nil {
			d.endpoint.Do(time.Now(), sa.Lower{Tunnel: tunnel})
			err = d.until(func() bool { return !d.up && d.endpoint.Idle() })
		}
		if err != nil {
			return fmt.Errorf("handshake %d of %d: %w", i+1, n, err)
		}
	}
	return nil
}

// until exchanges messages until done.
func (d *Dialer) until(done func() bool) error {
	for {
		if err := d.act(); err != nil || done() {
			return err
		}
		now := time.Now()
		if now.After(d.deadline) {
			t, _ := d.endpoint.Tunnel(tunnel)
			return fmt.Errorf("not done after %v: %v", patience, t.Why)
		}
		next := d.deadline
		if t := d.endpoint.Deadline(); !t.IsZero() && t.Before(next) {
			next = t
		}
		d.conn.SetReadDeadline(next)
		k, from, err := d.conn.ReadFromUDPAddrPort(d.got[:])
		switch {
		case err == nil && bytes.HasPrefix(d.got[:k], marker):
			d.endpoint.Handle(time.Now(), ipsec.Datagram{
				Local: netip.AddrPortFrom(d.call.Local, sa.PortNATT), Remote: from, Data: bytes.Clone(d.got[len(marker):k]),
			})
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			d.endpoint.Advance(time.Now())
		default:
			return err
		}
	}
}

// act does what the endpoint wants done.
func (d *Dialer) act() error {
	for a := d.endpoint.Next(); a != nil; a = d.endpoint.Next() {
		switch a := a.(type) {
		case sa.Send:
			if _, err := d.conn.WriteToUDPAddrPort(append(bytes.Clone(marker), a.Data...), a.Path.Remote); err != nil {
				return err
			}
		case sa.InstallOut:
			d.up = true
		case sa.Remove:
			d.up = false
		}
	}
	return nil
}
