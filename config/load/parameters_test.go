package load

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vpngw/config/dialect"
)

// TestParametersPage holds docs/parameters.md against the tables that validate; -update writes it.
func TestParametersPage(t *testing.T) {
	compare(t, "../../docs/parameters.md", parametersPage(t))
}

func parametersPage(t *testing.T) string {
	var b strings.Builder
	b.WriteString(`# The parameters of the clouds' requests

Written by ` + "`go test ./config/load -run TestParametersPage -update`" + ` from the tables that validate.

Texts, numbers and booleans are alike, names and words may be in upper or lower case, an object may stand in a text as JSON, and
an empty text or null means that the parameter is absent. The last column names the test that tries each value and bound, one outside, and the
default (` + "`go test ./config/load -run 'TestRows/…'`" + `); their values are in ` + "`config/load/testdata/rows`" + `.
`)
	files := rowsFiles(t)
	number := regexp.MustCompile(`\.[0-9]+`)
	for _, d := range dialects {
		f := files[d.Name]
		if f == nil { // native is not a cloud's
			continue
		}
		tested := map[string]string{}
		for _, r := range f.Rows {
			tested[number.ReplaceAllString(r.Row, "")] = "TestRows/" + d.Name + "/" + r.Row
		}
		fmt.Fprintf(&b, "\n## %s\n\n| parameter | values | default | what it is here | codes | test |\n|---|---|---|---|---|---|\n", d.Name)
		for _, r := range tableRows(d.Body, "") {
			test := tested[r.path]
			if test == "" {
				test = answersTests[d.Name]
			}
			what := r.Doc
			if r.Later != "" {
				what += ". " + r.Later
			}
			if len(r.Also) > 0 {
				what += " (also " + strings.Join(r.Also, ", ") + ")"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.path, cell(valuesOf(r.Type)), cell(defaultOf(r.Row)), cell(what), cell(codesOf(r.Codes)), cell(test))
		}
		fmt.Fprintf(&b, "\nAccepted, and of no meaning here: %s. What they say is neither read nor shown.\n", strings.Join(unusedOf(d.Body), ", "))
	}
	return b.String()
}

// answersTests are the tests with each cloud's answers, which have more than requests.
var answersTests = map[string]string{
	"alibaba": "TestPagesOfAlibaba", "huawei": "TestPagesOfHuaweiAndTencent", "tencent": "TestPagesOfHuaweiAndTencent",
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func defaultOf(r *dialect.Row) string {
	switch {
	case r.Required:
		return "required"
	case r.Default == "{}":
		return ""
	}
	return r.Default
}

func codesOf(codes dialect.Codes) string {
	seen := map[string]bool{}
	for _, c := range codes {
		seen[c] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(seen)), ", ")
}

func unusedOf(o *dialect.Object) []string {
	seen := map[string]bool{}
	for _, name := range o.Unused {
		seen[name] = true
	}
	for _, r := range tableRows(o, "") {
		inner, _ := r.Type.(*dialect.Object)
		if l, ok := r.Type.(dialect.List); ok {
			inner, _ = l.Of.(*dialect.Object)
		}
		if inner != nil {
			for _, name := range inner.Unused {
				seen[r.path+"."+name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// valuesOf says what a type takes.
func valuesOf(t dialect.Type) string {
	switch t := t.(type) {
	case nil:
		return "empty"
	case *dialect.Object:
		return "object"
	case dialect.List:
		return fmt.Sprintf("list of at most %d", t.Max)
	case dialect.Enum:
		return strings.Join(slices.Concat(t.Words, t.Older), ", ")
	case dialect.Bool:
		return "true, false"
	case dialect.Int:
		return fmt.Sprintf("%d–%d", t.Min, t.Max)
	case dialect.Duration:
		return fmt.Sprintf("%d–%d seconds", int(t.Min.Seconds()), int(t.Max.Seconds()))
	case dialect.Text:
		return textOf(t)
	case dialect.Secret:
		return textOf(t.Text) + ", secret"
	case dialect.Addr:
		return "IP address"
	case dialect.ASN:
		return "1–4294967295, or in two halves with a dot"
	case dialect.Prefix, dialect.Block:
		return "CIDR block"
	case dialect.Prefixes:
		if t.Comma {
			return fmt.Sprintf("CIDR blocks with commas between them, at most %d", t.Max)
		}
		return fmt.Sprintf("list of CIDR blocks, at most %d", t.Max)
	case dialect.Inside:
		return fmt.Sprintf("host's address with a mask of %d bits", t.Bits)
	}
	if t, ok := t.(interface{ Values() string }); ok {
		return t.Values()
	}
	return "" // a type of the dialect's own, which the next column describes
}

func textOf(t dialect.Text) string {
	if longest := cmp.Or(t.Older, t.Max); longest > 0 {
		return fmt.Sprintf("%d–%d characters", t.Min, longest)
	}
	return "text"
}
