// Command relay carries unchanged IP packets between a TUN device and a UDP peer: no
// crypto, no additional header. The benchmark compares tunnels with it. Its I/O is
// wireguard-go's (package conn with its batches, UDP GSO and GRO; package tun with its
// TSO and GRO), used in the plainest way: one goroutine for each direction, and a copy
// of every packet, which is where a tunnel would encrypt.
//
//	relay DEVICE PORT PEER
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/tun"
)

const (
	mtu     = 1420  // wireguard-go's own
	maxSize = 65535 // of a packet, and of what tun gathers in one buffer
	headers = 16    // room that tun wants before a packet, for its virtio_net_hdr
)

func main() {
	if len(os.Args) != 4 {
		fatal(errors.New("usage: relay DEVICE PORT PEER"))
	}
	port, err := strconv.ParseUint(os.Args[2], 10, 16)
	fatal(err)
	device, err := tun.CreateTUN(os.Args[1], mtu)
	fatal(err)
	bind := conn.NewStdNetBind()
	peer, err := bind.ParseEndpoint(os.Args[3])
	fatal(err)
	receivers, _, err := bind.Open(uint16(port))
	fatal(err)

	ended := make(chan error)
	go func() { ended <- out(device, bind, peer) }()
	for _, receive := range receivers {
		go func() { ended <- in(receive, device) }()
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	select {
	case <-stop:
	case err := <-ended:
		fatal(err)
	}
}

// out carries packets from the device to the peer.
func out(device tun.Device, bind conn.Bind, peer conn.Endpoint) error {
	n := min(device.BatchSize(), bind.BatchSize())
	read, sizes, send := buffers(n), make([]int, n), buffers(n)
	packets := make([][]byte, n)
	for {
		n, err := device.Read(read, sizes, 0)
		if err != nil && !errors.Is(err, tun.ErrTooManySegments) {
			return err
		}
		for i := range n {
			packets[i] = send[i][:copy(send[i], read[i][:sizes[i]])]
		}
		if n == 0 {
			continue
		}
		if err := bind.Send(packets[:n], peer); err != nil {
			fmt.Fprintln(os.Stderr, "relay: send:", err)
		}
	}
}

// in carries packets from the peer to the device.
func in(receive conn.ReceiveFunc, device tun.Device) error {
	const n = conn.IdealBatchSize
	read, sizes, from, write := buffers(n), make([]int, n), make([]conn.Endpoint, n), buffers(n)
	packets := make([][]byte, 0, n)
	for {
		n, err := receive(read, sizes, from)
		if err != nil {
			return err
		}
		packets = packets[:0]
		for i := range n {
			if sizes[i] > 0 {
				packets = append(packets, write[i][:headers+copy(write[i][headers:], read[i][:sizes[i]])])
			}
		}
		if len(packets) == 0 {
			continue
		}
		if _, err := device.Write(packets, headers); err != nil {
			fmt.Fprintln(os.Stderr, "relay: write:", err)
		}
	}
}

func buffers(n int) [][]byte {
	b := make([][]byte, n)
	for i := range b {
		b[i] = make([]byte, headers+maxSize)
	}
	return b
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
}
