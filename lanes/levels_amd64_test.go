//go:build !purego

package lanes

import "testing"

// levels are the sets of instructions that tests go through.
var levels = []struct {
	name  string
	level level
	sha   bool
}{
	{"plain", plain, false}, {"avx2", avx2, false}, {"avx2+sha", avx2, true}, {"avx512", avx512, false}, {"avx512+sha", avx512, true},
}

// everyLevel runs f with each set of instructions that this machine has.
func everyLevel(t *testing.T, f func(t *testing.T)) {
	best, sha := detected, hasSHA
	defer func() { detected, hasSHA = best, sha }()
	for _, x := range levels {
		t.Run(x.name, func(t *testing.T) {
			if x.level > best || x.sha && !sha {
				t.Skip("this processor does not have it")
			}
			detected, hasSHA = x.level, x.sha
			f(t)
		})
	}
}

func benchEveryLevel(b *testing.B, f func(b *testing.B)) {
	best, sha := detected, hasSHA
	defer func() { detected, hasSHA = best, sha }()
	for _, x := range levels {
		if x.level <= best && (sha || !x.sha) {
			detected, hasSHA = x.level, x.sha
			b.Run(x.name, f)
		}
	}
}
