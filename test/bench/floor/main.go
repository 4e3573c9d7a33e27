// Command floor is the least that an engine of vpngw's design costs on this kernel: its sockets, its TUN, its poller and
// its batches, with UDP segmentation and merging, packets of ESP's size, and a copy in place of the
// cipher. It has no SPD, no SAD, no replay window, no counters and no lifetimes, verifies nothing, and carries IPv4 packets that are whole.
// The benchmark compares small packets with it.
//
//	floor DEVICE PEER
package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"vpngw/host"
	"vpngw/ipsec"
)

const (
	mtu = 1438 // vpngw's for AES-128-GCM in UDP

	espHeader  = 16 // SPI, sequence number, IV
	espTrailer = 2
	icv        = 16
	overhead   = espHeader + espTrailer + icv + 3 // with the most padding
)

func main() {
	if len(os.Args) != 3 {
		fatal(errors.New("usage: floor DEVICE PEER"))
	}
	peer, err := netip.ParseAddrPort(os.Args[2])
	fatal(err)
	h, err := host.New(host.Config{})
	fatal(err)
	tun, err := h.CreateTUN(os.Args[1], mtu)
	fatal(err)
	sockets, err := h.Open([]netip.Addr{netip.IPv4Unspecified()})
	fatal(err)
	fatal(run(tun, sockets.NATT[0], peer))
}

// run carries packets on one locked thread, as an Engine does.
func run(tun *host.TUN, socket *host.Socket, peer netip.AddrPort) error {
	runtime.LockOSThread()
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 4))
	poller, err := host.NewPoller()
	if err != nil {
		return err
	}
	const tunID, socketID = 1, 2
	if err := errors.Join(poller.Add(tun.FD(), tunID), poller.Add(socket.FD(), socketID)); err != nil {
		return err
	}
	out, in := newOut(tun, socket, peer), newIn(tun, socket)
	var ready [64]uint32
	for {
		n, err := poller.Wait(ready[:])
		if err != nil {
			return err
		}
		for _, id := range ready[:n] {
			switch id {
			case tunID:
				err = out.step()
			case socketID:
				err = in.step()
			}
			if err != nil {
				return err
			}
		}
	}
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

// sealed is the size of the ESP packet of an inner packet of n bytes.
func sealed(n int) int { return espHeader + (n+espTrailer+3)&^3 + icv }

func datagrams(n, size int) ([]ipsec.Datagram, [][]byte) {
	ds, all, bufs := make([]ipsec.Datagram, n), make([]byte, n*size), make([][]byte, n)
	for i := range bufs {
		bufs[i] = all[i*size : (i+1)*size : (i+1)*size]
	}
	return ds, bufs
}
