package host

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Host is one network namespace. Its methods are safe for concurrent use.
type Host struct {
	log       *slog.Logger
	nl        *netlink.Handle
	rt        rtnetlink // nl
	watched   *events   // for Watch; New opens it, so it belongs to the same namespace
	filters   filters
	alerts    alerts     // of other programs' changes; New opens them too
	mu        sync.Mutex // of the fields below, and of every change to the kernel
	events    source
	space     *os.File        // the network namespace
	claimed   *os.File        // the name that one vpngw of the namespace can have; nil: not claimed
	tuns      map[string]*TUN // by name
	owned     map[int]*TUN    // the same by index
	closing   map[int]bool    // indexes of those that Close removes, until Watch has seen the last of them
	want      sum
	have      kernel
	work      work      // objects in which want and have may differ
	dumped    time.Time // when have was read from the kernel as a whole
	doubt     bool      // the kernel has refused something since
	retained  retained
	cleartext cleartext
	opened    opened
}

// New returns the Host of the caller's network namespace. It needs no privilege
// and changes nothing.
func New(c Config) (*Host, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	ev, err := subscribe()
	if err != nil {
		nl.Close()
		return nil, fmt.Errorf("netlink subscription: %w", err)
	}
	watched, err := subscribe()
	if err != nil {
		nl.Close()
		ev.Close()
		return nil, fmt.Errorf("netlink subscription: %w", err)
	}
	filters, err := openFilters()
	if err != nil {
		nl.Close()
		ev.Close()
		watched.Close()
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	cleartext := newCleartext()
	if err := cleartext.open(); err != nil {
		nl.Close()
		ev.Close()
		watched.Close()
		filters.Close()
		return nil, fmt.Errorf("nftables: %w", err)
	}
	space, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		nl.Close()
		ev.Close()
		watched.Close()
		filters.Close()
		cleartext.Close()
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	log := c.Log
	if log == nil {
		log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return &Host{
		log: log, nl: nl, rt: nl, space: space, watched: watched, events: ev, filters: filters,
		tuns: make(map[string]*TUN), owned: make(map[int]*TUN), closing: make(map[int]bool),
		want: newSum(), have: newKernel(), cleartext: cleartext, alerts: openAlerts(),
	}, nil
}

// Close gives the netlink sockets back. It leaves the kernel's state alone:
// Clean and Leave remove that.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.nl.Close()
	h.filters.Close()
	h.alerts.Close()
	err := errors.Join(h.events.Close(), h.watched.Close(), h.cleartext.Close(), h.space.Close())
	if h.claimed != nil {
		err = errors.Join(err, h.claimed.Close())
	}
	return err
}
