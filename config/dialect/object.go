package dialect

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"vpngw/config/tree"
	"vpngw/diag"
)

// Object is a mapping with a table of its keys. The table is the only place that says
// what this part of a file can hold.
type Object struct {
	hidden
	Rows []Row
	// Loose reads this object and its parts as the clouds read their bodies: a number
	// or boolean may be a text, an object may stand in a text as JSON, case does not count,
	// and null or an empty text means absent.
	Loose bool
	// Unused are keys that are accepted with any value and have no meaning here: common
	// parameters of requests, and the state in answers. "X-*" is every name that begins
	// with "X-".
	Unused []string
	// Answer is a key that answers of the API have and requests do not. Asks are keys that only requests have: with one
	// of these an unknown key is an error, whatever else is there.
	Answer string
	Asks   []string
}

// Table is o itself: every Type that reads a mapping with a table has this method.
func (o *Object) Table() *Object { return o }

// row is the index of the row called name, or -1.
func (o *Object) row(name string) int {
	return slices.IndexFunc(o.Rows, func(r Row) bool { return r.Name == name })
}

// find is the index of the row for a key of the file, or -1.
func (o *Object) find(key string, loose bool) int {
	if i := o.row(key); i >= 0 || !loose {
		return i
	}
	return slices.IndexFunc(o.Rows, func(r Row) bool { return strings.EqualFold(r.Name, key) || matches(r.Also, key) })
}

// fields are the values of an Object's rows, in their order. The value of an absent key
// without a default is nil.
type fields []*Value

func (o *Object) Read(c *Check, v *Value) {
	v.loose = v.loose || o.Loose
	if !c.unwrap(v, tree.Map) {
		return
	}
	if v.odd != nil {
		v.odd.known = nil
	}
	have := make(fields, len(o.Rows))
	for key := range v.Node.Pairs() {
		v.answer = v.answer || o.Answer != "" && strings.EqualFold(key.Text, o.Answer)
		v.asks = v.asks || matches(o.Asks, key.Text)
	}
	for key, n := range v.Node.Pairs() {
		if c.Full() {
			return
		}
		at := o.find(key.Text, v.loose)
		if at < 0 && o.unusedName(key.Text) {
			v.noteUnused(key)
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
			continue // Field makes the Value of an absent key when it is asked
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

// absent reports whether n is null or empty, by which an API means an absent value.
func absent(n *tree.Node) bool { return n.Kind == tree.Scalar && (n.Text == "" || n.IsNull()) }

// spells reports whether n is a word like NULL, which YAML takes for null, and the row
// has this word among its values.
func spells(row *Row, n *tree.Node) bool {
	e, ok := row.Type.(Enum)
	return ok && n.Text != "" && slices.Contains(e.Words, n.Text)
}

// unknown notes a key that the table does not have: an error, but for an answer, which may have got new members.
func (o *Object) unknown(c *Check, v *Value, key *tree.Node) {
	pos := key.Pos()
	name := keyName(key)
	if v.answer && !v.asks {
		odd := v.noteOdd()
		odd.newer = append(odd.newer, join(v.Path(), name))
		return
	}
	p := diag.Problem{
		Severity: diag.Error, Code: v.code(Unknown, diag.Error), Path: join(v.Path(), name),
		File: pos.File, Line: pos.Line, Column: pos.Column,
		Message: fmt.Sprintf("there is no key %q here", name),
	}
	for _, r := range o.Rows {
		p.Allowed = append(p.Allowed, r.Name)
	}
	odd := v.noteOdd()
	if odd.known == nil {
		odd.known = o.known(v, p.Allowed)
	}
	p.Nearest = Nearest(key.Text, odd.known)
	if key.Text == "<<" {
		p.Message = "merge keys (<<) are not read; repeat the keys, or use an anchor for a whole value"
	}
	c.Add(p)
}

// known are all keys that a mapping can have, the likeliest first.
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

// absentFirst sorts names so that those missing in a mapping come first: of two names
// that resemble an unknown key equally, the missing one is meant.
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

// keyName is an unknown key for a message. A text that does not look like a key is not
// shown: after a typing error it can hold part of a secret.
func keyName(key *tree.Node) string {
	odd := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-<", r)
	}
	if len(key.Text) > 40 || strings.ContainsFunc(key.Text, odd) {
		return "…"
	}
	return key.Text
}

// later refuses a parameter that is not served yet, unless its value switches it off.
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

// unwrap makes v.Node a collection of the kind want. In a loose form the collection may
// stand in a text as JSON.
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
	Name string // the name of an entry in codes of problems; empty: the list's
	Max  int
	// Within is the only key of the mapping that answers put around the list: {"Tag": […]}.
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

// Table is a mapping from names that the user chooses to values of one kind.
type Table struct {
	hidden
	Of   Type
	Name string // the name of an entry in codes of problems
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
