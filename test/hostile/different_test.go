package hostile

import (
	"fmt"
	"reflect"
	"time"

	"vpngw/diag"
	"vpngw/ike"
)

// different names the first thing in which two Endpoints differ, if it is not a count or a limit; empty: there is none.
// Why a peer is not up may have become known, if it is not.
func different(a, b ike.Frozen, up bool) string {
	for _, f := range []*ike.Frozen{&a, &b} {
		for i := range f.Peers {
			if !up {
				f.Peers[i].Why, f.Peers[i].Since = diag.Cause{}, time.Time{}
			}
		}
		for i := range f.V1.SAs {
			for j := range f.V1.SAs[i].Phase1 {
				f.V1.SAs[i].Phase1[j].Refused = diag.Cause{}
			}
		}
	}
	for _, name := range []string{"Peers", "V1", "V2", "Established", "Installed", "Answered", "Pending"} {
		if d := differs(name, reflect.ValueOf(a).FieldByName(name), reflect.ValueOf(b).FieldByName(name)); d != "" {
			return d
		}
	}
	return ""
}

func differs(path string, a, b reflect.Value) string {
	if reflect.DeepEqual(a.Interface(), b.Interface()) {
		return ""
	}
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			if f := a.Type().Field(i); f.IsExported() {
				if d := differs(path+"."+f.Name, a.Field(i), b.Field(i)); d != "" {
					return d
				}
			}
		}
	case reflect.Slice:
		if a.Type().Elem().Kind() == reflect.Struct && a.Len() == b.Len() {
			for i := range a.Len() {
				if d := differs(fmt.Sprintf("%s[%d]", path, i), a.Index(i), b.Index(i)); d != "" {
					return d
				}
			}
		}
		return fmt.Sprintf("%s (%d and %d)", path, a.Len(), b.Len())
	}
	return path
}
