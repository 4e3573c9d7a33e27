package dialect

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"vpngw/config/tree"
	"vpngw/diag"
)

// Limits of one check. When one is passed, the rest of the file is not read.
const (
	maxProblems = 1000
	maxValues   = 1 << 21
)

// Check reads one configuration and collects what is wrong with it. Not safe
// for concurrent use.
type Check struct {
	Budget *tree.Budget
	// Open reads the file that a text names, relative to the main file.
	Open func(name string) (*tree.Request, []tree.Error, error)

	problems diag.Problems
	values   int
	reported map[any]bool // whose errors are reported: files by name, texts with JSON by node
}

// NewCheck returns a Check that reads within b and opens no files.
func NewCheck(b *tree.Budget) *Check {
	return &Check{Budget: b, reported: map[any]bool{}, Open: func(string) (*tree.Request, []tree.Error, error) {
		return nil, nil, errors.New("no files are read here")
	}}
}

// Problems are the problems found so far.
func (c *Check) Problems() diag.Problems { return c.problems }

// Full reports whether a limit has been passed, so that reading on is of no use.
func (c *Check) Full() bool { return len(c.problems) > maxProblems || c.values > maxValues }

// Add notes a problem, unless it equals one of the latest: a value with a YAML alias is
// read once for each place where the alias stands.
func (c *Check) Add(p diag.Problem) {
	if c.Full() || slices.ContainsFunc(c.problems[max(0, len(c.problems)-8):], func(q diag.Problem) bool {
		return p.File == q.File && p.Line == q.Line && p.Column == q.Column && p.Code == q.Code && p.Message == q.Message
	}) {
		return
	}
	if len(c.problems) == maxProblems {
		p = diag.Problem{Severity: diag.Error, Code: "vpngw.config.too-many", File: p.File, Message: fmt.Sprintf("more than %d problems; the rest is not shown", maxProblems)}
	}
	c.problems = append(c.problems, p)
}

// Fail notes an error at v, Warn a warning. The message is a sentence without
// a full stop, and never holds a secret.
func (c *Check) Fail(v *Value, why Reason, format string, args ...any) {
	c.Add(c.problem(v, diag.Error, why, format, args...))
}

func (c *Check) Warn(v *Value, why Reason, format string, args ...any) {
	c.Add(c.problem(v, diag.Warning, why, format, args...))
}

// WarnRun notes a warning that keeps a daemon from running.
func (c *Check) WarnRun(v *Value, why Reason, format string, args ...any) {
	p := c.problem(v, diag.Warning, why, format, args...)
	p.Refused = true
	c.Add(p)
}

// FailCode is Fail with the code that the cloud's page gives for the case.
func (c *Check) FailCode(v *Value, code, format string, args ...any) {
	p := c.problem(v, diag.Error, Invalid, format, args...)
	p.Code = code
	c.Add(p)
}

// ExposedError is why a file is not read: others can change it.
type ExposedError struct{ Says string }

func (e *ExposedError) Error() string { return e.Says }

// FailFile notes that the file that v names was not read.
func (c *Check) FailFile(v *Value, name string, err error) {
	if e := (*ExposedError)(nil); errors.As(err, &e) {
		c.Fail(v, Exposed, "the file is not read: %v", e)
		return
	}
	if e := (*ForeignError)(nil); errors.As(err, &e) {
		c.Fail(v, WrongType, "%v", e)
		return
	}
	c.Fail(v, NotFound, "the file %s cannot be read: %v", printable(name), err)
}

// Refuse is Fail for a word of v that is not among allowed. Where a typing error is
// likely, the problem names the nearest allowed word.
func (c *Check) Refuse(v *Value, why Reason, word string, allowed []string, format string, args ...any) {
	p := c.problem(v, diag.Error, why, format, args...)
	p.Allowed = allowed
	if why == Illegal {
		p.Nearest = Nearest(word, allowed)
	}
	c.Add(p)
}

func (c *Check) problem(v *Value, s diag.Severity, why Reason, format string, args ...any) diag.Problem {
	pos := v.pos()
	p := diag.Problem{
		Severity: s, Code: v.code(why, s), Path: v.Path(), Message: fmt.Sprintf(format, args...),
		File: pos.File, Line: pos.Line, Column: pos.Column,
	}
	if v.Node != nil && v.Node.Kind == tree.Scalar && v.Row != nil && v.Row.Type != nil && !v.Row.Type.Hides() {
		p.Value = printable(v.Node.Text)
	}
	return p
}

// printable is s for a message: short and on one line. Of NAME=VALUE it shows only the
// name: where an & is missing in a form, the next parameter, which can be secret, becomes part
// of a value.
func printable(s string) string {
	const most = 80
	if name, _, pair := strings.Cut(s, "="); pair {
		s = name + "=…"
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return '�'
		}
		return r
	}, s)
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return s
}

// Syntax notes the errors of package tree in a file.
func (c *Check) Syntax(path string, errs []tree.Error) {
	for _, e := range errs {
		c.Add(diag.Problem{
			Severity: diag.Error, Code: "vpngw.config.syntax", Path: path,
			File: e.File, Line: e.Line, Column: e.Column, Message: e.Msg,
		})
	}
}

// Root reads a whole file's node with a table.
func (c *Check) Root(n *tree.Node, row *Row) *Value {
	v := &Value{Row: row, Node: n, Given: true, at: n}
	c.read(v)
	return v
}

// read has v's type read v.
func (c *Check) read(v *Value) {
	if c.values++; !c.Full() {
		v.Row.Type.Read(c, v)
	}
}

// scalar is v's text; ok is false, and the problem noted, if v is not a scalar or null.
func (c *Check) scalar(v *Value, want string) (string, bool) {
	switch {
	case v.Node.Kind != tree.Scalar:
		c.Fail(v, WrongType, "%s is expected here, not %v", want, v.Node.Kind)
	case v.Node.IsNull():
		c.Fail(v, WrongType, "%s is expected here; nothing is given", want)
	default:
		return v.Node.Text, true
	}
	return "", false
}
