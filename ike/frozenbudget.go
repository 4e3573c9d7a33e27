package ike

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"vpngw/diag"
)

// FrozenBudgets are the budgets of those that have proven nothing. Each is the time when it is full.
type FrozenBudgets struct {
	Replies, Efforts        []FrozenBucket
	Effort, Unproven, Lines time.Time
	Heard                   []FrozenLines
	LeftOut                 int
}

// FrozenBucket is the budget of one address.
type FrozenBucket struct {
	From netip.Addr
	Full time.Time
}

// FrozenLines are the log lines with one cause from one address.
type FrozenLines struct {
	From    netip.Addr
	Code    diag.Code
	Full    time.Time
	LeftOut int
}

func (b *budgets) freeze() FrozenBudgets {
	f := FrozenBudgets{
		Replies: freezeBuckets(b.replies), Efforts: freezeBuckets(b.efforts),
		Effort: b.effort.full, Unproven: b.unproven.full, Lines: b.lines.full, LeftOut: b.leftOut,
	}
	for k, l := range b.heard {
		f.Heard = append(f.Heard, FrozenLines{k.from, k.code, l.full, l.leftOut})
	}
	slices.SortFunc(f.Heard, func(a, b FrozenLines) int { return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Code, b.Code)) })
	return f
}

func (f FrozenBudgets) thaw() budgets {
	b := newBudgets()
	b.effort.full, b.unproven.full, b.lines.full, b.leftOut = f.Effort, f.Unproven, f.Lines, f.LeftOut
	thawBuckets(f.Replies, b.replies)
	thawBuckets(f.Efforts, b.efforts)
	for _, l := range f.Heard {
		b.heard[heard{l.From, l.Code}] = &lines{bucket{l.Full}, l.LeftOut}
	}
	return b
}

func freezeBuckets(m map[netip.Addr]*bucket) []FrozenBucket {
	var out []FrozenBucket
	for from, b := range m {
		out = append(out, FrozenBucket{from, b.full})
	}
	slices.SortFunc(out, func(a, b FrozenBucket) int { return a.From.Compare(b.From) })
	return out
}

func thawBuckets(fs []FrozenBucket, m map[netip.Addr]*bucket) {
	for _, f := range fs {
		m[f.From] = &bucket{f.Full}
	}
}

// exhausted are budgets that allow strangers nothing.
func exhausted() budgets {
	b := newBudgets()
	b.replies[netip.Addr{}] = &bucket{time.Unix(1<<40, 0)}
	return b
}
