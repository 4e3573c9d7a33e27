package gateway

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"

	"vpngw/bgp"
	"vpngw/diag"
)

// news is what the speakers have said and the control loop has not taken yet: of each session the newest report, and the last events.
// So a speaker never waits, and nothing piles up. Safe for concurrent use.
type news struct {
	arrived chan struct{} // holds one, while there is something to take

	mu       sync.Mutex
	reports  map[spokenOf]bgp.Report
	events   []spokenEvent
	networks *networks
}

type spokenOf struct {
	by     *speaker
	tunnel string
}

type spokenReport struct {
	by *speaker
	bgp.Report
}

type spokenEvent struct {
	by     *speaker
	tunnel string // empty: of the whole group
	cause  diag.Cause
}

// networks is an answer of Host.Networks.
type networks struct {
	connected, kernel []netip.Prefix
	err               error
}

// maxSpoken bounds the events that wait; the oldest go.
const maxSpoken = 256

func (n *news) wake() { nudge(n.arrived) }

func (n *news) report(by *speaker, r bgp.Report) {
	n.mu.Lock()
	n.reports[spokenOf{by, r.Tunnel}] = r
	n.mu.Unlock()
	n.wake()
}

func (n *news) event(by *speaker, tunnel string, cause diag.Cause) {
	n.mu.Lock()
	if len(n.events) == maxSpoken {
		n.events = slices.Delete(n.events, 0, 1)
	}
	n.events = append(n.events, spokenEvent{by, tunnel, cause})
	n.mu.Unlock()
	n.wake()
}

func (n *news) list(of *networks) {
	n.mu.Lock()
	n.networks = of
	n.mu.Unlock()
	n.wake()
}

func (n *news) take() (reports []spokenReport, events []spokenEvent, of *networks) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for k, r := range n.reports {
		reports = append(reports, spokenReport{k.by, r})
	}
	slices.SortFunc(reports, func(a, b spokenReport) int { return cmp.Compare(a.Tunnel, b.Tunnel) })
	events, of = n.events, n.networks
	clear(n.reports)
	n.events, n.networks = nil, nil
	return reports, events, of
}
