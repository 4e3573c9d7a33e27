// Package man writes manual pages: vpngw(1), one for each of its commands, and vpngw.yaml(5).
package man

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit is what an exit code means.
type Exit struct {
	Code  int
	Of    string // the command; empty: every command
	Means string
}

// Path is a file or directory that the pages name.
type Path struct{ Path, What string }

// Pages is what manual pages are made of.
type Pages struct {
	Date    time.Time
	Version string
	Exits   []Exit
	Files   []Path
}

// Page is one manual page: the name of its file, and roff.
type Page struct{ File, Text string }

// Commands are the pages of a program and of its commands that are not hidden.
func (p Pages) Commands(root *cobra.Command) []Page {
	root.InitDefaultHelpCmd()
	pages := []Page{{root.Name() + ".1", p.command(root)}}
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			pages = append(pages, Page{title(c) + ".1", p.command(c)})
		}
	}
	return pages
}

// title is the name of a command's page.
func title(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func (p Pages) head(b *strings.Builder, name, section, what string) {
	fmt.Fprintf(b, ".TH %s %s %s %s %s\n", quoted(strings.ToUpper(name)), section, p.Date.UTC().Format(time.DateOnly), quoted("vpngw "+p.Version), quoted("vpngw manual"))
	b.WriteString(".nh\n.ad l\n") // names and paths are not hyphenated, and lines not stretched
	fmt.Fprintf(b, ".SH NAME\n%s \\- %s\n", escape(name), escape(what))
}

func (p Pages) command(c *cobra.Command) string {
	var b strings.Builder
	p.head(&b, title(c), "1", c.Short)
	use := c.UseLine()
	if !c.HasParent() {
		use = c.Name() + " COMMAND [flags]"
	}
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", quoted(use))
	section(&b, "DESCRIPTION", cmp.Or(c.Long, c.Short))
	if !c.HasParent() {
		commands(&b, c)
	}
	c.InitDefaultHelpFlag()
	flags(&b, "OPTIONS", c.NonInheritedFlags())
	flags(&b, "OPTIONS OF EVERY COMMAND", c.InheritedFlags())
	if c.Example != "" {
		b.WriteString(".SH EXAMPLES\n")
		asItIs(&b, c.Example)
	}
	p.exits(&b, c)
	p.files(&b)
	also := []string{"vpngw.yaml(5)"}
	if c.HasParent() {
		also = append([]string{title(c.Parent()) + "(1)"}, also...)
	} else {
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				also = append(also, title(sub)+"(1)")
			}
		}
	}
	seeAlso(&b, also)
	return b.String()
}

// commands lists a program's commands, in their groups.
func commands(b *strings.Builder, root *cobra.Command) {
	b.WriteString(".SH COMMANDS\n")
	for _, g := range root.Groups() {
		fmt.Fprintf(b, ".SS %s\n", quoted(strings.TrimSuffix(g.Title, ":")))
		for _, c := range root.Commands() {
			if c.GroupID == g.ID && c.IsAvailableCommand() {
				item(b, c.Use, c.Short)
			}
		}
	}
}

func flags(b *strings.Builder, heading string, set *pflag.FlagSet) {
	if !set.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(b, ".SH %s\n", heading)
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if value != "" {
			name += " " + strings.ToUpper(value)
		}
		switch f.DefValue {
		case "", "false", "0", "0s", "[]":
		default:
			usage += " (default: " + f.DefValue + ")"
		}
		item(b, name, usage)
	})
}

// exits lists the exit codes of a command; the page of the program has those of all.
func (p Pages) exits(b *strings.Builder, c *cobra.Command) {
	b.WriteString(".SH EXIT STATUS\n")
	last := -1
	for _, e := range p.Exits {
		text := e.Means
		switch {
		case e.Of != "" && !c.HasParent():
			text = e.Of + ": " + text
		case e.Of != "" && e.Of != c.Name():
			continue
		}
		if e.Code == last {
			fmt.Fprintf(b, ".br\n%s\n", escape(text))
		} else {
			item(b, fmt.Sprint(e.Code), text)
		}
		last = e.Code
	}
}

func (p Pages) files(b *strings.Builder) {
	b.WriteString(".SH FILES\n")
	for _, f := range p.Files {
		item(b, f.Path, f.What)
	}
}

func seeAlso(b *strings.Builder, pages []string) {
	fmt.Fprintf(b, ".SH SEE ALSO\n%s\n", escape(strings.Join(pages, ", ")))
}
