package host

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWaitingHoldsNobodyUp: who waits keeps its processor, even the only one, and
// neither the collector nor another goroutine waits for it.
func TestWaitingHoldsNobodyUp(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	if err := p.Add(pipe[0], 5); err != nil {
		t.Fatal(err)
	}
	ready := make(chan uint32)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ready)
		defer p.Close()
		var ids [4]uint32
		for end := false; !end; {
			n, err := p.Wait(ids[:])
			if err != nil {
				t.Error(err)
				return
			}
			for _, id := range ids[:n] {
				ready <- id
			}
			end = n == 0 // Wake
		}
	}()
	for range 20 {
		time.Sleep(time.Millisecond) // the waiter is in its call, told of or not
		runtime.GC()
	}
	unix.Write(pipe[1], []byte{1})
	if id, ok := <-ready; id != 5 || !ok {
		t.Errorf("Wait gave %d, %v; want 5", id, ok)
	}
	unix.Read(pipe[0], make([]byte, 1))
	p.Wake()
	for range ready {
	}
}
