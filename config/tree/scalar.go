package tree

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// plain reads the part of a plain scalar on one line.
func (r *reader) plain(flow bool) *Node {
	start := r.i
	next := byte(' ')
	if r.i+1 < len(r.s) {
		next = r.s[r.i+1]
	}
	switch c := r.peek(); {
	case r.eol():
		r.fail(start, "a value is missing here")
	case strings.IndexByte(",[]{}#&*!|>'\"%@`", c) >= 0:
		r.fail(start, "a text cannot begin with %q: put it in quotes", c)
	case strings.IndexByte("-?:", c) >= 0 && (isSpace(next) || flow && isFlow(next)):
		r.fail(start, "a value is missing here")
	}
	return r.scalar(start, r.plainLine(flow), true)
}

// plainLine steps over plain text up to the end of the line, ": ", " #", or in
// flow style one of ",[]{}", and returns it without the blanks behind it.
func (r *reader) plainLine(flow bool) string {
	start, end := r.i, r.i
	for ; !r.eol(); r.i++ {
		c := r.s[r.i]
		if isBlank(c) {
			continue
		}
		if flow && isFlow(c) || c == '#' && isBlank(r.s[max(r.i-1, start)]) {
			break
		}
		if c == ':' && (r.i+1 == len(r.s) || isSpace(r.s[r.i+1]) || flow && isFlow(r.s[r.i+1])) {
			break
		}
		end = r.i + 1
	}
	r.i = end
	return r.s[start:end]
}

// plainRest adds the further lines of a plain scalar, which are indented deeper than
// parent. A line break becomes a space; empty lines become breaks.
func (r *reader) plainRest(n *Node, parent int, flow bool) {
	var text []byte
	for {
		i, line := r.i, r.line
		breaks := r.breaks()
		if breaks == 0 || !r.continues(parent, flow) {
			r.i, r.line = i, line
			break
		}
		if text == nil {
			text = append(text, n.Text...)
		}
		text = fold(text, breaks)
		text = append(text, r.plainLine(flow)...)
	}
	if text != nil {
		n.Text = string(text)
	}
}

// breaks skips blanks and line ends and counts the latter.
func (r *reader) breaks() (n int) {
	for r.blanks(); r.i < len(r.s) && r.eol(); r.blanks() {
		r.newline()
		n++
	}
	return n
}

// continues reports whether the text here continues the plain scalar of the line before.
func (r *reader) continues(parent int, flow bool) bool {
	if r.i == len(r.s) || r.peek() == '#' || r.marker("---") || r.marker("...") {
		return false
	}
	if flow {
		return !isFlow(r.peek()) && !r.colon() && r.peek() != ':'
	}
	return r.i-r.line > parent
}

func fold(text []byte, breaks int) []byte {
	if breaks == 1 {
		return append(text, ' ')
	}
	for ; breaks > 1; breaks-- {
		text = append(text, '\n')
	}
	return text
}

// quoted reads a scalar in single or double quotes. In block style its further
// lines are indented deeper than parent.
func (r *reader) quoted(parent int) *Node {
	start, q := r.i, r.s[r.i]
	ends := "'\n"
	if q == '"' {
		ends = "\"\\\n"
	}
	if n := strings.IndexAny(r.s[start+1:], ends); n >= 0 && r.s[start+1+n] == q {
		end := start + 1 + n
		if q == '"' || !strings.HasPrefix(r.s[end:], "''") { // the usual case: nothing to decode
			r.i = end + 1
			n := r.scalar(start, r.s[start+1:end], false)
			r.embed(n, source{base: start + 1})
			return n
		}
	}
	t := text{r: r, parent: parent}
	for r.i++; ; {
		if r.i >= len(r.s) {
			r.fail(start, "the quote is never closed")
		}
		switch c := r.s[r.i]; {
		case c == '\'' && q == c && strings.HasPrefix(r.s[r.i:], "''"):
			t.put(c)
			r.i += 2
		case c == q:
			r.i++
			n := r.scalar(start, string(t.buf), false)
			r.embed(n, source{at: append(t.at, int32(r.i-1))})
			return n
		case c == '\\' && q == '"':
			t.escape()
		case r.eol():
			if r.json {
				r.fail(r.i, "a text in JSON cannot span lines")
			}
			t.newline(false)
		default:
			t.put(c)
			r.i++
		}
	}
}

// embed remembers where each byte of the text stands, if that looks like JSON or a request.
func (r *reader) embed(n *Node, src source) {
	if beginsJSON(n.Text) || IsRequest(n.Text) {
		src.outer = r.src
		n.json = &embedded{src: src}
	}
}

// text is a quoted scalar while it is decoded.
type text struct {
	r      *reader
	parent int
	buf    []byte
	at     []int32 // where each byte of buf stands
	keep   int     // no blank of buf before here is trimmed: it was written as an escape
}

func (t *text) put(bs ...byte) {
	for _, b := range bs {
		t.buf, t.at = append(t.buf, b), append(t.at, int32(t.r.i))
	}
}

// newline folds a line end with the blanks around it. An escaped line end becomes nothing.
func (t *text) newline(escaped bool) {
	r := t.r
	if !escaped {
		end := len(t.buf)
		for end > t.keep && isBlank(t.buf[end-1]) {
			end--
		}
		t.buf, t.at = t.buf[:end], t.at[:min(end, len(t.at))]
	}
	breaks := r.breaks()
	if r.i < len(r.s) {
		if r.marker("---") || r.marker("...") {
			r.fail(r.i, "the document ends inside quotes")
		}
		if r.i-r.line <= t.parent {
			r.fail(r.i, "a text in quotes goes on here and must be indented deeper than its key")
		}
	}
	if escaped && breaks == 1 {
		return
	}
	t.put(fold(nil, breaks)...)
	t.keep = len(t.buf)
}

var escapes = map[byte]string{
	'0': "\x00", 'a': "\a", 'b': "\b", 't': "\t", '\t': "\t", 'n': "\n", 'v': "\v", 'f': "\f", 'r': "\r", 'e': "\x1b",
	' ': " ", '"': "\"", '/': "/", '\\': "\\", 'N': "\u0085", '_': "\u00a0", 'L': "\u2028", 'P': "\u2029",
}

// escape decodes an escape sequence in double quotes.
func (t *text) escape() {
	r, start := t.r, t.r.i
	if start+1 >= len(r.s) {
		r.fail(start, "the text ends inside quotes")
	}
	c := r.s[start+1]
	if r.json && strings.IndexByte(`"\/bfnrtu`, c) < 0 {
		r.fail(start, "an escape that JSON does not have")
	}
	if c == '\n' || c == '\r' {
		r.i++
		t.newline(true)
		return
	}
	size := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
	if size == 0 {
		s, ok := escapes[c]
		if !ok {
			r.fail(start, "an unknown escape; write two backslashes for one")
		}
		t.put([]byte(s)...)
		r.i += 2
	} else {
		v := r.hex(start+2, size)
		n := 2 + size
		if c == 'u' && utf16.IsSurrogate(v) && strings.HasPrefix(r.s[start+n:], `\u`) {
			v = utf16.DecodeRune(v, r.hex(start+n+2, 4))
			n += 6
		}
		if !utf8.ValidRune(v) || v == utf8.RuneError {
			r.fail(start, "an escape that stands for no character")
		}
		t.put(utf8.AppendRune(nil, v)...)
		r.i += n
	}
	t.keep = len(t.buf)
}

func (r *reader) hex(i, n int) rune {
	if i+n > len(r.s) {
		r.fail(i, "the text ends inside an escape")
	}
	v, err := strconv.ParseUint(r.s[i:i+n], 16, 32)
	if err != nil || v > utf8.MaxRune {
		r.fail(i, "%d hexadecimal digits of a character are expected here", n)
	}
	return rune(v)
}
