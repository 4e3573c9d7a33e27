package dialect

import (
	"net/netip"
	"strconv"
	"strings"

	"vpngw/config/tree"
)

// Addr is the address of a host.
type Addr struct{ shown }

func (Addr) Read(c *Check, v *Value) {
	s, ok := c.scalar(v, "an IP address")
	if !ok {
		return
	}
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil || a.Zone() != "":
		c.Fail(v, Malformed, "an IP address is expected here")
	case a.Unmap().IsUnspecified() || a.IsMulticast() || a.Unmap() == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		c.Fail(v, Illegal, "this is not the address of a host")
	default:
		v.Set(a.Unmap())
	}
}

// Prefixes is a list of one to Max CIDR blocks; with Comma it is a text with commas
// between the blocks. Host bits are masked with a warning.
type Prefixes struct {
	shown
	Max   int
	Comma bool
	Empty bool // the list may be empty
}

func (t Prefixes) Read(c *Check, v *Value) {
	var out []netip.Prefix
	good := true
	add := func(item *Value, s string) {
		p, ok := prefix(c, item, s)
		good = good && ok
		for _, q := range out {
			if ok && p == q {
				c.Warn(item, Twice, "%v stands in the list twice", p)
				return
			}
		}
		out = append(out, p)
	}
	var n int
	switch {
	case t.Comma:
		s, ok := c.scalar(v, "a list of CIDR blocks with commas between them")
		if !ok {
			return
		}
		if n = strings.Count(s, ",") + 1; n <= t.Max {
			for part := range strings.SplitSeq(s, ",") {
				add(v, strings.TrimSpace(part))
			}
		}
	case v.Node.Kind != tree.List:
		c.Fail(v, WrongType, "a list of CIDR blocks is expected here, not %v", v.Node.Kind)
		return
	default:
		if n = v.Node.Len(); n <= t.Max {
			for i, item := range v.Node.Items() {
				w := v.part(v.Row, "", i, item)
				s, ok := c.scalar(w, "a CIDR block")
				if good = good && ok; ok {
					add(w, s)
				}
			}
		}
	}
	switch {
	case n > t.Max:
		c.Fail(v, TooMany, "%d CIDR blocks; at most %d fit into one connection", n, t.Max)
	case n == 0 && !t.Empty:
		c.Fail(v, Missing, "at least one CIDR block is needed")
	case good:
		v.Set(out)
	}
}

// Prefix is one CIDR block, without bits behind its mask.
type Prefix struct{ shown }

func (Prefix) Read(c *Check, v *Value) {
	s, ok := c.scalar(v, "a CIDR block")
	if !ok {
		return
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		c.Fail(v, Malformed, "a CIDR block is expected here")
	case p != p.Masked():
		c.Fail(v, Illegal, "it has bits set behind its mask; %v is meant", p.Masked())
	default:
		v.Set(p)
	}
}

// prefix reads one CIDR block.
func prefix(c *Check, v *Value, s string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && !a.Is4In6() {
			c.Fail(v, Malformed, "%q is an address; for this one host write %v/%d", printable(s), a, a.BitLen())
		} else {
			c.Fail(v, Malformed, "%q is not a CIDR block such as 192.168.3.0/24", printable(s))
		}
		return netip.Prefix{}, false
	}
	if m := p.Masked(); m != p {
		c.Warn(v, HostBits, "%v has bits set behind its mask; read as %v", p, m)
		p = m
	}
	return p, true
}

// ASN is an autonomous system number from 1 to 4294967295, also written as two 16-bit
// halves with a dot between them.
type ASN struct {
	shown
	Zero bool // 0 is allowed and means: no AS number
}

func (t ASN) Read(c *Check, v *Value) {
	s, ok := c.scalar(v, "an AS number")
	if !ok {
		return
	}
	n, err := ParseASN(s)
	if err == nil && n == 0 && (t.Zero || v.answer) { // answers have 0 where there is none
		return
	}
	if err != nil || n == 0 {
		c.Refuse(v, Illegal, s, []string{"1-4294967295", "0.1-65535.65535"}, "an AS number is expected here")
		return
	}
	v.Set(int64(n))
}

// ParseASN reads an AS number, which can be 0, plain or as two halves.
func ParseASN(s string) (uint64, error) {
	high, low, halves := strings.Cut(s, ".")
	if !halves {
		return strconv.ParseUint(s, 10, 32)
	}
	h, err := strconv.ParseUint(high, 10, 16)
	if err != nil {
		return 0, err
	}
	l, err := strconv.ParseUint(low, 10, 16)
	return h<<16 | l, err
}

// LinkLocal is the block from which the clouds take the addresses inside tunnels.
var LinkLocal = netip.MustParsePrefix("169.254.0.0/16")

// Everything is the selector at both ends of a tunnel whose traffic routes decide.
var Everything = netip.MustParsePrefix("0.0.0.0/0")
