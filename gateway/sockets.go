package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"vpngw/ipsec"
)

const portNATT = 4500

// readPause is between a failure to read a socket and the next attempt.
const readPause = time.Second

// deliver puts an IKE message, whose Data it keeps, into the loop's queue. When
// the queue is full the message is dropped and counted: IKE retransmits.
func (g *Gateway) deliver(d ipsec.Datagram) {
	select {
	case g.datagrams <- d:
	default:
		g.dropped.Add(1)
	}
}

// readIKE reads a socket of port 500 until ctx ends.
func (g *Gateway) readIKE(ctx context.Context, so Socket) error {
	const batch, size = 8, 1 << 16
	ds := make([]ipsec.Datagram, batch)
	space := make([]byte, batch*size)
	for {
		for i := range ds {
			ds[i] = ipsec.Datagram{Data: space[i*size : (i+1)*size : (i+1)*size]}
		}
		n, err := so.ReadBatch(ds)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("read port 500: %w", err)
		case err != nil: // the kernel is short of memory, say
			g.Log.Error("cannot read port 500", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(readPause):
			}
			continue
		}
		for _, d := range ds[:n] {
			run, segment := d.Data, d.Segment
			if segment <= 0 {
				segment = len(run)
			}
			for d.Segment = 0; len(run) > 0; run = run[len(d.Data):] {
				d.Data = slices.Clone(run[:min(segment, len(run))])
				g.deliver(d)
			}
		}
	}
}

var errNoSocket = errors.New("there is no socket of its address family")

// send puts one packet on the socket of its local port. An IKE message to port
// 4500 goes behind the non-ESP marker (RFC 3948 section 2.2), a keepalive does
// not. A failure is for status and the log: IKE sends again.
func (g *Gateway) send(p ipsec.Path, data []byte, isIKE bool) {
	if isIKE && p.Local.Port() == portNATT {
		data = slices.Concat(make([]byte, 4), data)
	}
	err := errNoSocket
	if so := g.sockets.ForIKE(p.Local, p.Remote.Addr()); so != nil {
		err = so.WriteFragmentable(ipsec.Datagram{Local: p.Local, Remote: p.Remote, Data: data})
	}
	why := ""
	if err != nil {
		why = fmt.Sprintf("sending to %v failed: %v", p.Remote, err)
		g.Log.Debug("cannot send IKE", "peer", p.Remote, "err", err)
	}
	// Only peers of the configuration are remembered: others would fill memory.
	if was, ok := g.remotes[p.Remote.Addr()]; ok && was != why {
		g.remotes[p.Remote.Addr()] = why
		g.dirty = true
	}
}
