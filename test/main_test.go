package test

import (
	"os"
	"testing"
	"time"

	"vpngw/test/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// A test that counts a flow's packets or measures a time does not call t.Parallel: no other test runs
// beside it. All other tests run side by side.

// beside lets the parts of such a test run side by side, where they wait most of the time. A soak, with
// its `-parallel 1`, runs them one after the other.
func beside(t *testing.T) { t.Parallel() }

// soak runs full counts and matrices instead of samples, and holds times and losses to their bars.
// The gate only prints a figure that other work on the machine can spoil.
var soak = os.Getenv("SOAK") != ""

// within returns the longest time that something may take: the bar in a soak, ten times the bar or
// more in the gate, where only a fault of the product takes so long.
func within(bar time.Duration) time.Duration {
	if soak {
		return bar
	}
	return max(10*bar, lab.Patience)
}

// counted is how often a test does something: in the gate, and in a soak.
func counted(gate, inSoak int) int {
	if soak {
		return inSoak
	}
	return gate
}

// lossless fails the test when a flow lost packets. The gate excuses losses that full queues of the
// kernel can explain; a soak excuses none.
func lossless(t *testing.T, ab, ba lab.Direction) {
	t.Helper()
	t.Logf("there: %v; back: %v", ab, ba)
	for way, d := range map[string]lab.Direction{"there": ab, "back": ba} {
		if d.Lost > 0 && (soak || !d.Excused()) {
			t.Errorf("packets lost %s: %v; want 0", way, d)
		}
	}
}
