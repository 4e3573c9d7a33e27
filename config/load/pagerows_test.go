package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"vpngw/config/dialect"
	"vpngw/config/tree"
	"vpngw/diag"
)

// rowsFile is a file of testdata/rows: the values that the rows of a cloud's pages take
// and refuse. alibaba.yaml there explains the form.
type rowsFile struct {
	Gateways string           `json:"gateways"`
	Beside   string           `json:"beside"` // every body
	Bases    map[string]*base `json:"bases"`
	Rows     []yamlRow        `json:"rows"`
}

// base is a valid body. The parts keep their order.
type base struct{ json.RawMessage }

type yamlRow struct {
	Row     string           `json:"row"`
	In      string           `json:"in"` // the base; single by default
	With    map[string]any   `json:"with"`
	Good    []any            `json:"good"`
	Warn    map[string][]any `json:"warn"`
	Refused map[string][]any `json:"refused"`
	Bad     map[string][]any `json:"bad"`
	Default *any             `json:"default"`
}

// accepted are all values that load.
func (r *yamlRow) accepted() []any {
	out := slices.Clone(r.Good)
	for _, more := range []map[string][]any{r.Warn, r.Refused} {
		for _, vs := range more {
			out = append(out, vs...)
		}
	}
	return out
}

// rowsFiles are those of testdata/rows by the name of their dialect.
func rowsFiles(t testing.TB) map[string]*rowsFile {
	t.Helper()
	paths, err := filepath.Glob("testdata/rows/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	out := map[string]*rowsFile{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		root, errs := tree.Read(path, data, tree.NewBudget())
		if root == nil || len(errs) > 0 {
			t.Fatal(errs)
		}
		text, err := json.Marshal(plainValue(root))
		if err != nil {
			t.Fatal(err)
		}
		f := &rowsFile{}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		d.UseNumber()
		if err := d.Decode(f); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		out[strings.TrimSuffix(filepath.Base(path), ".yaml")] = f
	}
	return out
}

// plainValue is a node for encoding/json. {repeat: a, times: 3} is aaa, and {list: x, times: 3} a list
// of three x, of which a text Key gets a number.
func plainValue(n *tree.Node) any {
	switch n.Kind {
	case tree.List:
		out := []any{}
		for _, item := range n.Items() {
			out = append(out, plainValue(item))
		}
		return out
	case tree.Map:
		out := map[string]any{}
		for k, v := range n.Pairs() {
			out[k.Text] = plainValue(v)
		}
		times, _ := strconv.Atoi(fmt.Sprint(out["times"]))
		if s, ok := out["repeat"].(string); ok {
			return strings.Repeat(s, times)
		}
		if of, ok := out["count"]; ok {
			list := []any{}
			for i := range times {
				list = append(list, numbered(of, i))
			}
			return list
		}
		if of, ok := out["list"].(map[string]any); ok {
			list := []any{}
			for i := range times {
				item := map[string]any{}
				for k, v := range of {
					if item[k] = v; strings.EqualFold(k, "key") {
						item[k] = fmt.Sprint(v, i)
					}
				}
				list = append(list, item)
			}
			return list
		}
		return out
	}
	switch {
	case n.IsNull():
		return nil
	case n.Plain && (n.Text == "true" || n.Text == "false"):
		return n.Text == "true"
	case n.Plain && regexp.MustCompile(`^-?[0-9]+$`).MatchString(n.Text):
		return json.Number(n.Text)
	}
	return n.Text
}

// numbered is v with n for every %d in it.
func numbered(v any, n int) any {
	switch v := v.(type) {
	case string:
		return strings.ReplaceAll(v, "%d", fmt.Sprint(n))
	case []any:
		out := []any{}
		for _, item := range v {
			out = append(out, numbered(item, n))
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, item := range v {
			out[k] = numbered(item, n)
		}
		return out
	}
	return v
}

// body is a base with some parameters changed; nil takes one out. "Tags.0.Key" is a part of an
// entry of a list.
func (f *rowsFile) body(t testing.TB, in string, changes ...map[string]any) map[string]any {
	t.Helper()
	b := f.Bases[in]
	if b == nil {
		t.Fatalf("there is no base %q", in)
	}
	var out map[string]any
	d := json.NewDecoder(bytes.NewReader(b.RawMessage))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		for path, v := range c {
			change(out, strings.Split(path, "."), v)
		}
	}
	return out
}

func change(m map[string]any, path []string, v any) {
	name := path[0]
	if len(path) == 1 {
		if m[name] = v; v == nil {
			delete(m, name)
		}
		return
	}
	if i, err := strconv.Atoi(path[1]); err == nil {
		list, _ := m[name].([]any)
		for len(list) <= i {
			list = append(list, map[string]any{})
		}
		m[name] = list
		if len(path) == 2 {
			list[i] = v
			return
		}
		if inner, ok := list[i].(map[string]any); ok {
			change(inner, path[2:], v)
		}
		return
	}
	inner, ok := m[name].(map[string]any)
	if !ok {
		inner = map[string]any{}
		m[name] = inner
	}
	change(inner, path[1:], v)
}

func (f *rowsFile) file(t testing.TB, dialectName string, body any, beside string) []byte {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, "version: 1\n%sconnections:\n  - %s: %s\n    %s\n", f.Gateways, dialectName, text, beside)
}

// Each row of the pages' tables takes its values up to the bounds, refuses values just
// outside with their code, and means the default when it is absent.
func TestRows(t *testing.T) {
	for name, f := range rowsFiles(t) {
		for _, r := range f.Rows {
			t.Run(name+"/"+r.Row, func(t *testing.T) { f.testRow(t, name, r) })
		}
	}
}

func (f *rowsFile) testRow(t *testing.T, dialectName string, r yamlRow) {
	in := r.In
	if in == "" {
		in = "single"
	}
	load := func(v any) (*Result, diag.Problems) {
		return parseText(nil, "f", f.file(t, dialectName, f.body(t, in, r.With, map[string]any{r.Row: v}), f.Beside))
	}
	has := func(ps diag.Problems, code string, is func(diag.Problem) bool) bool {
		return slices.ContainsFunc(ps, func(p diag.Problem) bool { return p.Code == code && is(p) })
	}
	for _, v := range r.Good {
		if c, ps := load(v); c == nil {
			t.Errorf("%.80v was refused:\n%s", v, lines(ps))
		}
	}
	for _, group := range []struct {
		values map[string][]any
		loads  bool
		is     func(diag.Problem) bool
	}{
		{r.Warn, true, func(p diag.Problem) bool { return p.Severity == diag.Warning && !p.Refused }},
		{r.Refused, true, func(p diag.Problem) bool { return p.Severity == diag.Warning && p.Refused }},
		{r.Bad, false, func(p diag.Problem) bool { return p.Severity == diag.Error }},
	} {
		for code, values := range group.values {
			for _, v := range values {
				if c, ps := load(v); (c != nil) != group.loads || !has(ps, code, group.is) {
					t.Errorf("%.80v: got\n%swant %s", v, lines(ps), code)
				}
			}
		}
	}
	if r.Default != nil {
		a, ps := load(nil)
		b, _ := load(*r.Default)
		if a == nil || b == nil || !sameTunnels(a, b) {
			t.Errorf("when absent it does not mean %v:\n%s", *r.Default, lines(ps))
		}
	}
}

func sameTunnels(a, b *Result) bool {
	x, y := a.Connections[0], b.Connections[0]
	return reflect.DeepEqual(x.Tunnels, y.Tunnels) && x.Routing == y.Routing && reflect.DeepEqual(a.Drafts[0].Choices, b.Drafts[0].Choices)
}

// Every row on the pages has a test, and every row of our tables is on a page or in an
// answer.
func TestEveryRowOfThePagesIsTested(t *testing.T) {
	number := regexp.MustCompile(`\.[0-9]+`)
	for name, f := range rowsFiles(t) {
		data, err := os.ReadFile("testdata/rows/" + name + ".names")
		if err != nil {
			t.Fatal(err)
		}
		tested := map[string]bool{}
		for _, r := range f.Rows {
			if len(r.Good)+len(r.Warn)+len(r.Refused) > 0 && len(r.Bad)+len(r.Refused) > 0 {
				tested[number.ReplaceAllString(r.Row, "")] = true
			}
		}
		names := strings.Fields(string(data))
		for _, row := range names {
			if !tested[row] {
				t.Errorf("%s: %s is on a page and has no case", name, row)
			}
		}
		for _, r := range tableRows(dialectNamed(name).Body, "") {
			if !slices.Contains(names, r.path) && !strings.HasPrefix(r.Doc, "in answers") {
				t.Errorf("%s: the table has %s, which is on no page", name, r.path)
			}
		}
	}
}

func dialectNamed(name string) *dialect.Dialect {
	return dialects[slices.IndexFunc(dialects, func(d *dialect.Dialect) bool { return d.Name == name })]
}

// tableRow is a row somewhere in a dialect's table.
type tableRow struct {
	*dialect.Row
	path string // "Tags.Key"
}

// tableRows are all rows of a table, each before those in it.
func tableRows(o *dialect.Object, path string) (out []tableRow) {
	for i := range o.Rows {
		r := &o.Rows[i]
		p := strings.TrimPrefix(path+"."+r.Name, ".")
		out = append(out, tableRow{Row: r, path: p})
		switch t := r.Type.(type) {
		case *dialect.Object:
			out = append(out, tableRows(t, p)...)
		case dialect.List:
			if inner, ok := t.Of.(*dialect.Object); ok {
				out = append(out, tableRows(inner, p)...)
			}
		case dialect.Or:
			if inner, ok := t.Other.(*dialect.Object); ok {
				out = append(out, tableRows(inner, p)...)
			}
		case dialect.Table:
			if inner, ok := t.Of.(interface{ Entry() *dialect.Object }); ok {
				out = append(out, tableRows(inner.Entry(), p)...)
			}
		case interface{ Entry() *dialect.Object }:
			out = append(out, tableRows(t.Entry(), p)...)
		}
	}
	return out
}

// A key with a letter dropped is answered with the key, wherever it stands.
func TestEveryKeyWithALetterDroppedIsAnsweredWithTheKey(t *testing.T) {
	for name, f := range rowsFiles(t) {
		d := dialectNamed(name)
		lists := map[string]bool{}
		for _, r := range tableRows(d.Body, "") {
			switch r.Type.(type) {
			case dialect.List, interface{ Entry() *dialect.Object }:
				lists[r.path] = true
			}
		}
		for _, r := range tableRows(d.Body, "") {
			var at []string
			parts := strings.Split(r.path, ".")
			for i, p := range parts[:len(parts)-1] {
				if at = append(at, p); lists[strings.Join(parts[:i+1], ".")] {
					at = append(at, "0")
				}
			}
			for i := range r.Name {
				slip := r.Name[:i] + r.Name[i+1:]
				if slip == "" {
					continue
				}
				path := strings.Join(append(slices.Clone(at), slip), ".")
				_, ps := parseText(nil, "f", f.file(t, name, f.body(t, "single", map[string]any{path: "x"}), ""))
				unknown := slices.IndexFunc(ps, func(p diag.Problem) bool { return strings.HasSuffix(p.Code, ".unknown") })
				if unknown < 0 {
					if !slices.ContainsFunc(r.Also, func(s string) bool { return strings.EqualFold(s, slip) }) && !isRow(d, strings.TrimSuffix(r.path, r.Name)+slip) {
						t.Errorf("%s: %s is taken", name, path)
					}
				} else if near := ps[unknown].Nearest; near != r.Name && dialect.Nearest(slip, []string{r.Name, near}) != r.Name {
					t.Errorf("%s: %s is answered with %q", name, path, near)
				}
			}
		}
	}
}

// isRow reports whether a table has a row.
func isRow(d *dialect.Dialect, path string) bool {
	return slices.ContainsFunc(tableRows(d.Body, ""), func(r tableRow) bool { return r.path == path })
}
