package explain

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"

	"vpngw/config/dialect"
	"vpngw/config/load"
	"vpngw/config/tree"
	"vpngw/ipsec"
)

// Redacted stands in place of a key.
const Redacted = `"[redacted]"`

// Text is what a file says, with the files that it names, as its tables read it: no key, no comment, and nothing that
// has no meaning here, such as a signature or a header line.
func Text(r *load.Result) string {
	var b strings.Builder
	b.WriteString("# What the file says, without keys, comments, and what has no meaning to vpngw.\n")
	write(&b, r.Root, "", "", r.Root.Pos().File)
	return b.String()
}

// write writes the parts of v that are given, each line after the indent.
func write(b *strings.Builder, v *dialect.Value, first, indent, file string) {
	line := func(format string, args ...any) {
		b.WriteString(first + fmt.Sprintf(format, args...) + "\n")
		first = indent
	}
	part := func(name string, p *dialect.Value) {
		if text, ok := inline(p); ok {
			line("%s: %s", name, text)
			return
		}
		from := ""
		if f := p.Pos().File; f != file {
			from = " # " + oneLine(f)
		}
		line("%s:%s", name, from)
		write(b, p, indent+"  ", indent+"  ", p.Pos().File)
	}
	switch items, entries := v.Items(), v.Entries(); {
	case items != nil:
		for _, item := range items {
			if text, ok := inline(item); ok {
				line("- %s", text)
			} else {
				write(b, item, first+"- ", indent+"  ", file)
				first = indent
			}
		}
	case entries != nil:
		var keys []string
		for key := range entries {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			part(tree.Written(key), entries[key])
		}
	default:
		for p := range v.Parts() {
			if p != nil && p.Given {
				part(p.Row.Name, p)
			}
		}
	}
	if unused := v.Unused(); len(unused) > 0 && first == indent && v.Items() == nil {
		if _, body := v.Row.Type.(dialect.Request); body {
			line("# not shown: %s", oneLine(strings.Join(unused, ", ")))
		}
	}
}

// inline is a value that stands on one line; ok is false where it has parts.
func inline(v *dialect.Value) (text string, ok bool) {
	_, table := v.Row.Type.(interface{ Table() *dialect.Object })
	switch {
	case v.OK() && dialect.Is[ipsec.Secret](v):
		return Redacted, true
	case !v.OK():
		return "(not valid)", true
	case dialect.Is[[]netip.Prefix](v):
		var out []string
		for _, p := range v.Prefixes() {
			out = append(out, p.String())
		}
		return "[" + strings.Join(out, ", ") + "]", true
	case v.Items() != nil || v.Entries() != nil:
		return "", false
	case table && v.Text() == "" && !dialect.Is[bool](v) && !dialect.Is[int64](v) && v.Node.Len() > 0:
		return "", false
	case v.Row.Type.Hides():
		if v.Node.Len() == 0 {
			return "{}", true
		}
		return Redacted, true
	}
	if v.Node.Plain && plainText().MatchString(v.Node.Text) {
		return v.Node.Text, true
	}
	return tree.Quoted(v.Node.Text), true
}

var plainText = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9./_-]+$`) })

func oneLine(s string) string { return strings.Trim(tree.Quoted(s), `"`) }

// Keys are all keys that a configuration knows, by which a text can be searched for them.
func Keys(r *load.Result) [][]byte {
	var out [][]byte
	add := func(k ipsec.Secret) {
		if len(k) > 0 {
			out = append(out, k)
		}
	}
	var look func(*dialect.Value)
	look = func(v *dialect.Value) {
		add(v.Secret())
		for _, e := range v.Entries() {
			look(e)
		}
		for p := range v.Parts() {
			if p != nil && p.Given {
				look(p)
			}
		}
	}
	look(r.Root)
	for _, d := range r.Drafts {
		for i := range d.Tunnels {
			t := &d.Tunnels[i]
			if add(t.PSK); t.BGP != nil {
				add(t.BGP.AuthKey)
			}
		}
	}
	return out
}
