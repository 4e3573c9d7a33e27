package load

import (
	"slices"
	"testing"

	"vpngw/diag"
)

// What docs/diagnosis.md tells an operator to change is a parameter of that dialect, or a key beside the body.
func TestDiagnosisNamesParametersThatThereAre(t *testing.T) {
	beside := []string{"device", "routes", "encap", "dpd", "lifetime", "lifetime.bytes", "lifetime.packets", "listen", "discard_cleartext", "side", "sha256_96"}
	rows := map[string][]string{}
	for _, d := range dialects {
		for _, r := range tableRows(d.Body, "") {
			rows[d.Name] = append(rows[d.Name], r.path)
		}
	}
	for _, e := range diag.Table {
		for _, d := range append([]string{"native"}, diag.Clouds...) {
			for _, p := range e.Parameters(d) {
				if !slices.Contains(rows[d], p) && !slices.Contains(beside, p) {
					t.Errorf("%s: %s has no parameter %s", e.Code, d, p)
				}
			}
		}
	}
}
