package gateway

import (
	"context"
	"fmt"
	"net"
	"sync"

	"vpngw/ipsec"
)

// merged makes several ESP sockets of one kind and family, as `listen` with
// several addresses opens them, look like one: an inbound SA belongs to one
// goroutine, so one goroutine has to read them all. Any of them can send from any address.
//
// It costs a copy and a wake-up for each batch; a host with one address of a
// family has none of it.
type merged struct {
	Socket // the first: it sends
	all    []Socket
	full   chan *batch
	closed chan struct{}
	once   sync.Once
}

// batch is what one ReadBatch of one socket gave.
type batch struct {
	ds   []ipsec.Datagram
	n    int
	err  error
	free chan struct{}
}

const (
	mergedBatch  = 16
	mergedBuffer = 1 << 16
)

func merge(all []Socket) *merged {
	return &merged{Socket: all[0], all: all, full: make(chan *batch), closed: make(chan struct{})}
}

// pump reads one of the sockets until ctx ends.
func (m *merged) pump(ctx context.Context, so Socket) error {
	space := make([]byte, mergedBatch*mergedBuffer)
	b := &batch{ds: make([]ipsec.Datagram, mergedBatch), free: make(chan struct{}, 1)}
	for {
		for i := range b.ds {
			b.ds[i] = ipsec.Datagram{Data: space[i*mergedBuffer : (i+1)*mergedBuffer : (i+1)*mergedBuffer]}
		}
		b.n, b.err = so.ReadBatch(b.ds)
		select {
		case m.full <- b:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-b.free:
		case <-ctx.Done():
			return nil
		}
	}
}

// ReadBatch gives what one of the sockets received.
func (m *merged) ReadBatch(ds []ipsec.Datagram) (int, error) {
	select {
	case b := <-m.full:
		n := min(b.n, len(ds))
		for i, d := range b.ds[:n] {
			d.Data = ds[i].Data[:copy(ds[i].Data, d.Data)]
			ds[i] = d
		}
		err := b.err
		b.free <- struct{}{}
		return n, err
	case <-m.closed:
		return 0, fmt.Errorf("merged sockets: %w", net.ErrClosed)
	}
}

// Close ends ReadBatch. The sockets are closed by who opened them.
func (m *merged) Close() error {
	m.once.Do(func() { close(m.closed) })
	return nil
}
