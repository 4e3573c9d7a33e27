package dialect

import (
	"iter"
	"net/netip"
	"strconv"
	"time"

	"vpngw/config/tree"
	"vpngw/ipsec"
)

// Value is one parameter as it holds: given in a file, or its row's default.
type Value struct {
	Row   *Row
	Node  *tree.Node // what is read: as given, or the default
	Given bool       // it stands in a file

	up     *Value     // what it is a part of
	key    string     // its name there; empty for an item of a list, or the whole
	index  int        // of an item
	at     *tree.Node // where problems are reported: Node, or what it is missing in
	answer bool       // it is of an answer of the API, not of a request
	unused []string   // keys in it without a meaning here
	known  []string   // keys that it can have, once one is not known
	loose  bool       // texts, numbers and booleans are alike, and JSON may stand in a text
	data   any        // what Row.Type made of it; nil: nothing, or nothing valid
}

// OK reports whether there is a valid value, given or by default.
func (v *Value) OK() bool { return v != nil && v.data != nil }

// Set is how a Type stores what it made of v.Node.
func (v *Value) Set(data any) { v.data = data }

func (v *Value) pos() tree.Pos { return v.at.Pos() }

// Pos is where v stands, or where it is missing.
func (v *Value) Pos() tree.Pos { return v.pos() }

// Parts are the values that v is made of: of an object all that its table has, absent
// ones too; of a list its items.
func (v *Value) Parts() iter.Seq[*Value] {
	return func(yield func(*Value) bool) {
		for _, p := range v.Items() {
			if !yield(p) {
				return
			}
		}
		t, ok := v.Row.Type.(interface{ Table() *Object })
		if !ok || t.Table() == nil || v.Items() != nil {
			return
		}
		for i := range t.Table().Rows {
			if !yield(v.Field(t.Table().Rows[i].Name)) {
				return
			}
		}
	}
}

// In reports whether v is a part of w, or of a part of it.
func (v *Value) In(w *Value) bool {
	for ; v != nil; v = v.up {
		if v == w {
			return true
		}
	}
	return false
}

// The getters return the zero value when there is none.

func (v *Value) Text() string             { return get[string](v) }
func (v *Value) Bool() bool               { return get[bool](v) }
func (v *Value) Int() int64               { return get[int64](v) }
func (v *Value) Duration() time.Duration  { return get[time.Duration](v) }
func (v *Value) Addr() netip.Addr         { return get[netip.Addr](v) }
func (v *Value) Prefix() netip.Prefix     { return get[netip.Prefix](v) }
func (v *Value) Prefixes() []netip.Prefix { return get[[]netip.Prefix](v) }
func (v *Value) Secret() ipsec.Secret     { return get[ipsec.Secret](v) }
func (v *Value) Items() []*Value          { return get[[]*Value](v) }
func (v *Value) Entries() map[string]*Value {
	return get[map[string]*Value](v)
}

// Data is what a Type of a dialect's own stored.
func Data[T any](v *Value) T { return get[T](v) }

func get[T any](v *Value) (out T) {
	if v != nil {
		out, _ = v.data.(T)
	}
	return out
}

// Field is a parameter of an Object, or an absent value without a place of its
// own when the object is absent. It panics if the table has no such row.
func (v *Value) Field(name string) *Value {
	i := -1
	t, ok := v.Row.Type.(interface{ Table() *Object })
	if ok {
		i = t.Table().row(name)
	}
	if i < 0 {
		panic("dialect: no row " + name + " at " + v.Path())
	}
	if have := get[fields](v); have != nil && have[i] != nil {
		return have[i]
	}
	return v.part(&t.Table().Rows[i], name, 0, nil)
}

// part is a value inside v; n is nil if it is absent.
func (v *Value) part(row *Row, key string, index int, n *tree.Node) *Value {
	w := &Value{Row: row, Node: n, Given: v.Given && n != nil, up: v, key: key, index: index, at: n, loose: v.loose, answer: v.answer}
	if !w.Given {
		w.at = v.at
	}
	return w
}

// Path is where v is in the file: "connections[0].alibaba.IkeConfig.Psk".
func (v *Value) Path() string {
	switch {
	case v.up == nil:
		return ""
	case v.key == "":
		return v.up.Path() + "[" + strconv.Itoa(v.index) + "]"
	}
	return join(v.up.Path(), printable(v.key))
}

// join is the path of a part of what stands at path.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// Row is one parameter of a table.
type Row struct {
	Name     string
	Type     Type
	Also     []string // other names that it has in answers or had in older versions of the page
	Required bool
	Requests bool   // it is required in requests only, not in answers
	Default  string // what holds when it is absent, as it would be written; empty: nothing
	Codes    Codes  // the cloud's own codes
	Later    string // recognised, not served: a sentence that says so. What means "no" is accepted.
	Else     string // what holds by the cloud's page when it is absent, where that is no Default
	Doc      string // one line
	Goes     string // what of a tunnel it decides, in the words of config/explain, with commas between them; "-": nothing here
}

// Is reports whether v has a value that a Type stored as a T.
func Is[T any](v *Value) bool {
	if v == nil {
		return false
	}
	_, ok := v.data.(T)
	return ok
}
