package main

import (
	"bytes"
	"encoding/binary"

	"vpngw/host"
	"vpngw/ipsec"
)

const (
	leastBatch = 8
	mostBatch  = 128
	udpHead    = 28
	maxPacket  = 64 << 10
)

// in carries packets from the peer to the TUN, and merges the datagrams of a flow that are of one size.
type in struct {
	tun    *host.TUN
	socket *host.Socket
	ds     []ipsec.Datagram
	bufs   [][]byte
	want   int

	frame  []byte // virtio_net_hdr, packet
	end    int
	merged int // packets in it
	size   int // payload of the first
	closed bool
}

func newIn(tun *host.TUN, socket *host.Socket) *in {
	i := &in{tun: tun, socket: socket, want: leastBatch, frame: make([]byte, vnetHeader+2*maxPacket)}
	i.ds, i.bufs = datagrams(mostBatch, maxPacket+2<<10+64)
	return i
}

// step carries a batch.
func (i *in) step() error {
	for k := range i.want {
		i.ds[k] = ipsec.Datagram{Data: i.bufs[k]}
	}
	n, err := i.socket.ReadReady(i.ds[:i.want])
	if n == 0 {
		return err
	}
	got := 0
	for k := range i.ds[:n] {
		d := &i.ds[k]
		got += len(d.Data)
		for rest := d.Data; len(rest) > 0; {
			b := rest
			if d.Segment > 0 && d.Segment < len(b) {
				b = b[:d.Segment]
			}
			rest = rest[len(b):]
			i.packet(b)
		}
	}
	i.flush()
	switch {
	case got > batchBytes:
		i.want = max(i.want/2, leastBatch)
	case n == i.want:
		i.want = min(i.want*2, mostBatch)
	case n < i.want/4:
		i.want = max(i.want/2, leastBatch)
	}
	return err
}

// packet opens an ESP packet.
func (i *in) packet(b []byte) {
	n := len(b) - icv - espHeader - espTrailer
	if n < udpHead {
		return
	}
	n -= int(b[len(b)-icv-2]) // the padding
	if n < udpHead {
		return
	}
	p := b[espHeader:][:n]
	if !i.joins(p) {
		i.flush()
		i.end = copy(i.frame[vnetHeader:], p)
		i.merged, i.size, i.closed = 1, n-udpHead, p[9] != 17
		return
	}
	i.end += copy(i.frame[vnetHeader+i.end:], p[udpHead:])
	i.merged++
	i.closed = n-udpHead < i.size
}

// joins reports whether a packet is one more datagram of the frame.
func (i *in) joins(p []byte) bool {
	f := i.frame[vnetHeader:]
	return i.merged > 0 && !i.closed && i.merged < maxSegments && p[9] == 17 && len(p)-udpHead <= i.size && i.end+len(p) < maxPacket &&
		bytes.Equal(p[12:24], f[12:24]) && p[1] == f[1] && p[8] == f[8]
}

// flush writes the frame.
func (i *in) flush() {
	if i.merged == 0 {
		return
	}
	f := i.frame[:vnetHeader+i.end]
	clear(f[:vnetHeader])
	if i.merged > 1 {
		b := f[vnetHeader:]
		f[0], f[1] = 1, 5 // needs a checksum; UDP_L4
		binary.NativeEndian.PutUint16(f[2:], udpHead)
		binary.NativeEndian.PutUint16(f[4:], uint16(i.size))
		binary.NativeEndian.PutUint16(f[6:], 20)
		binary.NativeEndian.PutUint16(f[8:], 6)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[24:], uint16(len(b)-20))
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], ^onesSum(b[:20]))
		pseudo := [12]byte{9: 17}
		copy(pseudo[:8], b[12:20])
		binary.BigEndian.PutUint16(pseudo[10:], uint16(len(b)-20))
		binary.BigEndian.PutUint16(b[26:], onesSum(pseudo[:]))
	}
	i.tun.WriteFrame(f)
	i.merged, i.end = 0, 0
}
