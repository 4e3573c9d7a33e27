package tree

import "strings"

// block reads a block scalar: | keeps line breaks, > folds them. Its lines are
// indented deeper than parent.
func (r *reader) block(parent int) *Node {
	start := r.i
	folded := r.s[r.i] == '>'
	indent, chomp := 0, byte(0)
	for r.i++; !r.eol() && !isBlank(r.s[r.i]); r.i++ {
		switch c := r.s[r.i]; {
		case (c == '+' || c == '-') && chomp == 0:
			chomp = c
		case '1' <= c && c <= '9' && indent == 0:
			indent = max(parent, 0) + int(c-'0')
		default:
			r.fail(r.i, "not expected behind | or >")
		}
	}
	r.endOfLine()
	if r.i < len(r.s) {
		r.newline()
	}
	given := indent > 0
	if !given {
		indent = r.blockIndent(parent)
	}

	// A line keeps its text beyond indent. held counts the breaks since the last line with
	// text: the next line with text decides what becomes of them. ended says that the last
	// line with text has a line end.
	var out []byte
	var rows []row
	held, deep, any, ended := 0, false, false, false
	for r.i < len(r.s) {
		at := r.i + indent
		line := r.blockLine(indent)
		if line == nil {
			break
		}
		if *line == "" || !any && !given && strings.Trim(*line, " ") == "" {
			held++
			continue
		}
		nowDeep := isBlank((*line)[0])
		switch {
		case !any:
			out = append(out, strings.Repeat("\n", held)...)
		case folded && !deep && !nowDeep:
			out = fold(out, held)
		default:
			out = append(out, strings.Repeat("\n", held)...)
		}
		rows = append(rows, row{int32(len(out)), int32(at)})
		out = append(out, *line...)
		held, deep, any, ended = 1, nowDeep, true, r.s[r.i-1] == '\n'
	}
	switch {
	case chomp == '+':
		out = append(out, strings.Repeat("\n", held)...)
	case chomp == 0 && ended:
		out = append(out, '\n')
	}
	n := r.scalar(start, string(out), false)
	if rows != nil {
		r.embed(n, source{rows: rows})
	}
	return n
}

// blockIndent is the indentation of the first line that has text.
func (r *reader) blockIndent(parent int) int {
	for i, line := r.i, r.i; i < len(r.s); i++ {
		switch c := r.s[i]; c {
		case ' ':
		case '\n':
			line = i + 1
		case '\r':
		default:
			return max(i-line, parent+1, 0)
		}
	}
	return parent + 1
}

// blockLine reads one line of a block scalar, or returns nil at a line that is indented
// less. A line of blanks is empty.
func (r *reader) blockLine(indent int) *string {
	end := strings.IndexByte(r.s[r.i:], '\n')
	next := r.i + end + 1
	if end < 0 {
		next = len(r.s)
		end = next - r.i
	}
	line := strings.TrimSuffix(r.s[r.i:r.i+end], "\r")
	text := strings.TrimLeft(line, " ")
	var out string
	switch col := len(line) - len(text); {
	case text == "" && col <= indent:
	case col < indent, r.marker("---"), r.marker("..."):
		if text != "" && text[0] == '\t' {
			r.fail(r.i+col, "a tab cannot indent; use spaces")
		}
		return nil
	default:
		out = line[indent:]
	}
	r.i, r.line = next, next
	return &out
}
