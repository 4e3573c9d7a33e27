package esp

import "time"

// A limiter lets through burst events at once and perSecond in the long run: a token
// bucket, whose zero value is full. Not safe for concurrent use.
type limiter struct {
	used float64
	last time.Time
}

func (b *limiter) allow(now time.Time, perSecond, burst float64) bool {
	b.used = max(0, b.used-now.Sub(b.last).Seconds()*perSecond)
	b.last = now
	if b.used+1 > burst {
		return false
	}
	b.used++
	return true
}
