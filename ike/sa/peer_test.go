package sa

import (
	"reflect"
	"testing"
	"time"

	"vpngw/dpd"
	"vpngw/ipsec"
)

// Every field of Settings is compared: if one were left out, two connections with
// different keys could share an IKE SA.
func TestSettingsDiffComparesEveryField(t *testing.T) {
	other := Settings{
		Version: 1, Aggressive: true, PSK: ipsec.Secret("key"), Proposals: []ipsec.Proposal{{Transforms: []ipsec.Transform{{Type: ipsec.KE, ID: 14}}}},
		Lifetime: time.Hour, NATT: true, Encap: EncapAlways, DPD: dpd.Config{Interval: time.Second}, Port: 4500,
	}
	typ := reflect.TypeFor[Settings]()
	if typ.NumField() != len(settings) {
		t.Errorf("Settings has %d fields, and %d are compared", typ.NumField(), len(settings))
	}
	named := map[string]bool{}
	for i := range typ.NumField() {
		var s, changed Settings
		from := reflect.ValueOf(other).Field(i)
		if from.IsZero() {
			t.Errorf("%s: the test gives it no value", typ.Field(i).Name)
		}
		reflect.ValueOf(&changed).Elem().Field(i).Set(from)
		d := s.Diff(&changed)
		if len(d) != 1 || named[d[0]] {
			t.Errorf("%s differs, and Diff names %q", typ.Field(i).Name, d)
			continue
		}
		named[d[0]] = true
	}
	if d := other.Diff(&other); d != nil {
		t.Errorf("a Settings differs from itself in %q", d)
	}
}
