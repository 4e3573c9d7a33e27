package tunnel

import (
	"net/netip"
	"time"

	"vpngw/config"
	"vpngw/ike/sa"
)

// Where ICMP is filtered, no router says that a packet was too big, and a path with a narrow link swallows every large packet. So
// the path is searched as RFC 8899 does it: an IKE message that fills a packet of the size in question, with DF, asks the peer for an
// answer. The peer's gateway always answers in IKEv2, and in IKEv1 if it has dead peer detection; nothing else in or behind the tunnel can be
// relied on for that.
//
// The largest size is tried first: on most paths that is the whole search, one exchange. After the first failure the tunnel
// goes on with basePath at once, and the search continues upwards from there, so what is sent in that second is all that the hole
// swallows. A peer that answers no probe at all leaves the path unknown: then its packets may be fragmented on the way, which
// costs nothing on a wide path.

const (
	// basePath is the size that passes nearly everywhere, and in IPv6 everywhere (RFC 8200 section 5).
	basePath = 1280
	// leastPath is what an IPv4 host must take (RFC 791).
	leastPath = 576
	// blocks is how much smaller than asked a probe may be, by the blocks of a cipher: no size closer than that to another is tried.
	blocks = 16
	// searchWait is when a probe counts as not sent: the IKE SA has ended, or had too much else to do.
	searchWait = 5 * time.Second
	// searchMost bounds the probes of one search.
	searchMost = 24
)

// common are sizes of packets that links take, and steps between them, from RFC 1191 section 7 and the tunnels of today.
var common = []int{
	1024, basePath, 1300, 1320, 1340, 1360, 1380, 1400, 1420, 1440, 1454, 1476, 1492, 1500, 2002, 2304, 3072, 4352, 6144, 8166, 8900, 9000,
}

// search is what probes have found of a path.
type search struct {
	passed int       // the largest packet that the peer has answered; 0: none
	failed int       // the smallest that it has not; 0: none
	again  int       // the size that is tried once more at the end, because a packet may be lost by chance; 0: none yet
	asked  int       // the size under way; 0: none
	waits  time.Time // when asked counts as not sent
	strike bool      // asked has failed once, though it passed earlier
	count  int       // probes of this search
	over   bool      // until the path is measured again
	deaf   bool      // the peer answers no probe
}

// failure is the smallest size that is known not to pass; 0: none below most.
func (p path) failure() int {
	if p.failed > p.most() {
		return 0
	}
	return p.failed
}

// found is the largest packet to send.
func (p path) found(remote netip.Addr) int {
	switch {
	case p.deaf && remote.Unmap().Is6():
		return min(p.most(), basePath)
	case p.deaf:
		return p.most()
	case p.failure() > 0 && p.passed == 0:
		return min(p.most(), basePath)
	case p.told > 0 && p.passed > 0 && p.most() < p.passed+blocks:
		return p.most() // a router said it, and the probe could not be larger
	case p.passed > 0:
		return min(p.most(), p.passed)
	}
	return p.most()
}

// next is the size of the next probe; 0: the search is over.
func (p path) next(v6 bool) int {
	most, failed := p.most(), p.failure()
	switch {
	case p.over || p.deaf || most == 0 || p.count >= searchMost:
		return 0
	case failed == 0:
		return most
	case p.passed == 0 && failed > basePath:
		return basePath
	case p.passed == 0 && failed > leastPath && !v6:
		return leastPath
	case p.passed == 0:
		return 0
	}
	var between []int
	for _, c := range common {
		if c >= p.passed+blocks && c < failed {
			between = append(between, c)
		}
	}
	if n := len(between); n > 0 {
		return between[n/2]
	}
	if p.again == 0 {
		return failed
	}
	return 0
}

// probe goes on with the search of each path.
func (g *Group) probe(now time.Time) {
	for _, p := range g.paths {
		if sa.Due(now, p.waits) {
			p.asked, p.waits = 0, time.Time{}
		}
		m := g.prober(p.remote)
		if m == nil || p.asked > 0 {
			continue
		}
		v6 := p.remote.Unmap().Is6()
		n := p.next(v6)
		if n == 0 {
			if p.most() > 0 && !p.over {
				p.over, p.deaf = true, p.deaf || p.passed == 0
			}
			continue
		}
		if p.passed > 0 && n == p.failure() {
			p.again = n
		}
		p.asked, p.waits, p.count = n, now.Add(searchWait), p.count+1
		g.emit(Probe{m.Tunnel.Name, n})
	}
}

// prober is a tunnel whose packets go to a remote address and whose IKE SA can ask there; nil: there is none.
func (g *Group) prober(a netip.Addr) *member {
	for _, m := range g.members {
		if m.Tunnel.DF != config.DFAuto || len(m.ikes) == 0 || m.ikes[len(m.ikes)-1].Path.Remote.Addr() != a {
			continue
		}
		for _, c := range m.sas {
			if c.out && c.path.Remote.Addr() == a {
				return m
			}
		}
	}
	return nil
}

// noteMeasured takes the answer to a probe.
func (g *Group) noteMeasured(now time.Time, f sa.Measured) {
	p := g.paths.to(f.SA.Path.Remote.Addr())
	if p == nil || p.asked == 0 || f.Asked != p.asked {
		return
	}
	was := p.asked
	p.asked, p.waits = 0, time.Time{}
	switch {
	case f.Unable:
		p.deaf, p.over = true, true
	case f.Passed:
		p.passed, p.deaf, p.strike = f.Size, false, false
		if p.failed > 0 && p.failed <= was {
			p.failed = 0 // it was lost by chance
		}
		p.over = p.failure() == 0 && was >= p.most()
	case was < p.passed+blocks && !p.strike:
		p.strike = true // one packet may be lost; the next probe is of the same size
	default:
		p.failed, p.strike = was, false
		if p.passed+blocks > was {
			p.passed, p.until = 0, now.Add(pathMTULife)
		}
	}
}
