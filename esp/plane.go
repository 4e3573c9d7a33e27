package esp

import (
	"crypto/rand"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"vpngw/ipsec"
)

// Device is a TUN device by packets, as golang.zx2c4.com/wireguard/tun has it. Read is
// called by one goroutine; Write by several at once. Closing the device must make Read
// return an error that is os.ErrClosed.
type Device interface {
	// Read fills bufs[i][offset:][:sizes[i]] with packets and returns how many.
	Read(bufs [][]byte, sizes []int, offset int) (int, error)
	// Write takes the packets bufs[i][offset:]. It may use the offset bytes
	// before each, and may change bufs and the spare capacity of each element.
	Write(bufs [][]byte, offset int) (int, error)
	BatchSize() int
}

// Framer is a TUN device by frames: what the kernel itself gives and takes, packets
// behind a virtio_net_hdr, among them super-packets, whose checksums are left to be done. A
// packet is then copied by the system calls only. An Engine reads it; WriteFrame is called by several goroutines.
type Framer interface {
	FD() int // what a Poller can wait for
	// ReadReady reads a frame into b and hands it to take, and so on until take
	// returns false or there is none at the moment. Beyond b's length, its capacity is take's to
	// write to. After Close its error is os.ErrClosed.
	ReadReady(b []byte, take func(frame []byte) (more bool)) error
	// WriteFrame takes a frame.
	WriteFrame(frame []byte) error
	// SegmentsUDP reports whether a frame may be a UDP super-packet, whose kernel
	// must be Linux 6.2 or later.
	SegmentsUDP() bool
}

// Socket is one socket of the underlay, one for each family and kind. Its Engine reads it; the writing methods are called by
// several goroutines at once.
type Socket interface {
	FD() int // what a Poller can wait for
	// ReadReady fills some of ds with what is there and returns how many, 0 too. The caller has set
	// ds[i].Data to a buffer; it is cut to what came in. Local, Remote,
	// Segment and TOS are set. After Close its error is net.ErrClosed.
	ReadReady(ds []ipsec.Datagram) (int, error)
	// WriteBatch sends ds in order and returns how many went. One that is
	// refused does not hold up the others; the error tells of it, and has a method
	// TooBig() (netip.AddrPort, bool) if it can tell that one was too big for its path.
	WriteBatch(ds []ipsec.Datagram) (int, error)
	// WriteFragmentable sends one datagram that may be cut, here and on its way.
	WriteFragmentable(ipsec.Datagram) error
	Raw() bool // IP protocol 50, rather than UDP port 4500
}

// Config is what a Plane needs. The zero value works, without sockets.
type Config struct {
	// Slots is how many SA pairs there can be at once, rounded up to a power of
	// two between 256 and 1<<20. Default 16384.
	Slots int
	// Rand yields SPIs and CBC initialisation vectors' keys. Default: crypto/rand.
	Rand io.Reader
	// Notify takes an Event. It is called from the packet loops and must not
	// block; false says that it was not taken and shall be told again at a later packet.
	Notify func(Event) bool
	// IKE takes a datagram that came in on port 4500 behind the non-ESP marker
	// (RFC 3948 section 2.2), with the marker stripped. It must not block. Data is the callee's to keep.
	IKE func(ipsec.Datagram)
	// The sockets to send from; any may be nil. UDP ones are those of port 4500.
	UDP4, UDP6, Raw4, Raw6 Socket
}

// Plane is the data plane. Its methods may be called from any goroutine.
type Plane struct {
	cfg      Config
	sockets  [numTransports]Socket
	epoch    time.Time // what pair.heard counts from
	sad      sad
	outboxes outboxes
	meter    meter

	// receiving is held while a batch that came in is opened. It owns the openers, windows and
	// quotas of all inbound SAs. Tunnel.sending is its counterpart.
	receiving sync.Mutex

	moves moves

	frozen atomic.Bool // changes under mu

	mu      sync.Mutex // owns what follows and the changes of sad; locked before any other lock
	tunnels map[string]*Tunnel
	order   uint64 // of the last outbound half that was installed
}

// New makes a Plane. It starts nothing: its Engines are run by the caller.
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
	}
}

// AllocSPI reserves an inbound SPI: for InstallIn later, or FreeSPI.
func (p *Plane) AllocSPI() (uint32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen.Load() {
		return 0, errFrozen
	}
	return p.sad.reserve(p.cfg.Rand)
}

// FreeSPI gives back an SPI that was not installed. Others are left alone.
func (p *Plane) FreeSPI(spi uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.sad.entry(spi); t != nil && t.pair == nil {
		p.sad.release(t)
	}
}

// InstallIn makes the inbound half of sa ready to receive. sa.SPIIn must come
// from AllocSPI and sa.Tunnel must have been added. The keys are copied.
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
	t.pair = pr
	tunnel.pairs[pr.spi] = pr
	p.sad.install(pr.in)
	return nil
}

// InstallOut makes the outbound half of sa, whose inbound half is installed,
// the one that its tunnel's new packets take where its selectors are the most specific.
func (p *Plane) InstallOut(sa *ipsec.ChildSA) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.sad.entry(sa.SPIIn)
	switch {
	case p.frozen.Load():
		return errFrozen
	case t == nil || t.pair == nil:
		return fmt.Errorf("esp: inbound SPI %08x is not installed", sa.SPIIn)
	case t.pair.out != nil:
		return fmt.Errorf("esp: the outbound half of SPI %08x is installed already", sa.SPIIn)
	}
	p.order++
	out, err := newOutbound(t.pair, sa, p.order, p.cfg.Rand)
	if err != nil {
		return err
	}
	t.pair.out = out
	t.pair.tunnel.install(out)
	return nil
}

// Hold keeps back what would go out on an SA, until Resume, or until another SA
// takes the packets or this one is removed. When it returns, all that was read before has
// been sent. More than a tunnel can keep ends it early, so that nothing is lost. The caller
// seals and sends the packets that a change of the plane lets go: it may wait for the
// tunnel's batch under way.
func (p *Plane) Hold(spiIn uint32) {
	p.outbound(spiIn, (*Tunnel).hold)
}

// Resume ends a Hold. What was kept back goes out first.
func (p *Plane) Resume(spiIn uint32) {
	p.outbound(spiIn, (*Tunnel).resume)
}

// outbound calls f with the outbound half of an SA, if there is one.
func (p *Plane) outbound(spiIn uint32, f func(*Tunnel, *outbound)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.sad.entry(spiIn); t != nil && t.pair != nil && t.pair.out != nil {
		f(t.pair.tunnel, t.pair.out)
	}
}

// Remove takes both halves out and frees the SPI. An unknown one is ignored.
func (p *Plane) Remove(spiIn uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.sad.entry(spiIn); t != nil && t.pair != nil {
		delete(t.pair.tunnel.pairs, spiIn)
		t.pair.tunnel.uninstall(t.pair.out)
		p.sad.release(t)
	}
}

// LastInbound is when the last authenticated packet came in, to the
// granularity of a batch; zero: never, or no such SA.
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

// Counters is what the SA pair carried and dropped; zero if there is none.
func (p *Plane) Counters(spiIn uint32) Counters {
	pr := p.pair(spiIn)
	if pr == nil {
		return Counters{}
	}
	return pr.meter.counters()
}

// PlaneCounters is what the whole plane carried and dropped since it was made.
func (p *Plane) PlaneCounters() Counters { return p.meter.counters() }

func (p *Plane) pair(spiIn uint32) *pair {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.sad.entry(spiIn); t != nil {
		return t.pair
	}
	return nil
}

// AddTunnel makes a tunnel of a TUN device; one of the same name is removed first.
func (p *Plane) AddTunnel(cfg TunnelConfig) *Tunnel {
	p.RemoveTunnel(cfg.Name)
	t := newTunnel(p, cfg)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tunnels[cfg.Name] = t
	return t
}

// RemoveTunnel takes out a tunnel and every SA in it. It does not close the
// device; closing it is what ends the tunnel's Run.
func (p *Plane) RemoveTunnel(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tunnels[name]
	if t == nil {
		return
	}
	delete(p.tunnels, name)
	for spi := range t.pairs {
		p.sad.release(p.sad.entry(spi))
	}
	clear(t.pairs)
	t.setOuts(nil)
}
