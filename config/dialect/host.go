package dialect

import (
	"net/netip"
	"regexp"
	"strings"
	"sync"
)

// Host is the address of a host, or its name in DNS: Value.Addr is the one, Value.Text the other.
type Host struct{ shown }

// Forms are the types that a Host can be written as.
func (Host) Forms() []Type { return []Type{Addr{}, Text{Min: 1, Max: 253}} }

// hostName is a name in DNS (RFC 1123 section 2.1), with underscores as some have them. Its last label is no number, so that an address
// with a slip in it is none.
var hostName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?i:[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?\.?$`)
})

// ParseHostName is a name of a host as programs compare it: in lower case and without the last dot. An address is none.
func ParseHostName(s string) (string, bool) {
	_, err := netip.ParseAddr(s)
	s = strings.ToLower(s)
	return strings.TrimSuffix(s, "."), err != nil && len(s) <= 253 && hostName().MatchString(s)
}

func (Host) Read(c *Check, v *Value) {
	s, ok := c.scalar(v, "an IP address or a name in DNS")
	if !ok {
		return
	}
	name, ok := ParseHostName(s)
	if !ok {
		if _, err := netip.ParseAddr(s); err == nil || !strings.ContainsAny(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") || strings.Contains(s, ":") {
			Addr{}.Read(c, v)
			return
		}
		c.Fail(v, Malformed, "an IP address, or a name such as gw.example.net, is expected here")
		return
	}
	v.Set(name)
}

// Port is the UDP port of a peer, and PortDoc what it is for.
var Port = Int{Min: 1, Max: 65535}

// PortDoc is what Port means.
const PortDoc = "UDP port of the peer's IKE, where its router forwards another one or only 4500 is open; by default 500, and 4500 where 500 is silent"
