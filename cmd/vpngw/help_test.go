package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command explains itself, with examples that the program takes.
func TestHelpHasExamplesThatParse(t *testing.T) {
	for _, c := range append(newRoot().Commands(), newRoot()) {
		if c.Hidden || c.Name() == "help" {
			continue
		}
		if c.Long == "" || c.Example == "" || c.Short == "" {
			t.Errorf("%s lacks a Long, Short or Example", c.CommandPath())
		}
		if c.HasParent() && c.GroupID == "" {
			t.Errorf("%s is in no group", c.Name())
		}
		var help, stderr strings.Builder
		vpngw([]string{c.Name(), "--help"}, &help, &stderr)
		if !c.HasParent() {
			help.Reset()
			vpngw([]string{"--help"}, &help, &stderr)
		}
		for line := range strings.Lines(help.String()) {
			if n := len([]rune(line)); n > 101 {
				t.Errorf("%s: longer than 100 columns: %s", c.CommandPath(), line)
			}
		}
		if !strings.Contains(help.String(), "\nUsage:\n") || stderr.Len() > 0 {
			t.Errorf("%s: its help is\n%s%s", c.CommandPath(), &help, &stderr)
		}
		own := false
		for _, words := range commandLines(c.Example) {
			found, err := parses(words)
			if err != nil {
				t.Errorf("%s: the example %q: %v", c.CommandPath(), strings.Join(words, " "), err)
				continue
			}
			own = own || found.Name() == c.Name() || !c.HasParent()
		}
		if !own {
			t.Errorf("%s: no example is of it", c.Name())
		}
	}
}

// commandLines are the words of each vpngw command in a text of shell commands.
func commandLines(text string) (out [][]string) {
	for _, line := range strings.Split(strings.ReplaceAll(text, "\\\n", ""), "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		line = regexp.MustCompile(`'[^']*'`).ReplaceAllString(line, "quoted")
		line, _, _ = strings.Cut(line, "   ") // what follows explains it
		for _, part := range regexp.MustCompile(`\||&&|;`).Split(line, -1) {
			part, _, _ = strings.Cut(part, ">")
			words := strings.Fields(part)
			for i, w := range words {
				if w == "vpngw" && (i == 0 || words[0] == "sudo" || strings.Contains(words[0], "=")) {
					out = append(out, words[i+1:])
				}
			}
		}
	}
	return out
}

// parses reports which command a line is of, and what is wrong with its flags and arguments.
func parses(words []string) (*cobra.Command, error) {
	c, rest, err := newRoot().Find(words)
	if err != nil {
		return nil, err
	}
	if err := c.ParseFlags(rest); err != nil {
		return c, err
	}
	if c.PreRunE != nil {
		if err := c.PreRunE(c, nil); err != nil {
			return c, err
		}
	}
	return c, c.ValidateArgs(c.Flags().Args())
}
