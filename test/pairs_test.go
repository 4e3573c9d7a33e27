package test

import (
	"fmt"
	"testing"
)

// covering returns rows that choose one value for each factor, such that every
// pair of values of two different factors stands together in some row. sizes
// are the numbers of values. It is greedy and always gives the same rows: each
// row begins with a pair that is still missing and then takes, factor by
// factor, the value that completes most missing pairs.
func covering(sizes []int) [][]int {
	missing := newPairs(sizes)
	var rows [][]int
	for len(missing) > 0 {
		row := make([]int, len(sizes))
		for i := range row {
			row[i] = -1
		}
		first := missing.first(sizes)
		row[first.f], row[first.g] = first.v, first.w
		for f := range sizes {
			if row[f] < 0 {
				row[f] = missing.best(sizes, row, f, len(rows))
			}
		}
		missing.remove(row)
		rows = append(rows, row)
	}
	return rows
}

// pair is value v of factor f with value w of factor g; f < g.
type pair struct{ f, v, g, w int }

type pairs map[pair]bool

func newPairs(sizes []int) pairs {
	all := pairs{}
	for f := range sizes {
		for g := f + 1; g < len(sizes); g++ {
			for v := range sizes[f] {
				for w := range sizes[g] {
					all[pair{f, v, g, w}] = true
				}
			}
		}
	}
	return all
}

// first returns a missing pair, always the same one.
func (m pairs) first(sizes []int) pair {
	for f := range sizes {
		for g := f + 1; g < len(sizes); g++ {
			for v := range sizes[f] {
				for w := range sizes[g] {
					if p := (pair{f, v, g, w}); m[p] {
						return p
					}
				}
			}
		}
	}
	panic("no pair is missing")
}

// best returns the value of factor f that completes most missing pairs with the
// other values of the row. The number of the row breaks ties, so that every value
// is used.
func (m pairs) best(sizes []int, row []int, f, number int) int {
	best, most := 0, -1
	for i := range sizes[f] {
		v := (i + number) % sizes[f]
		n := 0
		for g, w := range row {
			if w >= 0 && g != f && m[order(f, v, g, w)] {
				n++
			}
		}
		if n > most {
			best, most = v, n
		}
	}
	return best
}

func (m pairs) remove(row []int) {
	for f := range row {
		for g := f + 1; g < len(row); g++ {
			delete(m, pair{f, row[f], g, row[g]})
		}
	}
}

func order(f, v, g, w int) pair {
	if f < g {
		return pair{f, v, g, w}
	}
	return pair{g, w, f, v}
}

// sampled returns a few of the rows, which contain every value of every factor.
func sampled(sizes []int, rows [][]int) [][]int {
	type value struct{ f, v int }
	seen := map[value]bool{}
	want := 0
	for _, n := range sizes {
		want += n
	}
	var out [][]int
	for len(seen) < want {
		var best []int
		most := 0
		for _, row := range rows {
			n := 0
			for f, v := range row {
				if !seen[value{f, v}] {
					n++
				}
			}
			if n > most {
				best, most = row, n
			}
		}
		for f, v := range best {
			seen[value{f, v}] = true
		}
		out = append(out, best)
	}
	return out
}

func TestCoveringHasEveryPair(t *testing.T) {
	t.Parallel()
	for _, sizes := range [][]int{{2, 2}, {3, 1, 4}, {2, 3, 4, 5}, {9, 5, 11, 9, 5, 12, 2, 2}} {
		t.Run(fmt.Sprint(sizes), func(t *testing.T) {
			rows := covering(sizes)
			missing := newPairs(sizes)
			for _, row := range rows {
				missing.remove(row)
			}
			if len(missing) > 0 {
				t.Errorf("%d pairs are missing", len(missing))
			}
			few := sampled(sizes, rows)
			t.Logf("%d rows, sampled %d", len(rows), len(few))
			for f, n := range sizes {
				seen := map[int]bool{}
				for _, row := range few {
					seen[row[f]] = true
				}
				if len(seen) != n {
					t.Errorf("the sample has %d of the %d values of factor %d", len(seen), n, f)
				}
			}
		})
	}
}
