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
	// try sends at a rate for a time.
	try func(rate float64, d time.Duration) (load.Outcome, error)
}

const (
	stride     = 1.5  // between two probes, until one is carried and one is not
	near       = 1.06 // two rates that a probe does not tell apart
	back       = 0.93 // from a rate that was not confirmed to the next
	lowest     = 1000 // packets a second, below which it is no use
	reachesFor = 0.9  // the part of a rate that the sender must get out for the rate to count
)

var errNoRate = errors.New("packets are lost at every rate")

// find returns the packets a second that were carried while the rate found was
// confirmed. hint is where to begin.
func (s search) find(hint float64) (float64, error) {
	carried, err := s.region(hint)
	if err != nil {
		return 0, err
	}
	for rate := carried; rate >= lowest; rate *= back {
		o, err := s.try(rate, s.confirm)
		if err != nil {
			return 0, err
		}
		if lossFree(o, rate) {
			return o.Carried(), nil
		}
	}
	return 0, errNoRate
}

// region probes around hint and returns a rate that was carried, just below one
// that was not.
func (s search) region(hint float64) (float64, error) {
	low, high := 0.0, 0.0
	for rate := hint; low == 0 || high == 0; {
		o, err := s.try(rate, s.probe)
		switch {
		case err != nil:
			return 0, err
		case lossFree(o, rate):
			low, rate = rate, rate*stride
		case rate < lowest:
			return 0, errNoRate
		default:
			high, rate = rate, rate/stride
		}
	}
	for high/low > near {
		rate := (low + high) / 2
		o, err := s.try(rate, s.probe)
		if err != nil {
			return 0, err
		}
		if lossFree(o, rate) {
			low = rate
		} else {
			high = rate
		}
	}
	return low, nil
}

func lossFree(o load.Outcome, rate float64) bool {
	return !o.Aborted && o.Lost() <= theRule && o.Rate() >= reachesFor*rate
}
