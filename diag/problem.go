package diag

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Problem is one thing wrong with a configuration, and its place there. A Cause
// says why a running tunnel is as it is; a Problem is found before anything
// runs. It never holds a secret.
type Problem struct {
	Severity Severity `json:"severity"`
	Refused  bool     `json:"refused"` // a warning that keeps `vpngw run` from starting
	Code     string   `json:"code"`    // the cloud's where its page gives one for the case, else vpngw.<Field>.<reason>
	Path     string   `json:"path"`    // "connections[1].native.ike.proposals[0]"
	File     string   `json:"file"`
	Line     int      `json:"line"`   // from 1; 0: the file as a whole
	Column   int      `json:"column"` // from 1, in characters
	Value    string   `json:"value"`
	Allowed  []string `json:"allowed"`
	Nearest  string   `json:"nearest"` // the valid name that resembles what was written
	Message  string   `json:"message"` // a sentence without a full stop
}

// String is the form for people: file:line:col: error: path: message [code].
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	fmt.Fprintf(&b, ": %s: ", p.Severity)
	if p.Refused {
		b.WriteString("run refuses this: ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	switch {
	case p.Nearest != "":
		fmt.Fprintf(&b, "; did you mean %q?", p.Nearest)
	case len(p.Allowed) > 0:
		b.WriteString("; allowed: " + strings.Join(p.Allowed, ", "))
	}
	fmt.Fprintf(&b, " [%s]", p.Code)
	return b.String()
}

// Problems are in the order of the files' lines once Sort has been called.
type Problems []Problem

// Failed reports whether one of the problems is an error.
func (ps Problems) Failed() bool {
	return slices.ContainsFunc(ps, func(p Problem) bool { return p.Severity == Error })
}

// Refused reports whether one of the problems keeps `vpngw run` from starting:
// an error, or a warning that is Refused.
func (ps Problems) Refused() bool {
	return slices.ContainsFunc(ps, func(p Problem) bool { return p.Severity == Error || p.Refused })
}

// Write prints one line for each problem.
func (ps Problems) Write(w io.Writer) error {
	for _, p := range ps {
		if _, err := fmt.Fprintln(w, p); err != nil {
			return err
		}
	}
	return nil
}

// WriteJSON prints {"problems":[…]}.
func (ps Problems) WriteJSON(w io.Writer) error {
	if ps == nil {
		ps = Problems{}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(map[string]Problems{"problems": ps})
}

// MarshalJSON makes "allowed" a list even when nothing is listed.
func (p Problem) MarshalJSON() ([]byte, error) {
	type plain Problem
	if p.Allowed == nil {
		p.Allowed = []string{}
	}
	return json.Marshal(plain(p))
}

// Sort brings problems into the order of their places: first the file main, then
// the files that it names.
func (ps Problems) Sort(main string) {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(rank(a, main), rank(b, main)), cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

func rank(p Problem, main string) int {
	if p.File == main {
		return 0
	}
	return 1
}
