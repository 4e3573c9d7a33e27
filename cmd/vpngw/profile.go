//go:build profile

package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"
)

// With the build tag profile, `vpngw run` begins a profile of the processor at once, SIGUSR1 ends it, and the next begins another;
// SIGUSR2 writes one of the heap after a collection: into files whose names begin with $VPNGW_PROFILE.
func init() {
	to := os.Getenv("VPNGW_PROFILE")
	if to == "" || len(os.Args) < 2 || os.Args[1] != "run" {
		return
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	create := func(kind string) *os.File {
		f, err := os.Create(fmt.Sprintf("%s-%d-%s-%s", to, os.Getpid(), time.Now().Format("150405.000"), kind))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return f
	}
	go func() {
		cpu := create("cpu")
		pprof.StartCPUProfile(cpu)
		for s := range signals {
			switch {
			case s == syscall.SIGUSR2:
				runtime.GC()
				f := create("heap")
				pprof.WriteHeapProfile(f)
				f.Close()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				fmt.Fprintf(os.Stderr, "profile: heap alloc %d inuse %d idle %d released %d stack %d mspan %d gcsys %d other %d buckhash %d goroutines %d\n",
					m.HeapAlloc, m.HeapInuse, m.HeapIdle, m.HeapReleased, m.StackInuse, m.MSpanInuse, m.GCSys, m.OtherSys, m.BuckHashSys, runtime.NumGoroutine())
			case cpu == nil:
				cpu = create("cpu")
				pprof.StartCPUProfile(cpu)
			default:
				pprof.StopCPUProfile()
				cpu.Close()
				cpu = nil
			}
		}
	}()
}
