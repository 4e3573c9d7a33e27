package dialect

import (
	"slices"
	"strings"

	"vpngw/config/tree"
)

// Request is a connection's body in each form in which people have it: a mapping; a
// text with the whole request or answer; or the name of a file with one of these.
type Request struct{ *Dialect }

func (t Request) Table() *Object { return t.Body }

func (Request) Hides() bool { return true }

func (t Request) Read(c *Check, v *Value) {
	if v.Node.Kind == tree.Scalar && !t.text(c, v) {
		return
	}
	v.loose = v.loose || t.Body.Loose
	if t.Other != nil && v.Node.Kind == tree.Map {
		if what := t.Other(v.Node); what != "" {
			c.Fail(v, Unsupported, "%s", what)
			return
		}
	}
	if what := ForeignKeys(v.Node); what != "" {
		c.Fail(v, WrongType, "%s", what)
		return
	}
	bodies := t.peel(c, v)
	if len(bodies) == 1 {
		v.Node, v.at = bodies[0], bodies[0]
		t.one(c, v)
		return
	}
	var items []*Value
	for i, n := range bodies {
		if c.Full() {
			return
		}
		item := v.part(v.Row, "", i, n)
		t.one(c, item)
		items = append(items, item)
	}
	if items != nil {
		v.Set(items)
	}
}

// one reads one body.
func (t Request) one(c *Check, v *Value) {
	if c.unwrap(v, tree.Map) && !t.receipt(c, v) {
		t.Body.Read(c, v)
	}
}

// text replaces v's text by the parameters that it holds, or that the file it names holds.
func (t Request) text(c *Check, v *Value) bool {
	if what := Foreign(v.Node.Text); what != "" {
		c.Fail(v, WrongType, "%s", what)
		return false
	}
	if v.Node.LooksLikeJSON() {
		return c.embedded(v)
	}
	s, ok := c.scalar(v, "a mapping, a request, or the name of a file that holds one,")
	if !ok {
		return false
	}
	var r *tree.Request
	var errs []tree.Error
	var key any = v.Node
	switch {
	case strings.HasPrefix(strings.TrimSpace(s), "<"):
		c.Fail(v, WrongType, "XML is not read; give the parameters as a mapping or as JSON")
		return false
	case tree.IsRequest(s):
		r, errs = v.Node.Request(c.Budget)
	case strings.ContainsAny(s, "{}=&\"\n") || strings.Contains(s, "://") || len(s) > 4096:
		c.Fail(v, WrongType, "this is neither a request (it would begin with { or POST or http, or hold Action=) nor the name of a file")
		return false
	default:
		var err error
		if r, errs, err = c.Open(s); err != nil {
			c.FailFile(v, s, err)
			return false
		}
		key = s
	}
	if !c.reported[key] {
		c.reported[key] = true
		c.Syntax(v.Path(), errs)
	}
	if r == nil || r.Root == nil {
		return false
	}
	v.Node, v.at = r.Root, r.Root
	if r.Root.Kind == tree.Scalar && strings.HasPrefix(r.Root.Text, "<") {
		c.Fail(v, WrongType, "XML is not read; give the parameters as a mapping or as JSON")
		return false
	}
	for _, h := range r.Headers {
		v.noteUnused(h)
		if !t.Body.unusedName(h.Text) && !matches(httpHeaders, h.Text) {
			c.Warn(&Value{Row: v.Row, up: v, key: "header " + keyName(h), at: h}, NoEffect, "this header line has no meaning here")
		}
	}
	return true
}

// httpHeaders are header lines that any request or answer can have.
var httpHeaders = []string{
	"Accept*", "Authorization", "Connection", "Content-*", "Date", "Host", "Server", "User-Agent", "Cache-Control", "Transfer-Encoding", "Vary",
	"X-Request-Id", "X-Acs-*", "X-Auth-Token", "X-Sdk-*", "X-Project-Id", "X-Domain-Id", "X-Language", "X-TC-*", "Access-Control-*", "Keep-Alive",
}

// peel takes off the wrappers that the API puts around a body, layer by layer, and returns the bodies.
func (t Request) peel(c *Check, v *Value) []*tree.Node {
	v.answer = v.answer || t.answers(v.Node)
	for range 4 {
		if v.loose && v.Node.LooksLikeJSON() && !c.embedded(v) {
			return nil
		}
		if list := v.Node; list.Kind == tree.List && v.loose && list.Len() > 0 {
			return list.Items()
		}
		if !c.unwrap(v, tree.Map) {
			return nil
		}
		name, inner := t.wrapped(v.Node)
		if inner == nil {
			return []*tree.Node{v.Node}
		}
		for key := range v.Node.Pairs() {
			switch {
			case strings.EqualFold(key.Text, name):
			case t.Body.unusedName(key.Text):
				v.noteUnused(key)
			default:
				t.Body.unknown(c, v, key)
			}
		}
		v.Node, v.at = inner, inner
		if t.Turn != nil && name == t.Turned && inner.Kind == tree.Map {
			return []*tree.Node{t.Turn(inner)}
		}
		if inner.Kind == tree.List && inner.Len() == 0 {
			c.Fail(v, WrongType, "%s holds 0 connections", name)
			return nil
		}
	}
	return []*tree.Node{v.Node}
}

// answers reports whether what stands in the wrappers is an answer of the API.
func (t Request) answers(n *tree.Node) bool {
	members := t.Members(n)
	return t.Body.Answer != "" && len(members) > 0 && !slices.ContainsFunc(members, func(m *tree.Node) bool {
		return m.Kind != tree.Map || Member(m, t.Body.Answer) == ""
	})
}

// wrapped is the wrapper in a mapping and the node that it holds.
func (t Request) wrapped(n *tree.Node) (string, *tree.Node) {
	for key, inner := range n.Pairs() {
		if i := slices.IndexFunc(t.Wrappers, func(w string) bool { return strings.EqualFold(w, key.Text) }); i >= 0 {
			return t.Wrappers[i], inner
		}
	}
	return "", nil
}

// receipt refuses an answer that tells no more of the connection than that it was created.
func (t Request) receipt(c *Check, v *Value) bool {
	if len(t.Receipt) == 0 || v.Node.Len() == 0 {
		return false
	}
	answer := false
	for key := range v.Node.Pairs() {
		if !slices.Contains(t.Receipt, key.Text) {
			return false
		}
		answer = answer || key.Text == t.Body.Answer
	}
	if answer {
		c.Fail(v, Missing, "this answer to a create request says nothing of the connection; use %s", t.Tells)
	}
	return answer
}

// matches reports whether name is among names, in any case. "X-*" is every name that
// begins with "X-".
func matches(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		if start, ok := strings.CutSuffix(n, "*"); ok {
			return len(name) >= len(start) && strings.EqualFold(name[:len(start)], start)
		}
		return strings.EqualFold(n, name)
	})
}

// unusedName reports whether a key is accepted and has no meaning here.
func (o *Object) unusedName(key string) bool { return matches(o.Unused, key) }

// Unused are the keys in v and its parts that were accepted and have no meaning here.
// Their values are not read.
func (v *Value) Unused() []string {
	out := slices.Clone(v.oddly().unused)
	for _, f := range get[fields](v) {
		if f != nil {
			out = append(out, f.Unused()...)
		}
	}
	for _, item := range v.Items() {
		out = append(out, item.Unused()...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Bodies are the bodies that v, a Request, holds: v itself, or its items.
func (v *Value) Bodies() []*Value {
	if items := v.Items(); items != nil {
		return items
	}
	return []*Value{v}
}

// Around are the keys around the bodies in v, where it holds several, that have no meaning here, and the paths of those
// that no table has.
func (v *Value) Around() (unused, newer []string) {
	if v.Items() == nil {
		return nil, nil
	}
	return slices.Clone(v.oddly().unused), slices.Clone(v.oddly().newer)
}

// Newer are the paths of the members in v and its parts that an answer has and no table: the API has got them since.
func (v *Value) Newer() []string {
	out := slices.Clone(v.oddly().newer)
	for _, f := range get[fields](v) {
		if f != nil {
			out = append(out, f.Newer()...)
		}
	}
	for _, item := range v.Items() {
		out = append(out, item.Newer()...)
	}
	return out
}

// Answer reports whether v is an answer of the API, or a part of one.
func (v *Value) Answer() bool { return v.answer }
