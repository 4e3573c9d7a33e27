package host

import (
	"context"
	"errors"
	"net/netip"
	"os"

	"vpngw/ipsec"
)

type TUN struct{}

func (t *TUN) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	return 0, errors.ErrUnsupported
}
func (t *TUN) Write(bufs [][]byte, offset int) (int, error) { return 0, errors.ErrUnsupported }
func (t *TUN) BatchSize() int                               { return 128 }
func (t *TUN) Name() string                                 { return "" }
func (t *TUN) File() *os.File                               { return nil }
func (t *TUN) Close() error                                 { return nil }

func (h *Host) CreateTUN(name string, mtu int) (*TUN, error) { return nil, errors.ErrUnsupported }

// Socket is one underlay socket.
type Socket struct{}

func (s *Socket) ReadBatch(ds []ipsec.Datagram) (int, error)  { return 0, errors.ErrUnsupported }
func (s *Socket) WriteBatch(ds []ipsec.Datagram) (int, error) { return 0, errors.ErrUnsupported }

// WriteFragmentable sends one datagram without DF: for IKE messages.
func (s *Socket) WriteFragmentable(d ipsec.Datagram) error { return errors.ErrUnsupported }
func (s *Socket) Raw() bool                                { return false }
func (s *Socket) Local() netip.AddrPort                    { return netip.AddrPort{} }
func (s *Socket) Close() error                             { return nil }

// Sockets are all underlay sockets, one in each list for each family (wildcard) or listen address.
type Sockets struct{ IKE, NATT, Raw []*Socket }

// ForSend picks the socket: local.Port 500 is IKE, 4500 NAT-T, 0 raw ESP; the family is remote's. nil: none.
func (s *Sockets) ForSend(local netip.AddrPort, remote netip.Addr) *Socket { return nil }
func (s *Sockets) All() []*Socket                                          { return nil }
func (s *Sockets) Close() error                                            { return nil }

func (h *Host) Open(listen []netip.Addr) (*Sockets, error) { return nil, errors.ErrUnsupported }

// SendError tells of datagrams of a WriteBatch that were not sent; the others were.
type SendError struct {
	Remote netip.AddrPort // of the first that failed
	Err    error          // why: a syscall.Errno
	Failed int            // how many
}

func (e *SendError) Error() string { return "" }
func (e *SendError) Unwrap() error { return e.Err }

// TooBig reports whether the path to the remote returned takes no packet of that size (EMSGSIZE).
func (e *SendError) TooBig() (remote netip.AddrPort, ok bool) { return e.Remote, false }

func (h *Host) Set(State) (Result, error) { return Result{}, errors.ErrUnsupported }
func (h *Host) Clean() error              { return errors.ErrUnsupported }
func (h *Host) Check() []Finding          { return nil }
func (h *Host) Source(remote netip.Addr) (netip.Addr, error) {
	return netip.Addr{}, errors.ErrUnsupported
}
func (h *Host) PathMTU(remote netip.Addr) (int, error)          { return 0, errors.ErrUnsupported }
func (h *Host) Addresses() ([]netip.Addr, error)                { return nil, errors.ErrUnsupported }
func (h *Host) Watch(ctx context.Context, changed func()) error { return errors.ErrUnsupported }
