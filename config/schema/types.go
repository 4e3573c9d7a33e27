package schema

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"vpngw/config/dialect"
	"vpngw/ipsec"
)

// writer writes one schema.
type writer struct {
	defs  Properties                 // of the objects in the clouds' bodies
	names map[*dialect.Object]string // of the defs
}

// of is the schema of the type at a path. It panics on an unknown type; a test visits
// them all.
func (w *writer) of(t dialect.Type, path string, loose bool) *Schema {
	switch t := t.(type) {
	case dialect.Request:
		forms := []*Schema{w.object(t.Body, path, loose), {Type: "string", Description: "the request itself, or the name of a file that holds it"}}
		if t.Body.Loose {
			forms = append(forms, &Schema{Type: "array", Items: &Schema{Type: "object"}, Description: "several bodies, each a connection"})
		}
		for _, name := range t.Wrappers {
			forms = append(forms, &Schema{Type: "object", Required: []string{name}, Description: "as the API wraps it"})
		}
		return anyOf(forms...)
	case dialect.List:
		s := &Schema{Type: "array", Items: w.of(t.Of, path, loose), MaxItems: &t.Max}
		if !loose {
			return s
		}
		forms := []*Schema{s, jsonText("[")}
		if t.Within != "" {
			forms = append(forms, &Schema{Type: "object", Required: []string{t.Within}, Description: "as the API wraps it"})
		}
		return anyOf(forms...)
	case dialect.Table:
		return &Schema{Type: "object", Other: w.of(t.Of, path, loose)}
	case dialect.Or:
		return anyOf(w.of(t.Scalar, path, loose), w.of(t.Other, path, loose))
	case dialect.Text:
		return text(t)
	case dialect.Secret:
		s := text(t.Text)
		s.WriteOnly = true
		return s
	case dialect.Enum:
		return enum(t, loose)
	case dialect.Bool:
		return anyOf(&Schema{Type: "boolean"}, &Schema{Type: "string", Pattern: anyCase("true", "yes", "on", "false", "no", "off")})
	case dialect.Int:
		return number(t.Min, t.Max, loose)
	case dialect.Duration:
		return duration(t, loose)
	case dialect.Addr:
		return anyOf(&Schema{Type: "string", Format: "ipv4"}, &Schema{Type: "string", Format: "ipv6"})
	case interface{ Forms() []dialect.Type }:
		var forms []*Schema
		for _, f := range t.Forms() {
			forms = append(forms, w.of(f, path, loose))
		}
		return anyOf(forms...)
	case dialect.Prefix, dialect.Block, dialect.Inside:
		return &Schema{Type: "string", Pattern: "^" + cidr + "$"}
	case dialect.Prefixes:
		return prefixes(t)
	case dialect.ASN:
		return anyOf(
			&Schema{Type: "number", Minimum: new(int64), Maximum: pointer(int64(4294967295))}, // 1.5 is 65541
			&Schema{Type: "string", Pattern: `^[0-9]+(\.[0-9]+)?$`})
	case dialect.Proposal:
		names := strings.Join(slices.DeleteFunc(ipsec.Names(), func(s string) bool { return strings.Contains(s, "-") }), "|")
		return &Schema{Type: "string", Pattern: "^(" + names + ")(-(" + names + "))*$"}
	case interface{ Table() *dialect.Object }:
		return w.object(t.Table(), path, loose)
	}
	panic(fmt.Sprintf("schema: no schema for %T", t))
}

const cidr = `[0-9a-fA-F:.]+/[0-9]{1,3}`

// object is the schema of an object. An object of a cloud's body becomes a definition,
// because the schema refers to it twice: under its key, and under its key in any case.
func (w *writer) object(o *dialect.Object, path string, loose bool) *Schema {
	inside := loose // in a body an object may be a text with JSON
	if loose = loose || o.Loose; !loose {
		return w.table(o, path, false)
	}
	name, ok := w.names[o]
	if !ok {
		name = path
		w.names[o] = name
		w.defs = append(w.defs, Property{name, w.table(o, path, true)})
	}
	ref := &Schema{Ref: "#/$defs/" + name}
	if inside {
		return anyOf(ref, jsonText("{"))
	}
	return ref
}

func (w *writer) table(o *dialect.Object, path string, loose bool) *Schema {
	s := &Schema{Type: "object", Other: false}
	for i := range o.Rows {
		r := &o.Rows[i]
		p := w.row(r, join(path, r.Name), loose)
		if loose {
			if !r.Required {
				p = &Schema{Description: p.Description, Default: p.Default, AnyOf: []*Schema{p, {Ref: "#/$defs/" + absentName}}}
				p.AnyOf[0].Description, p.AnyOf[0].Default = "", nil
			}
			s.Patterns = append(s.Patterns, Property{anyCase(append([]string{r.Name}, r.Also...)...), p})
		}
		s.Properties = append(s.Properties, Property{r.Name, p})
		if r.Required && !r.Requests { // an answer may lack what every request has
			s.Required = append(s.Required, r.Name)
		}
		if _, ok := r.Type.(dialect.Request); ok { // a connection has one body
			s.OneOf = append(s.OneOf, &Schema{Required: []string{r.Name}})
		}
	}
	for _, name := range o.Unused {
		start, more := strings.CutSuffix(name, "*")
		pattern := anyCase(start)
		if more {
			pattern = strings.TrimSuffix(pattern, "$")
		}
		s.Patterns = append(s.Patterns, Property{pattern, &Schema{Description: "no meaning here"}})
	}
	return s
}

// join is the name of a part's definition: "alibaba.IkeConfig".
func join(path, name string) string {
	if path == "" || strings.HasPrefix(path, "connections") && !strings.Contains(path, ".") {
		return name
	}
	return path + "." + name
}

// jsonText is JSON in a text.
func jsonText(begin string) *Schema {
	return &Schema{Type: "string", Pattern: `^\s*` + regexp.QuoteMeta(begin), Description: "JSON"}
}

// text is any scalar: a text that YAML takes for a number is a text here.
func text(t dialect.Text) *Schema {
	return &Schema{Type: []string{"string", "number", "boolean"}, MinLength: t.Min, MaxLength: max(t.Max, t.Older)}
}

func enum(t dialect.Enum, loose bool) *Schema {
	s := &Schema{}
	for _, w := range t.Words {
		s.Enum = append(s.Enum, w)
		if n, err := strconv.Atoi(w); err == nil {
			s.Enum = append(s.Enum, n)
		}
	}
	if loose {
		return anyOf(s, &Schema{Type: "string", Pattern: anyCase(slices.Concat(t.Words, t.Older)...)})
	}
	if t.Switch() {
		return anyOf(s, &Schema{Type: "boolean"}, &Schema{Type: "string", Pattern: anyCase("true", "on", "false", "off")})
	}
	return s
}

func number(low, high int64, loose bool) *Schema {
	s := &Schema{Type: "integer", Minimum: &low, Maximum: &high}
	if loose {
		return anyOf(s, &Schema{Type: "string", Pattern: `^[+-]?[0-9]+$`})
	}
	return s
}

func duration(t dialect.Duration, loose bool) *Schema {
	s := number(int64(t.Min/time.Second), int64(t.Max/time.Second), loose || !t.Seconds)
	if !t.Seconds {
		s.AnyOf[1] = &Schema{Type: "string", Pattern: `^([0-9]+|([0-9]*\.?[0-9]+(ns|us|µs|ms|s|m|h))+)$`}
	}
	return s
}

func prefixes(t dialect.Prefixes) *Schema {
	if t.Comma {
		return &Schema{Type: "string", Pattern: `^\s*` + cidr + `(\s*,\s*` + cidr + `)*\s*$`}
	}
	s := &Schema{Type: "array", Items: &Schema{Type: "string", Pattern: "^" + cidr + "$"}, MinItems: 1, MaxItems: &t.Max}
	if t.Empty {
		s.MinItems = 0
	}
	return s
}

// literal is a row's default in JSON.
func literal(r *dialect.Row) any {
	switch r.Type.(type) {
	case dialect.Bool:
		return slices.Contains([]string{"true", "yes", "on"}, r.Default)
	case dialect.Int, dialect.ASN, dialect.Duration:
		if n, err := strconv.ParseInt(r.Default, 10, 64); err == nil {
			return n
		}
	}
	return r.Default
}

// anyCase is a pattern for words in any mix of upper and lower case.
func anyCase(words ...string) string {
	var b strings.Builder
	b.WriteString("^(")
	for i, w := range words {
		if i > 0 {
			b.WriteByte('|')
		}
		for _, r := range w {
			if l, u := unicode.ToLower(r), unicode.ToUpper(r); l != u {
				fmt.Fprintf(&b, "[%c%c]", l, u)
			} else {
				b.WriteString(regexp.QuoteMeta(string(r)))
			}
		}
	}
	b.WriteString(")$")
	return b.String()
}

func anyOf(ss ...*Schema) *Schema { return &Schema{AnyOf: ss} }

func pointer[T any](v T) *T { return &v }
