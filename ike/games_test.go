package ike

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// plays is how many random games TestGamesAtRandom plays in each version; PLAYS is another number. GAMES names a
// folder of inputs of a fuzz target that the scripts derive from too, such as the ones that go test has found.
func plays(t *testing.T) int {
	t.Helper()
	s := os.Getenv("PLAYS")
	if s == "" {
		return 300
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("PLAYS: %v", err)
	}
	return n
}

// TestGamesAtRandom plays the games of FuzzEndpoint and FuzzEndpoint1 by random variants of the seeds, without the
// fuzzer's instruments: it does not learn from what it meets, and is faster.
func TestGamesAtRandom(t *testing.T) {
	for name, play := range map[string]func(*testing.T, []byte) *game{"FuzzEndpoint": play, "FuzzEndpoint1": play1} {
		seeds := append(slices.Clone(scripts), found(t, name)...)
		n, workers := plays(t), runtime.NumCPU()
		var played, up atomic.Int64
		t.Run(name, func(t *testing.T) {
			for i := range workers {
				t.Run(fmt.Sprint(i), func(t *testing.T) {
					t.Parallel()
					r := rand.New(rand.NewPCG(uint64(n), uint64(i)))
					for range n / workers {
						script := variant(r, seeds)
						g := play(t, script)
						if played.Add(1); g.up {
							up.Add(1)
						}
						if t.Failed() {
							t.Fatalf("the script: %q", script)
						}
					}
				})
			}
		})
		t.Logf("%s: %d random games from %d scripts, of which %d %% reach an established SA", name, played.Load(), len(seeds), 100*up.Load()/max(played.Load(), 1))
		if 2*up.Load() < played.Load() {
			t.Error("that is less than half")
		}
	}
}

// found are the inputs of a fuzz target in the folder that GAMES names.
func found(t *testing.T, target string) [][]byte {
	var out [][]byte
	files, _ := filepath.Glob(filepath.Join(os.Getenv("GAMES"), target, "*"))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		_, line, _ := strings.Cut(string(text), "\n")
		s, err := strconv.Unquote(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "[]byte("), ")"))
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		out = append(out, []byte(s))
	}
	return out
}

// variant changes a script in a few places: bytes of its own, of another script, or random ones.
func variant(r *rand.Rand, seeds [][]byte) []byte {
	s := slices.Clone(seeds[r.IntN(len(seeds))])
	for range 1 + r.IntN(6) {
		i := 0
		if len(s) > 0 {
			i = r.IntN(len(s) + 1)
		}
		switch r.IntN(5) {
		case 0:
			s = slices.Insert(s, i, byte(r.Uint32()))
		case 1:
			if i < len(s) {
				s[i] = byte(r.Uint32())
			}
		case 2:
			s = slices.Delete(s, i, min(len(s), i+1+r.IntN(4)))
		case 3:
			other := seeds[r.IntN(len(seeds))]
			from := r.IntN(len(other) + 1)
			s = slices.Insert(s, i, other[from:min(len(other), from+r.IntN(12))]...)
		default:
			if i < len(s) {
				s[i] = byte(r.UintN(20)) // another step
			}
		}
	}
	return s[:min(len(s), 200)]
}
