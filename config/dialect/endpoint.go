package dialect

import (
	"net/netip"
	"strconv"
)

// Endpoint is an address with a TCP port on which this host listens: "127.0.0.1:9478", an address alone, which gets Port, or a
// port alone, which is on 127.0.0.1.
type Endpoint struct {
	shown
	Port uint16
}

// Forms are the types that an Endpoint can be written as.
func (Endpoint) Forms() []Type { return []Type{Text{}, Int{Min: 1, Max: 65535}} }

func (t Endpoint) Read(c *Check, v *Value) {
	s, ok := c.scalar(v, "an address with a port")
	if !ok {
		return
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n < 1 || n > 65535 {
			c.Refuse(v, Illegal, s, []string{"1-65535"}, "a port is 1 to 65535")
			return
		}
		v.Set(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(n)))
		return
	}
	at, err := netip.ParseAddrPort(s)
	if err != nil {
		var a netip.Addr
		if a, err = netip.ParseAddr(s); err == nil {
			at = netip.AddrPortFrom(a, t.Port)
		}
	}
	switch a := at.Addr().Unmap(); {
	case err != nil || a.Zone() != "":
		c.Fail(v, Malformed, "an address with a port is expected here, such as 127.0.0.1:%d or [::1]:%d", t.Port, t.Port)
	case at.Port() == 0 || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		c.Fail(v, Illegal, "nobody can listen there")
	default:
		v.Set(netip.AddrPortFrom(a, at.Port()))
	}
}
