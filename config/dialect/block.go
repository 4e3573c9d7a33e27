package dialect

import (
	"fmt"
	"net/netip"
	"strings"
)

// Block is one CIDR block. Host bits are masked with a warning.
type Block struct{ shown }

func (Block) Read(c *Check, v *Value) {
	s, ok := c.scalar(v, "a CIDR block")
	if !ok {
		return
	}
	if p, ok := prefix(c, v, strings.TrimSpace(s)); ok {
		v.Set(p)
	}
}

// Inside is the address of one end in the tunnel, with the mask of the block that both
// ends have addresses in: a host's address in a block of 169.254.0.0/16.
type Inside struct {
	shown
	Bits   int
	Except func(netip.Addr) string // what it must do besides and does not, or empty
}

func (t Inside) Read(c *Check, v *Value) {
	s, ok := c.scalar(v, "an address with a mask")
	if !ok {
		return
	}
	p, err := netip.ParsePrefix(s)
	want := ""
	switch {
	case err != nil || !p.Addr().Is4():
		c.Fail(v, Malformed, "an IPv4 address with its mask is expected here, such as 169.254.76.1/30")
		return
	case p.Bits() != t.Bits:
		want = fmt.Sprintf("have a mask of %d bits", t.Bits)
	case !LinkLocal.Contains(p.Addr()):
		want = "be in " + LinkLocal.String()
	case !isHost(p):
		want = "be the address of a host: neither the first nor the last of its block"
	case t.Except != nil:
		want = t.Except(p.Addr())
	}
	if want != "" {
		c.Fail(v, Illegal, "it must %s", want)
		return
	}
	v.Set(p)
}

// isHost reports whether p's address is neither the first nor the last of its block.
func isHost(p netip.Prefix) bool {
	return p.Addr() != p.Masked().Addr() && p.Masked().Contains(p.Addr().Next())
}
