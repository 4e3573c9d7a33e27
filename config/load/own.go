package load

import (
	"reflect"
	"strings"
)

// ownStrings gives v, which is addressable, strings of its own, equal ones once: those of a file are parts of its text, of which one
// name would keep the whole in memory. A fleet of ten thousand goes on with the connections of earlier loads.
func ownStrings(v reflect.Value, known map[string]string) {
	switch v.Kind() {
	case reflect.String:
		if !v.CanSet() || v.Len() == 0 {
			return
		}
		own, ok := known[v.String()]
		if !ok {
			own = strings.Clone(v.String())
			known[own] = own
		}
		v.SetString(own)
	case reflect.Pointer:
		if !v.IsNil() {
			ownStrings(v.Elem(), known)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			ownStrings(v.Field(i), known)
		}
	case reflect.Slice:
		if holdsStrings(v.Type().Elem()) {
			for i := range v.Len() {
				ownStrings(v.Index(i), known)
			}
		}
	}
}

// holdsStrings leaves out the long lists, which are of numbers and prefixes.
func holdsStrings(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Pointer, reflect.Slice:
		return true
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && holdsStrings(f.Type) {
				return true
			}
		}
	}
	return false
}
