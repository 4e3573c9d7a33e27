package hostile

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// tally counts the cases of all stories, and those in which something happened that must not.
type tally struct {
	sync.Mutex
	cases   map[string]int // by kind
	states  int
	failed  map[string]int    // by kind and fault
	example map[string]string // the first case of each
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

// TestHostileMatrix sends every kind of hostile message in every state of every story. HOSTILE_CASE=n with -run of
// one story plays that case alone.
func TestHostileMatrix(t *testing.T) {
	sum := &tally{cases: map[string]int{}, failed: map[string]int{}, example: map[string]string{}}
	total := count(t, 20_800)
	t.Run("stories", func(t *testing.T) {
		for i := range stories {
			s := &stories[i]
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.matrix(t, sum, total/len(stories))
			})
		}
	})
	n := 0
	for _, kind := range slices.Sorted(maps.Keys(sum.cases)) {
		t.Logf("%7d  %s", sum.cases[kind], kind)
		n += sum.cases[kind]
	}
	t.Logf("%d cases: %d kinds of messages in %d states of %d stories", n, len(sum.cases), sum.states, len(stories))
	for _, what := range slices.Sorted(maps.Keys(sum.failed)) {
		t.Errorf("%d × %s\n\tfirst: %s", sum.failed[what], what, sum.example[what])
	}
}

// matrix plays cases of one story. Case n is the same in every run.
func (s *story) matrix(t *testing.T, sum *tally, cases int) {
	states := s.states(t)
	sum.Lock()
	sum.states += len(states)
	sum.Unlock()
	kinds := slices.Concat(strange, keyed)
	first := 0
	if one := os.Getenv("HOSTILE_CASE"); one != "" {
		first, _ = strconv.Atoi(one)
		cases = 1
	}
	for n := first; cases > 0; n++ {
		st, k := states[n%len(states)], kinds[n/len(states)%len(kinds)]
		a := &aim{st, rand.New(rand.NewPCG(uint64(n), 0))}
		shots := k.make(a)
		name := k.name
		for range n / (len(states) * len(kinds) * 20) % 4 { // later on, several in one case
			k = kinds[a.n(len(kinds))]
			shots, name = append(shots, k.make(a)...), name+" + "+k.name
		}
		if len(shots) == 0 {
			continue
		}
		cases--
		if os.Getenv("HOSTILE_CASE") != "" {
			fmt.Fprintln(os.Stderr, "=====", s.name, st.name, name, shots)
		}
		faults := st.play(uint64(n), shots)
		sum.note(name, faults, fmt.Sprintf("%s, %s, case %d", s.name, st.name, n))
	}
}

func (s *tally) note(name string, faults []string, where string) {
	s.Lock()
	defer s.Unlock()
	for k := range strings.SplitSeq(name, " + ") {
		s.cases[k]++
		break
	}
	for _, f := range faults {
		what := name + ": " + f
		if s.failed[what]++; s.failed[what] == 1 {
			s.example[what] = where
		}
	}
}
