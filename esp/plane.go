package esp

import (
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vpngw/ipsec"
)

// Device is a TUN device of the packet path, as golang.zx2c4.com/wireguard/tun has it. One goroutine
// calls Read; several call Write at once. Closing the device must make Read
// return an error that is os.ErrClosed.
type Device interface {
	// Read fills each bufs[i][offset:][:sizes[i]] with a packet and returns how many packets it read.
	Read(bufs [][]byte, sizes []int, offset int) (int, error)
	// Write writes the packets bufs[i][offset:]. It may use the offset bytes
	// before each packet, and may change bufs and the spare capacity of its elements.
	Write(bufs [][]byte, offset int) (int, error)
	BatchSize() int
}

// Framer is a TUN device of the frame path. A frame is a packet or a super-packet behind its
// virtio_net_hdr, as the kernel gives and takes it, perhaps with a partial checksum. Only the
// system calls copy it. An Engine reads the device; several goroutines call WriteFrame.
type Framer interface {
	FD() int // for a Poller
	// ReadReady reads frames into b, one after another, and calls take with each until take
	// returns false or the device has no more frames. take may write to the capacity behind
	// b. After Close the error is os.ErrClosed.
	ReadReady(b []byte, take func(frame []byte) (more bool)) error
	// WriteFrame writes a frame.
	WriteFrame(frame []byte) error
	// SegmentsUDP reports whether the kernel takes UDP super-packets: Linux does from 6.2 on.
	SegmentsUDP() bool
}

// Socket is a socket of the underlay. There is one for each family and kind. Its Engine reads it;
// several goroutines call the writing methods at once.
type Socket interface {
	FD() int // for a Poller
	// ReadReady reads the datagrams that have come in, perhaps none, and returns how many it read. The caller has
	// set each ds[i].Data to a buffer; ReadReady cuts it to the datagram's length and sets Local, Remote,
	// Segment and TOS. After Close the error is net.ErrClosed.
	ReadReady(ds []ipsec.Datagram) (int, error)
	// WriteBatch sends ds in order and returns how many it sent. A datagram that the kernel refuses does
	// not hold up the others; the error tells of it. It has a method TooBig() (netip.AddrPort, bool)
	// if it knows the path for which a datagram was too big.
	WriteBatch(ds []ipsec.Datagram) (int, error)
	// WriteFragmentable sends one datagram, which may be fragmented here and on its way.
	WriteFragmentable(ipsec.Datagram) error
	// WriteCut is WriteBatch for datagrams that may be fragmented as well.
	WriteCut(ds []ipsec.Datagram) (int, error)
	Raw() bool // IP protocol 50; false: UDP port 4500
}

// Config configures a Plane. The zero value works, without sockets.
type Config struct {
	// Slots is how many SA pairs there can be at once, rounded up to a power of
	// two between 256 and 1<<20. Default 16384.
	Slots int
	// Rand yields SPIs, keys for CBC initialisation vectors and soft lifetimes. Default: crypto/rand.
	Rand io.Reader
	// Notify takes an Event. The goroutines that carry packets call it, so it must not
	// block. It returns false if it could not take the Event: SeenInbound and Expired are then told again at a
	// later packet.
	Notify func(Event) bool
	// IKE takes a datagram that came in on port 4500 behind the non-ESP marker
	// (RFC 3948 section 2.2), with the marker stripped. It must not block, and copies what it keeps of Data.
	IKE func(ipsec.Datagram)
	// The sockets to send from; any may be nil. UDP4 and UDP6 have port 4500.
	UDP4, UDP6, Raw4, Raw6 Socket
}

// Plane is the data plane. Its methods may be called from any goroutine.
type Plane struct {
	cfg      Config
	sockets  [numTransports]Socket
	epoch    time.Time // zero of pair.heard
	sad      sad
	outboxes outboxes
	meter    meter

	// receiving is held while a batch that came in is opened. It owns the openers, windows and
	// quotas of all inbound SAs. Tunnel.sending is its counterpart.
	receiving sync.Mutex
	early     early

	moves   moves
	keeping keeping
	probes  probes

	frozen atomic.Bool // changes under mu

	// mu owns the fields below and the changes of sad. It is locked before any lock but Tunnel.building.
	mu        sync.Mutex
	tunnels   map[string]*Tunnel
	notFrom   spans
	bySPIOut  map[uint32][]*outbound // peers may choose the same SPI
	order     uint64                 // of the last outbound half that was installed
	guessable limiter                // ICMP messages: see TooBig
}

// New makes a Plane. It starts no goroutine: the caller runs the Engines.
func New(cfg Config) *Plane {
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Notify == nil {
		cfg.Notify = func(Event) bool { return true }
	}
	if cfg.IKE == nil {
		cfg.IKE = func(ipsec.Datagram) {}
	}
	return &Plane{
		cfg:      cfg,
		sockets:  [numTransports]Socket{udp4: cfg.UDP4, udp6: cfg.UDP6, raw4: cfg.Raw4, raw6: cfg.Raw6},
		epoch:    time.Now(),
		sad:      newSAD(cfg.Slots),
		outboxes: newOutboxes(),
		tunnels:  make(map[string]*Tunnel),
		bySPIOut: make(map[uint32][]*outbound),
		notFrom:  neverFrom,
	}
}

// AllocSPI reserves an inbound SPI, for InstallIn or FreeSPI later.
func (p *Plane) AllocSPI() (uint32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen.Load() {
		return 0, errFrozen
	}
	return p.sad.reserve(p.cfg.Rand)
}

// FreeSPI gives back an SPI that AllocSPI reserved. It ignores one that is installed or unknown.
func (p *Plane) FreeSPI(spi uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.sad.entry(spi); t != nil && t.pair == nil {
		p.sad.release(t)
		p.releaseEarly(spi)
	}
}

// InstallIn makes the inbound half of sa ready to receive. sa.SPIIn must come
// from AllocSPI, and sa.Tunnel from AddTunnel. The plane keeps sa, which must not change while it is installed, and whose
// keys are the caller's to wipe after Remove.
func (p *Plane) InstallIn(sa *ipsec.ChildSA) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.sad.entry(sa.SPIIn)
	switch {
	case p.frozen.Load():
		return errFrozen
	case t == nil:
		return fmt.Errorf("esp: inbound SPI %08x was not reserved", sa.SPIIn)
	case t.pair != nil:
		return fmt.Errorf("esp: inbound SPI %08x is installed already", sa.SPIIn)
	}
	tunnel := p.tunnels[sa.Tunnel]
	if tunnel == nil {
		return fmt.Errorf("esp: there is no tunnel %q", sa.Tunnel)
	}
	pr, err := newPair(p, tunnel, sa)
	if err != nil {
		return err
	}
	if n := tunnel.selectorPairs + pr.selectorPairs(); n > maxPairs {
		return fmt.Errorf("esp: the Child SAs of tunnel %q would have %d pairs of selectors, and %d are allowed", sa.Tunnel, n, maxPairs)
	}
	t.pair = pr
	tunnel.put(pr)
	p.installEarly(pr.in, time.Now())
	return nil
}

// InstallOut installs the outbound half of sa, whose inbound half must be installed. From now on
// the tunnel's packets take it where its selectors are the most specific, or as specific as an older SA's.
func (p *Plane) InstallOut(sa *ipsec.ChildSA) error {
	tunnel, err := p.addOut(sa)
	if err != nil {
		return err
	}
	tunnel.publish()
	return nil
}

// addOut makes the outbound half of sa, for publish of its tunnel.
func (p *Plane) addOut(sa *ipsec.ChildSA) (*Tunnel, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.sad.entry(sa.SPIIn)
	switch {
	case p.frozen.Load():
		return nil, errFrozen
	case t == nil || t.pair == nil:
		return nil, fmt.Errorf("esp: inbound SPI %08x is not installed", sa.SPIIn)
	case t.pair.out != nil:
		return nil, fmt.Errorf("esp: the outbound half of SPI %08x is installed already", sa.SPIIn)
	}
	p.order++
	out, err := newOutbound(t.pair, sa, p.order, p.cfg.Rand)
	if err != nil {
		return nil, err
	}
	t.pair.out = out
	t.pair.tunnel.putOut(out)
	return t.pair.tunnel, nil
}

// Hold keeps back the packets that would go out on an SA, until Resume, or until another SA
// takes them or this one is removed. When Hold returns, all packets that were read before have
// been sent. A full backlog ends the hold early, so that no packet is lost. The calls that end a hold seal
// and send the backlog themselves, after the tunnel's batch under way.
func (p *Plane) Hold(spiIn uint32) {
	p.outbound(spiIn, (*Tunnel).hold)
}

// Resume ends a Hold. The packets kept back go out first.
func (p *Plane) Resume(spiIn uint32) {
	p.outbound(spiIn, (*Tunnel).resume)
}

// outbound calls f with the outbound half of an SA, if it is installed.
func (p *Plane) outbound(spiIn uint32, f func(*Tunnel, *outbound)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.sad.entry(spiIn); t != nil && t.pair != nil && t.pair.out != nil {
		f(t.pair.tunnel, t.pair.out)
	}
}

// RemoveOut takes the outbound half of an SA out and wipes its keys; the inbound half receives until Remove. It ignores an SA that has none.
func (p *Plane) RemoveOut(spiIn uint32) {
	var gone *outbound
	p.outbound(spiIn, func(t *Tunnel, o *outbound) {
		t.takeOut(o.pair)
		o.pair.out, gone = nil, o
	})
	if gone != nil {
		gone.tunnel.publish()
		gone.sealer.wipe()
	}
}

// Remove takes both halves out, wipes their keys and frees the SPI. It ignores an unknown SPI.
func (p *Plane) Remove(spiIn uint32) {
	if pr := p.remove(spiIn); pr != nil {
		pr.tunnel.publish()
		p.wipe(pr)
	}
}

func (p *Plane) remove(spiIn uint32) *pair {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.sad.entry(spiIn)
	if t == nil || t.pair == nil {
		return nil
	}
	pr := t.pair
	pr.tunnel.take(pr)
	p.sad.release(t)
	return pr
}

// wipe overwrites the keys of SAs that were removed, after the batch under way. Package crypto keeps
// key schedules of its own, which nobody else can overwrite.
func (p *Plane) wipe(prs ...*pair) {
	p.receiving.Lock()
	defer p.receiving.Unlock()
	for _, pr := range prs {
		if pr.own {
			pr.sa.In.Clear()
			pr.sa.Out.Clear()
		}
		pr.in.opener.wipe()
		if o := pr.out; o != nil {
			o.sealer.wipe()
		}
	}
}

// LastInbound is when the last authenticated packet of an SA came in, as the time of
// its batch; zero: never, or no such SA.
func (p *Plane) LastInbound(spiIn uint32) time.Time {
	pr := p.pair(spiIn)
	if pr == nil {
		return time.Time{}
	}
	return pr.lastInbound()
}

func (p *pair) lastInbound() time.Time {
	heard := p.heard.Load()
	if heard == 0 {
		return time.Time{}
	}
	return p.plane.epoch.Add(time.Duration(heard))
}

// Counters counts what an SA pair carried and dropped; zero if there is no such pair.
func (p *Plane) Counters(spiIn uint32) Counters {
	pr := p.pair(spiIn)
	if pr == nil {
		return Counters{}
	}
	return pr.meter.counters()
}

// PlaneCounters counts what the whole plane has carried and dropped.
func (p *Plane) PlaneCounters() Counters { return p.meter.counters() }

func (p *Plane) pair(spiIn uint32) *pair {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.sad.entry(spiIn); t != nil {
		return t.pair
	}
	return nil
}

// AddTunnel makes a tunnel of a TUN device. It removes a tunnel of the same name first.
func (p *Plane) AddTunnel(cfg TunnelConfig) *Tunnel {
	p.RemoveTunnel(cfg.Name)
	t := newTunnel(p, cfg)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tunnels[cfg.Name] = t
	return t
}

// RemoveTunnel takes out a tunnel and every SA in it, and wipes their keys. It does not close the
// device; the caller does, which ends the tunnel's Run.
func (p *Plane) RemoveTunnel(name string) {
	if t, prs := p.removeTunnel(name); t != nil {
		t.publish()
		t.Keep()
		p.wipe(prs...)
	}
}

func (p *Plane) removeTunnel(name string) (t *Tunnel, prs []*pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t = p.tunnels[name]; t == nil {
		return nil, nil
	}
	delete(p.tunnels, name)
	p.probes.mu.Lock()
	p.probes.end(t)
	p.probes.mu.Unlock()
	prs = slices.Clone(t.pairs)
	for _, pr := range prs {
		t.take(pr)
		p.sad.release(p.sad.entry(pr.spi))
	}
	return t, prs
}
