package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// placement says which processor each program runs on.
type placement struct {
	fixed        bool
	a, b         int // the daemons of each end
	loadA, loadB int // what sends and receives at each end
}

// place is the placement of BENCH_PLACE: with two processors, a daemon has the processor of the other end's load, so that both
// are used alike; with four, each has one.
func place() (placement, error) {
	switch v := os.Getenv("BENCH_PLACE"); v {
	case "", "free":
		return placement{}, nil
	case "fixed":
	default:
		return placement{}, fmt.Errorf("BENCH_PLACE is %q: it is fixed or free", v)
	}
	switch n := runtime.NumCPU(); {
	case n >= 4:
		return placement{true, 0, 1, 2, 3}, nil
	case n >= 2:
		return placement{true, 0, 1, 1, 0}, nil
	}
	return placement{}, fmt.Errorf("BENCH_PLACE is fixed: there is only one processor")
}

func (p placement) String() string {
	if !p.fixed {
		return "free, the kernel places all programs on all processors"
	}
	return fmt.Sprintf("fixed, A's daemon on %d and its load on %d, B's daemon on %d and its load on %d", p.a, p.loadA, p.b, p.loadB)
}

// iperf is iperf3's option for the placement.
func (p placement) iperf() []string {
	if !p.fixed {
		return nil
	}
	return []string{"-A", fmt.Sprintf("%d,%d", p.loadA, p.loadB)}
}

// settle moves the daemons of both ends to their processors: their threads, and so what these start later.
func (p placement) settle(r *row) {
	if !p.fixed {
		return
	}
	for i, d := range r.daemons {
		cpu := p.a
		if d.Namespace() == r.site.b {
			cpu = p.b
		}
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", d.PID()))
		if err != nil {
			r.Fatalf("daemon %d: %v", i, err)
		}
		for _, t := range tasks {
			tid, _ := strconv.Atoi(t.Name())
			var set unix.CPUSet
			set.Set(cpu)
			unix.SchedSetaffinity(tid, &set) // it may have ended
		}
	}
}
