// Package tryout finds out what a peer takes: `vpngw probe`. It speaks IKE with the peer as an initiator that offers much,
// from one UDP socket, until there is a Child SA or it is clear why there is none, and deletes it at once. It is for a
// peer whose owner allows it, and polite: a few attempts one after the other, no repetition of what was refused, and an
// end when the peer refuses the identity or the key. It carries no packet and touches nothing of the host.
package tryout

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/ike"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// Config is a peer, and what this end says of itself.
type Config struct {
	Local, Remote config.End
	PSK           ipsec.Secret
	Version       int  // 0: IKEv2, then IKEv1
	Aggressive    bool // of IKEv1: aggressive mode in place of main mode
}

// Conn is the one UDP socket of a tryout. The peer sees a NAT, since its port is neither 500 nor 4500.
type Conn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	SetReadDeadline(t time.Time) error
}

// Result is what was found.
type Result struct {
	Version  int
	IKE, ESP ipsec.Suite      // zero: not found
	PFS      bool             // ESP's key exchange was tried too
	Local    []ipsec.Selector // with ESP: what the peer took of the networks
	Remote   []ipsec.Selector
	Cause    diag.Cause // why there is no Child SA; OK: there was one
	Answered bool       // something has come from the peer, though perhaps nothing to the last attempt
	Attempts int
	Sent     int // packets
}

const (
	maxAttempts = 8
	quiet       = 6 * time.Second  // a peer that says nothing for so long does not answer
	longest     = 30 * time.Second // of one attempt
	farewell    = time.Second      // for the answer to our Delete
	pause       = time.Second      // between attempts
)

// Run tries. Its error is of ctx or the socket.
func Run(ctx context.Context, c Config, conn Conn, say func(line string)) (Result, error) {
	r := &Result{}
	try := func(v int, o offer) (what, error) {
		if r.Attempts == maxAttempts {
			return over, nil
		}
		if r.Attempts > 0 {
			select {
			case <-ctx.Done():
				return over, ctx.Err()
			case <-time.After(pause):
			}
		}
		r.Attempts++
		a := &attempt{Config: c, Conn: conn, version: v, offer: o, r: r}
		if err := a.run(ctx); err != nil {
			return over, err
		}
		found := "a tunnel: " + r.IKE.String() + ", " + r.ESP.String()
		if !r.Cause.OK() {
			found = r.Cause.String()
		}
		say(fmt.Sprintf("IKEv%d%s, %s: %s", v, mode(v, c.Aggressive), o.name, found))
		return next(r.Cause.Code), nil
	}
	versions := []int{2, 1}
	if c.Version != 0 {
		versions = []int{c.Version}
	}
	for _, v := range versions {
		for _, o := range offers(v, c.Aggressive) {
			then, err := try(v, o)
			for _, o := range pfsOffers(v, r) {
				if err == nil && then == nextOffer && r.Cause.Is(diag.ESPRefused) {
					then, err = try(v, o)
				}
			}
			if err != nil || then == over || r.Cause.Is(diag.ESPRefused) {
				return *r, err
			}
			if then == nextVersion {
				break
			}
		}
	}
	return *r, nil
}

func mode(version int, aggressive bool) string {
	switch {
	case version == 2:
		return ""
	case aggressive:
		return " aggressive mode"
	}
	return " main mode"
}

// what follows an attempt.
type what int

const (
	over what = iota
	nextOffer
	nextVersion
)

// next says what follows a cause. What concerns the identity, the key or the networks ends the tryout.
func next(code diag.Code) what {
	switch code {
	case diag.IKERefused, diag.IKEGroup, diag.IKENotOffered, diag.ESPRefused:
		return nextOffer
	case diag.NoAnswer, diag.IKEVersion:
		return nextVersion
	}
	return over
}

// attempt is one IKE SA.
type attempt struct {
	Config
	Conn
	version int
	offer   offer
	r       *Result

	e     *ike.Endpoint
	heard bool
	child bool
	done  bool
}

func (a *attempt) run(ctx context.Context) error {
	t := &config.Tunnel{
		Name: "probe", Local: a.Local, Remote: a.Remote, IKEVersion: a.version, Aggressive: a.Aggressive && a.version == 1, PSK: a.PSK,
		IKEProposals: a.offer.ike, ESPProposals: a.offer.esp, NATT: true, Encap: config.EncapAuto, Start: config.StartActive,
	}
	a.e = ike.New(ike.Config{
		Rand: rand.Reader, AllocSPI: spi, FreeSPI: func(uint32) {}, LastInbound: func(uint32) time.Time { return time.Time{} },
		Source: func(netip.Addr) (netip.Addr, error) { return a.Local.Address, nil },
	})
	now := time.Now()
	a.r.Cause = diag.Cause{Code: diag.NoAnswer, Message: "our first message", Peer: netip.AddrPortFrom(a.Remote.Address, sa.PortIKE)}
	a.e.SetPeer(now, nil, &sa.Peer{Name: "probe", PeerKey: t.PeerKey(), Settings: t.Settings(), Children: t.ChildSAs()})
	if err := a.talk(ctx, now.Add(quiet), now.Add(longest), func() bool { return a.done }); err != nil {
		return err
	}
	now = time.Now()
	cause, end := a.r.Cause, now.Add(farewell)
	a.e.Do(now, sa.Shutdown{})
	err := a.talk(ctx, end, end, a.e.Idle)
	a.r.Cause = cause
	return err
}

func spi() (uint32, error) {
	var b [4]byte
	_, err := rand.Read(b[:])
	return binary.BigEndian.Uint32(b[:]) | 1<<16, err
}

// talk performs the endpoint's Actions and feeds it what comes, until done or an end. It ends at silent if the peer has
// not said anything by then.
func (a *attempt) talk(ctx context.Context, silent, end time.Time, done func() bool) error {
	b := make([]byte, 1<<16)
	for {
		now := time.Now()
		if sa.Due(now, a.e.Deadline()) {
			a.e.Advance(now)
		}
		a.perform(now)
		until := end
		if !a.heard {
			until = silent
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case done(), !now.Before(until):
			return nil
		}
		until = sa.Earliest(until, a.e.Deadline(), now.Add(200*time.Millisecond)) // ctx may end meanwhile
		if err := a.SetReadDeadline(until); err != nil {
			return err
		}
		n, from, err := a.ReadFromUDPAddrPort(b)
		if err != nil {
			continue // the time is over, or an ICMP message says that nobody listens
		}
		a.receive(b[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
	}
}

func (a *attempt) receive(b []byte, from netip.AddrPort) {
	local := netip.AddrPortFrom(a.Local.Address, sa.PortIKE)
	if from.Addr() != a.Remote.Address {
		return
	}
	if from.Port() == sa.PortNATT {
		if len(b) < 4 || binary.BigEndian.Uint32(b) != 0 {
			return // ESP, which nobody asked for
		}
		b, local = b[4:], netip.AddrPortFrom(a.Local.Address, sa.PortNATT)
	}
	a.heard, a.r.Answered = true, true
	a.e.Handle(time.Now(), ipsec.Datagram{Local: local, Remote: from, Data: append([]byte(nil), b...)})
}

func (a *attempt) perform(now time.Time) {
	for x := a.e.Next(); x != nil; x = a.e.Next() {
		switch x := x.(type) {
		case sa.Send:
			data := x.Data
			if x.Path.Remote.Port() == sa.PortNATT {
				data = append(make([]byte, 4), data...)
			}
			a.r.Sent++
			if _, err := a.WriteToUDPAddrPort(data, x.Path.Remote); err != nil {
				a.fail(diag.Cause{Code: diag.SendFailed, Peer: x.Path.Remote, Err: err.Error()})
			}
		case sa.IKEEstablished:
			a.r.Version, a.r.IKE = x.SA.Version, x.SA.Suite
		case sa.ChildOut:
			a.up(now, x.SA)
		case sa.ChildFailed:
			if a.child { // the rekey that asks for PFS was refused: there is none that both ends have
				a.done = a.done || !x.Cause.OK()
			} else {
				a.fail(x.Cause)
			}
		case sa.IKEFailed:
			a.fail(x.Cause)
		}
	}
}

// fail ends the attempt.
func (a *attempt) fail(cause diag.Cause) {
	if !cause.OK() && !a.done && !a.child {
		a.r.Cause, a.done = cause, true
	}
}

// up notes a Child SA. IKEv2 makes the first one without a key exchange of its own, so a rekey asks for PFS.
func (a *attempt) up(now time.Time, c *ipsec.ChildSA) {
	a.r.Cause, a.r.ESP = diag.Cause{}, c.Suite
	a.r.Local, a.r.Remote = c.Local, c.Remote
	if a.version == 2 && !a.child {
		a.child = true
		a.e.Do(now, sa.Rekey{Tunnel: c.Tunnel})
		return
	}
	a.r.PFS, a.done = true, true
}
