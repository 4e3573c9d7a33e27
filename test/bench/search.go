package main

import (
	"errors"
	"time"

	"vpngw/test/bench/load"
)

// search looks for the highest rate at which no more than theRule is lost.
type search struct {
	probe   time.Duration // of a rate, to find the region
	confirm time.Duration // of the rate that is the result
	// try sends at a rate for a time, or until more than a part of it is lost.
	try func(rate float64, d time.Duration, mayLose float64) (load.Outcome, error)
}

// A search probes for the highest rate at which little is lost, and from there
// goes down until a rate is confirmed over a longer time, in one of two tries.
// The probes are lenient, because a single pause of the machine spoils a larger
// part of a short probe than of the longer time. But a rate at which a queue
// grows counts as not carried, however long the queue is.
const (
	theRule    = 0.001 // part of the packets that may be lost at a rate that counts as loss-free
	probeRule  = 0.01
	growing    = 0.05 // part of a probe's packets that is under way at its end, for a queue that grows
	confirming = 2    // tries
)

const (
	stride     = 1.5  // between two probes, until one is carried and one is not
	near       = 1.06 // two rates that a probe does not tell apart
	back       = 0.95 // from a rate that was not confirmed to the next, by steps that grow as much
	lowest     = 1000 // packets a second, below which it is no use
	reachesFor = 0.9  // the part of a rate that the sender gets out, unless it is at its end
)

var errNoRate = errors.New("packets are lost at every rate")

// find returns the carried packets a second of the confirmation. It starts at
// hint.
func (s search) find(hint float64) (float64, error) {
	carried, err := s.region(hint)
	if err != nil {
		return 0, err
	}
	step := back
	for rate := carried; rate >= lowest; rate, step = rate*step, step*back {
		for range confirming {
			o, err := s.try(rate, s.confirm, theRule)
			if err != nil {
				return 0, err
			}
			if holds(o, theRule) {
				return o.Carried(), nil
			}
		}
	}
	return 0, errNoRate
}

// region probes around hint and returns a rate that was carried, just below a
// rate that was not, or the highest rate of the sender.
func (s search) region(hint float64) (float64, error) {
	low, high := 0.0, 0.0 // highest carried, lowest that was not; 0 is not known
	for rate := hint; low == 0 || high == 0 || high/low > near; {
		o, err := s.try(rate, s.probe, probeRule)
		carried := holds(o, probeRule) && float64(o.Behind) < growing*float64(o.Sent)
		switch {
		case err != nil:
			return 0, err
		case !carried && rate < lowest:
			return 0, errNoRate
		case !carried:
			high = rate
		case o.Rate() < reachesFor*rate:
			return max(low, o.Rate()), nil
		default:
			low = rate
		}
		switch {
		case high == 0:
			rate = low * stride
		case low == 0:
			rate = high / stride
		default:
			rate = (low + high) / 2
		}
	}
	return low, nil
}

// holds reports whether the loss is within the rule.
func holds(o load.Outcome, mayLose float64) bool { return !o.Aborted && o.Lost() <= mayLose }
