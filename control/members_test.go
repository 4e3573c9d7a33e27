package control

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"vpngw/desired"
	"vpngw/diag"
	"vpngw/gateway"
)

// fill sets every field below v: one element in each list and map, and no value to zero.
func fill(v reflect.Value) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
		return
	case !v.CanSet():
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	}
}

// full answers with everything that an answer can have.
type full struct{ *fakeDaemon }

func (full) Counters(context.Context) (c gateway.Counters, err error) {
	fill(reflect.ValueOf(&c).Elem())
	return c, nil
}

func (full) Events(context.Context, string, uint64, time.Duration) (list []gateway.Event, err error) {
	fill(reflect.ValueOf(&list).Elem())
	return list, nil
}

func (full) Reload(context.Context) (r desired.Reloaded, err error) {
	fill(reflect.ValueOf(&r).Elem())
	return r, nil
}

// invalid has a configuration with errors.
type invalid struct{ *fakeDaemon }

func (invalid) Reload(context.Context) (r desired.Reloaded, err error) {
	var ps diag.Problems
	fill(reflect.ValueOf(&ps).Elem())
	return r, &desired.InvalidError{Problems: ps}
}

// members adds each member of a JSON value with its type, as "GET /v1/status.connections[].name string", to out.
func members(v any, path string, out map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		out[path+" object"] = true
		for k, m := range v {
			members(m, path+"."+k, out)
		}
	case []any:
		out[path+" array"] = true
		for _, m := range v {
			members(m, path+"[]", out)
		}
	case string:
		out[path+" string"] = true
	case float64:
		out[path+" number"] = true
	case bool:
		out[path+" bool"] = true
	}
}

// Programs read the answers. What they found in commit b860a22 stays, by name and type; more may come. A member that
// goes has to be in CHANGELOG, and its line in testdata goes with it.
func TestAnswersKeepTheirMembers(t *testing.T) {
	d := &fakeDaemon{}
	fill(reflect.ValueOf(&d.status).Elem())
	got := map[string]bool{}
	for _, c := range []struct {
		to            Daemon
		request, body string
	}{
		{full{d}, "GET /v1/status", ""},
		{full{d}, "GET /v1/counters", ""},
		{full{d}, "GET /v1/events", ""},
		{full{d}, "GET /v1/version", ""},
		{full{d}, "POST /v1/up", `{"name":"hq"}`},
		{full{d}, "POST /v1/down", `{"name":"hq"}`},
		{full{d}, "POST /v1/rekey", `{"name":"hq","ike":true}`},
		{full{d}, "POST /v1/reload", ""},
		{invalid{d}, "POST /v1/reload", ""},
		{full{d}, "GET /v1/none", ""},
	} {
		status, text := ask(t, serve(t, c.to), fmt.Sprintf("%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", c.request, len(c.body), c.body))
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatalf("%s: %v: %s", c.request, err, text)
		}
		members(v, fmt.Sprintf("%s %d", c.request, status), got)
	}
	want, err := os.ReadFile("testdata/answers-b860a22.members")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(want)) {
		if line = strings.TrimSpace(line); !got[line] {
			t.Errorf("no %s any more", line)
		}
	}
}
