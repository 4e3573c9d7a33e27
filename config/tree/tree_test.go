package tree

import (
	"fmt"
	"strings"
	"testing"
)

// show prints a tree on one line: scalars as ‹plain› or "quoted".
func show(n *Node) string {
	switch {
	case n == nil:
		return "(nothing)"
	case n.Kind == Scalar && n.Plain:
		return "‹" + n.Text + "›"
	case n.Kind == Scalar:
		return fmt.Sprintf("%q", n.Text)
	}
	var parts []string
	if n.Kind == List {
		for _, item := range n.Items() {
			parts = append(parts, show(item))
		}
		return "[" + strings.Join(parts, " ") + "]"
	}
	for k, v := range n.Pairs() {
		parts = append(parts, k.Text+": "+show(v))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

var readable = []struct{ name, in, want string }{
	{"empty", "", "‹›"},
	{"comments only", "# nothing\n\n  # here\n", "‹›"},
	{"scalar", "a b  # c", "‹a b›"},
	{"mapping", "a: 1\nb: x y\n'c d': \"e\"\n", `{a: ‹1›, b: ‹x y›, c d: "e"}`},
	{"nested", "a:\n  b:\n    c: 1\n  d: 2\ne: 3\n", "{a: {b: {c: ‹1›}, d: ‹2›}, e: ‹3›}"},
	{"empty values", "a:\nb: # c\nc: ~\n", "{a: ‹›, b: ‹›, c: ‹~›}"},
	{"list", "- a\n- 'b'\n-\n- c: 1\n  d: 2\n- - x\n  - y\n", `[‹a› "b" ‹› {c: ‹1›, d: ‹2›} [‹x› ‹y›]]`},
	{"list at its key's column", "a:\n- 1\n- 2\nb: 3\n", "{a: [‹1› ‹2›], b: ‹3›}"},
	{"list in list on lines", "-\n  - 1\n  - 2\n- 3", "[[‹1› ‹2›] ‹3›]"},
	{"flow", "a: {b: [1, 'x', \"y\", ], c: {}, d: []}\n", `{a: {b: [‹1› "x" "y"], c: {}, d: []}}`},
	{"flow over lines", "a: {b: 1, # one\n  c: [2,\n3]\n}\nd: 4", "{a: {b: ‹1›, c: [‹2› ‹3›]}, d: ‹4›}"},
	{"json", `{"a":1,"b":[true,null,"\u0041\n\/"],"c":{"d":-1.5e3}}`, `{a: ‹1›, b: [‹true› ‹null› "A\n/"], c: {d: ‹-1.5e3›}}`},
	{"json with tabs", "{\n\t\"a\": 1,\n\t\"b\": [\n\t\t2\n\t]\n}\n", "{a: ‹1›, b: [‹2›]}"},
	{"surrogates", `"\ud83d\ude00"`, `"😀"`},
	{"addresses", "[10.0.0.0/8, 2001:db8::/32, ::1, fe80::1]", "[‹10.0.0.0/8› ‹2001:db8::/32› ‹::1› ‹fe80::1›]"},
	{"url and time", "a: http://x/y?z=1&w#f\nb: 12:30", "{a: ‹http://x/y?z=1&w#f›, b: ‹12:30›}"},
	{"plain over lines", "a: b\n  c\n\n  d\ne: f", "{a: ‹b c\nd›, e: ‹f›}"},
	{"quotes over lines", "a: \"b \\\n  c\n\n  d\\n \"\nb: 'it''s\n  so'", "{a: \"b c\\nd\\n \", b: \"it's so\"}"},
	{"literal", "a: |\n  b\n   c\n\n  d\n\n\nb: |-\n  x\nc: |+\n  y\n\nd: 1", "{a: \"b\\n c\\n\\nd\\n\", b: \"x\", c: \"y\\n\\n\", d: ‹1›}"},
	{"folded", "a: >\n  b\n  c\n\n  d\n    e\n  f\n", "{a: \"b c\\nd\\n  e\\nf\\n\"}"},
	{"literal with indent", "a: |2\n    b\n   c\n", "{a: \"  b\\n c\\n\"}"},
	{"literal with indent and blank lines", "a: |2\n   \n   b\n", "{a: \" \\n b\\n\"}"},
	{"literal before blanks at the end", "a: |\n  b\n  ", "{a: \"b\\n\"}"},
	{"literal in a list", "- |\n b\n- c", "[\"b\\n\" ‹c›]"},
	{"anchors", "a: &x {b: 1}\nc: *x\nd: &y\n  e: *x\nf: [*y, &z 1, *z]", "{a: {b: ‹1›}, c: {b: ‹1›}, d: {e: {b: ‹1›}}, f: [{e: {b: ‹1›}} ‹1› ‹1›]}"},
	{"one document", "---\na: 1\n...\n", "{a: ‹1›}"},
	{"document on the marker's line", "--- {a: 1}\n", "{a: ‹1›}"},
	{"crlf", "a: 1\r\nb:\r\n  - 'x\r\n    y'\r\nc: |\r\n  z\r\n", "{a: ‹1›, b: [\"x y\"], c: \"z\\n\"}"},
	{"byte order mark", bom + "a: 1", "{a: ‹1›}"},
	{"quotes inside plain", "a: it's \"so\"\nb: a[b]{c}", "{a: ‹it's \"so\"›, b: ‹a[b]{c}›}"},
	{"hash inside plain", "a: b#c\nb: \"x\" # y", "{a: ‹b#c›, b: \"x\"}"},
	{"dash inside plain", "a: -b\n-c: d", "{a: ‹-b›, -c: ‹d›}"},
}

func TestReadsTheYAMLThatPeopleWrite(t *testing.T) {
	for _, tt := range readable {
		t.Run(tt.name, func(t *testing.T) {
			n, errs := Read("f", []byte(tt.in), NewBudget())
			if errs != nil {
				t.Fatal(errs)
			}
			if got := show(n); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

var unreadable = []struct{ name, in, at, why string }{
	{"tag", "a: !!str b", "1:4", "tags"},
	{"directive", "%YAML 1.2\n---\na: 1", "1:1", "directives"},
	{"two documents", "a: 1\n---\nb: 2", "2:1", "second document"},
	{"complex key", "? a\n: b", "1:1", "?"},
	{"unknown alias", "a: *x", "1:4", "no anchor"},
	{"alias of itself", "a: &x [*x]", "1:8", "no anchor"},
	{"anchor of an alias", "a: &x 1\nb: &y *x", "2:7", "an anchor names"},
	{"deeper key", "a: 1\n  b: 2", "2:4", "colon"},
	{"deeper key behind a mapping", "a:\n  b: 1\n    c: 2", "3:6", "colon"},
	{"shallower key", "a:\n    b: 1\n  c: 2", "3:3", "indented deeper"},
	{"no colon", "a: 1\nb\nc: 2", "2:1", "colon"},
	{"two keys on a line", "a: b: c", "1:4", "second key"},
	{"list on the key's line", "a: - b", "1:4", "list"},
	{"tab", "a:\n\tb: 1", "2:2", "tab"},
	{"open quote", "a: 'b\n", "1:4", "never closed"},
	{"open list", "a: [b,\n", "1:4", "never closed"},
	{"open map", "{a: {b: c}", "1:1", "never closed"},
	{"no space behind colon", "{a:b}", "1:5", "colon is missing"},
	{"pair in list", "[a: b]", "1:3", "{ }"},
	{"text behind value", "a: 'b' c", "1:8", "unexpected"},
	{"closed too often", "a: [b]]", "1:7", "unexpected"},
	{"reserved character", "a: @b", "1:4", "quotes"},
	{"escape", `a: "\q"`, "1:5", "escape"},
	{"half a surrogate", `a: "\ud800"`, "1:5", "no character"},
	{"not UTF-8", "a: b\nc: \xff", "2:4", "UTF-8"},
	{"control character", "a: b\x00", "1:5", "UTF-8"},
	{"columns are characters", "ä: [ö: ü]", "1:6", "{ }"},
	{"markers inside a list", "[a,\n---\n]", "2:1", "document ends"},
}

func TestRefusesTheRestWithItsPlace(t *testing.T) {
	for _, tt := range unreadable {
		t.Run(tt.name, func(t *testing.T) {
			n, errs := Read("f", []byte(tt.in), NewBudget())
			if n != nil || len(errs) == 0 {
				t.Fatalf("read as %s", show(n))
			}
			e := errs[len(errs)-1]
			if at := fmt.Sprintf("%d:%d", e.Line, e.Column); at != tt.at || !strings.Contains(e.Msg, tt.why) {
				t.Errorf("got %s %q, want %s …%s…", at, e.Msg, tt.at, tt.why)
			}
		})
	}
}

func TestKeyThatStandsTwiceIsAnErrorAndTheFirstHolds(t *testing.T) {
	n, errs := Read("f", []byte("a: 1\nb: {c: 1, c: 2}\na: 3\n"), NewBudget())
	if got, want := show(n), "{a: ‹1›, b: {c: ‹1›}}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if len(errs) != 2 || errs[0].Line != 2 || errs[0].Column != 11 || errs[1].Line != 3 {
		t.Errorf("got %v", errs)
	}
}

func TestJSONInAStringKnowsItsPlaceInTheFile(t *testing.T) {
	for _, tt := range []struct{ name, in, at string }{
		{"single quotes", "a: '{\"x\": 1, \"y\": 2}'", "1:19"},
		{"single quotes, doubled", "a: '{\"x\": \"it''s\", \"y\": 2}'", "1:25"},
		{"double quotes", `a: "{\"x\": 1, \"y\": 2}"`, "1:23"},
		{"over lines", "a: \"{\\\"x\\\": 1,\n  \\\"y\\\": 2}\"", "2:10"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, errs := Read("f", []byte(tt.in), NewBudget())
			if errs != nil {
				t.Fatal(errs)
			}
			inner, errs := n.Items()[1].JSON(NewBudget())
			if errs != nil {
				t.Fatal(errs)
			}
			p := inner.Items()[3].Pos()
			if at := fmt.Sprintf("%d:%d", p.Line, p.Column); at != tt.at || p.File != "f" {
				t.Errorf("got %v, want %s", p, tt.at)
			}
		})
	}
}

func TestJSONInAStringIsStrict(t *testing.T) {
	for _, in := range []string{
		`{a: 1}`, `{"a": b}`, `{'a': 1}`, `{"a": 1,}`, `[1,]`, `{"a": 01}`, `{"a": .5}`, `{"a": 1.}`, `{"a": +1}`, `{"a": 1e}`,
		`{"a": 1} x`, `{"a": 1 # c`, `{"a": True}`, `{"a": &x 1}`, `{"a"}`, `{"a": "\x41"}`, `{"a":}`, `{"a": 1`, `[`,
	} {
		n, errs := Read("f", []byte("'"+strings.ReplaceAll(in, "'", "''")+"'"), NewBudget())
		if errs != nil {
			t.Fatal(errs)
		}
		if inner, errs := n.JSON(NewBudget()); inner != nil || errs == nil {
			t.Errorf("%s was read as %s", in, show(inner))
		}
	}
}
