package ike

import (
	"net/netip"
	"slices"

	"vpngw/ike/sa"
)

// table finds machines: the one of a message, and all at an address.
type table struct {
	bySPI     map[uint64]sa.Machine   // by the IKE SPI that is ours
	place     map[sa.Machine]place    // the same, the other way round
	at        map[netip.Addr][]uint64 // SPIs that are ours
	lingering map[sa.Machine]struct{} // ended, and kept only to repeat a response
}

// place is where a machine is in a table.
type place struct {
	spi  uint64
	addr netip.Addr // zero: it is in no list of at yet
}

func newTable() table {
	return table{
		bySPI: map[uint64]sa.Machine{}, place: map[sa.Machine]place{}, at: map[netip.Addr][]uint64{}, lingering: map[sa.Machine]struct{}{},
	}
}

func (t *table) add(m sa.Machine) {
	in := m.Info()
	own := in.SPIr
	if in.Initiator {
		own = in.SPIi
	}
	t.bySPI[own], t.place[m] = m, place{spi: own}
	t.look(m)
}

// look notes where a machine's peer is now, and whether the machine only lingers.
func (t *table) look(m sa.Machine) {
	p, ok := t.place[m]
	if !ok {
		return
	}
	in := m.Info()
	if in.Lingering {
		t.lingering[m] = struct{}{}
	}
	addr := in.Path.Remote.Addr().Unmap()
	if addr == p.addr && addr.IsValid() {
		return
	}
	t.leave(p)
	p.addr = addr
	t.at[addr], t.place[m] = append(t.at[addr], p.spi), p
}

// leave takes a machine out of its address.
func (t *table) leave(p place) {
	rest := slices.DeleteFunc(t.at[p.addr], func(spi uint64) bool { return spi == p.spi })
	if t.at[p.addr] = rest; len(rest) == 0 {
		delete(t.at, p.addr)
	}
}

func (t *table) remove(m sa.Machine) {
	p, ok := t.place[m]
	if !ok {
		return
	}
	t.leave(p)
	delete(t.bySPI, p.spi)
	delete(t.place, m)
	delete(t.lingering, m)
}
