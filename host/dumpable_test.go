package host

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A process that is not dumpable writes no core, which would hold keys, and no program of the same user reads its memory.
func TestUndumpable(t *testing.T) {
	dumpable := func() int {
		n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	was := dumpable()
	defer unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(was), 0, 0, 0)
	if err := Undumpable(); err != nil || dumpable() != 0 {
		t.Errorf("dumpable is %d, %v; it was %d", dumpable(), err, was)
	}
}
