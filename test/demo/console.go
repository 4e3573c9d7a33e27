package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"vpngw/test/lab"
)

// console is the lab.T of a program: it prints, and its Fatalf ends the demo.
type console struct {
	failed  bool
	cleanup []func()
}

// run runs a demo and cleans up after it; it returns the exit code.
func run(show func(*console)) int {
	c := &console{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer c.clean()
		show(c)
	}()
	<-done
	if c.failed {
		fmt.Println("\nThe demo has failed.")
		return 1
	}
	fmt.Println("\nThat was it.")
	return 0
}

func (c *console) clean() {
	for len(c.cleanup) > 0 {
		last := len(c.cleanup) - 1
		f := c.cleanup[last]
		c.cleanup = c.cleanup[:last]
		f()
	}
	lab.RemoveShared()
}

// step prints the name of a step, runs it, and prints its duration and result.
func (c *console) step(what string, do func() string) {
	fmt.Printf("%-78s ", what)
	start := time.Now()
	result := do()
	fmt.Printf("%6.1f s\n", time.Since(start).Seconds())
	if result != "" {
		fmt.Printf("    %s\n", result)
	}
}

func (c *console) Helper()          {}
func (c *console) Name() string     { return "demo" }
func (c *console) Failed() bool     { return c.failed }
func (c *console) Cleanup(f func()) { c.cleanup = append(c.cleanup, f) }
func (c *console) Logf(f string, a ...any) {
	fmt.Fprintf(os.Stderr, "\n%s\n", strings.TrimRight(fmt.Sprintf(f, a...), "\n"))
}

func (c *console) Errorf(f string, a ...any) {
	c.failed = true
	c.Logf(f, a...)
}

// Fatalf ends the demo's goroutine; its deferred functions clean up.
func (c *console) Fatalf(f string, a ...any) {
	c.Errorf(f, a...)
	runtime.Goexit()
}

// Skipf reports a missing tool: a demo that cannot run has failed.
func (c *console) Skipf(f string, a ...any) { c.Fatalf(f, a...) }
