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
	Replies, Efforts []FrozenBucket
	Effort, Unproven time.Time
	Lines            [2]time.Time // of strangers, of peers
	Heard            []FrozenLines
	LeftOut          int
}

// FrozenBucket is the budget of one address.
type FrozenBucket struct {
	From   netip.Addr
	Proven bool // of an effort: the sender has proven its address
	Full   time.Time
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
		Effort: b.effort.full, Unproven: b.unproven.full, Lines: [2]time.Time{b.lines[0].full, b.lines[1].full}, LeftOut: b.leftOut,
	}
	for from, r := range b.replies {
		f.Replies = append(f.Replies, FrozenBucket{From: from, Full: r.full})
	}
	for k, x := range b.efforts {
		f.Efforts = append(f.Efforts, FrozenBucket{k.from, k.proven, x.full})
	}
	for k, l := range b.heard {
		f.Heard = append(f.Heard, FrozenLines{k.from, k.code, l.full, l.leftOut})
	}
	slices.SortFunc(f.Replies, FrozenBucket.compare)
	slices.SortFunc(f.Efforts, FrozenBucket.compare)
	slices.SortFunc(f.Heard, func(a, b FrozenLines) int { return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Code, b.Code)) })
	return f
}

func (f FrozenBucket) compare(g FrozenBucket) int {
	return cmp.Or(f.From.Compare(g.From), f.Full.Compare(g.Full))
}

func (f FrozenBudgets) thaw() budgets {
	b := newBudgets()
	b.effort.full, b.unproven.full, b.leftOut = f.Effort, f.Unproven, f.LeftOut
	b.lines = [2]bucket{{f.Lines[0]}, {f.Lines[1]}}
	for _, r := range f.Replies {
		b.replies[r.From] = &bucket{r.Full}
	}
	for _, x := range f.Efforts {
		b.efforts[sender{x.From, x.Proven}] = &bucket{x.Full}
	}
	for _, l := range f.Heard {
		b.heard[heard{l.From, l.Code}] = &lines{bucket{l.Full}, l.LeftOut}
	}
	return b
}

// exhausted are budgets that allow strangers nothing.
func exhausted() budgets {
	b := newBudgets()
	b.replies[netip.Addr{}] = &bucket{time.Unix(1<<40, 0)}
	return b
}
