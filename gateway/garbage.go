package gateway

import (
	"runtime/debug"
	"sync"
)

// Garbage, in percent of what is in use. The engines' buffers count as memory in use, though few packets touch
// more than their beginning: in a flood, garbage would grow by as much.
const (
	garbage      = 50
	garbageMany  = 15 // with so many tunnels that their memory is more than the daemon's own
	garbageStart = 25 // while they come up: what lies among what stays leaves holes for good
	garbageBurst = 100
	manyTunnels  = 1000
)

// garbageOf is how much there may be with so many tunnels, while they come up or at rest.
func garbageOf(tunnels int, start bool) int {
	switch {
	case tunnels <= manyTunnels:
		return garbage
	case start:
		return garbageStart
	}
	return garbageMany
}

// collector is the process's garbage collector.
var collector struct {
	mu      sync.Mutex
	percent int // at rest; 0: no gateway has begun
	bursts  int // that are under way
}

func allowGarbage(percent int) {
	collector.mu.Lock()
	defer collector.mu.Unlock()
	if collector.percent = percent; collector.bursts == 0 {
		debug.SetGCPercent(percent)
	}
}

// Burst begins something short that allocates much, such as a status of ten thousand tunnels, and end ends it. With many tunnels
// there may be more garbage meanwhile: to collect it again and again would take longer than the rest. From any goroutine.
func Burst() (end func()) {
	collector.mu.Lock()
	defer collector.mu.Unlock()
	if collector.percent >= garbage || collector.percent == 0 {
		return func() {}
	}
	if collector.bursts++; collector.bursts == 1 {
		debug.SetGCPercent(garbageBurst)
	}
	return func() {
		collector.mu.Lock()
		defer collector.mu.Unlock()
		if collector.bursts--; collector.bursts == 0 {
			debug.SetGCPercent(collector.percent)
		}
	}
}
