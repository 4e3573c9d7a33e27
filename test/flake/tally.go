package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// event is a line of `go test -json`.
type event struct {
	Action, Package, Test, Output string
}

// result is the outcome of one run.
type result struct {
	passed int
	red    map[string]bool // tests that failed, and packages (without a test's name)
	took   time.Duration
}

// read parses a run's output, and copies the lines of the tests and of other programs to log.
func (r *result) read(out io.Reader, log io.Writer) {
	r.red = map[string]bool{}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		var e event
		switch {
		case line == "":
		case json.Unmarshal([]byte(line), &e) != nil:
			io.WriteString(log, line)
		default:
			io.WriteString(log, e.Output)
			r.take(e)
		}
		if err != nil {
			return
		}
	}
}

func (r *result) take(e event) {
	name := strings.TrimSpace(strings.TrimPrefix(e.Package, "vpngw/") + " " + e.Test)
	switch {
	case e.Action == "fail":
		r.red[name] = true
	case e.Action == "pass" && e.Test != "":
		r.passed++
	}
}

// failed lists the failed tests. A parent test or a package is in the list only if no test below it failed.
func (r *result) failed() []string {
	var out []string
	for name := range r.red {
		sake := false
		for other := range r.red {
			sake = sake || strings.HasPrefix(other, name+"/") || !strings.Contains(name, " ") && strings.HasPrefix(other, name+" ")
		}
		if !sake {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// tally sums up the outcomes of all runs.
type tally struct {
	red    int
	took   []time.Duration
	failed map[string]int
}

func (t *tally) add(r result, err error) {
	t.took = append(t.took, r.took)
	failed := r.failed()
	if err == nil && len(failed) == 0 {
		return
	}
	t.red++
	if t.failed == nil {
		t.failed = map[string]int{}
	}
	if len(failed) == 0 {
		failed = []string{"(no test, but the command: " + err.Error() + ")"}
	}
	for _, name := range failed {
		t.failed[name]++
	}
}

// String returns the table of failed tests and their counts, the most frequent first.
func (t *tally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d runs failed\n", t.red, len(t.took))
	names := make([]string, 0, len(t.failed))
	for name := range t.failed {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := t.failed[b] - t.failed[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		fmt.Fprintf(&b, "%4d  %s\n", t.failed[name], name)
	}
	if len(t.took) > 0 {
		took := slices.Sorted(slices.Values(t.took))
		fmt.Fprintf(&b, "a run took %v to %v, in the middle %v\n",
			took[0].Round(time.Second), took[len(took)-1].Round(time.Second), took[len(took)/2].Round(time.Second))
	}
	return b.String()
}
