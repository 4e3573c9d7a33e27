package diag

import (
	"cmp"
	"strings"
)

// Advice is who has to change what, for people and programs.
type Advice struct {
	Side   Side     `json:"who,omitempty"`    // empty when nothing is wrong
	Change []string `json:"change,omitempty"` // parameters, in the words of the connection's dialect
}

// Advice is the advice of c's code. dialect is that of the connection; cloud says
// that this host is the cloud's end of it.
func (c Cause) Advice(dialect string, cloud bool) Advice {
	e := Lookup(c.Code)
	if e == nil {
		return Advice{}
	}
	return Advice{e.Side, e.parameters(dialect, cloud)}
}

// String is a sentence without a full stop; empty: nothing is to be changed.
func (a Advice) String() string {
	what := ""
	if len(a.Change) > 0 {
		what = "`" + strings.Join(a.Change, "`, `") + "`"
	}
	switch a.Side {
	case Ours:
		return "change " + cmp.Or(what, "it") + " at this end"
	case Theirs:
		if what != "" {
			return "change " + what + " at the peer"
		}
		return "the peer has to change"
	case Either:
		return "make " + cmp.Or(what, "it") + " agree at both ends"
	case Path:
		if what != "" {
			return "look at the network between the ends, and at " + what + " at this end"
		}
		return "look at the network between the ends"
	}
	return ""
}

// opposite are the parameters that change places between the ends.
var opposite = strings.NewReplacer("local.", "remote.", "remote.", "local.")

// parameters are Parameters for either end: a cloud's body is written from the
// cloud's end, so at that end local and remote are the body's own.
func (e *Entry) parameters(dialect string, cloud bool) []string {
	if !cloud || dialect == native {
		return e.Parameters(dialect)
	}
	turned := *e
	turned.Change = opposite.Replace(e.Change)
	out := turned.Parameters(dialect)
	for i, p := range out {
		if strings.HasPrefix(p, "local.") || strings.HasPrefix(p, "remote.") { // no word of the body's
			out[i] = opposite.Replace(p)
		}
	}
	return out
}
