package tunnel

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// Time until the next attempt to make a device that could not be made, or that was lost.
const (
	deviceRetry = 3 * time.Second
	lostRetry   = 200 * time.Millisecond // for the first attempt after a loss
)

// InitialMTU is the MTU of a new TUN, until the first Child SA determines one.
const InitialMTU = 1400

// member is one tunnel of a Group.
type member struct {
	Config

	fault  diag.Kept // why there is no device; OK: there is one
	openAt time.Time // when the device is tried again

	held    bool // by `vpngw down`
	raised  bool // by `vpngw up`
	begun   bool // IKE was told to initiate it
	stale   bool // open must be computed again
	silent  bool // the peer has not answered for a while
	asked   bool // a Reconnect was emitted for stranded; the next Underlay fact allows another
	routed  bool // its routes belong in the kernel
	cut     bool // its ESP packets may be fragmented
	leaving bool // this end is about to give it up

	// With start: onTraffic.
	wanted  time.Time // until when IKE initiates it; zero: the next packet begins
	packet  *Acquire  // the last one that wanted it; nil: none has
	begunAt time.Time // when that was last

	sas    []*child              // Child SAs of the data plane
	open   []string              // configured pairs of selectors that no Child SA carries
	causes map[string]diag.Cause // of refused and lost Child SAs, by the name of their sa.Child; nil: there were none

	ikes     []sa.IKESA // established, the newest last
	attempt  *sa.IKESA  // the IKE SA being established; nil: none
	failed   diag.Kept  // why the peer has no IKE SA
	sent     diag.Kept  // why the last IKE message was not sent
	silentAt time.Time  // when the peer will count as silent; zero: it does already, or no attempt is running
	lacks    diag.Kept  // why the kernel lacks a part of the last Want
	stranded time.Time  // when the IKE SA's address counts as gone; zero: the host has it

	mtu  int // of the device
	fits int // the largest inner packet that the path takes; 0: not known yet

	pings    *dpd.Prober // this end's health check; noPings where there never was one
	pingID   uint16
	bfd      *hop // nil: there was no session yet
	wellness wellness
	neighbour

	state State
	since time.Time
	cause diag.Kept
}

// child is one Child SA of the data plane.
type child struct {
	sa   *ipsec.ChildSA
	path ipsec.Path
	out  bool // the outbound half is installed too
}

func newMember(now time.Time, c Config) *member {
	if c.From != nil {
		return c.From.m.adopt(now, c)
	}
	m := &member{
		Config: c, fault: diag.Keep(diag.Cause{Code: diag.DeviceOpening, Device: c.Device}), openAt: now,
		stale: true, mtu: cmp.Or(c.Tunnel.MTU, InitialMTU), neighbour: neighbour{session: &noSession}, pings: &noPings,
	}
	m.checks(now, nil)
	return m
}

// adopt replaces the configuration.
func (m *member) adopt(now time.Time, c Config) *member {
	if c.Device != m.Device || c.Reopen {
		m.fault, m.openAt = diag.Keep(diag.Cause{Code: diag.DeviceOpening, Device: c.Device}), now
		m.routed = false // the old device and its SAs go: it is a new tunnel
	}
	was := m.Tunnel.Asked()
	m.Config, m.stale = c, true
	m.checks(now, was)
	m.adoptSession()
	m.From, m.Reopen = nil, false
	m.failed = diag.Kept{}
	clear(m.causes)
	if m.onTraffic() {
		m.raised = false
	} else {
		m.wanted, m.begun = time.Time{}, false
	}
	return m
}

// Refer has a member refer to a configuration that is equal to its own, so that nothing keeps the old one in memory.
func (g *Group) Refer(c *config.Connection, t *config.Tunnel) {
	m := g.find(t.Name)
	if m == nil {
		return
	}
	for i := range g.table.from {
		if b := &g.table.from[i]; b.tunnel == m.Tunnel {
			b.tunnel = t // the table says the same of it
		}
	}
	m.Conn, m.Tunnel = c, t
}

// initiates reports whether this end initiates the tunnel.
func (m *member) initiates() bool {
	return !m.Tunnel.Remote.Any && (m.Tunnel.Start == config.StartActive || m.raised || !m.wanted.IsZero())
}

func (m *member) noteDevice(now time.Time, cause diag.Cause) {
	m.fault, m.openAt, m.fits = diag.Keep(cause), time.Time{}, 0
	switch {
	case cause.OK():
	case cause.Is(diag.DeviceGone):
		m.openAt = now.Add(lostRetry)
	default:
		m.openAt = now.Add(deviceRetry)
	}
}

// noteHeld takes the tunnel down or releases it. It forgets earlier failures.
func (m *member) noteHeld(held bool) {
	m.holdSession(held)
	m.held, m.wanted = held, time.Time{}
	m.failed = diag.Kept{}
	clear(m.causes)
}

func (m *member) noteIKE(now time.Time, f sa.Fact) {
	switch f := f.(type) {
	case sa.IKEConnecting:
		if a := m.attempt; a != nil && a.SPIi == f.SA.SPIi && a.Path != f.SA.Path { // the peer has answered
			m.silentAt, m.silent = time.Time{}, false
		}
		m.attempt = &f.SA
		if m.silentAt.IsZero() && !m.silent && len(m.ikes) == 0 {
			m.silentAt = now.Add(silence)
		}
	case sa.IKEEstablished:
		m.attempted()
		m.ikes = append(m.ikes, f.SA)
		m.failed, m.sent = diag.Kept{}, diag.Kept{}
		m.stranded, m.asked = time.Time{}, false
	case sa.IKERekeyed:
		m.forget(f.Old)
		m.ikes = append(m.ikes, f.SA)
	case sa.IKEEnded:
		m.forget(f.SA)
	case sa.IKEFailed:
		m.failed = diag.Keep(f.Cause)
		if !f.Connecting {
			m.attempted()
		}
	case sa.PeerMoved:
		for i := range m.ikes {
			if same(m.ikes[i], f.SA) {
				m.ikes[i].Path = f.SA.Path
			}
		}
	case sa.ChildIn:
		m.sas, m.stale = append(m.sas, &child{sa: f.SA, path: f.SA.Path}), true
	case sa.ChildOut:
		if c := m.child(f.SA.SPIIn); c != nil {
			c.out, m.stale = true, true
		}
	case sa.ChildGone:
		m.sas = slices.DeleteFunc(m.sas, func(c *child) bool { return c.sa.SPIIn == f.SA.SPIIn })
		m.stale = true
	case sa.ChildFailed:
		if f.Cause.OK() {
			delete(m.causes, f.Child.Name)
		} else {
			if m.causes == nil {
				m.causes = map[string]diag.Cause{}
			}
			m.causes[f.Child.Name] = f.Cause
		}
	}
}

// child is the Child SA with an inbound SPI; nil: there is none.
func (m *member) child(spiIn uint32) *child {
	for _, c := range m.sas {
		if c.sa.SPIIn == spiIn {
			return c
		}
	}
	return nil
}

// attempted notes the end of an attempt, successful or not.
func (m *member) attempted() {
	m.attempt, m.silentAt, m.silent = nil, time.Time{}, false
}

// same reports whether two facts are about one IKE SA.
func same(a, b sa.IKESA) bool { return a.SPIi == b.SPIi && a.SPIr == b.SPIr }

func (m *member) forget(s sa.IKESA) {
	m.ikes = slices.DeleteFunc(m.ikes, func(i sa.IKESA) bool { return same(i, s) })
}

// ike returns the newest established IKE SA, else the one being established;
// nil: there is none.
func (m *member) ike() *sa.IKESA {
	if n := len(m.ikes); n > 0 {
		return &m.ikes[n-1]
	}
	return m.attempt
}

// carrying returns the Child SAs that are installed in both directions.
func (m *member) carrying() []*ipsec.ChildSA {
	var out []*ipsec.ChildSA
	for _, c := range m.sas {
		if c.out {
			out = append(out, c.sa)
		}
	}
	return out
}

// carries reports whether a Child SA is installed in both directions.
func (m *member) carries() bool {
	for _, c := range m.sas {
		if c.out {
			return true
		}
	}
	return false
}

// missing returns the configured pairs of selectors that no Child SA carries.
func (m *member) missing() []string {
	if m.stale {
		m.stale, m.open = false, nil
		carrying := m.carrying()
		for _, c := range m.Tunnel.ChildSAs() {
			for _, p := range uncarried(c.Local, c.Remote, carrying) {
				m.open = append(m.open, p.String())
			}
		}
	}
	return m.open
}

// remotes returns the peer's outer addresses: the configured address and the addresses that the
// SAs send to.
func (m *member) remotes() []netip.Addr {
	var out []netip.Addr
	if a := m.Tunnel.Remote.Address; a.IsValid() { // else its name has none yet
		out = append(out, a)
	}
	for _, c := range m.sas {
		if a := c.path.Remote.Addr(); !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// An address may disappear for a moment, for instance while a lease is renewed.
// After strandedGrace it counts as gone, and at once when the host has got another address meanwhile.
const strandedGrace = 500 * time.Millisecond

// advance runs the due timers. It asks for a device, and for a new IKE SA when
// the local address of the present one is gone: liveness checks would notice
// that too, but only after a minute.
func (m *member) advance(now time.Time, g *Group) {
	if sa.Due(now, m.openAt) {
		m.openAt = time.Time{}
		g.emit(Open{m.Tunnel.Name})
	}
	if sa.Due(now, m.silentAt) {
		m.silentAt, m.silent = time.Time{}, true
	}
	m.advanceStart(now, g)
	m.advanceSession(now)
	local, gone := m.lostAddress(g)
	switch {
	case !gone:
		m.stranded, m.asked = time.Time{}, false
	case m.stranded.IsZero():
		m.stranded = now.Add(strandedGrace)
	}
	if gone && g.gained {
		m.stranded = now
	}
	if gone && sa.Due(now, m.stranded) && !m.asked && !m.held {
		m.asked = true
		g.emit(Reconnect{m.Tunnel.Name, local, diag.Cause{Code: diag.AddressGone, Addr: local}})
	}
}

// lostAddress returns the local address of the tunnel's IKE SA if the host no
// longer has it.
func (m *member) lostAddress(g *Group) (netip.Addr, bool) {
	i := m.ike()
	if i == nil || len(g.own) == 0 {
		return netip.Addr{}, false
	}
	a := i.Path.Local.Addr()
	return a, a.IsValid() && !slices.Contains(g.own, a)
}

func (m *member) deadline() time.Time {
	d := sa.Earliest(m.openAt, m.silentAt, m.wanted, m.dueAt)
	if !m.stranded.IsZero() && !m.asked && !m.held {
		d = sa.Earliest(d, m.stranded)
	}
	return d
}
