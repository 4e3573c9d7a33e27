// Package schema turns the tables that check a configuration into a JSON Schema (draft
// 2020-12), for editors. A file that loads is valid under the schema, if it spells the
// required keys of a cloud's body as the cloud's page does. A valid file may not load,
// because the tables say more than a schema can.
package schema

import (
	"bytes"
	"encoding/json"

	"vpngw/config/dialect"
	"vpngw/config/load"
)

// Schema is a JSON Schema, or a part of one.
type Schema struct {
	Dialect     string     `json:"$schema,omitempty"`
	Ref         string     `json:"$ref,omitempty"`
	Title       string     `json:"title,omitempty"`
	Description string     `json:"description,omitempty"`
	Type        any        `json:"type,omitempty"` // a name, or several
	Enum        []any      `json:"enum,omitempty"`
	Default     any        `json:"default,omitempty"`
	Pattern     string     `json:"pattern,omitempty"`
	Format      string     `json:"format,omitempty"`
	MinLength   int        `json:"minLength,omitempty"`
	MaxLength   int        `json:"maxLength,omitempty"`
	Minimum     *int64     `json:"minimum,omitempty"`
	Maximum     *int64     `json:"maximum,omitempty"`
	WriteOnly   bool       `json:"writeOnly,omitempty"`
	AnyOf       []*Schema  `json:"anyOf,omitempty"`
	OneOf       []*Schema  `json:"oneOf,omitempty"`
	Items       *Schema    `json:"items,omitempty"`
	MinItems    int        `json:"minItems,omitempty"`
	MaxItems    *int       `json:"maxItems,omitempty"`
	Properties  Properties `json:"properties,omitempty"`
	Patterns    Properties `json:"patternProperties,omitempty"`
	Required    []string   `json:"required,omitempty"`
	Other       any        `json:"additionalProperties,omitempty"` // false, or a *Schema
	MaxProps    *int       `json:"maxProperties,omitempty"`
	Defs        Properties `json:"$defs,omitempty"`
}

// Properties are schemas by name, in the order of their table.
type Properties []Property

// Property is one entry of Properties.
type Property struct {
	Name   string
	Schema *Schema
}

func (ps Properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, p := range ps {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := e.Encode(p.Name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := e.Encode(p.Schema); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// File is the schema of a configuration file.
func File() *Schema {
	w := &writer{names: map[*dialect.Object]string{}}
	s := w.row(load.Table(), "", false)
	s.Dialect = "https://json-schema.org/draft/2020-12/schema"
	s.Title = "Configuration of vpngw"
	s.Defs = append(Properties{{absentName, absent()}}, w.defs...)
	return s
}

// row is the schema of a table's row.
func (w *writer) row(r *dialect.Row, path string, loose bool) *Schema {
	s := &Schema{}
	if r.Type != nil {
		s = w.of(r.Type, path, loose)
	}
	if s.Description == "" {
		s.Description = r.Doc
	}
	if r.Later != "" {
		s.Description = r.Later
	}
	if r.Default != "" && r.Default != "{}" {
		s.Default = literal(r)
	}
	return s
}

// absentName is the definition of null and the empty text, by which an API means absent.
const absentName = "absent"

func absent() *Schema {
	return &Schema{Description: "as good as left out", Enum: []any{nil, ""}}
}
