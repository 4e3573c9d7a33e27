package test

import (
	"os"
	"testing"
	"time"

	"vpngw/test/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// A test whose packets are counted or whose time is measured does not call t.Parallel: it has the
// machine for itself, as far as these tests go. All others run side by side.

// soak says that full counts and matrices are wanted in place of samples, and that figures are held
// against their bars. Without it, a figure that other work on the machine can spoil is printed only.
var soak = os.Getenv("SOAK") != ""

// within is a bar for a time: as it stands in a soak, and otherwise so much later that only a fault
// takes so long.
func within(bar time.Duration) time.Duration {
	if soak {
		return bar
	}
	return max(10*bar, lab.Patience)
}

// lossless fails the test when packets of a flow were lost. Without a soak those are excused that full
// queues of the kernel can have dropped.
func lossless(t *testing.T, ab, ba lab.Direction) {
	t.Helper()
	t.Logf("there: %v; back: %v", ab, ba)
	for way, d := range map[string]lab.Direction{"there": ab, "back": ba} {
		if d.Lost > 0 && (soak || !d.Excused()) {
			t.Errorf("packets lost %s: %v; want 0", way, d)
		}
	}
}
