package host

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// wait reads what a Poller says can be read, and gives the ids, until Wake after end.
func wait(t *testing.T, p *Poller, fds []atomic.Int32, end *atomic.Bool) <-chan uint32 {
	ready := make(chan uint32)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ready)
		defer p.Close()
		var ids [4]uint32
		for !end.Load() {
			n, err := p.Wait(ids[:])
			if err != nil {
				t.Error(err)
				return
			}
			for _, id := range ids[:n] {
				unix.Read(int(fds[id].Load()), make([]byte, 1))
				ready <- id
			}
		}
	}()
	return ready
}

// pipe is a descriptor to read, and one to write to.
func pipe(t *testing.T) (r, w int) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(p[0]); unix.Close(p[1]) })
	return p[0], p[1]
}

// TestWaitingHoldsNobodyUp: a waiting goroutine keeps its P, even the only one, and neither
// the collector nor another goroutine waits for it, with few descriptors and with many.
func TestWaitingHoldsNobodyUp(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, count := range []int{1, few + 2} {
		p, err := NewPoller()
		if err != nil {
			t.Fatal(err)
		}
		r, w := pipe(t)
		if err := p.Add(r, 5); err != nil {
			t.Fatal(err)
		}
		for i := range uint32(count - 1) {
			quiet, _ := pipe(t)
			if err := p.Add(quiet, 6+i); err != nil {
				t.Fatal(err)
			}
		}
		var end atomic.Bool
		var fds [6]atomic.Int32
		fds[5].Store(int32(r))
		ready := wait(t, p, fds[:], &end)
		for range 20 {
			time.Sleep(time.Millisecond) // the waiter is in its call, told of or not
			runtime.GC()
		}
		unix.Write(w, []byte{1})
		if id, ok := <-ready; id != 5 || !ok {
			t.Errorf("Wait gave %d, %v; want 5", id, ok)
		}
		end.Store(true)
		p.Wake()
		for range ready {
		}
	}
}

// TestPollerHearsOfWhatComesAndGoes: descriptors are added and removed during a Wait, also beyond
// the number that poll(2) waits for.
func TestPollerHearsOfWhatComesAndGoes(t *testing.T) {
	for _, stay := range []bool{false, true} {
		p, err := NewPoller()
		if err != nil {
			t.Fatal(err)
		}
		var fds [3*few + 1]atomic.Int32
		var end atomic.Bool
		ready := wait(t, p, fds[:], &end)
		last := -1
		for id := uint32(1); id <= 3*few; id++ {
			r, w := pipe(t)
			fds[id].Store(int32(r))
			if err := p.Add(r, id); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				unix.Write(w, []byte{1})
				if got := <-ready; got != id {
					t.Fatalf("Wait gave %d, want %d", got, id)
				}
			}
			if last >= 0 {
				unix.Write(last, []byte{1}) // is watched no more
			}
			if !stay {
				p.Remove(r)
				last = w
			}
		}
		end.Store(true)
		p.Wake()
		for range ready {
		}
	}
}
