package esp

import (
	"net/netip"

	"vpngw/lanes"
)

// checking is packets of one SA, one behind the other, whose ICVs are computed together: an HMAC of one packet leaves most of
// the processor idle. Everything else happens to one packet after the other, in their order, as if each had come alone. So a
// forged packet is dropped among good ones, and the second of two with one number too.
type checking struct {
	in *inbound
	together
	tos     [lanes.Max]uint8
	remotes [lanes.Max]netip.AddrPort

	guess together // of cutElsewhere
}

// collect takes the packet b of an SA with an HMAC, to be opened by check.
func (r *receiver) collect(in *inbound, b []byte, tos uint8) {
	c := &r.checking
	if in != c.in || c.full() {
		r.check()
	}
	seq, why := in.number(b)
	if why != carried && in.opener.esn && c.n > 0 {
		r.check() // the packets before may say that it is a later number
		seq, why = in.number(b)
	}
	if why == carried && !in.opener.whole(b) {
		why = dropMalformed
	}
	if why != carried {
		r.count(in, b, why)
		return
	}
	c.in = in
	c.tos[c.n], c.remotes[c.n] = tos, r.remote
	c.add(b, seq)
}

// check opens the packets that were collected.
func (r *receiver) check() {
	c := &r.checking
	if c.n == 0 {
		return
	}
	in, remote := c.in, r.remote
	in.opener.icvs(&c.together)
	for i, b := range c.packets[:c.n] {
		r.remote = c.remotes[i]
		// The packets before may have moved the window, and an extended sequence number with it.
		seq, why := in.number(b)
		icv := c.icv(i)
		if why == carried && seq != c.seqs[i] {
			c.guess.n = 0
			c.guess.add(b, seq)
			in.opener.icvs(&c.guess)
			icv = c.guess.icv(0)
		}
		if why == carried {
			why = r.packet(in, b, seq, c.tos[i], icv)
		}
		r.count(in, b, why)
	}
	c.n, c.in, r.remote = 0, nil, remote
}
