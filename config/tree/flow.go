package tree

import "strings"

// between skips whatever may stand between the parts of a flow collection.
func (r *reader) between() {
	for r.blanks(); !r.restOfLine() && r.i < len(r.s); r.blanks() {
		r.newline()
		if r.marker("---") || r.marker("...") {
			r.fail(r.i, "the document ends inside [ ] or { }")
		}
	}
}

// flowNode reads one node in flow style.
func (r *reader) flowNode() *Node {
	switch c := r.peek(); {
	case r.json && strings.IndexByte("&*!'", c) >= 0 && c != 0:
		r.fail(r.i, "not JSON")
	case c == '[':
		return r.flowList()
	case c == '{':
		return r.flowMap()
	case c == '"' || c == '\'':
		return r.quoted(-1)
	case c == '*':
		return r.alias()
	case c == '!':
		r.fail(r.i, "YAML tags (!) are not read; put the value in quotes if it is a text")
	case c == '&':
		name, before := r.mark(), r.b.nodes
		r.between()
		n := r.flowNode()
		r.anchors[name] = anchored{n, before - r.b.nodes}
		return n
	}
	return r.flowPlain()
}

func (r *reader) flowPlain() *Node {
	n := r.plain(true)
	if !r.json {
		r.plainRest(n, -1, true)
		return n
	}
	switch {
	case n.Text == "null", n.Text == "true", n.Text == "false", jsonNumber(n.Text):
		return n
	}
	r.fail(int(n.off), "not JSON: a text stands in double quotes")
	return nil
}

func (r *reader) flowList() *Node {
	start := r.i
	l := r.collection(List, start)
	for r.i++; ; r.i++ {
		r.between()
		if r.peek() == ']' && (!r.json || len(l.kids) == 0) {
			break
		}
		r.flowOpen(start)
		l.kids = append(l.kids, r.flowNode())
		r.between()
		if r.peek() == ']' {
			break
		}
		r.flowOpen(start)
		if r.peek() == ':' {
			r.fail(r.i, "a pair inside [ ]: put { } around it")
		}
		if r.peek() != ',' {
			r.fail(r.i, "a comma or ] is missing here")
		}
	}
	r.i++
	r.depth--
	return l
}

func (r *reader) flowMap() *Node {
	start := r.i
	m := r.collection(Map, start)
	seen := map[string]bool{}
	for r.i++; ; r.i++ {
		r.between()
		if r.peek() == '}' && (!r.json || len(m.kids) == 0) {
			break
		}
		r.flowOpen(start)
		key := r.flowKey()
		r.between()
		if r.peek() != ':' {
			r.flowOpen(start)
			r.fail(r.i, "a colon is missing behind the key (in { } a space must follow it)")
		}
		r.i++
		r.between()
		r.flowOpen(start)
		var value *Node
		if c := r.peek(); (c == ',' || c == '}') && !r.json {
			value = r.scalar(int(key.off), "", true)
		} else {
			value = r.flowNode()
		}
		r.pair(m, seen, key, value)
		r.between()
		if r.peek() == '}' {
			break
		}
		r.flowOpen(start)
		if r.peek() != ',' {
			r.fail(r.i, "a comma or } is missing here")
		}
	}
	r.i++
	r.depth--
	return m
}

func (r *reader) flowKey() *Node {
	switch c := r.peek(); {
	case c == '"', c == '\'' && !r.json:
		return r.quoted(-1)
	case r.json:
		r.fail(r.i, "not JSON: a key stands in double quotes")
	case r.indicator('?'), strings.IndexByte("&*![{", c) >= 0:
		r.fail(r.i, "a key is missing here")
	}
	n := r.plain(true)
	r.plainRest(n, -1, true)
	return n
}

// flowOpen fails when the text ends before the collection that began at start.
func (r *reader) flowOpen(start int) {
	if r.i >= len(r.s) {
		r.fail(start, "never closed")
	}
}

// jsonNumber reports whether s is a number as RFC 8259 section 6 writes it.
func jsonNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	whole, rest := digits(s)
	if whole == 0 || whole > 1 && s[0] == '0' {
		return false
	}
	if f, ok := strings.CutPrefix(rest, "."); ok {
		n, after := digits(f)
		if n == 0 {
			return false
		}
		rest = after
	}
	if rest != "" && (rest[0] == 'e' || rest[0] == 'E') {
		rest = strings.TrimLeft(rest[1:], "+-")
		n, after := digits(rest)
		return n > 0 && after == ""
	}
	return rest == ""
}

func digits(s string) (n int, rest string) {
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return n, s[n:]
}
