package tree

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of a query or form with flattened names, such as "Tags.1.Key".
const (
	maxParts = 16   // parts of a name
	maxIndex = 1000 // index in a list
	maxLines = 200  // header lines
)

// Request is the content of a text with an HTTP request or an answer.
type Request struct {
	Root    *Node   // the parameters in the query, the form or the JSON body; or a whole text that is no request
	Headers []*Node // the names of the header lines; their values are not read
}

// How a request or an answer begins, in lower case.
var requestStarts = []string{"post ", "get ", "put ", "http://", "https://", "http(s)://", "http/"}

// IsRequest reports whether a text is a request, in one of the forms that the clouds'
// pages and tools print: a URL with a query, a query or form, or a start line with header
// lines and JSON.
func IsRequest(s string) bool {
	return startsRequest(s) || strings.Contains(s, "Action=") || isForm(s) && strings.Contains(s, "&")
}

func startsRequest(s string) bool {
	s = strings.TrimLeft(s, " \t\r\n"+bom)
	for _, start := range requestStarts {
		if len(s) >= len(start) && strings.EqualFold(s[:len(start)], start) {
			return true
		}
	}
	return false
}

// isForm reports whether s begins with a name and an equals sign.
func isForm(s string) bool {
	s = strings.TrimLeft(s, " \t\r\n"+bom)
	end := strings.IndexFunc(s, func(r rune) bool { return !nameByte(r) && r != '.' })
	return end > 0 && s[end] == '='
}

func nameByte(r rune) bool {
	return 'a' <= r|0x20 && r|0x20 <= 'z' || '0' <= r && r <= '9' || r == '_' || r == '-'
}

// ReadBody reads a file that holds a request, an answer, or just YAML or JSON.
func ReadBody(name string, data []byte, b *Budget) (*Request, []Error) {
	src, errs := take(name, data, b)
	if src == nil {
		return nil, errs
	}
	if s := src.text; startsRequest(s) || isForm(s) && strings.Contains(s, "Action=") {
		return readRequest(src, b)
	}
	root, errs := read(src, b, false)
	return &Request{Root: root}, errs
}

// Request reads the text of a scalar as a request. Positions count in the file around it.
func (n *Node) Request(b *Budget) (*Request, []Error) {
	src := source{outer: n.src, base: int(n.off)}
	if n.json != nil {
		src = n.json.src
	} else if s := n.src.text[n.off:]; !strings.HasPrefix(s, n.Text) {
		src.at = []int32{n.off} // the scalar spans several lines
	}
	src.text = n.Text
	return readRequest(&src, b)
}

// request walks over one text.
type request struct {
	src  *source
	s    string
	i    int
	b    *Budget
	out  Request
	root branch
	errs []Error
	open bool // a brace that is never closed has been seen: don't look for the end of another
}

// branch is a parameter, or the parameters whose names begin alike.
type branch struct {
	off   int   // where it is named first
	value *Node // of a parameter
	names []string
	below map[string]*branch
}

func readRequest(src *source, b *Budget) (out *Request, errs []Error) {
	q := &request{src: src, s: src.text, b: b}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case Error: // from request.fail
			out, errs = nil, append(q.errs, e)
		default:
			panic(e)
		}
	}()
	q.read()
	return &q.out, q.errs
}

func (q *request) fail(off int, format string, args ...any) {
	panic(Error{q.src.pos(min(off, len(q.s))), fmt.Sprintf(format, args...)})
}

func (q *request) read() {
	q.i = len(q.s) - len(strings.TrimLeft(q.s, " \t\r\n"+bom))
	start := q.i
	switch {
	case !startsRequest(q.s):
		q.form(len(q.s))
	case strings.EqualFold(q.s[q.i:q.i+5], "http/"):
		q.line()
		q.headers()
	default:
		if !strings.EqualFold(q.s[q.i:q.i+4], "http") {
			q.word() // the method
			q.blanks()
		}
		q.target()
	}
	json := q.out.Root
	q.out.Root = q.tree(&q.root, start)
	if json != nil {
		if json.Kind == Map {
			json.kids = append(q.out.Root.kids, json.kids...)
		}
		q.out.Root = json
	}
}

// target reads a URL and what follows it: the rest of a query that spans several lines,
// or header lines and a body.
func (q *request) target() {
	start := q.i
	q.word()
	end := q.i
	query := strings.IndexByte(q.s[start:end], '?')
	q.space()
	if query >= 0 {
		q.i = start + query + 1
		if rest := strings.TrimLeft(q.s[end:], " \t\r\n"); rest == "" || rest[0] == '&' {
			end = len(q.s)
		}
		q.form(end)
		if q.i == len(q.s) {
			return
		}
		q.space()
	}
	if len(q.s)-q.i >= 5 && strings.EqualFold(q.s[q.i:q.i+5], "http/") {
		q.line()
	}
	q.headers()
}

// headers reads header lines up to an empty one or the body, and the body.
func (q *request) headers() {
	for n := 0; ; n++ {
		q.space() // empty lines too
		start := q.i
		switch {
		case start == len(q.s):
			return
		case n == maxLines:
			q.fail(start, "more than %d header lines", maxLines)
		case q.s[start] == '{', isForm(q.s[start:]):
			q.body()
			return
		case q.s[start] == '<':
			if strings.Contains(q.s[start:], "</") {
				q.fail(start, "XML is not read; give the answer in JSON")
			}
			q.line() // the pages print <Common request parameters> here
		default:
			n := strings.IndexFunc(q.s[start:], func(r rune) bool { return !nameByte(r) })
			if n <= 0 || q.s[start+n] != ':' {
				q.fail(start, "neither a header line, such as Host: vpc.aliyuncs.com, nor the body: JSON, or a form")
			}
			q.out.Headers = append(q.out.Headers, q.scalar(start, q.s[start:start+n]))
			q.line()
		}
	}
}

// body is JSON, or a form.
func (q *request) body() {
	if q.s[q.i] != '{' {
		q.form(len(q.s))
		return
	}
	src := &source{outer: q.src, base: q.i, text: q.s[q.i:]}
	root, errs := read(src, q.b, true)
	q.errs = append(q.errs, errs...)
	q.out.Root, q.i = root, len(q.s)
	if root == nil {
		panic(q.pop())
	}
}

// pop takes back the last error, to end with.
func (q *request) pop() Error {
	last := q.errs[len(q.errs)-1]
	q.errs = q.errs[:len(q.errs)-1]
	return last
}

// form reads name=value pairs with & between them, up to end. It skips space around them
// and text in <>, which the pages print.
func (q *request) form(end int) {
	for q.i < end {
		q.skip(end)
		if q.i == end {
			return
		}
		if q.s[q.i] == '<' {
			n := strings.IndexByte(q.s[q.i:end], '>')
			if n < 0 {
				q.fail(q.i, "a > is missing behind this <")
			}
			q.i += n + 1
			continue
		}
		q.pair(end)
	}
}

func (q *request) skip(end int) {
	for q.i < end && (isSpace(q.s[q.i]) || q.s[q.i] == '&') {
		q.i++
	}
}

func (q *request) pair(end int) {
	start := q.i
	n := strings.IndexAny(q.s[start:end], "=&")
	if n < 0 || q.s[start+n] == '&' {
		q.fail(start, "an equals sign is missing behind the parameter's name")
	}
	name, _ := q.decode(start, start+n)
	q.i = start + n + 1
	for q.i < end && isSpace(q.s[q.i]) {
		q.i++
	}
	from := q.i
	if from < end && (q.s[from] == '{' || q.s[from] == '[') {
		to := -1
		if !q.open {
			to = closing(q.s[:end], from)
			q.open = to < 0
		}
		if to > 0 { // JSON that is not encoded, though it should be
			q.i = to
			q.put(start, name, q.embedded(from, q.s[from:to], nil))
			if q.skipSpace(end); q.i < end && q.s[q.i] != '&' {
				q.fail(q.i, "unexpected text behind a value")
			}
			return
		}
	}
	n = strings.IndexByte(q.s[from:end], '&')
	if n < 0 {
		n = end - from
	}
	q.i = from + n
	to := from + len(strings.TrimRight(q.s[from:q.i], " \t\r\n"))
	text, at := q.decode(from, to)
	q.put(start, name, q.embedded(from, text, at))
}

func (q *request) skipSpace(end int) {
	for q.i < end && isSpace(q.s[q.i]) {
		q.i++
	}
}

// embedded is a scalar that may hold JSON.
func (q *request) embedded(off int, text string, at []int32) *Node {
	n := q.scalar(off, text)
	if beginsJSON(text) {
		n.json = &embedded{src: source{outer: q.src, base: off, at: at}}
	}
	return n
}

func (q *request) scalar(off int, text string) *Node {
	if q.b.nodes--; q.b.nodes < 0 {
		q.fail(off, "more than %d values", MaxNodes)
	}
	return &Node{Text: text, off: int32(off), src: q.src}
}

// closing is the offset behind the brace or bracket that closes the one at i, or -1.
func closing(s string, i int) int {
	depth, text := 0, false
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{', c == '[':
			depth++
		case c == '}', c == ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// decode undoes the encoding of URLs and forms between two offsets. It also returns where
// each byte of the result stands; nil: in a row.
func (q *request) decode(from, to int) (string, []int32) {
	s := q.s[from:to]
	if !strings.ContainsAny(s, "%+") {
		return s, nil
	}
	var out []byte
	var at []int32
	for i := 0; i < len(s); i++ {
		c := s[i]
		at = append(at, int32(from+i))
		switch c {
		case '+':
			c = ' '
		case '%':
			if i+2 >= len(s) {
				q.fail(from+i, "two hexadecimal digits are missing behind %%")
			}
			v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				q.fail(from+i, "two hexadecimal digits are missing behind %%")
			}
			c = byte(v)
			i += 2
		}
		out = append(out, c)
	}
	if i := badByte(string(out)); i >= 0 {
		q.fail(int(at[i]), "it stands for a byte that no character has, or a control character")
	}
	return string(out), append(at, int32(to))
}

// put stores a value at the place that its flattened name gives.
func (q *request) put(off int, name string, v *Node) {
	parts := strings.SplitN(name, ".", maxParts+1)
	if len(parts) > maxParts {
		q.fail(off, "a name of more than %d parts", maxParts)
	}
	b := &q.root
	for _, p := range parts {
		if p == "" || !utf8.ValidString(p) {
			q.fail(off, "not the name of a parameter")
		}
		next := b.below[p]
		if next == nil {
			next = &branch{off: off}
			if b.below == nil {
				b.below = map[string]*branch{}
			}
			b.below[p] = next
			b.names = append(b.names, p)
		}
		b = next
	}
	if b.value != nil || b.below != nil {
		q.twice(off)
		return
	}
	b.value = v
}

func (q *request) twice(off int) {
	q.errs = append(q.errs, Error{q.src.pos(off), "this parameter stands in the request twice"})
	if len(q.errs) >= MaxMarks {
		panic(q.pop())
	}
}

// tree is the node of a branch.
func (q *request) tree(b *branch, off int) *Node {
	if b.below == nil && b.value != nil {
		return b.value
	}
	if b.value != nil {
		q.twice(b.off)
	}
	n := q.scalar(off, "")
	if len(b.names) > 0 && !slices.ContainsFunc(b.names, func(s string) bool { return s[0] < '0' || s[0] > '9' }) && b != &q.root {
		n.Kind = List
		q.list(n, b)
		return n
	}
	n.Kind = Map
	for _, name := range b.names {
		below := b.below[name]
		n.kids = append(n.kids, q.scalar(below.off, name), q.tree(below, below.off))
	}
	return n
}

// list makes the entries of a list, which count from 1, or from 0 as Tencent's older forms do.
func (q *request) list(n *Node, b *branch) {
	first := 1
	if b.below["0"] != nil {
		first = 0
	}
	for i := range b.names {
		below := b.below[strconv.Itoa(i+first)]
		if below == nil || i >= maxIndex {
			q.fail(b.off, "the entries of a list are counted 1, 2, 3, or 0, 1, 2, up to %d at most; number %d is missing, or there are more", maxIndex, i+first)
		}
		n.kids = append(n.kids, q.tree(below, below.off))
	}
}

func (q *request) word() {
	for q.i < len(q.s) && !isSpace(q.s[q.i]) {
		q.i++
	}
}

func (q *request) blanks() {
	for q.i < len(q.s) && isBlank(q.s[q.i]) {
		q.i++
	}
}

func (q *request) space() { q.skipSpace(len(q.s)) }

// line goes to the beginning of the next line.
func (q *request) line() {
	if n := strings.IndexByte(q.s[q.i:], '\n'); n >= 0 {
		q.i += n + 1
	} else {
		q.i = len(q.s)
	}
}
