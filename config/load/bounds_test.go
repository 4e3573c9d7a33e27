package load

import (
	"fmt"
	"regexp"
	"slices"
	"testing"

	"vpngw/config/dialect"
)

// The cases of testdata/rows have each word of an enumeration, both bounds of each
// number, and each default, as the tables have them.
func TestRowsHaveEachWordBoundAndDefault(t *testing.T) {
	number := regexp.MustCompile(`\.[0-9]+`)
	for name, f := range rowsFiles(t) {
		good, defaults := map[string][]string{}, map[string]string{}
		for _, r := range f.Rows {
			path := number.ReplaceAllString(r.Row, "")
			for _, v := range r.accepted() {
				good[path] = append(good[path], fmt.Sprint(v))
			}
			if r.Default != nil {
				defaults[path] = fmt.Sprint(*r.Default)
			}
		}
		for _, r := range tableRows(dialectNamed(name).Body, "") {
			var want []string
			switch typ := r.Type.(type) {
			case dialect.Enum:
				want = slices.Concat(typ.Words, typ.Older)
			case dialect.Int:
				want = []string{fmt.Sprint(typ.Min), fmt.Sprint(typ.Max)}
			case dialect.Duration:
				want = []string{fmt.Sprint(typ.Min.Seconds()), fmt.Sprintf("%.0f", typ.Max.Seconds())}
			}
			for _, w := range want {
				if r.Later == "" && !slices.Contains(good[r.path], w) {
					t.Errorf("%s: %s: the value %s is not tested", name, r.path, w)
				}
			}
			if r.Default != "" && r.Default != "{}" && defaults[r.path] != r.Default {
				t.Errorf("%s: %s: the default is %s, and %q is tested", name, r.path, r.Default, defaults[r.path])
			}
		}
	}
}
