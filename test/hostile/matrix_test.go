package hostile

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// tally counts the cases of all stories, and those in which something happened that must not.
type tally struct {
	sync.Mutex
	cases   map[string]int    // by kind
	failed  map[string]int    // by kind and fault
	example map[string]string // where each came first
}

func newTally() *tally {
	return &tally{cases: map[string]int{}, failed: map[string]int{}, example: map[string]string{}}
}

func (s *tally) add(kind string, cases int, faults []string, where string) {
	s.Lock()
	defer s.Unlock()
	s.cases[kind] += cases
	for _, f := range faults {
		what := kind + ": " + f
		if s.failed[what]++; s.failed[what] == 1 {
			s.example[what] = where
		}
	}
}

func (s *tally) report(t *testing.T) {
	n := 0
	for _, kind := range slices.Sorted(maps.Keys(s.cases)) {
		t.Logf("%7d  %s", s.cases[kind], kind)
		n += s.cases[kind]
	}
	t.Logf("%7d cases", n)
	for _, what := range slices.Sorted(maps.Keys(s.failed)) {
		t.Errorf("%d × %s\n\tfirst: %s", s.failed[what], what, s.example[what])
	}
}

// count is how many cases there are. HOSTILE=n asks for another number.
func count(t testing.TB, all int) int {
	if s := os.Getenv("HOSTILE"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return all
}

// TestHostileMatrix sends every kind of hostile message in every state of every story. HOSTILE_CASE=n, with -run of
// one story, plays that case alone; VPNGW_TEST_LOG=1 shows what the Endpoints say.
func TestHostileMatrix(t *testing.T) {
	total := count(t, 20_800)
	eachStory(t, func(t *testing.T, s *story, sum *tally) { s.matrix(t, sum, total/len(stories)) })
}

// eachStory plays all stories side by side, and reports on them together.
func eachStory(t *testing.T, play func(*testing.T, *story, *tally)) {
	sum := newTally()
	t.Run("stories", func(t *testing.T) {
		for i := range stories {
			s := &stories[i]
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				play(t, s, sum)
			})
		}
	})
	sum.report(t)
}

// matrix plays cases of one story. Case n is the same in every run.
func (s *story) matrix(t *testing.T, sum *tally, cases int) {
	states := s.states(t)
	t.Logf("%d kinds of messages in %d states", len(strange)+len(keyed), len(states))
	kinds := slices.Concat(strange, keyed)
	n := 0
	if one := os.Getenv("HOSTILE_CASE"); one != "" {
		n, _ = strconv.Atoi(one)
		cases = 1
	}
	for ; cases > 0; n++ {
		st, k := states[n%len(states)], kinds[n/len(states)%len(kinds)]
		a := newAim(st, uint64(n))
		shots := k.make(a)
		name := k.name
		for range n / (len(states) * len(kinds) * 20) % 4 { // later on, several in one case
			k = kinds[a.n(len(kinds))]
			shots, name = append(shots, k.make(a)...), name+"+"
		}
		if len(shots) > 0 {
			cases--
			sum.add(name, 1, st.play(uint64(n), shots), fmt.Sprintf("%s, %s, case %d", s.name, st.name, n))
		}
	}
}
