package dialect

import (
	"slices"
	"strings"

	"vpngw/config/tree"
)

// Members are the connections in a body, a request or an answer: what stands in the
// wrappers, or n itself.
func (d *Dialect) Members(n *tree.Node) []*tree.Node {
	t := Request{d}
	for range 4 {
		if n == nil || n.Kind != tree.Map {
			return nil
		}
		name, inner := t.wrapped(n)
		switch {
		case inner == nil:
			return []*tree.Node{n}
		case t.Turn != nil && name == t.Turned && inner.Kind == tree.Map:
			return []*tree.Node{t.Turn(inner)}
		case inner.Kind == tree.List:
			return inner.Items()
		}
		n = inner
	}
	return []*tree.Node{n}
}

// Knows counts the keys of a body that only a body of this dialect has: its parameters, without the
// state in answers.
func (d *Dialect) Knows(n *tree.Node) int {
	known := 0
	for _, m := range d.Members(n) {
		for key := range m.Pairs() {
			if d.Body.find(key.Text, true) >= 0 {
				known++
			}
		}
	}
	return known
}

// Member is the text of the member called key, in any case; empty if it has none.
func Member(n *tree.Node, key string) string {
	for k, v := range n.Pairs() {
		if strings.EqualFold(k.Text, key) && v.Kind == tree.Scalar {
			return v.Text
		}
	}
	return ""
}

// Names reports whether the mapping v names the parameter of a row, though it be empty.
func (v *Value) Names(row string) bool {
	t, ok := v.Row.Type.(interface{ Table() *Object })
	if !ok || !v.Given || v.Node == nil || v.Node.Kind != tree.Map {
		return false
	}
	at := t.Table().row(row)
	for key := range v.Node.Pairs() {
		if at >= 0 && t.Table().find(key.Text, v.loose) == at {
			return true
		}
	}
	return false
}

// Has reports whether v's table has a row called name.
func (v *Value) Has(name string) bool {
	t, ok := v.Row.Type.(interface{ Table() *Object })
	return ok && slices.ContainsFunc(t.Table().Rows, func(r Row) bool { return r.Name == name })
}
