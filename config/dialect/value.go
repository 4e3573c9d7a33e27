package dialect

import (
	"iter"
	"net/netip"
	"strconv"
	"time"

	"vpngw/config/tree"
	"vpngw/ipsec"
)

// Value is the effective value of one parameter: given in a file, or its row's default.
type Value struct {
	Row   *Row
	Node  *tree.Node // the node that is read: given, or the default
	Given bool       // it stands in a file

	up     *Value     // the value that it is a part of
	key    string     // its key in up; empty for an item of a list, or the whole file
	index  int        // of an item of a list
	at     *tree.Node // where problems are reported: Node, or the node that it is missing in
	answer bool       // it is an answer of the API, or a part of one
	asks   bool       // it is a request of the API, or a part of one, by a key that only requests have
	loose  bool       // as Object.Loose
	odd    *odd       // nil: it has nothing of it
	data   any        // the value that Row.Type made; nil: absent or not valid
}

// odd is what few values have.
type odd struct {
	unused []string // keys in it that have no meaning here
	newer  []string // the paths of members of an answer that no table has
	known  []string // keys that it can have; set when one is unknown
}

// noteOdd returns v.odd, and makes it where it is missing.
func (v *Value) noteOdd() *odd {
	if v.odd == nil {
		v.odd = new(odd)
	}
	return v.odd
}

// noteUnused notes a key that has no meaning here.
func (v *Value) noteUnused(key *tree.Node) { v.noteOdd().unused = append(v.odd.unused, keyName(key)) }

// oddly is what v has of it.
func (v *Value) oddly() odd {
	if v.odd == nil {
		return odd{}
	}
	return *v.odd
}

// OK reports whether there is a valid value, given or by default.
func (v *Value) OK() bool { return v != nil && v.data != nil }

// Set stores the value that a Type made of v.Node.
func (v *Value) Set(data any) { v.data = data }

func (v *Value) pos() tree.Pos { return v.at.Pos() }

// Pos is where v stands, or where it is missing in a file.
func (v *Value) Pos() tree.Pos { return v.pos() }

// Parts are the values in v: of an object one for each row of its table, absent ones
// too; of a list its items.
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
func (v *Value) AddrPort() netip.AddrPort { return get[netip.AddrPort](v) }
func (v *Value) Prefix() netip.Prefix     { return get[netip.Prefix](v) }
func (v *Value) Prefixes() []netip.Prefix { return get[[]netip.Prefix](v) }
func (v *Value) Secret() ipsec.Secret     { return get[ipsec.Secret](v) }
func (v *Value) Items() []*Value          { return get[[]*Value](v) }
func (v *Value) Entries() map[string]*Value {
	return get[map[string]*Value](v)
}

// Data is the value that a Type stored, if it is a T.
func Data[T any](v *Value) T { return get[T](v) }

func get[T any](v *Value) (out T) {
	if v != nil {
		out, _ = v.data.(T)
	}
	return out
}

// Field is the parameter of an Object that is called name. Of an absent object every
// field is absent. Field panics if the table has no such row.
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
	w := &Value{Row: row, Node: n, Given: v.Given && n != nil, up: v, key: key, index: index, at: n, loose: v.loose, answer: v.answer, asks: v.asks}
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
	Also     []string // its names in answers and on older versions of the page
	Required bool
	Requests bool   // Required holds for requests only, not for answers
	Default  string // the value of an absent parameter, as in a file; empty: none
	Codes    Codes  // the cloud's own codes
	Later    string // the message for a parameter that is recognised and not served. A value that means "no" is accepted.
	Else     string // what an absent parameter means on the cloud's page, where no Default says it
	Doc      string // one line
	Goes     string // the parameters of config/explain that it decides, with commas between them; "-": none
}

// Is reports whether v has a value that a Type stored as a T.
func Is[T any](v *Value) bool {
	if v == nil {
		return false
	}
	_, ok := v.data.(T)
	return ok
}
