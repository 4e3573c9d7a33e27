package export

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"vpngw/config/tree"
)

// mapping is a YAML mapping to be written. A value is a text, a plain, a mapping (written
// as a block), a flow, or a list of these.
type mapping []entry

type entry struct {
	key   string // empty: the value is a comment
	value any
}

// flow is a mapping on one line.
type flow mapping

// plain is a scalar that needs no quotes: a number, a boolean.
type plain string

func (m *mapping) add(key string, value any) { *m = append(*m, entry{key, value}) }

func (m *flow) add(key string, value any) { *m = append(*m, entry{key, value}) }

// comment appends a comment line.
func (m *mapping) comment(s string) { m.add("", s) }

// block writes a mapping, each line after the indent.
func (m mapping) block(b *strings.Builder, indent string) {
	for _, e := range m {
		if e.key == "" {
			b.WriteString(indent + "# " + oneLine(e.value.(string)) + "\n")
			continue
		}
		switch v := e.value.(type) {
		case mapping:
			b.WriteString(indent + e.key + ":\n")
			v.block(b, indent+"  ")
		case []mapping:
			b.WriteString(indent + e.key + ":\n")
			for _, item := range v {
				var text strings.Builder
				item.block(&text, indent+"    ")
				b.WriteString(indent + "  - " + strings.TrimPrefix(text.String(), indent+"    "))
			}
		default:
			b.WriteString(indent + e.key + ": " + inline(v) + "\n")
		}
	}
}

// inline is a value on one line.
func inline(v any) string {
	var parts []string
	switch v := v.(type) {
	case string:
		return tree.Written(v)
	case plain:
		return string(v)
	case []string:
		for _, s := range v {
			parts = append(parts, tree.Written(s))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case flow:
		for _, e := range v {
			parts = append(parts, tree.Written(e.key)+": "+inline(e.value))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []flow:
		for _, f := range v {
			parts = append(parts, inline(f))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	panic("export: no YAML for this")
}

// oneLine keeps a comment on its line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return '?'
		}
		return r
	}, s)
}

func whole[T int | int64 | uint32 | uint64](n T) plain { return plain(fmt.Sprint(n)) }

func yesNo(is bool) plain {
	if is {
		return "true"
	}
	return "false"
}
