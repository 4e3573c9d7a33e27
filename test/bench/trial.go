package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"vpngw/test/lab"
)

// trial is the lab.T of one contender: a failure ends the work for that
// contender, and the run goes on without it.
type trial struct {
	who     string
	why     string // the first failure
	cleanup []func()
}

// try calls f and reports whether it succeeded. After a failure it does
// nothing.
func (t *trial) try(f func()) bool {
	if t.Failed() {
		return false
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
	lab.Hold() // a failure caused by an interrupt does not count
	return !t.Failed()
}

// clean stops and removes everything that the trial has started.
func (t *trial) clean() {
	for len(t.cleanup) > 0 {
		last := len(t.cleanup) - 1
		f := t.cleanup[last]
		t.cleanup = t.cleanup[:last]
		f()
	}
}

func (t *trial) Helper()          {}
func (t *trial) Name() string     { return t.who }
func (t *trial) Failed() bool     { return t.why != "" }
func (t *trial) Cleanup(f func()) { t.cleanup = append(t.cleanup, f) }
func (t *trial) Logf(f string, a ...any) {
	fmt.Fprintf(os.Stderr, "%s: %s\n", t.who, strings.TrimRight(fmt.Sprintf(f, a...), "\n"))
}

func (t *trial) Errorf(f string, a ...any) {
	if t.why == "" {
		t.why = strings.TrimRight(fmt.Sprintf(f, a...), "\n")
	}
	t.Logf(f, a...)
}

// Fatalf ends the goroutine of try.
func (t *trial) Fatalf(f string, a ...any) {
	t.Errorf(f, a...)
	runtime.Goexit()
}

// Skipf reports a missing tool, without which nothing can be measured.
func (t *trial) Skipf(f string, a ...any) { t.Fatalf(f, a...) }
