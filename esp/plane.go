package esp

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"time"

	"vpngw/ipsec"
)

// Device is a TUN device, as golang.zx2c4.com/wireguard/tun has it. Read is
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

// Socket is one socket of the underlay. ReadBatch is called by one goroutine;
// WriteBatch by several at once. Closing the socket must make ReadBatch return an
// error that is net.ErrClosed or os.ErrClosed.
type Socket interface {
	// ReadBatch fills some of ds and returns how many. The caller has set
	// ds[i].Data to a buffer; it is cut to what came in. Local, Remote,
	// Segment and TOS are set.
	ReadBatch(ds []ipsec.Datagram) (int, error)
	// WriteBatch sends ds in order and returns how many went. With an error,
	// the datagram after these was refused; the rest were not tried.
	WriteBatch(ds []ipsec.Datagram) (int, error)
	Raw() bool // IP protocol 50, rather than UDP port 4500
	Close() error
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
	// The sockets; any may be nil. UDP ones are those of port 4500.
	UDP4, UDP6, Raw4, Raw6 Socket
}

// Plane is the data plane. Its methods may be called from any goroutine.
type Plane struct {
	cfg Config
	meter
}

// New makes a Plane. It starts nothing: the caller runs RunSocket for each
// socket and Run for each tunnel in goroutines of its own.
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
	return &Plane{cfg: cfg}
}

var errTODO = errors.New("esp: not there yet")

// AllocSPI reserves an inbound SPI: for InstallIn later, or FreeSPI.
func (p *Plane) AllocSPI() (uint32, error) { return 0, errTODO }

// FreeSPI gives back an SPI that was not installed. An unknown one is ignored.
func (p *Plane) FreeSPI(spi uint32) {}

// InstallIn makes the inbound half of sa ready to receive. sa.SPIIn must come
// from AllocSPI and sa.Tunnel must have been added. The keys are copied.
func (p *Plane) InstallIn(sa *ipsec.ChildSA) error { return errTODO }

// InstallOut makes the outbound half of sa, whose inbound half is installed,
// the one that its tunnel's new packets take where its selectors are the most specific.
func (p *Plane) InstallOut(sa *ipsec.ChildSA) error { return errTODO }

// Remove takes both halves out and frees the SPI. An unknown one is ignored.
func (p *Plane) Remove(spiIn uint32) {}

// Move changes where the outbound half sends to. The inbound half goes on
// accepting the transport and family that it was installed with.
func (p *Plane) Move(spiIn uint32, path ipsec.Path) {}

// LastInbound is when the last authenticated packet came in, to the
// granularity of a batch; zero: never, or no such SA.
func (p *Plane) LastInbound(spiIn uint32) time.Time { return time.Time{} }

// Counters is what the SA pair carried and dropped; zero if there is none.
func (p *Plane) Counters(spiIn uint32) Counters { return Counters{} }

// PlaneCounters is what the whole plane carried and dropped since it was made.
func (p *Plane) PlaneCounters() Counters { return p.counters() }

// AddTunnel makes a tunnel of a TUN device; one of the same name is removed first.
func (p *Plane) AddTunnel(cfg TunnelConfig) *Tunnel { return &Tunnel{} }

// RemoveTunnel takes out a tunnel and every SA in it. It does not close the
// device; closing it is what ends the tunnel's Run.
func (p *Plane) RemoveTunnel(name string) {}

// TunnelConfig describes a Tunnel.
type TunnelConfig struct {
	Name     string // what ipsec.ChildSA.Tunnel says
	Device   Device
	MTU      int  // of the device: the largest inner packet (see MTU)
	CopyDSCP bool // copy the inner DSCP to the outer header; ECN always is
}

// Tunnel is one TUN device with the SAs that carry its traffic.
type Tunnel struct{ meter }

// SetMTU changes the largest inner packet, from the next packet on.
func (t *Tunnel) SetMTU(mtu int) {}

// Counters is what the tunnel carried and dropped, over all its SAs and packets that met none.
func (t *Tunnel) Counters() Counters { return t.counters() }

// Run carries packets from the TUN to the underlay until the device is closed
// or ctx is done, and returns nil then. ctx is looked at between batches: only
// closing the device interrupts a Read. One Run at a time.
func (t *Tunnel) Run(ctx context.Context) error { return errTODO }

// RunSocket carries packets from the socket, one of Config's, to the TUNs and
// to Config.IKE until it is closed or ctx is done, and returns nil then. ctx is
// looked at between batches: only closing the socket interrupts a ReadBatch. One for each socket.
func (p *Plane) RunSocket(ctx context.Context, s Socket) error { return errTODO }
