package man

import (
	"fmt"
	"strings"
)

// section writes a text in the form of a command's help: paragraphs with empty lines between them. A paragraph that is
// indented stays as it is.
func section(b *strings.Builder, heading, text string) {
	fmt.Fprintf(b, ".SH %s\n", heading)
	between := ""
	for paragraph := range strings.SplitSeq(strings.Trim(text, "\n"), "\n\n") {
		b.WriteString(between)
		between = ".PP\n"
		if strings.HasPrefix(paragraph, "  ") {
			asItIs(b, paragraph)
			continue
		}
		for line := range strings.SplitSeq(paragraph, "\n") {
			b.WriteString(escape(line) + "\n")
		}
	}
}

// asItIs writes lines that are neither filled nor adjusted.
func asItIs(b *strings.Builder, text string) {
	b.WriteString(".nf\n")
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		b.WriteString(escape(line) + "\n")
	}
	b.WriteString(".fi\n")
}

// item writes an entry of a list.
func item(b *strings.Builder, name, text string) {
	fmt.Fprintf(b, ".TP\n.B %s\n%s\n", quoted(name), escape(text))
}

// escape makes a line of text one of roff.
func escape(s string) string {
	var b strings.Builder
	if strings.HasPrefix(s, ".") {
		b.WriteString(`\&`)
	}
	for _, r := range s {
		switch {
		case special[r] != "":
			b.WriteString(special[r])
		case r > '~':
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// special are the characters that roff would take for something else, or print as another one.
var special = map[rune]string{'\\': `\e`, '-': `\-`, '~': `\(ti`, '^': `\(ha`, '`': `\(ga`, '\'': `\(aq`}

// quoted is one argument of a request.
func quoted(s string) string { return `"` + strings.ReplaceAll(escape(s), `"`, `\(dq`) + `"` }
