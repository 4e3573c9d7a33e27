package tree

import (
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// oracle returns the document as goccy/go-yaml reads it, in show's form. ok is
// false if goccy/go-yaml refuses it or this package cannot represent it.
func oracle(in string) (out string, ok bool) {
	f, err := parser.ParseBytes([]byte(in), 0)
	if err != nil || len(f.Docs) > 1 {
		return "", false
	}
	if len(f.Docs) == 0 || f.Docs[0].Body == nil {
		return "‹›", true
	}
	o := translator{anchors: map[string]*Node{}, ok: true}
	n := o.node(f.Docs[0].Body)
	if !o.ok {
		return "", false
	}
	return show(n), true
}

type translator struct {
	anchors map[string]*Node
	ok      bool
}

func (o *translator) node(n ast.Node) *Node {
	switch n := n.(type) {
	case *ast.MappingNode:
		m := &Node{Kind: Map}
		for _, v := range n.Values {
			m.kids = append(m.kids, &Node{Text: v.Key.GetToken().Value}, o.node(v.Value))
		}
		return m
	case *ast.SequenceNode:
		l := &Node{Kind: List}
		for _, v := range n.Values {
			l.kids = append(l.kids, o.node(v))
		}
		return l
	case *ast.AnchorNode:
		v := o.node(n.Value)
		o.anchors[n.Name.GetToken().Value] = v
		return v
	case *ast.AliasNode:
		if v := o.anchors[n.Value.GetToken().Value]; v != nil {
			return v
		}
	case *ast.StringNode:
		return &Node{Plain: n.Token.Type.String() == "String", Text: n.Value}
	case *ast.LiteralNode:
		return &Node{Text: n.Value.Value}
	case *ast.NullNode:
		if n.Token.Type.String() == "ImplicitNull" {
			return &Node{Plain: true}
		}
		return &Node{Plain: true, Text: n.Token.Value}
	case ast.ScalarNode:
		return &Node{Plain: true, Text: n.GetToken().Value}
	}
	o.ok = false
	return &Node{}
}

func TestAgreesWithGoccy(t *testing.T) {
	for _, tt := range readable {
		if knownToDiffer[tt.name] != "" {
			continue
		}
		if want, ok := oracle(tt.in); !ok || want != tt.want {
			t.Errorf("%s: %q\nwe    %s\ngoccy %s", tt.name, tt.in, tt.want, want)
		}
	}
}

// knownToDiffer says why goccy reads a text of ours in another way.
var knownToDiffer = map[string]string{
	"crlf":            "goccy folds \r\n in quotes as two line ends",
	"byte order mark": "goccy takes it for a part of the key",
}

// FuzzRead: no panic, no mapping with a key twice, and every place is in the text.
func FuzzRead(f *testing.F) {
	for _, tt := range readable {
		f.Add([]byte(tt.in))
	}
	for _, tt := range unreadable {
		f.Add([]byte(tt.in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		n, errs := Read("f", in, NewBudget())
		if n == nil && len(errs) == 0 {
			t.Fatal("neither a tree nor an error")
		}
		lines := strings.Count(string(in), "\n") + 1
		for _, e := range errs {
			if e.Line < 1 || e.Line > lines || e.Column < 1 || e.Column > len(in)+1 {
				t.Fatalf("an error at %d:%d of %d lines", e.Line, e.Column, lines)
			}
		}
		visits := 10_000
		walk(t, n, lines, &visits)
	})
}

func walk(t *testing.T, n *Node, lines int, visits *int) {
	if *visits--; n == nil || *visits < 0 {
		return
	}
	if p := n.Pos(); p.Line < 1 || p.Line > lines || p.Column < 1 {
		t.Fatalf("a node at %v of %d lines", p, lines)
	}
	if n.LooksLikeJSON() {
		inner, _ := n.JSON(NewBudget())
		walk(t, inner, lines, visits)
	}
	if n.Kind == Map {
		seen := map[string]bool{}
		for k := range n.Pairs() {
			if seen[k.Text] {
				t.Fatalf("key %q twice", k.Text)
			}
			seen[k.Text] = true
		}
	}
	for _, k := range n.kids {
		walk(t, k, lines, visits)
	}
}
