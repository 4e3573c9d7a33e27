package dialect

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"vpngw/config/tree"
	"vpngw/diag"
)

// Object is a mapping with a table of its keys: the one place that says what a
// part of a file can hold.
type Object struct {
	hidden
	Rows []Row
	// Loose is how the clouds' bodies are read, the parts of this object
	// included: texts, numbers and booleans alike, JSON inside a text, upper and lower
	// case mixed, and null or an empty text for what is absent.
	Loose bool
	// Unused are keys that are accepted and have no meaning here, whatever they say:
	// common parameters of requests, and the state that answers tell. "X-*" is every name
	// with that beginning.
	Unused []string
	// Answer is a key that only an answer of the API has, and no request.
	Answer string
}

// Table is o itself: every Type that reads a mapping with a table has this method.
func (o *Object) Table() *Object { return o }

// row is the number of the row with a name, or -1.
func (o *Object) row(name string) int {
	return slices.IndexFunc(o.Rows, func(r Row) bool { return r.Name == name })
}

// find is the number of the row of a key as it stands in the file, or -1.
func (o *Object) find(key string, loose bool) int {
	if i := o.row(key); i >= 0 || !loose {
		return i
	}
	return slices.IndexFunc(o.Rows, func(r Row) bool { return strings.EqualFold(r.Name, key) || matches(r.Also, key) })
}

// fields are what an Object makes of a mapping: the values of its rows, in
// their order. What is absent and has no default is nil.
type fields []*Value

func (o *Object) Read(c *Check, v *Value) {
	v.loose = v.loose || o.Loose
	if !c.unwrap(v, tree.Map) {
		return
	}
	v.known = nil
	have := make(fields, len(o.Rows))
	for key := range v.Node.Pairs() {
		v.answer = v.answer || o.Answer != "" && strings.EqualFold(key.Text, o.Answer)
	}
	for key, n := range v.Node.Pairs() {
		if c.Full() {
			return
		}
		at := o.find(key.Text, v.loose)
		if at < 0 && o.unusedName(key.Text) {
			v.unused = append(v.unused, keyName(key))
			continue
		}
		if at < 0 {
			o.unknown(c, v, key)
			continue
		}
		row := &o.Rows[at]
		switch {
		case have[at] != nil:
			c.Fail(&Value{Row: row, up: v, key: row.Name, at: key}, Twice, "%s stands here twice", row.Name)
		case v.loose && absent(n) && !spells(row, n):
		default:
			f := v.part(row, row.Name, 0, n)
			have[at] = f
			if row.Later == "" {
				c.read(f)
			} else {
				o.later(c, f)
			}
		}
	}
	for i := range o.Rows {
		row := &o.Rows[i]
		if have[i] != nil || row.Default == "" && (!row.Required || v.answer && row.Requests) {
			continue // what is absent, Field makes when it is asked for
		}
		f := v.part(row, row.Name, 0, nil)
		have[i] = f
		if row.Default != "" {
			f.Node = tree.Literal(row.Default)
			c.read(f)
		} else {
			c.Fail(f, Missing, "%s is missing", row.Name)
		}
	}
	v.Set(have)
}

// absent reports whether n is how an API says that there is nothing.
func absent(n *tree.Node) bool { return n.Kind == tree.Scalar && (n.Text == "" || n.IsNull()) }

// spells reports whether NULL, which YAML takes for nothing, is a word of a row's.
func spells(row *Row, n *tree.Node) bool {
	e, ok := row.Type.(Enum)
	return ok && n.Text != "" && slices.Contains(e.Words, n.Text)
}

func (o *Object) unknown(c *Check, v *Value, key *tree.Node) {
	pos := key.Pos()
	name := keyName(key)
	p := diag.Problem{
		Severity: diag.Error, Code: v.code(Unknown, diag.Error), Path: join(v.Path(), name),
		File: pos.File, Line: pos.Line, Column: pos.Column,
		Message: fmt.Sprintf("there is no key %q here", name),
	}
	for _, r := range o.Rows {
		p.Allowed = append(p.Allowed, r.Name)
	}
	if v.known == nil {
		v.known = o.known(v, p.Allowed)
	}
	p.Nearest = Nearest(key.Text, v.known)
	if key.Text == "<<" {
		p.Message = "merge keys (<<) are not read; repeat the keys, or use an anchor for a whole value"
	}
	c.Add(p)
}

// known are all keys that a mapping can have, the likelier ones first.
func (o *Object) known(v *Value, rows []string) []string {
	out := absentFirst(rows, v.Node)
	var also []string
	for _, r := range o.Rows {
		also = append(also, r.Also...)
	}
	if v.answer {
		out = append(also, out...)
	} else {
		out = append(out, also...)
	}
	return append(out, o.Unused...)
}

// absentFirst are names with those first that a mapping does not have: of two that
// are as near, the one that is missing is meant.
func absentFirst(names []string, n *tree.Node) []string {
	var missing, there []string
	have := map[string]bool{}
	for key := range n.Pairs() {
		have[key.Text] = true
	}
	for _, name := range names {
		if have[name] {
			there = append(there, name)
		} else {
			missing = append(missing, name)
		}
	}
	return append(missing, there...)
}

// keyName is an unknown key for a message. What does not look like one is not
// shown: with a slip of the pen a secret can become part of it.
func keyName(key *tree.Node) string {
	odd := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-<", r)
	}
	if len(key.Text) > 40 || strings.ContainsFunc(key.Text, odd) {
		return "…"
	}
	return key.Text
}

// later refuses a parameter that is not served yet, unless it says that it is not wanted.
func (o *Object) later(c *Check, f *Value) {
	n := f.Node
	if f.Row.Type != nil {
		if c.read(f); !f.OK() || f.data == false {
			return
		}
	} else if absent(n) || n.Kind != tree.Scalar && n.Len() == 0 {
		return
	}
	c.Fail(f, Unsupported, "%s", f.Row.Later)
}

// unwrap makes v.Node the collection that is wanted: in a loose form it may
// stand inside a text, as JSON.
func (c *Check) unwrap(v *Value, want tree.Kind) bool {
	if v.loose && v.Node.LooksLikeJSON() && !c.embedded(v) {
		return false
	}
	if v.Node.Kind != want {
		what := v.Node.Kind.String()
		if v.Node.IsNull() {
			what = "nothing at all"
		}
		c.Fail(v, WrongType, "%v is expected here, not %s", want, what)
		return false
	}
	return true
}

// embedded replaces v's text by the JSON in it.
func (c *Check) embedded(v *Value) bool {
	inner, errs := v.Node.JSON(c.Budget)
	if !c.reported[v.Node] {
		c.reported[v.Node] = true
		for i := range errs {
			errs[i].Msg = "in the JSON text: " + errs[i].Msg
		}
		c.Syntax(v.Path(), errs)
	}
	if inner == nil {
		return false
	}
	v.Node, v.at = inner, inner
	return true
}

// List is a list of at most Max values of one kind.
type List struct {
	hidden
	Of   Type
	Name string // what problems with one are called in codes; empty: as the list
	Max  int
	// Within is the one key of a mapping around the list, as answers have it: {"Tag": […]}.
	Within string
}

func (t List) Read(c *Check, v *Value) {
	if t.Within != "" && v.Node.Kind == tree.Map && v.Node.Len() == 1 {
		for key, inner := range v.Node.Pairs() {
			if strings.EqualFold(key.Text, t.Within) {
				v.Node, v.at = inner, inner
			}
		}
	}
	if !c.unwrap(v, tree.List) {
		return
	}
	if n := v.Node.Len(); n > t.Max {
		c.Fail(v, TooMany, "%d entries; at most %d are allowed", n, t.Max)
		return
	}
	row := *v.Row
	row.Type, row.Codes = t.Of, nil
	if t.Name != "" {
		row.Name = t.Name
	}
	items := make([]*Value, 0, v.Node.Len())
	for i, n := range v.Node.Items() {
		if c.Full() {
			return
		}
		item := v.part(&row, "", i, n)
		c.read(item)
		items = append(items, item)
	}
	v.Set(items)
}

// Table is a mapping from names of the user's own to values of one kind.
type Table struct {
	hidden
	Of   Type
	Name string // what problems with one are called in codes
}

func (t Table) Read(c *Check, v *Value) {
	if !c.unwrap(v, tree.Map) {
		return
	}
	row := &Row{Name: t.Name, Type: t.Of}
	entries := make(map[string]*Value, v.Node.Len())
	for key, n := range v.Node.Pairs() {
		if c.Full() {
			return
		}
		entry := v.part(row, key.Text, 0, n)
		c.read(entry)
		entries[key.Text] = entry
	}
	v.Set(entries)
}
