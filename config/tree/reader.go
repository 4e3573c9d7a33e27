package tree

import (
	"fmt"
	"strings"
)

const bom = "\ufeff"

// reader walks over one text. Its methods are named for what they read: each begins at the
// first byte of its subject and ends behind the last. A syntax error ends the walk by a
// panic with an Error, which read turns into a result.
type reader struct {
	src  *source
	s    string
	i    int // the next byte
	line int // the offset where its line begins
	json bool
	b    *Budget

	depth   int
	anchors map[string]anchored
	twice   []Error // errors about keys that stand in their mapping twice
}

// anchored is a node with an anchor, and the number of nodes in it.
type anchored struct {
	node  *Node
	nodes int
}

func (r *reader) fail(off int, format string, args ...any) {
	panic(Error{r.src.pos(min(off, len(r.s))), fmt.Sprintf(format, args...)})
}

// document is the whole text: one node, perhaps between "---" and "...".
func (r *reader) document() *Node {
	if strings.HasPrefix(r.s, bom) {
		r.i, r.line = len(bom), len(bom)
	}
	if r.json {
		r.between()
		n := r.flowNode()
		r.between()
		if r.i < len(r.s) {
			r.fail(r.i, "text after the end of the JSON value")
		}
		return n
	}
	var n *Node
	switch {
	case r.content():
		if r.peek() == '%' {
			r.fail(r.i, "YAML directives are not read")
		}
		n = r.node(-1, false)
	case r.marker("---"):
		r.i += 3
		r.blanks()
		if r.restOfLine() {
			n = r.node(-1, true)
		} else if r.content() {
			n = r.node(-1, false)
		}
	}
	if n == nil {
		n = r.scalar(r.i, "", true)
	}
	if r.content() {
		r.fail(r.i, "unexpected text: is its indentation right?")
	}
	if r.marker("...") {
		r.i += 3
		r.endOfLine()
	}
	if r.content() || r.i < len(r.s) {
		r.fail(r.i, "a second document; only one is read")
	}
	return n
}

// node reads one node in block style. parent is the column of the collection
// it stands in. inline says that it follows a key on the same line, where no
// block collection can begin.
func (r *reader) node(parent int, inline bool) *Node {
	start, col := r.i, r.i-r.line
	switch c := r.peek(); {
	case c == '&':
		return r.anchor(parent, inline)
	case c == '*':
		n := r.alias()
		r.endOfLine()
		return n
	case c == '!':
		r.fail(start, "YAML tags (!) are not read; put the value in quotes if it is a text")
	case c == '|' || c == '>':
		return r.block(parent)
	case c == '[' || c == '{':
		n := r.flowNode()
		r.endOfLine()
		return n
	case r.indicator('-'):
		if inline {
			r.fail(start, "a list cannot begin on the line of its key")
		}
		return r.sequence(col)
	case r.indicator('?'):
		r.fail(start, "keys marked with ? are not read")
	}
	n := r.line1(parent)
	if r.colon() {
		if inline {
			r.fail(start, "a second key on the line: put it on a line of its own, or put the text in quotes")
		}
		return r.mapping(col, n)
	}
	if n.Plain {
		r.plainRest(n, parent, false)
	}
	r.endOfLine()
	return n
}

// line1 reads a scalar that may turn out to be a key: all of a quoted scalar, or the first
// line of a plain one.
func (r *reader) line1(parent int) *Node {
	line := r.line
	if c := r.peek(); c == '"' || c == '\'' {
		n := r.quoted(parent)
		if r.line != line && r.colon() {
			r.fail(int(n.off), "a key cannot span lines")
		}
		return n
	}
	return r.plain(false)
}

// mapping reads the rest of a block mapping, whose first key is key.
func (r *reader) mapping(col int, key *Node) *Node {
	m := r.collection(Map, int(key.off))
	seen := map[string]bool{}
	for {
		r.noTab(int(key.off))
		r.blanks()
		r.i++ // the colon
		r.pair(m, seen, key, r.value(col, int(key.off)))
		if !r.content() || r.i-r.line < col {
			break
		}
		if r.i-r.line > col {
			r.fail(r.i, "indented deeper than the key before it")
		}
		if r.indicator('-') || r.indicator('?') || strings.IndexByte("&*!|>[{", r.peek()) >= 0 {
			r.fail(r.i, "a key is missing here")
		}
		if key = r.line1(col); !r.colon() {
			r.fail(int(key.off), "not a key: a colon and a space are missing behind it")
		}
	}
	r.depth--
	return m
}

// pair adds a key with its value. A repeated key is an error, but reading goes on.
func (r *reader) pair(m *Node, seen map[string]bool, key, value *Node) {
	if seen[key.Text] {
		r.twice = append(r.twice, Error{key.Pos(), "this key stands in the mapping twice"})
		if len(r.twice) >= MaxMarks {
			r.fail(int(key.off), "too many keys that stand twice")
		}
		return
	}
	seen[key.Text] = true
	m.kids = append(m.kids, key, value)
}

// value reads what follows the colon of a key at column col.
func (r *reader) value(col, key int) *Node {
	r.blanks()
	if r.restOfLine() {
		return r.node(col, true)
	}
	if r.content() {
		switch d := r.i - r.line; {
		case d > col:
			return r.node(col, false)
		case d == col && r.indicator('-'):
			return r.sequence(col)
		}
	}
	return r.scalar(key, "", true)
}

// sequence reads a block list whose dashes stand in column col.
func (r *reader) sequence(col int) *Node {
	l := r.collection(List, r.i)
	for r.indicator('-') {
		dash := r.i
		r.noTab(dash)
		r.i++
		r.blanks()
		switch {
		case r.restOfLine(), r.content() && r.i-r.line > col:
			l.kids = append(l.kids, r.node(col, false))
		default:
			l.kids = append(l.kids, r.scalar(dash, "", true))
		}
		if !r.content() || r.i-r.line < col {
			break
		}
		if r.i-r.line > col {
			r.fail(r.i, "indented deeper than the list's dashes")
		}
	}
	r.depth--
	return l
}

// anchor reads "&name" with the node behind it.
func (r *reader) anchor(parent int, inline bool) *Node {
	name, before := r.mark(), r.b.nodes
	r.blanks()
	var n *Node
	switch {
	case r.restOfLine():
		n = r.node(parent, true)
	case r.content() && r.i-r.line > parent:
		n = r.node(parent, false)
	case inline && r.i < len(r.s) && r.i-r.line == parent && r.indicator('-'):
		n = r.sequence(parent)
	default:
		n = r.scalar(r.i, "", true)
	}
	r.anchors[name] = anchored{n, before - r.b.nodes}
	return n
}

// alias reads "*name".
func (r *reader) alias() *Node {
	start := r.i
	a, ok := r.anchors[r.mark()]
	if !ok {
		r.fail(start, "no anchor of this name stands before the alias")
	}
	if r.b.nodes -= a.nodes; r.b.nodes < 0 {
		r.fail(start, "the aliases stand for more than %d values", MaxNodes)
	}
	return a.node
}

// mark reads the name of an anchor or alias.
func (r *reader) mark() string {
	if r.b.marks--; r.b.marks < 0 {
		r.fail(r.i, "more than %d anchors and aliases", MaxMarks)
	}
	start := r.i + 1
	for r.i++; r.i < len(r.s) && !isSpace(r.s[r.i]) && !isFlow(r.s[r.i]); r.i++ {
	}
	if r.i == start {
		r.fail(start, "a name is missing behind & or *")
	}
	if c := r.s[start-1]; c == '&' {
		for j := r.i; j < len(r.s); j++ {
			if d := r.s[j]; d == '&' || d == '*' {
				r.fail(j, "an anchor names one value, and not an alias")
			} else if d != ' ' && d != '\t' {
				break
			}
		}
	}
	return r.s[start:r.i]
}

// collection begins a list or a map.
func (r *reader) collection(k Kind, off int) *Node {
	if r.depth++; r.depth > MaxDepth {
		r.fail(off, "nested deeper than %d", MaxDepth)
	}
	n := r.scalar(off, "", false)
	n.Kind = k
	return n
}

// noTab wants the block collection's entry at off to be indented by spaces only.
func (r *reader) noTab(off int) {
	if strings.IndexByte(r.s[r.line:off], '\t') >= 0 {
		r.fail(off, "a tab cannot indent; use spaces")
	}
}

func (r *reader) scalar(off int, text string, plain bool) *Node {
	if r.b.nodes--; r.b.nodes < 0 {
		r.fail(off, "more than %d values", MaxNodes)
	}
	return &Node{Plain: plain, Text: text, off: int32(off), src: r.src}
}

// content goes to the next byte that is neither space nor comment. It reports whether
// there is one before the document ends.
func (r *reader) content() bool {
	for {
		r.blanks()
		if r.restOfLine() {
			break
		}
		if r.i == len(r.s) {
			return false
		}
		r.newline()
	}
	return !r.marker("---") && !r.marker("...")
}

// restOfLine skips a comment and reports whether anything else is left on the line. The
// caller has skipped blanks.
func (r *reader) restOfLine() bool {
	if r.peek() == '#' && (r.i == r.line || isBlank(r.s[r.i-1])) {
		if r.json {
			r.fail(r.i, "JSON has no comments")
		}
		if n := strings.IndexByte(r.s[r.i:], '\n'); n >= 0 {
			r.i += n
		} else {
			r.i = len(r.s)
		}
	}
	return !r.eol()
}

// endOfLine wants nothing more on the line than a comment.
func (r *reader) endOfLine() {
	r.blanks()
	if r.restOfLine() {
		if r.peek() == ':' {
			r.fail(r.i, "a colon is not expected here: put a text that holds one in quotes, and check the indentation")
		}
		r.fail(r.i, "unexpected text behind a value")
	}
}

func (r *reader) blanks() {
	for r.i < len(r.s) && isBlank(r.s[r.i]) {
		r.i++
	}
}

// newline steps over a line's end.
func (r *reader) newline() {
	if strings.HasPrefix(r.s[r.i:], "\r\n") {
		r.i++
	}
	r.i++
	r.line = r.i
}

func (r *reader) peek() byte {
	if r.i < len(r.s) {
		return r.s[r.i]
	}
	return 0
}

// eol reports whether the line ends here.
func (r *reader) eol() bool {
	return r.i >= len(r.s) || r.s[r.i] == '\n' || r.s[r.i] == '\r'
}

// indicator reports whether c stands here with space behind it.
func (r *reader) indicator(c byte) bool {
	return r.peek() == c && (r.i+1 == len(r.s) || isSpace(r.s[r.i+1]))
}

// colon reports whether a colon follows that makes the scalar just read a key.
func (r *reader) colon() bool {
	i := r.i
	for i < len(r.s) && isBlank(r.s[i]) {
		i++
	}
	return i < len(r.s) && r.s[i] == ':' && (i+1 == len(r.s) || isSpace(r.s[i+1]))
}

// marker reports whether a document marker stands here.
func (r *reader) marker(m string) bool {
	return r.i == r.line && strings.HasPrefix(r.s[r.i:], m) && (r.i+3 == len(r.s) || isSpace(r.s[r.i+3]))
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
func isSpace(c byte) bool { return isBlank(c) || c == '\n' || c == '\r' }
func isFlow(c byte) bool  { return c == ',' || c == '[' || c == ']' || c == '{' || c == '}' }
