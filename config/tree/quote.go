package tree

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// plainText matches texts that need no quotes anywhere, but for those that are a number or a word of YAML.
var plainText = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9/][A-Za-z0-9._/@-]*$`) })

var number = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[0-9][0-9_]*(\.[0-9_]*)?([eE][0-9]*)?$|^0[xo]`)
})

var yamlWords = []string{"true", "false", "yes", "no", "on", "off", "null", "y", "n"}

// Written is a text as a file has it: in quotes where it could be read as something else.
func Written(s string) string {
	if plainText().MatchString(s) && !number().MatchString(s) && !slices.Contains(yamlWords, strings.ToLower(s)) {
		return s
	}
	return Quoted(s)
}

// Quoted is a text in JSON, which is YAML too.
func Quoted(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // a text
	}
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\x7f", `\u007f`)
}
