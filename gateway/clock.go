package gateway

import "time"

// ByClock returns a time that was taken in this process, or worked out from one, as the wall clock has it now. The wall
// clock may have been set since: then the time's own reading is by a clock that nobody has any more, and an age
// worked out from it is wrong. now is the present. Half a second is the least that counts as a setting: the monotonic
// clock runs as NTP has it, so the two drift apart by nothing else.
func ByClock(now, at time.Time) time.Time {
	set := now.Round(0).Sub(at.Round(0)) - now.Sub(at)
	return at.Round(0).Add(set.Round(time.Second))
}
