package gateway

import "time"

// A watchdog decides when the service manager hears that the daemon is well: while the control loop asks it in time and
// every engine takes turns. An engine may have nothing to do for hours, so each look wakes them all, and the next one
// sees which of them took a turn since.
type watchdog struct {
	interval time.Duration // between two looks; 0: nobody watches
	engines  []engine
	seen     []uint64  // the turns of each engine at the last look
	at       time.Time // of the next look; zero: never
}

// engine is what a watchdog needs of an esp.Engine.
type engine interface {
	Turns() uint64
	Wake()
}

// looks is how many looks fall into the time after which the service manager acts. So an engine or a loop that is late
// once or twice, on a machine with other work, costs nothing.
const looks = 4

// newWatchdog begins at now; limit is the time after which the service manager acts, 0: it does not.
func newWatchdog(now time.Time, limit time.Duration, engines []engine) *watchdog {
	w := &watchdog{interval: limit / looks, engines: engines, seen: make([]uint64, len(engines))}
	if w.interval > 0 {
		w.wake(now)
	}
	return w
}

func (w *watchdog) wake(now time.Time) {
	w.at = now.Add(w.interval)
	for i, e := range w.engines {
		w.seen[i] = e.Turns()
		e.Wake()
	}
}

// look reports whether the service manager should hear that all is well, and the numbers of the engines that have not
// taken a turn since the last look.
func (w *watchdog) look(now time.Time) (well bool, stuck []int) {
	if w.at.IsZero() || now.Before(w.at) {
		return false, nil
	}
	for i, e := range w.engines {
		if e.Turns() == w.seen[i] {
			stuck = append(stuck, i)
		}
	}
	w.wake(now)
	return stuck == nil, stuck
}
