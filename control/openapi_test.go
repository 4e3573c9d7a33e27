package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"vpngw/desired"
	"vpngw/diag"
	"vpngw/doctor"
	"vpngw/gateway"
	"vpngw/tunnel"
)

var update = flag.Bool("update", false, "write openapi.json")

// operation describes a verb. A verb without one fails TestOpenAPI.
type operation struct {
	pattern string // of the verb
	about   string // one sentence; what follows the first full stop goes on
	query   []parameter
	body    any    // of its type; nil: none
	answer  any    // of its type
	try     string // the query or the body of a request that succeeds
	kind    string // of an answer that goes on; empty: JSON
}

type parameter struct {
	name, about string
	schema      map[string]any
	required    bool
}

type object = map[string]any

func number(least, most int) object {
	return object{"type": "integer", "minimum": least, "maximum": most}
}

var (
	someName = parameter{"name", "a connection or tunnel; empty: all", object{"type": "string"}, false}
	oneName  = parameter{"name", "a connection or tunnel", object{"type": "string", "minLength": 1}, true}
)

const named1 = `{"name":"hq"}`

var operations = []operation{
	{"GET /v1/status", "The state of every connection and tunnel, and why one is not up.", nil, nil, desired.Status{}, "", ""},
	{"GET /v1/counters", "Counts of dropped packets and refused messages, by name.", nil, nil, gateway.Counters{}, "", ""},
	{"GET /v1/events", "The last changes of tunnels, connections and the daemon, the oldest first.", []parameter{
		someName,
		{"after", "only events with a higher number; numbers go on over restarts of the daemon", object{"type": "integer", "minimum": 0}, false},
		{"wait", "seconds to wait for an event if there is none yet", number(0, 30), false},
		{"follow", "1: answer a line of JSON for each event, those that there are and all to come", number(0, 1), false},
	}, nil, Events{}, "name=hq", ""},
	{"GET /v1/diagnosis", "What is wrong with a connection or tunnel and this host, and who has to change what.", []parameter{oneName}, nil, Diagnoses{}, "name=hq", ""},
	{"GET /v1/routes", "What each tunnel leads to, and whether that is in the kernel.", []parameter{someName}, nil, Routes{}, "", ""},
	{"GET /v1/version", "The version of the daemon.", nil, nil, Version{}, "", ""},
	{"GET /v1/log-level", "The least level that the daemon logs.", nil, nil, LogLevel{}, "", ""},
	{"POST /v1/log-level", "Changes the least level that the daemon logs, for a time or until the daemon ends.", nil, level{}, LogLevel{}, `{"level":"debug","for_s":60}`, ""},
	{"GET /v1/openapi.json", "This description.", nil, nil, nil, "", ""},
	{"POST /v1/up", "Brings a connection or tunnel up and keeps it up. It does not wait until it is up.", nil, target{}, struct{}{}, named1, ""},
	{"POST /v1/down", "Takes a connection or tunnel down and holds it down, over restarts too.", nil, target{}, struct{}{}, named1, ""},
	{"POST /v1/failover", "Moves the traffic of a connection to its standby tunnel and keeps it there.", nil, target{}, struct{}{}, named1, ""},
	{"POST /v1/failback", "Moves the traffic of a connection back to its active tunnel.", nil, target{}, struct{}{}, named1, ""},
	{"POST /v1/rekey", "Replaces the Child SAs of a connection or tunnel, or its IKE SA. It does not wait for the new ones.", nil, rekey{}, struct{}{}, named1, ""},
	{"POST /v1/reload", "Reads the configuration file again and adopts it. A file with errors changes nothing: the answer is 422 with the problems.", nil, nil, desired.Reloaded{}, "", ""},
	{"POST /v1/plan", "Says what a reload would change, and changes nothing.", nil, nil, desired.Planned{}, "", ""},
	{"POST /v1/try", "A reload that the daemon goes back on unless it is confirmed in time.", []parameter{
		{"seconds", "the time for the confirmation", number(int(desired.MinTrial/time.Second), int(desired.MaxTrial/time.Second)), true},
	}, nil, desired.Reloaded{}, "seconds=60", ""},
	{"POST /v1/confirm", "Keeps what a try has adopted.", nil, nil, struct{}{}, "", ""},
	{"GET /v1/config", "The effective parameters of each tunnel, without keys.", []parameter{someName}, nil, desired.Explained{}, "name=hq", ""},
	{"POST /v1/keylog", "Writes the keys of a connection or tunnel, those of now and each new one, as rows of Wireshark's tables. It ends after its time, or when the client closes its side of the connection.", nil, keylog{}, gateway.KeyRows{}, `{"name":"hq","seconds":1}`, "application/x-ndjson"},
	{"POST /v1/capture", "Records the packets of a connection or tunnel, as a pcapng file. It ends after its time or number of packets, or when the client closes its side of the connection. The trailer Vpngw-Captured counts packets.", nil, capturing{}, nil, `{"name":"hq","seconds":1}`, "application/x-pcapng"},
}

// schemas makes the schemas of types, each once, with the comments of their sources.
type schemas struct {
	t     *testing.T
	done  map[string]object
	types map[string]reflect.Type
	docs  map[string]map[string]string // by package: of "Type" and "Type.Field"
}

// doc is a type's comment, or that of its field.
func (s *schemas) doc(t reflect.Type, field string) string {
	pkg, ours := strings.CutPrefix(t.PkgPath(), "vpngw/")
	if !ours {
		return ""
	}
	if s.docs[pkg] == nil {
		s.docs[pkg] = comments(s.t, filepath.Join("..", pkg))
	}
	return s.docs[pkg][strings.TrimSuffix(t.Name()+"."+field, ".")]
}

func comments(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				ts, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				out[ts.Name.Name] = text(ts.Doc, g.Doc)
				st, ok := ts.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, f := range st.Fields.List {
					for _, n := range f.Names {
						out[ts.Name.Name+"."+n.Name] = text(f.Doc, f.Comment)
					}
				}
			}
		}
	}
	return out
}

func text(groups ...*ast.CommentGroup) string {
	for _, g := range groups {
		if s := strings.Join(strings.Fields(g.Text()), " "); s != "" {
			return s
		}
	}
	return ""
}

// of is the schema of a type.
func (s *schemas) of(t reflect.Type) object {
	textual := t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextMarshaler]())
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case textual:
		return object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return nullable(s.of(t.Elem()))
	case reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem()), "nullable": true}
	case reflect.Array:
		return object{"type": "array", "items": s.of(t.Elem()), "minItems": t.Len(), "maxItems": t.Len()}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem()), "nullable": true}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Int, reflect.Int64, reflect.Int32:
		return object{"type": "integer"}
	case reflect.Uint64, reflect.Uint32, reflect.Uint16, reflect.Uint8, reflect.Uint:
		return object{"type": "integer", "minimum": 0}
	case reflect.Struct:
		if t.Name() == "" {
			return s.members(t)
		}
		return object{"$ref": "#/components/schemas/" + s.named(t)}
	}
	s.t.Fatalf("no schema of %v", t)
	return nil
}

func nullable(o object) object {
	if _, ref := o["$ref"]; ref {
		return object{"allOf": []any{o}, "nullable": true}
	}
	o["nullable"] = true
	return o
}

// named notes the schema of a type and returns its name.
func (s *schemas) named(t reflect.Type) string {
	name := map[reflect.Type]string{reflect.TypeFor[failure](): "Error", reflect.TypeFor[target](): "Target", reflect.TypeFor[rekey](): "Rekey", reflect.TypeFor[level](): "SetLogLevel", reflect.TypeFor[keylog](): "KeyLog", reflect.TypeFor[capturing](): "Capture"}[t]
	if name == "" {
		name = t.Name()
	}
	if other := s.types[name]; other != nil && other != t {
		pkg := filepath.Base(t.PkgPath())
		name = strings.ToUpper(pkg[:1]) + pkg[1:] + name
	}
	if s.types[name] == nil {
		s.types[name] = t
		o := s.members(t)
		if d := s.doc(t, ""); d != "" {
			o["description"] = d
		}
		s.done[name] = o
	}
	return name
}

// members is the schema of a struct, as encoding/json has it.
func (s *schemas) members(t reflect.Type) object {
	properties, required := object{}, []string{}
	var add func(t reflect.Type)
	add = func(t reflect.Type) {
		for i := range t.NumField() {
			f := t.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous && name == "":
				add(f.Type)
				continue
			case !f.IsExported(), name == "-":
				continue
			case name == "":
				s.t.Errorf("%v.%s has no name in JSON", t, f.Name)
			}
			o := s.of(f.Type)
			if d := s.doc(t, f.Name); d != "" {
				if _, ref := o["$ref"]; ref {
					o = object{"allOf": []any{o}}
				}
				o["description"] = d
			}
			properties[name] = o
			if !strings.Contains(options, "omit") {
				required = append(required, name)
			}
		}
	}
	add(t)
	out := object{"type": "object", "properties": properties}
	if len(required) > 0 {
		slices.Sort(required)
		out["required"] = required
	}
	return out
}

// written is what openapi.json should be.
func written(t *testing.T) []byte {
	s := &schemas{t: t, done: map[string]object{}, types: map[string]reflect.Type{}, docs: map[string]map[string]string{}}
	content := func(o object) object { return object{"application/json": object{"schema": o}} }
	paths := object{}
	for _, op := range operations {
		method, path, _ := strings.Cut(op.pattern, " ")
		answer := object{"type": "object"}
		if op.answer != nil {
			answer = s.of(reflect.TypeOf(op.answer))
		}
		done := content(answer)
		if op.kind != "" {
			if op.answer == nil {
				answer = object{"type": "string", "format": "binary"}
			}
			done = object{op.kind: object{"schema": answer}}
		}
		summary, more, _ := strings.Cut(op.about, ". ")
		o := object{
			"operationId": strings.ToLower(method) + "-" + strings.TrimSuffix(filepath.Base(path), ".json"),
			"summary":     strings.TrimSuffix(summary, "."),
			"responses": object{
				"200":     object{"description": "done", "content": done},
				"default": object{"description": "refused or failed, and why", "content": content(s.of(reflect.TypeFor[failure]()))},
			},
		}
		if more != "" {
			o["description"] = more
		}
		if path == "/v1/events" {
			o["responses"].(object)["200"].(object)["content"].(object)["application/x-ndjson"] = object{"schema": s.of(reflect.TypeFor[gateway.Event]())}
		}
		var parameters []any
		for _, p := range op.query {
			parameters = append(parameters, object{"in": "query", "name": p.name, "description": p.about, "required": p.required, "schema": p.schema})
		}
		if parameters != nil {
			o["parameters"] = parameters
		}
		if op.body != nil {
			o["requestBody"] = object{"required": true, "content": content(s.of(reflect.TypeOf(op.body)))}
		}
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path].(object)[strings.ToLower(method)] = o
	}
	b, err := json.MarshalIndent(object{
		"openapi": "3.0.3",
		"info": object{
			"title": "vpngw", "version": "1",
			"description": "The control interface of the vpngw daemon: HTTP with JSON on the Unix socket " + DefaultSocket + ". " +
				"The kernel says who a client is: root and the daemon's own user may send every request, a member of the socket's group only GET. " +
				"A later version may add members to any answer, and takes none away.",
		},
		"servers":    []any{object{"url": "http://vpngw", "description": "any host name, over the Unix socket: curl --unix-socket " + DefaultSocket + " http://vpngw/v1/status"}},
		"paths":      paths,
		"components": object{"schemas": s.done},
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// complete answers every request with all that an answer can have, blank with nothing of it.
type (
	complete struct{ *fakeDaemon }
	blank    struct{ *fakeDaemon }
)

func filled[T any]() (v T, err error) {
	fill(reflect.ValueOf(&v).Elem())
	return v, nil
}

func (complete) Status(context.Context) (desired.Status, error) { return filled[desired.Status]() }

func (complete) Counters(context.Context) (gateway.Counters, error) {
	return filled[gateway.Counters]()
}

func (complete) Events(context.Context, string, uint64, time.Duration) ([]gateway.Event, error) {
	return filled[[]gateway.Event]()
}

func (complete) Diagnose(context.Context, string) ([]doctor.Diagnosis, error) {
	return filled[[]doctor.Diagnosis]()
}

func (complete) Routes(context.Context, string) ([]gateway.RouteStatus, error) {
	return filled[[]gateway.RouteStatus]()
}

func (complete) Explain(context.Context, string) (desired.Explained, error) {
	return filled[desired.Explained]()
}

func (complete) Reload(context.Context) (desired.Reloaded, error) { return filled[desired.Reloaded]() }

func (complete) Plan(context.Context) (desired.Planned, error) { return filled[desired.Planned]() }

func (complete) Try(context.Context, time.Duration) (desired.Reloaded, error) {
	return filled[desired.Reloaded]()
}

func (blank) Counters(context.Context) (c gateway.Counters, err error) { return c, nil }
func (blank) Events(context.Context, string, uint64, time.Duration) ([]gateway.Event, error) {
	return nil, nil
}
func (blank) Diagnose(context.Context, string) ([]doctor.Diagnosis, error)       { return nil, nil }
func (blank) Routes(context.Context, string) ([]gateway.RouteStatus, error)      { return nil, nil }
func (blank) Explain(context.Context, string) (e desired.Explained, err error)   { return e, nil }
func (blank) Reload(context.Context) (r desired.Reloaded, err error)             { return r, nil }
func (blank) Plan(context.Context) (r desired.Planned, err error)                { return r, nil }
func (blank) Try(context.Context, time.Duration) (r desired.Reloaded, err error) { return r, nil }

// closed forbids what a schema does not name.
func closed(doc *openapi3.T) {
	no := false
	for _, s := range doc.Components.Schemas {
		if s.Value.AdditionalProperties.Schema == nil {
			s.Value.AdditionalProperties.Has = &no
		}
	}
}

// load is the file, as programs read it from the daemon.
func loadOpenAPI(t *testing.T) *openapi3.T {
	t.Helper()
	_, body := ask(t, serve(t, &fakeDaemon{}), "GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
	doc, err := openapi3.NewLoader().LoadFromData([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	closed(doc)
	return doc
}

// TestOpenAPI holds openapi.json against the verbs and the types of their answers; -update writes it. Whoever adds a verb adds
// it to operations.
func TestOpenAPI(t *testing.T) {
	want := written(t)
	if *update {
		if err := os.WriteFile("openapi.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile("openapi.json"); err != nil && !errors.Is(err, fs.ErrNotExist) || !bytes.Equal(got, want) {
		t.Errorf("openapi.json is not what the types and the operations say (%v): write it with go test ./control -update", err)
	}
	described := map[string]bool{}
	for _, op := range operations {
		described[op.pattern] = true
	}
	for _, v := range verbs(&fakeDaemon{}, "") {
		if !described[v.pattern] {
			t.Errorf("%s is in no row of operations", v.pattern)
		}
		delete(described, v.pattern)
	}
	for pattern := range described {
		t.Errorf("%s is described, and there is no such request", pattern)
	}
}

// Every answer, a full one, an empty one and a refusal, is as openapi.json says, and has no member that it does not name.
func TestAnswersAreAsDescribed(t *testing.T) {
	doc := loadOpenAPI(t)
	problems, _ := filled[diag.Problems]()
	d := &fakeDaemon{}
	for name, daemon := range map[string]Daemon{
		"full": complete{d}, "usual": d, "empty": blank{d},
		"unknown": &fakeDaemon{err: &gateway.UnknownNameError{Name: "hq"}},
		"invalid": &fakeDaemon{err: &desired.InvalidError{Problems: problems}},
		"stays":   &fakeDaemon{err: &tunnel.SwitchError{Tunnel: "hq"}},
		"stopped": &fakeDaemon{err: gateway.ErrStopped},
		"other":   &fakeDaemon{err: errors.New("something else")},
	} {
		path := serve(t, daemon)
		for _, op := range operations {
			tries := []string{op.try}
			if op.body != nil || op.query != nil {
				tries = append(tries, "", "name=&after=x&seconds=x", "[]")
			}
			for _, try := range tries {
				described(t, doc, path, name, op, try)
			}
		}
	}
}

// described sends a request and compares the answer with the description.
func described(t *testing.T, doc *openapi3.T, path, name string, op operation, try string) {
	t.Helper()
	request, body := op.pattern, ""
	if op.body != nil {
		body = try
	} else if try != "" {
		request += "?" + try
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", request, len(body), body)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if op.kind != "" && resp.StatusCode == http.StatusOK {
		if got := resp.Header.Get("Content-Type"); got != op.kind {
			t.Errorf("%s: it is %s", op.pattern, got)
		}
		return
	}
	method, where, _ := strings.Cut(op.pattern, " ")
	o := doc.Paths.Value(where).GetOperation(method)
	as := o.Responses.Default()
	if resp.StatusCode == http.StatusOK {
		as = o.Responses.Status(200)
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v: %s", request, err, text)
	}
	if err := as.Value.Content.Get(resp.Header.Get("Content-Type")).Schema.Value.VisitJSON(v, openapi3.MultiErrors()); err != nil {
		t.Errorf("%s of a daemon whose answers are %s: %d %.300s\n%v", request, name, resp.StatusCode, text, err)
	}
	if name != "full" || resp.StatusCode != http.StatusOK || op.body == nil {
		return
	}
	// What was taken is described too.
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	if err := o.RequestBody.Value.Content.Get("application/json").Schema.Value.VisitJSON(v, openapi3.MultiErrors()); err != nil {
		t.Errorf("%s %s: %v", op.pattern, body, err)
	}
}
