package schema

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"vpngw/config/dialect"
	"vpngw/config/load"
)

func printed(t *testing.T) []byte {
	t.Helper()
	out, err := json.Marshal(File())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(printed(t)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("vpngw.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("vpngw.json") // validates it against the metaschema too
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate returns the error that an editor would show for a YAML text.
func validate(t *testing.T, s *jsonschema.Schema, text []byte) error {
	t.Helper()
	data, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

// Whatever loads is valid.
func TestWhatLoadsIsValid(t *testing.T) {
	s := compiled(t)
	paths, _ := filepath.Glob("../load/testdata/*.yaml")
	paths = append(paths, "../../cmd/vpngw/vpngw.example.yaml", "testdata/forms.yaml")
	loaded := 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c, ps := load.Text(path, text, func(name string, _ int) ([]byte, os.FileMode, error) {
			if filepath.Ext(name) == ".psk" {
				return []byte("not-a-real-Secret.1"), 0o600, nil
			}
			data, err := os.ReadFile(name)
			return data, 0o600, err
		}, load.Options{})
		if filepath.Dir(path) != "../load/testdata" && c == nil {
			t.Errorf("%s does not load: %v", path, ps)
		}
		if c == nil {
			continue
		}
		loaded++
		if err := validate(t, s, text); err != nil {
			t.Errorf("%s loads, and is not valid: %#v", path, err)
		}
	}
	if loaded < 3 {
		t.Errorf("only %d files load", loaded)
	}
}

func TestWhatIsWrongIsFound(t *testing.T) {
	s := compiled(t)
	for _, tt := range []struct{ name, text string }{
		{"unknown key", "version: 1\nconnection: []\nconnections: []"},
		{"nothing", "version: 1"},
		{"other version", "version: 2\nconnections: []"},
		{"two bodies", "version: 1\nconnections: [{native: a, alibaba: b}]"},
		{"no body", "version: 1\nconnections: [{name: a}]"},
		{"a typo in a cloud's body", "version: 1\nconnections: [{alibaba: {RegionId: a, VpnGatewayId: a, CustomerGatewayId: a, LocalSubnet: 10.0.0.0/8, RemoteSubnet: 10.0.0.0/8, IkeConfig: {IkeVersio: ikev2}}}]"},
		{"no value of the page's", "version: 1\nconnections: [{alibaba: {RegionId: a, VpnGatewayId: a, CustomerGatewayId: a, LocalSubnet: 10.0.0.0/8, RemoteSubnet: 10.0.0.0/8, IkeConfig: {IkeVersion: ikev3}}}]"},
		{"no algorithm", "version: 1\nconnections: [{native: {local: {subnets: [10.0.0.0/8]}, remote: {address: 1.1.1.1, subnets: [10.0.0.0/8]}, ike: {proposals: [aes257]}}}]"},
		{"not an address", "version: 1\nlisten: [1.1.1]\nconnections: []"},
		{"too long", "version: 1\nconnections: [{native: a, dpd: {interval: 3601}}]"},
	} {
		if validate(t, s, []byte(tt.text)) == nil {
			t.Errorf("%s: it is valid", tt.name)
		}
	}
}

// Every row of every table is in the schema, with its description.
func TestEveryKeyIsThere(t *testing.T) {
	out := printed(t)
	rows := 0
	var look func(dialect.Type)
	look = func(typ dialect.Type) {
		switch typ := typ.(type) {
		case interface{ Table() *dialect.Object }:
			if or, ok := typ.(dialect.Or); ok {
				look(or.Other)
				return
			}
			for _, r := range typ.Table().Rows {
				rows++
				if r.Doc == "" {
					t.Errorf("%s has no description", r.Name)
				}
				name, _ := json.Marshal(r.Name)
				if !bytes.Contains(out, append(name, ":{"...)) {
					t.Errorf("%s is not in the schema", r.Name)
				}
				look(r.Type)
			}
		case dialect.List:
			look(typ.Of)
		case dialect.Table:
			look(typ.Of)
		}
	}
	look(load.Table().Type)
	if rows < 100 {
		t.Errorf("only %d rows were looked at", rows)
	}
	// An object allows no other keys.
	var closed func(path string, v any)
	closed = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if _, ok := v["properties"].(map[string]any); ok && v["type"] == "object" && v["additionalProperties"] != false {
				t.Errorf("%s: other keys are allowed", path)
			}
			for k, w := range v {
				closed(path+"/"+k, w)
			}
		case []any:
			for _, w := range v {
				closed(path+"[]", w)
			}
		}
	}
	var v any
	if err := json.Unmarshal(out, &v); err != nil {
		t.Fatal(err)
	}
	closed("", v)
}

func TestRequiredAndDefaultsAreTheTables(t *testing.T) {
	var v struct {
		Required   []string
		Properties map[string]struct{ Default any }
		Defs       map[string]struct {
			Required   []string
			Properties map[string]struct {
				Default     any
				Description string
			}
		} `json:"$defs"`
	}
	if err := json.Unmarshal(printed(t), &v); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(v.Required, []string{"version", "connections"}) || v.Properties["offload"].Default != true {
		t.Errorf("got %v, offload %v", v.Required, v.Properties["offload"].Default)
	}
	if got := v.Defs["alibaba.IkeConfig"].Properties["IkeLifetime"]; got.Default != 86400.0 || got.Description == "" {
		t.Errorf("IkeLifetime: got %v", got)
	}
	if got := v.Defs["alibaba"].Required; !slices.Contains(got, "LocalSubnet") {
		t.Errorf("of Alibaba's body are required %v", got)
	}
}
