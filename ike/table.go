package ike

import (
	"net/netip"

	"vpngw/ike/sa"
)

// table finds machines: the one of a message, and all at an address.
type table struct {
	bySPI     map[uint64]sa.Machine // by the IKE SPI that is ours
	spi       map[sa.Machine]uint64 // the same, the other way round
	at        map[netip.Addr]map[sa.Machine]uint64
	addr      map[sa.Machine]netip.Addr // where a machine is in at
	lingering map[sa.Machine]struct{}   // ended, and kept only to repeat a response
}

func newTable() table {
	return table{
		bySPI: map[uint64]sa.Machine{}, spi: map[sa.Machine]uint64{},
		at: map[netip.Addr]map[sa.Machine]uint64{}, addr: map[sa.Machine]netip.Addr{}, lingering: map[sa.Machine]struct{}{},
	}
}

func (t *table) add(m sa.Machine) {
	in := m.Info()
	own := in.SPIr
	if in.Initiator {
		own = in.SPIi
	}
	t.bySPI[own], t.spi[m] = m, own
	t.look(m)
}

// look notes where a machine's peer is now, and whether the machine only lingers.
func (t *table) look(m sa.Machine) {
	spi, ok := t.spi[m]
	if !ok {
		return
	}
	in := m.Info()
	if in.Lingering {
		t.lingering[m] = struct{}{}
	}
	addr := in.Path.Remote.Addr().Unmap()
	if was, ok := t.addr[m]; ok && was == addr {
		return
	}
	t.leave(m)
	if t.at[addr] == nil {
		t.at[addr] = map[sa.Machine]uint64{}
	}
	t.at[addr][m], t.addr[m] = spi, addr
}

// leave takes a machine out of its address.
func (t *table) leave(m sa.Machine) {
	was, ok := t.addr[m]
	if !ok {
		return
	}
	delete(t.addr, m)
	delete(t.at[was], m)
	if len(t.at[was]) == 0 {
		delete(t.at, was)
	}
}

func (t *table) remove(m sa.Machine) {
	spi, ok := t.spi[m]
	if !ok {
		return
	}
	t.leave(m)
	delete(t.bySPI, spi)
	delete(t.spi, m)
	delete(t.lingering, m)
}
