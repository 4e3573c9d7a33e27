package sa

import "time"

// FrozenRetransmitter is a Retransmitter as plain data, but for its Rand.
type FrozenRetransmitter struct {
	First, Max, Total time.Duration
	Msgs              [][]byte
	Wait              time.Duration
	Next, Until       time.Time
}

// Freeze lists the state of r. The messages are shared with r, which changes none of them.
func (r *Retransmitter) Freeze() FrozenRetransmitter {
	return FrozenRetransmitter{
		First: r.First, Max: r.Max, Total: r.Total, Msgs: r.msgs, Wait: r.wait, Next: r.next, Until: r.until,
	}
}

// Thaw makes r the Retransmitter that f lists. Rand stays.
func (r *Retransmitter) Thaw(f FrozenRetransmitter) {
	*r = Retransmitter{
		First: f.First, Max: f.Max, Total: f.Total, Rand: r.Rand, msgs: f.Msgs, wait: f.Wait, next: f.Next, until: f.Until,
	}
}
