// Package capture writes what a tunnel carries for Wireshark: packets as a pcapng file
// (draft-ietf-opsawg-pcapng), cut as they are on the wire where a tap shows
// super-packets, and keys as the tables of a profile. It opens no socket.
//
// The few blocks that it needs it writes itself: gopacket's pcapgo costs 1.7 MB of the
// binary and tables that are made at each start. The tests read what it writes with pcapgo and with tshark.
package capture

import (
	"encoding/binary"
	"io"
	"math"
	"time"
)

// Blocks and options of pcapng.
const (
	blockSection    = 0x0a0d0d0a
	blockInterface  = 1
	blockStatistics = 5
	blockPacket     = 6

	byteOrderMagic = 0x1a2b3c4d

	optEnd         = 0
	optApplication = 4 // of a section
	optName        = 2 // of an interface
	optDescription = 3
	optResolution  = 9
	optFlags       = 2 // of a packet
	optReceived    = 4 // of statistics
	optDropped     = 5

	linkTypeRaw = 101 // packets begin with their IP header
	nanoseconds = 9   // as an optResolution: 10^-9 s

	flagInbound  = 1
	flagOutbound = 2
)

// MaxSnaplen is the most bytes of a packet that Wireshark reads.
const MaxSnaplen = 262144

// Interface is where packets were seen.
type Interface struct {
	Name, Description string
}

// Packet is one packet, which begins with its IP header.
type Packet struct {
	Interface int
	At        time.Time
	Out       bool
	Data      []byte
}

// Writer writes a pcapng file of one section. After an error every method returns it.
// Not safe for concurrent use.
type Writer struct {
	w       io.Writer
	snaplen int
	block   []byte
	err     error
}

// NewWriter begins a section with these interfaces. Packets are cut to snaplen bytes.
func NewWriter(w io.Writer, application string, snaplen int, interfaces []Interface) (*Writer, error) {
	f := &Writer{w: w, snaplen: snaplen}
	f.begin(blockSection)
	f.u32(byteOrderMagic)
	f.u16(1) // version 1.0
	f.u16(0)
	f.u32(math.MaxUint32) // the section's length is not known
	f.u32(math.MaxUint32)
	f.option(optApplication, []byte(application))
	f.end()
	for _, i := range interfaces {
		f.begin(blockInterface)
		f.u16(linkTypeRaw)
		f.u16(0)
		f.u32(uint32(snaplen))
		f.option(optName, []byte(i.Name))
		f.option(optDescription, []byte(i.Description))
		f.option(optResolution, []byte{nanoseconds})
		f.end()
	}
	return f, f.err
}

// Write writes one packet.
func (f *Writer) Write(p Packet) error {
	data := p.Data[:min(len(p.Data), f.snaplen)]
	f.begin(blockPacket)
	f.u32(uint32(p.Interface))
	f.time(p.At)
	f.u32(uint32(len(data)))
	f.u32(uint32(len(p.Data)))
	f.padded(data)
	flags := uint32(flagInbound)
	if p.Out {
		flags = flagOutbound
	}
	f.option(optFlags, binary.LittleEndian.AppendUint32(nil, flags))
	f.end()
	return f.err
}

// Statistics says how many packets an interface has had, and how many of them are not in the file.
func (f *Writer) Statistics(at time.Time, iface int, received, dropped uint64) error {
	f.begin(blockStatistics)
	f.u32(uint32(iface))
	f.time(at)
	f.option(optReceived, binary.LittleEndian.AppendUint64(nil, received))
	f.option(optDropped, binary.LittleEndian.AppendUint64(nil, dropped))
	f.end()
	return f.err
}

// A block has its type, its length, its body, and its length again.
func (f *Writer) begin(kind uint32) {
	f.block = binary.LittleEndian.AppendUint32(f.block[:0], kind)
	f.u32(0)
}

func (f *Writer) end() {
	f.u16(optEnd)
	f.u16(0)
	length := uint32(len(f.block) + 4)
	f.u32(length)
	binary.LittleEndian.PutUint32(f.block[4:], length)
	if f.err == nil {
		_, f.err = f.w.Write(f.block)
	}
}

func (f *Writer) u16(v uint16) { f.block = binary.LittleEndian.AppendUint16(f.block, v) }
func (f *Writer) u32(v uint32) { f.block = binary.LittleEndian.AppendUint32(f.block, v) }

func (f *Writer) time(t time.Time) {
	n := uint64(t.UnixNano())
	f.u32(uint32(n >> 32))
	f.u32(uint32(n))
}

func (f *Writer) option(code uint16, value []byte) {
	value = value[:min(len(value), math.MaxUint16)]
	f.u16(code)
	f.u16(uint16(len(value)))
	f.padded(value)
}

func (f *Writer) padded(b []byte) {
	f.block = append(f.block, b...)
	for len(f.block)%4 != 0 {
		f.block = append(f.block, 0)
	}
}
