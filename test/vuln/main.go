// Command vuln reads what `govulncheck -format json` found and fails on every known vulnerability whose code is called, unless it is
// accepted by name in one version of one module: with another version, or when it is found no more, the acceptance is an error too.
// SECURITY.md has the reasons.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	accept := flag.String("accept", "", "accepted ones: GO-2026-1@example.com/module@v1.2.3, by spaces")
	flag.Parse()
	if err := judge(os.Stdin, os.Stdout, strings.Fields(*accept)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// message is one of govulncheck's, as far as it matters here.
type message struct {
	Config *struct {
		Go    string `json:"go_version"`
		Level string `json:"scan_level"`
	}
	OSV *struct {
		ID, Summary string
	}
	Finding *struct {
		OSV   string
		Fixed string `json:"fixed_version"`
		Trace []frame
	}
}

// frame is a step of a call, the vulnerable symbol first.
type frame struct{ Module, Version, Package, Receiver, Function string }

func (f frame) String() string {
	name := f.Package + "."
	if f.Receiver != "" {
		name += strings.TrimPrefix(f.Receiver, "*") + "."
	}
	return name + f.Function
}

// called is a vulnerability whose code is called.
type called struct {
	id, module, version, fixed string
	trace                      []frame
}

func judge(in io.Reader, out io.Writer, accepted []string) error {
	summary, found, whole := map[string]string{}, []called{}, false
	for d := json.NewDecoder(in); ; {
		var m message
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("govulncheck's answer: %w", err)
		}
		switch f := m.Finding; {
		case m.Config != nil:
			whole = m.Config.Level == "symbol"
		case m.OSV != nil:
			summary[m.OSV.ID] = m.OSV.Summary
		case f == nil || len(f.Trace) == 0 || f.Trace[0].Function == "": // the code is there, and not called
		case !slices.ContainsFunc(found, func(c called) bool { return c.id == f.OSV && c.module == f.Trace[0].Module }):
			found = append(found, called{f.OSV, f.Trace[0].Module, f.Trace[0].Version, f.Fixed, f.Trace})
		}
	}
	if !whole {
		return errors.New("govulncheck has not said what is called: it failed, or this is not its answer")
	}
	failed, left := 0, slices.Clone(accepted)
	for _, c := range found {
		id := c.id + "@" + c.module + "@" + c.version
		if i := slices.Index(left, id); i >= 0 {
			left = slices.Delete(left, i, i+1)
			fmt.Fprintf(out, "accepted, see SECURITY.md: %s: %s\n", id, summary[c.id])
			continue
		}
		failed++
		fixed := "no version mends it"
		if c.fixed != "" {
			fixed = "mended in " + c.fixed
		}
		fmt.Fprintf(out, "%s: %s; %s\n", id, summary[c.id], fixed)
		for i := len(c.trace) - 1; i >= 0; i-- {
			fmt.Fprintf(out, "    %v\n", c.trace[i])
		}
	}
	for _, id := range left {
		failed++
		fmt.Fprintf(out, "%s is accepted and not found: take it out\n", id)
	}
	if failed > 0 {
		return fmt.Errorf("%d things to mend", failed)
	}
	fmt.Fprintf(out, "known vulnerabilities that are called: %d, all accepted\n", len(found))
	return nil
}
