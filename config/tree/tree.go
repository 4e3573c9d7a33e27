// Package tree reads YAML, and JSON with it, into nodes that know their place: file, line
// and column, also in JSON inside a string.
//
// It is not a YAML library. It reads the part of YAML 1.2 that people write
// by hand (block and flow collections, every kind of scalar, comments, anchors
// and aliases) and refuses the rest by name: tags, merge keys, complex keys,
// directives, several documents. In exchange time and memory are linear in the
// input, whatever it holds, so a hostile file is refused quickly. (goccy/go-yaml
// is quadratic in nesting and in the width of a block mapping: 1 MB of
// "k1: v" lines takes it 25 s and 43 GB of allocation. It is the oracle of this
// package's tests.) Messages never quote the text, which may hold a secret.
package tree

import (
	"fmt"
	"iter"
	"sort"
	"strings"
	"unicode/utf8"
)

// Limits of what is read.
const (
	MaxBytes = 32 << 20 // of a file: ten thousand bodies of a cloud
	MaxDepth = 64       // of nested collections
	MaxMarks = 1000     // anchors and aliases
	MaxNodes = 2 << 20  // with every alias counted as a copy
)

// Budget is how much may still be read. The files of one load share a Budget. Not safe
// for concurrent use.
type Budget struct {
	bytes, nodes, marks int
}

// NewBudget returns a Budget of the package's limits.
func NewBudget() *Budget { return &Budget{MaxBytes, MaxNodes, MaxMarks} }

// Bytes is how many bytes may still be read.
func (b *Budget) Bytes() int { return b.bytes }

// Kind says whether a Node is a scalar, a list or a map.
type Kind uint8

const (
	Scalar Kind = iota
	List
	Map
)

func (k Kind) String() string { return [...]string{"a single value", "a list", "a mapping"}[k] }

// Node is a scalar, a list or a map. Immutable; aliases share one Node, so the
// "tree" can be a graph, but never a cycle.
type Node struct {
	Kind  Kind
	Plain bool // of a scalar: written without quotes, so it may mean a number, a boolean or null
	off   int32
	Text  string // of a scalar

	kids []*Node // the items of a list; the keys and values of a map in turn
	src  *source
	json *embedded // of a scalar that looks like JSON or a request
}

// Literal is a node outside any file: an empty map for {}, else a plain scalar.
func Literal(text string) *Node {
	if text == "{}" {
		return &Node{Kind: Map}
	}
	return &Node{Plain: true, Text: text}
}

// As is a scalar with another text in n's place.
func (n *Node) As(text string) *Node { return &Node{Text: text, off: n.off, src: n.src} }

// Collect is a collection in n's place: a list of items, or a map of keys and values in turn.
func (n *Node) Collect(kind Kind, kids ...*Node) *Node {
	return &Node{Kind: kind, kids: kids, off: n.off, src: n.src}
}

// Len is the number of items of a list, or of pairs of a map.
func (n *Node) Len() int {
	if n.Kind == Map {
		return len(n.kids) / 2
	}
	return len(n.kids)
}

// Items are the items of a list.
func (n *Node) Items() []*Node { return n.kids }

// Pairs are the keys and values of a map, in the file's order.
func (n *Node) Pairs() iter.Seq2[*Node, *Node] {
	return func(yield func(k, v *Node) bool) {
		for i := 0; i+1 < len(n.kids); i += 2 {
			if !yield(n.kids[i], n.kids[i+1]) {
				return
			}
		}
	}
}

// IsNull reports whether n is null: null, ~ or no text at all.
func (n *Node) IsNull() bool {
	if n.Kind != Scalar || !n.Plain {
		return false
	}
	switch n.Text {
	case "", "~", "null", "Null", "NULL":
		return true
	}
	return false
}

// Pos is a place in a file. Line and Column count from 1, columns in
// characters; the zero Pos is nowhere.
type Pos struct {
	File         string
	Line, Column int
}

// Pos is where n begins.
func (n *Node) Pos() Pos {
	if n == nil || n.src == nil {
		return Pos{}
	}
	return n.src.pos(int(n.off))
}

// Error is why a text cannot be read.
type Error struct {
	Pos
	Msg string
}

func (e Error) Error() string { return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg) }

// source is one text: a file, or the content of a scalar.
type source struct {
	name  string
	text  string
	lines []int // offsets of line starts; computed when asked for

	// Of the content of a scalar:
	outer *source // the text that it stands in
	base  int     // where it begins there, if its bytes stand in a row
	at    []int32 // else where each of its bytes stands,
	rows  []row   // or where each of its lines begins
}

// row is a line of a block scalar: where it begins in the scalar's text, and in the file.
type row struct{ text, off int32 }

func (s *source) pos(off int) Pos {
	if s.outer != nil {
		switch {
		case s.rows != nil:
			i := sort.Search(len(s.rows), func(i int) bool { return int(s.rows[i].text) > off })
			at := s.rows[max(i-1, 0)]
			off = int(at.off) + max(off-int(at.text), 0)
		case s.at == nil:
			off += s.base
		case off < len(s.at):
			off = int(s.at[off])
		default:
			off = int(s.at[len(s.at)-1])
		}
		return s.outer.pos(off)
	}
	if s.lines == nil {
		s.lines = []int{0}
		for i := 0; i < len(s.text); i++ {
			if s.text[i] == '\n' {
				s.lines = append(s.lines, i+1)
			}
		}
	}
	off = min(off, len(s.text))
	line := sort.SearchInts(s.lines, off+1) - 1
	start := s.lines[line]
	if line == 0 && strings.HasPrefix(s.text, bom) && off >= len(bom) {
		start = len(bom)
	}
	return Pos{s.name, line + 1, utf8.RuneCountInString(s.text[start:off]) + 1}
}

// embedded has the places of the bytes of a scalar's text, and the node that the text is
// when read as JSON.
type embedded struct {
	src  source
	done bool
	root *Node
	errs []Error
}

// LooksLikeJSON reports whether n is a text that begins like a JSON object or list.
func (n *Node) LooksLikeJSON() bool { return n.json != nil && beginsJSON(n.Text) }

func beginsJSON(s string) bool {
	s = strings.TrimLeft(s, " \t\r\n")
	return s != "" && (s[0] == '{' || s[0] == '[')
}

// JSON reads the text of a scalar as strict JSON, once. Positions count in the file around
// it.
func (n *Node) JSON(b *Budget) (*Node, []Error) {
	e := n.json
	if e == nil {
		return nil, []Error{{n.Pos(), "it does not begin like JSON"}}
	}
	if !e.done {
		e.done = true
		e.src.text = n.Text
		e.root, e.errs = read(&e.src, b, true)
	}
	return e.root, e.errs
}

// Read reads a file's bytes. A nil Node means that they cannot be read at all. Errors that
// come with a Node are about keys that stand in a mapping twice.
func Read(name string, data []byte, b *Budget) (*Node, []Error) {
	src, errs := take(name, data, b)
	if src == nil {
		return nil, errs
	}
	return read(src, b, false)
}

// take makes a source of a file's bytes, if they are text and within the budget.
func take(name string, data []byte, b *Budget) (*source, []Error) {
	src := &source{name: name, text: string(data)}
	if len(data) > b.bytes {
		return nil, []Error{{Pos{name, 1, 1}, fmt.Sprintf("larger than %d MB, the most that a configuration with all its files may have", MaxBytes>>20)}}
	}
	b.bytes -= len(data)
	if strings.HasPrefix(src.text, "\xff\xfe") || strings.HasPrefix(src.text, "\xfe\xff") {
		return nil, []Error{{Pos{name, 1, 1}, "this is UTF-16; save the file as UTF-8"}}
	}
	if i := badByte(src.text); i >= 0 {
		return nil, []Error{{src.pos(i), "not UTF-8 text: a byte that no character has, or a control character"}}
	}
	return src, nil
}

// badByte finds the first byte that may not stand in a text, or returns -1.
func badByte(s string) int {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if (c < ' ' && c != '\n' && c != '\t' && (c != '\r' || i+1 == len(s) || s[i+1] != '\n')) || c == 0x7f {
				return i
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

func read(src *source, b *Budget, json bool) (root *Node, errs []Error) {
	r := &reader{src: src, s: src.text, b: b, json: json, anchors: map[string]anchored{}}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case Error: // from reader.fail
			root, errs = nil, append(r.twice, e)
		default:
			panic(e)
		}
	}()
	return r.document(), r.twice
}
