package man

import (
	"strings"

	"vpngw/config/dialect"
)

// File is the page of the configuration file, from the tables that check it. The bodies of the clouds are not in it.
func (p Pages) File(table *dialect.Object, example string) Page {
	var b strings.Builder
	p.head(&b, "vpngw.yaml", "5", "configuration of the vpngw daemon")
	section(&b, "DESCRIPTION", `The file is YAML or JSON. It names connections: each is a body in one dialect (native, or the request
that created the connection in a cloud), with keys beside it.

"vpngw check -c FILE" says what is wrong with a file, "vpngw explain -c FILE" what each key
comes to, and "vpngw schema" prints a JSON Schema with every parameter of the clouds' bodies.

The file, and each body and key that it names, must be writable for its owner only.`)
	b.WriteString(".SH KEYS\n")
	keys(&b, table, "")
	b.WriteString(".SH EXAMPLE\n")
	asItIs(&b, example)
	p.files(&b)
	seeAlso(&b, []string{"vpngw(1)", "vpngw-check(1)", "vpngw-explain(1)", "vpngw-schema(1)"})
	return Page{"vpngw.yaml.5", b.String()}
}

// keys lists the rows of a table, and of the tables in it.
func keys(b *strings.Builder, o *dialect.Object, path string) {
	for i := range o.Rows {
		r := &o.Rows[i]
		text, inner, below := r.Doc, inside(r.Type), path+r.Name
		switch {
		case r.Required:
			text += "; required"
		case r.Default != "" && r.Default != "{}":
			text += "; default: " + r.Default
		}
		item(b, below, text)
		if body, ok := r.Type.(dialect.Request); ok && body.Body.Loose {
			continue // a cloud's
		}
		switch r.Type.(type) {
		case dialect.List:
			below += "[]"
		case dialect.Table:
			below += ".ID"
		}
		if inner != nil {
			keys(b, inner, below+".")
		}
	}
}

// inside is the table in a type; nil: there is none.
func inside(t dialect.Type) *dialect.Object {
	switch t := t.(type) {
	case dialect.List:
		return inside(t.Of)
	case dialect.Table:
		return inside(t.Of)
	case interface{ Table() *dialect.Object }:
		return t.Table()
	}
	return nil
}
