package gateway

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeEngine takes a turn when it is woken, unless it is stuck.
type fakeEngine struct {
	turns uint64
	stuck bool
}

func (e *fakeEngine) Turns() uint64 { return e.turns }
func (e *fakeEngine) Wake() {
	if !e.stuck {
		e.turns++
	}
}

func TestWatchdogIsFedWhileAllTakeTurns(t *testing.T) {
	begin := time.Unix(1000, 0)
	a, b := &fakeEngine{}, &fakeEngine{}
	w := newWatchdog(begin, 20*time.Second, []engine{a, b})
	for _, step := range []struct {
		after       time.Duration // of the beginning
		stick, free *fakeEngine   // before the look
		well        bool
		stuck       []int
	}{
		{after: 4 * time.Second},                              // not yet
		{after: 5 * time.Second, well: true},                  // both were woken at the beginning
		{after: 6 * time.Second},                              // a loop with much to do looks often
		{after: 10 * time.Second, stick: b, well: true},       // it was woken at 5 s
		{after: 15 * time.Second, stuck: []int{1}},            // and at 10 s in vain
		{after: 20 * time.Second, free: b, stuck: []int{1}},   // it was late
		{after: 25 * time.Second, well: true},                 // and goes on
		{after: 625 * time.Second, well: true},                // a loop that was stuck feeds nothing, and then once
		{after: 629 * time.Second},                            // not for each look that it missed
		{after: 630 * time.Second, stick: a, well: true},      //
		{after: 635 * time.Second, stick: b, stuck: []int{0}}, //
		{after: 640 * time.Second, stuck: []int{0, 1}},
	} {
		if step.stick != nil {
			step.stick.stuck = true
		}
		if step.free != nil {
			step.free.stuck = false
		}
		well, stuck := w.look(begin.Add(step.after))
		if well != step.well || !slices.Equal(stuck, step.stuck) {
			t.Errorf("after %v: got %v, stuck %v; want %v, %v", step.after, well, stuck, step.well, step.stuck)
		}
	}
	unwatched := newWatchdog(begin, 0, []engine{a})
	if well, stuck := unwatched.look(begin.Add(time.Hour)); well || stuck != nil || !unwatched.at.IsZero() {
		t.Errorf("nobody watches: got %v, stuck %v", well, stuck)
	}
}

// The running daemon: idle it says for ever that it is well; a control loop that is stuck and an engine that is stuck end that.
func TestServiceManagerHearsThatTheDaemonIsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // of told
		var told []time.Duration
		begin := time.Now()
		var log strings.Builder
		r := start(t, officeHost(), configOf(hq()), Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Watchdog: 20 * time.Second, Notify: func(s string) {
			if s == "WATCHDOG=1" {
				mu.Lock()
				told = append(told, time.Since(begin))
				mu.Unlock()
			}
		}})
		heard := func(what string, d time.Duration, want int) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			told = nil
			mu.Unlock()
			time.Sleep(d)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(told) != want {
				t.Errorf("%s: heard %d times within %v, %v; want %d", what, len(told), d, told, want)
			}
		}
		heard("idle", 10*time.Minute+time.Second, 120)

		release := make(chan struct{})
		go func() { r.commands <- func(time.Time) { <-release } }()
		heard("the loop is stuck", time.Minute, 0)
		close(release)
		heard("the loop goes on", time.Minute, 12)

		for i, p := range r.host.pollers {
			p.Deaf.Store(true)
			time.Sleep(6 * time.Second) // it may have been woken before
			heard(fmt.Sprintf("engine %d is stuck", i), time.Minute, 0)
			if want := fmt.Sprintf("engines=[%d]", i); !strings.Contains(log.String(), want) {
				t.Errorf("the log has no %s:\n%s", want, log.String())
			}
			p.Deaf.Store(false)
			p.Wake()
			time.Sleep(6 * time.Second)
			heard(fmt.Sprintf("engine %d goes on", i), time.Minute, 12)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
}
