package host

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// verdicts lists the elements of our table in the kernel, as lines "pass_ipv4_32 198.51.100.9".
func (s *space) verdicts() map[string]bool {
	s.t.Helper()
	out := make(map[string]bool)
	s.run(func() {
		c, err := nftables.New()
		s.must(err)
		sets, err := c.GetSets(&nftables.Table{Name: ownTable, Family: nftables.TableFamilyINet})
		if err != nil {
			return // there is no table
		}
		for _, set := range sets {
			elements, err := c.GetSetElements(set)
			s.must(err)
			for _, e := range elements {
				a, _ := netip.AddrFromSlice(e.Key)
				out[set.Name+" "+a.String()] = true
			}
		}
	})
	return out
}

func (e element) line() string { return e.set().String() + " " + e.prefix.Addr().String() }

// modelCleartext predicts, as plainly as possible, the elements of the table for the States of the owners and
// the objects of the kernel.
func modelCleartext(states []State, ours, foreign map[string]bool) map[string]bool {
	out := make(map[string]bool)
	var routes []netip.Prefix
	for line := range ours {
		if f := strings.Fields(line); f[0] == "route" {
			if p := netip.MustParsePrefix(f[2]); p.Bits() > 1 {
				routes = append(routes, p)
				out[element{p, dropped}.line()] = true
			}
		}
	}
	for line := range foreign {
		if f := strings.Fields(line); f[0] == "route" && f[1] == fmt.Sprint(unix.RT_TABLE_MAIN) {
			p := netip.MustParsePrefix(f[2])
			for _, q := range routes {
				if q.Bits() < p.Bits() && q.Contains(p.Addr()) {
					out[element{p, passed}.line()] = true
				}
			}
		}
	}
	for _, s := range states {
		for _, a := range s.Peers {
			p := around(a, a.BitLen())
			delete(out, element{p, dropped}.line())
			out[element{p, passed}.line()] = true
		}
	}
	if len(routes) == 0 { // there is no table
		return nil
	}
	return out
}

func TestX(t *testing.T) {
	s, h := world(t, "vpn0")
	h.cleartext.on = true
	_, err := h.Set("a", crashState)
	s.must(err)
	t.Log(s.verdicts())
}
