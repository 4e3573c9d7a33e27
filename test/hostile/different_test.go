package hostile

import (
	"fmt"
	"reflect"

	"vpngw/ike"
)

// different names the first field in which two Endpoints differ, if it is not a count or a limit; empty: there is none.
func different(a, b ike.Frozen) string {
	for _, f := range []*ike.Frozen{&a, &b} {
		f.Counters, f.Replies, f.Sources, f.Cookies = ike.Counters{}, ike.FrozenLimiter{}, nil, ike.FrozenCookies{}
	}
	return differs("", reflect.ValueOf(a), reflect.ValueOf(b))
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
