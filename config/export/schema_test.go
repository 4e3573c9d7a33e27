package export

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"vpngw/config/load"
	"vpngw/config/schema"
)

// Whatever of the tables loads is valid by the schema of the tables.
func TestGeneratedFilesAreValidByTheSchema(t *testing.T) {
	text, err := json.Marshal(schema.File())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("vpngw.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("vpngw.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range load.Dialects() {
		g := &generator{rand.New(rand.NewPCG(7, 8)), d.Name}
		for range 300 {
			text, _ := g.valid()
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(text)))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Validate(v); err != nil {
				t.Fatalf("%s\nloads, and is not valid: %#v", text, err)
			}
		}
	}
}
