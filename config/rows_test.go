package config

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"vpngw/config/dialect"
)

// rowCase are values of one parameter: those that the cloud takes, to the bounds and
// each word, and those just outside with their code. nil takes the parameter out. With
// is what else the body then needs.
type rowCase struct {
	path string // "ikepolicy.dpd.msg"; an entry of a list is a number
	good []any
	bad  []any
	code string
	with map[string]any
}

// put sets a value inside a body of maps and lists; nil takes it out.
func put(t *testing.T, body map[string]any, path string, v any) {
	t.Helper()
	v = clone(t, map[string]any{"v": v})["v"]
	parts := strings.Split(path, ".")
	var at any = body
	for i, part := range parts {
		last := i == len(parts)-1
		switch in := at.(type) {
		case map[string]any:
			switch {
			case last && v == nil:
				delete(in, part)
			case last:
				in[part] = v
			case in[part] == nil:
				in[part] = map[string]any{}
			}
			at = in[part]
		case []any:
			n, err := strconv.Atoi(part)
			if err != nil || n >= len(in) || last {
				t.Fatalf("no %s in the body", path)
			}
			at = in[n]
		default:
			t.Fatalf("%s: %s is not in a map or list", path, part)
		}
	}
}

// clone is a body that is the caller's own.
func clone(t *testing.T, body map[string]any) map[string]any {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// cloudFile is a file with one body of a dialect.
func cloudFile(t *testing.T, d string, body map[string]any, beside string) []byte {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, "version: 1\n%sconnections:\n  - %s: %s\n    %s\n", cloudGateways, d, text, beside)
}

const cloudGateways = `vpn_gateways:
  vpn-of-a-cloud: {address: 198.51.100.1}
customer_gateways:
  customer-with-asn: {address: 203.0.113.9, asn: 65010}
`

// checkRows runs the cases of a dialect on a body that is good.
func checkRows(t *testing.T, d *dialect.Dialect, good map[string]any, beside string, cases []rowCase) {
	for _, r := range cases {
		body := func(v any) []byte {
			b := clone(t, good)
			for path, w := range r.with {
				put(t, b, path, w)
			}
			put(t, b, r.path, v)
			return cloudFile(t, d.Name, b, beside)
		}
		for _, v := range r.good {
			if c, ps := Parse(nil, "f", body(v)); c == nil {
				t.Errorf("%s = %.60v was refused:\n%s", r.path, v, lines(ps))
			}
		}
		for _, v := range r.bad {
			c, ps := Parse(nil, "f", body(v))
			if c != nil || !slices.ContainsFunc(ps, func(p Problem) bool { return p.Severity == Error && p.Code == r.code }) {
				t.Errorf("%s = %.60v: got\n%swant %s", r.path, v, lines(ps), r.code)
			}
		}
		checkBounds(t, d, r.path, cases)
	}
	checkDefaults(t, d, good, beside, cases)
	checkRowNames(t, d, cases)
	checkTypos(t, d, good, cases)
}

// rowOf is the row of a path.
func rowOf(t *testing.T, d *dialect.Dialect, path string) *dialect.Row {
	t.Helper()
	for _, r := range rowsOf("", d.Body) {
		if r.path == plainPath(path) {
			return r.row
		}
	}
	t.Fatalf("the table of %s has no row %s", d.Name, path)
	return nil
}

// plainPath is a path without the numbers of entries.
func plainPath(path string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(path, "."), func(s string) bool { return s == "0" || s == "1" }), ".")
}

type pathRow struct {
	path string
	row  *dialect.Row
}

// rowsOf are the rows of a table and of the tables in it.
func rowsOf(at string, o *dialect.Object) []pathRow {
	var out []pathRow
	for _, name := range o.Unused {
		if !strings.HasSuffix(name, "*") {
			out = append(out, pathRow{strings.TrimPrefix(at+"."+name, "."), &dialect.Row{Name: name}})
		}
	}
	for i := range o.Rows {
		r := &o.Rows[i]
		path := strings.TrimPrefix(at+"."+r.Name, ".")
		out = append(out, pathRow{path, r})
		for _, also := range r.Also {
			out = append(out, pathRow{strings.TrimPrefix(at+"."+also, "."), r})
		}
		if inner := tableOf(r.Type); inner != nil {
			out = append(out, rowsOf(path, inner)...)
		}
	}
	return out
}

func tableOf(t dialect.Type) *dialect.Object {
	switch t := t.(type) {
	case *dialect.Object:
		return t
	case dialect.List:
		return tableOf(t.Of)
	case interface{ Entry() *dialect.Object }:
		return t.Entry()
	}
	return nil
}

// checkBounds wants each word of an enumeration, and both bounds of a number, among the good values.
func checkBounds(t *testing.T, d *dialect.Dialect, path string, cases []rowCase) {
	t.Helper()
	var want []string
	switch typ := rowOf(t, d, path).Type.(type) {
	case dialect.Enum:
		want = append(want, typ.Words...)
	case dialect.Int:
		want = []string{fmt.Sprint(typ.Min), fmt.Sprint(typ.Max)}
	case dialect.Duration:
		want = []string{fmt.Sprint(typ.Min.Seconds()), fmt.Sprintf("%.0f", typ.Max.Seconds())}
	}
	for _, w := range want {
		if !slices.ContainsFunc(cases, func(r rowCase) bool {
			return plainPath(r.path) == plainPath(path) && slices.ContainsFunc(r.good, func(v any) bool { return fmt.Sprint(v) == w })
		}) {
			t.Errorf("%s: the value %s is not tested", path, w)
		}
	}
}

// checkDefaults writes each default out: nothing may change.
func checkDefaults(t *testing.T, d *dialect.Dialect, good map[string]any, beside string, cases []rowCase) {
	for _, r := range rowsOf("", d.Body) {
		if r.row.Default == "" || r.row.Default == "{}" {
			continue
		}
		body := clone(t, good)
		if i := slices.IndexFunc(cases, func(c rowCase) bool { return plainPath(c.path) == r.path && len(c.good) > 0 }); i >= 0 {
			for path, w := range cases[i].with {
				put(t, body, path, w)
			}
		}
		read := func(v any) (*Connection, Problems) {
			b := clone(t, body)
			put(t, b, r.path, v)
			c, ps := Parse(nil, "f", cloudFile(t, d.Name, b, beside))
			if c == nil {
				return nil, ps
			}
			c.Connections[0].Notes = nil // these say what is given
			return c.Connections[0], ps
		}
		absent, ps1 := read(nil)
		given, ps2 := read(r.row.Default)
		if absent == nil || given == nil {
			t.Errorf("%s: with the default %s: refused:\n%s%s", r.path, r.row.Default, lines(ps1), lines(ps2))
			continue
		}
		if !reflect.DeepEqual(absent, given) {
			t.Errorf("%s: absent it is\n%+v, with %s\n%+v", r.path, absent, r.row.Default, given)
		}
	}
}

// checkRowNames holds the names in testdata against the table and the cases: each row
// of the page has a name, and each name a case.
func checkRowNames(t *testing.T, d *dialect.Dialect, cases []rowCase) {
	file := "testdata/" + d.Name + ".rows"
	var have []string
	for _, r := range rowsOf("", d.Body) {
		have = append(have, r.path)
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(have, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(have, "\n")+"\n", string(text); got != want {
		t.Errorf("the table has the rows\n%s%s has\n%s", got, file, want)
	}
	for _, name := range strings.Fields(string(text)) {
		if !slices.ContainsFunc(cases, func(r rowCase) bool { return plainPath(r.path) == name }) {
			t.Errorf("%s has no case", name)
		}
	}
}

// checkTypos drops each letter of each key in turn, and wants the key as the answer, or
// another that is as near.
func checkTypos(t *testing.T, d *dialect.Dialect, good map[string]any, cases []rowCase) {
	for _, r := range cases {
		outer, name := "", r.path
		if i := strings.LastIndexByte(r.path, '.'); i >= 0 {
			outer, name = r.path[:i+1], r.path[i+1:]
		}
		for i := range name {
			slip := name[:i] + name[i+1:]
			if slices.ContainsFunc(rowsOf("", d.Body), func(s pathRow) bool { return s.path == plainPath(outer+slip) }) {
				continue // it is another key
			}
			body := clone(t, good)
			for path, w := range r.with {
				put(t, body, path, w)
			}
			put(t, body, r.path, nil)
			put(t, body, outer+slip, "x")
			_, ps := Parse(nil, "f", cloudFile(t, d.Name, body, ""))
			if !slices.ContainsFunc(ps, func(p Problem) bool {
				return p.Nearest != "" && dialect.Nearest(slip, []string{name, p.Nearest}) == name
			}) {
				t.Errorf("%s%s is not answered with %s:\n%s", outer, slip, name, lines(ps))
			}
		}
	}
}
