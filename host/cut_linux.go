package host

import (
	"vpngw/ipsec"
)

// A packet that is sent whole has DF set, or is of IPv6, which no router cuts; one that is sent cut may be
// fragmented here and by routers. Sockets of ESP send whole, those of IKE cut.

// WriteWhole sends one datagram that nobody may fragment.
func (s *Socket) WriteWhole(d ipsec.Datagram) error { return s.writeOne(d, false) }

// WriteCut is WriteBatch for datagrams that may be fragmented. IPv6 goes one by one, in fragments of 1280 bytes, and so does
// what has no socket of its own for that.
func (s *Socket) WriteCut(ds []ipsec.Datagram) (int, error) {
	if s.cutter != nil && !s.v6 {
		return s.cutter.writeBatch(ds, nil)
	}
	var last error
	sent := 0
	for _, d := range ds {
		ok := true
		rest, size := d.Data, d.Segment
		if size <= 0 {
			size = max(1, len(rest))
		}
		for d.Segment = 0; ; {
			d.Data = rest[:min(size, len(rest))]
			rest = rest[len(d.Data):]
			if err := s.cutting().WriteFragmentable(d); err != nil {
				last, ok = err, false
			}
			if len(rest) == 0 {
				break
			}
		}
		if ok {
			sent++
		}
	}
	return sent, last
}

// cutting is the socket that sends what may be fragmented.
func (s *Socket) cutting() *Socket {
	if s.cutter != nil {
		return s.cutter
	}
	return s
}

// openCutter opens the socket that sends for WriteCut of a raw socket of IPv4.
func (s *Socket) openCutter() error {
	c, err := (&Socket{addr: s.addr, ike: true}).open(nil)
	if err != nil {
		return err
	}
	c.fd.do(func(fd uintptr) { err = receiveNothing(int(fd)) })
	if err != nil {
		c.Close()
		return err
	}
	s.cutter = c
	return nil
}
