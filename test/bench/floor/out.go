package main

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"vpngw/host"
	"vpngw/ipsec"
)

const (
	vnetHeader  = 10
	batchBytes  = 128 << 10
	batchFrames = 256
	sendBuffer  = 256 << 10
	maxSegments = 64
	maxRun      = 65000
)

// out carries packets from the TUN to the peer.
type out struct {
	tun         *host.TUN
	socket      *host.Socket
	peer        netip.AddrPort
	space       []byte
	take        func([]byte) bool
	frames, got int // frames and bytes of the batch

	buf      []byte
	used     int
	ds       []ipsec.Datagram
	segments int // of the last datagram
	first    int // size of its first
	closed   bool
	seq      uint64
}

func newOut(tun *host.TUN, socket *host.Socket, peer netip.AddrPort) *out {
	o := &out{
		tun: tun, socket: socket, peer: peer, space: make([]byte, vnetHeader+64<<10, vnetHeader+64<<10+overhead),
		buf: make([]byte, sendBuffer), ds: make([]ipsec.Datagram, 0, 128),
	}
	o.take = o.frame
	return o
}

// step carries a batch.
func (o *out) step() error {
	o.frames, o.got = 0, 0
	err := o.tun.ReadReady(o.space, o.take)
	o.flush()
	return err
}

func (o *out) frame(b []byte) bool {
	o.frames++
	o.got += len(b)
	if b[1] == 0 && len(b) >= vnetHeader+28 && b[vnetHeader]>>4 == 4 {
		complete(b)
		o.add(b[vnetHeader:])
	}
	return o.got < batchBytes && o.frames < batchFrames
}

// add makes the ESP packet of b.
func (o *out) add(b []byte) {
	size := sealed(len(b))
	joins := len(o.ds) > 0 && !o.closed && size <= o.first && o.segments < maxSegments && len(o.ds[len(o.ds)-1].Data)+size <= maxRun
	if o.used+size > len(o.buf) || !joins && len(o.ds) == cap(o.ds) {
		o.flush()
		joins = false
	}
	p := o.buf[o.used : o.used+size]
	o.used += size
	o.seq++
	binary.BigEndian.PutUint32(p, 0x1000)
	binary.BigEndian.PutUint32(p[4:], uint32(o.seq))
	binary.BigEndian.PutUint64(p[8:], o.seq)
	n := copy(p[espHeader:], b)
	clear(p[espHeader+n:])
	p[size-icv-1], p[size-icv-2] = 4, byte(size-icv-espHeader-n-espTrailer)
	if joins {
		d := &o.ds[len(o.ds)-1]
		d.Segment, d.Data = o.first, d.Data[:len(d.Data)+size]
		o.segments++
		o.closed = size < o.first
		return
	}
	o.ds = append(o.ds, ipsec.Datagram{Remote: o.peer, Data: p})
	o.segments, o.first, o.closed = 1, size, false
}

func (o *out) flush() {
	if len(o.ds) > 0 {
		o.socket.WriteBatch(o.ds)
	}
	clear(o.ds)
	o.ds, o.used = o.ds[:0], 0
}

// complete completes the checksum that the kernel left partial.
func complete(frame []byte) {
	if frame[0]&1 == 0 {
		return
	}
	b := frame[vnetHeader:]
	start := int(binary.NativeEndian.Uint16(frame[6:]))
	at := start + int(binary.NativeEndian.Uint16(frame[8:]))
	if at+2 > len(b) {
		return
	}
	sum := ^onesSum(b[start:])
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b[at:], sum)
}

func onesSum(b []byte) uint16 {
	var sum, carry uint64
	for ; len(b) >= 8; b = b[8:] {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
	}
	var last [8]byte
	copy(last[:], b)
	sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(last[:]), carry)
	sum += carry
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum&0xffff)
}
