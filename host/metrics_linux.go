package host

import (
	"encoding/binary"
	"fmt"
	"time"

	mdlayher "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ThreadTime returns a function that tells how much processor time the calling thread has used so far; 0 once it has ended. The
// function may be called from any thread.
func (h *Host) ThreadTime() func() time.Duration {
	const perThread, scheduler = 4, 2 // CPUCLOCK_PERTHREAD_MASK, CPUCLOCK_SCHED in linux/posix-timers.h
	clock := int32(^unix.Gettid()<<3 | perThread | scheduler)
	return func() time.Duration {
		var ts unix.Timespec
		if unix.ClockGettime(clock, &ts) != nil {
			return 0
		}
		return time.Duration(ts.Nano())
	}
}

// TUNDrops tells by the name of each of our devices how many packets the kernel dropped because nobody had read those before
// in time. It asks the kernel for all devices at once, in the network namespace of the calling thread.
func (h *Host) TUNDrops() (map[string]uint64, error) {
	names := map[uint32]string{}
	h.mu.Lock()
	for _, t := range h.tuns {
		names[uint32(t.index)] = t.name
	}
	h.mu.Unlock()
	out := make(map[string]uint64, len(names))
	if len(names) == 0 {
		return out, nil
	}
	c, err := mdlayher.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	defer c.Close()
	// struct if_stats_msg of linux/if_link.h: family, padding, ifindex, filter_mask.
	const header, link64, dropped = 12, 1, 7 // IFLA_STATS_LINK_64, tx_dropped in rtnl_link_stats64
	ask := make([]byte, header)
	binary.NativeEndian.PutUint32(ask[8:], 1<<(link64-1))
	answers, err := c.Execute(mdlayher.Message{
		Header: mdlayher.Header{Type: unix.RTM_GETSTATS, Flags: mdlayher.Request | mdlayher.Dump}, Data: ask,
	})
	if err != nil {
		return nil, fmt.Errorf("RTM_GETSTATS: %w", err)
	}
	for _, a := range answers {
		if a.Header.Type != unix.RTM_NEWSTATS || len(a.Data) < header {
			continue
		}
		name, ours := names[binary.NativeEndian.Uint32(a.Data[4:])]
		if !ours {
			continue
		}
		as, err := mdlayher.UnmarshalAttributes(a.Data[header:])
		if err != nil {
			return nil, fmt.Errorf("RTM_GETSTATS: %w", err)
		}
		for _, at := range as {
			if at.Type == link64 && len(at.Data) >= 8*(dropped+1) {
				out[name] = binary.NativeEndian.Uint64(at.Data[8*dropped:])
			}
		}
	}
	return out, nil
}
