package gateway

import (
	"net/netip"

	"vpngw/esp"
	"vpngw/host"
)

// System is the Host that calls the kernel of this machine.
type System struct{ *host.Host }

// CreateTUN is host.Host's, as the interface that the gateway asks for.
func (s System) CreateTUN(name string, mtu int) (TUN, error) {
	t, err := s.Host.CreateTUN(name, mtu)
	if err != nil {
		return nil, err
	}
	return tun{t}, nil
}

type tun struct{ *host.TUN }

// Packets is host.TUN's, as the interface that the data plane asks for.
func (t tun) Packets() (esp.Device, error) { return t.TUN.Packets() }

// Tap is host.Host's, as the interface that the gateway asks for.
func (s System) Tap(sources []host.TapSource) (Tap, error) {
	t, err := s.Host.Tap(sources)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Examination is host.Host's, as the interface that the gateway asks for.
func (s System) Examination() Examination { return s.Host.Examination() }

// Poller is a host.Poller.
func (s System) Poller() (Poller, error) { return host.NewPoller() }

// chosen makes a choice of sockets one of the interface, nil for nil.
func chosen(by func(netip.AddrPort, netip.Addr) *host.Socket) func(netip.AddrPort, netip.Addr) Socket {
	return func(local netip.AddrPort, remote netip.Addr) Socket {
		if s := by(local, remote); s != nil {
			return s
		}
		return nil
	}
}

// Open is host.Host's, as the interfaces that the gateway asks for.
func (s System) Open(listen []netip.Addr) (*Sockets, error) {
	so, err := s.Host.Open(listen)
	if err != nil {
		return nil, err
	}
	list := func(in []*host.Socket) (out []Socket) {
		for _, s := range in {
			out = append(out, s)
		}
		return out
	}
	var icmp []ICMPSocket
	for _, i := range so.ICMP {
		icmp = append(icmp, i)
	}
	return &Sockets{
		IKE: list(so.IKE), NATT: list(so.NATT), Marked: list(so.Marked), Raw: list(so.Raw), ICMP: icmp,
		ForIKE: chosen(so.ForIKE), ForWhole: chosen(so.ForSend),
		Run:   so.Run,
		Close: so.Close,
	}, nil
}
