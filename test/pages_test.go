package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vpngw/test/lab"
)

// A page of the documentation shows commands and files. These tests do what the page says, in its order, on hosts with
// the addresses that all pages use, and the page's commands have to succeed.
//
// The first line of a fenced block says what it is; a reader sees only the word before the first blank:
//
//	sh                 commands for this host
//	sh on=HOST         for another: cloud, lan, vm, a host behind the cloud's gateway, or gw1, one of two hosts
//	sh fails           that fail, as the text around says
//	sh by=TARGET       that `make TARGET` runs
//	sh not=REASON      that no test runs; bench, soak and console are reasons
//	LANGUAGE file=PATH a file of this host; on=HOST as above, also on=here,cloud
//	anything else      is not for a machine
//
// What only the tests need stands in an HTML comment. A page with "<!-- begins as: PAGE -->" begins with the files and the
// daemons of another one.
type block struct {
	line     int
	language string
	options  map[string]string
	text     string
}

var beginsAs = regexp.MustCompile(`<!-- begins as: (\S+) -->`)

var fence = regexp.MustCompile("(?m)^```([^\n]*)\n((?s:.*?))^```$")

func blocks(page string) []block {
	var out []block
	for _, m := range fence.FindAllStringSubmatchIndex(page, -1) {
		info, text := page[m[2]:m[3]], page[m[4]:m[5]]
		b := block{line: strings.Count(page[:m[0]], "\n") + 1, text: text, options: map[string]string{}}
		for i, word := range strings.Fields(info) {
			if i == 0 {
				b.language = word
				continue
			}
			key, value, _ := strings.Cut(word, "=")
			b.options[key] = value
		}
		out = append(out, b)
	}
	return out
}

var (
	notRun    = []string{"bench", "soak", "console"}
	pageHosts = []string{"here", "cloud", "lan", "vm", "gw1"}
)

// pages are the pages with commands.
func pages(t *testing.T) []string {
	list, err := filepath.Glob("../docs/*.md")
	if err != nil || len(list) == 0 {
		t.Fatalf("no page: %v", err)
	}
	return append(list, "../README.md")
}

// Every block with commands is run by a test, or says why not.
func TestPagesAreMarked(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range pages(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), "\n```") + strings.Count("\n"+string(text)[:3], "\n```"); n != 2*len(blocks(string(text))) {
			t.Errorf("%s: %d fences make %d blocks", path, n, len(blocks(string(text))))
		}
		for _, b := range blocks(string(text)) {
			where := fmt.Sprintf("%s:%d", path, b.line)
			for key, value := range b.options {
				switch key {
				case "on":
					for _, h := range strings.Split(value, ",") {
						if !slices.Contains(pageHosts, h) {
							t.Errorf("%s: there is no host %q", where, h)
						}
					}
				case "by":
					if !strings.Contains(string(makefile), "\n"+value+":") {
						t.Errorf("%s: there is no make %s", where, value)
					}
				case "not":
					if !slices.Contains(notRun, value) {
						t.Errorf("%s: %q is no reason", where, value)
					}
				case "file", "fails":
				default:
					t.Errorf("%s: what is %s?", where, key)
				}
			}
			if _, file := b.options["file"]; b.language == "" || !file && strings.Contains(b.text, "$ vpngw") {
				t.Errorf("%s: commands are marked sh, output text", where)
			}
		}
	}
}

// guide does what a page says.
func guide(t *testing.T, path string) {
	t.Parallel()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := lab.Direct(t, "nsenter", "setsid")
	at := map[string]*lab.Namespace{"here": n.Customer, "cloud": n.Cloud, "lan": n.Host, "vm": n.CloudHost}
	shells := map[string]*lab.Shell{}
	on := func(b block) []*lab.Shell {
		names := strings.Split(b.options["on"], ",")
		if b.options["on"] == "" {
			names = []string{"here"}
		}
		var out []*lab.Shell
		for _, name := range names {
			if shells[name] == nil {
				shells[name] = at[name].Shell()
			}
			out = append(out, shells[name])
		}
		return out
	}
	steps := blocks(string(text))
	if m := beginsAs.FindSubmatch(text); m != nil {
		other, err := os.ReadFile(filepath.Join("../docs", string(m[1])))
		if err != nil {
			t.Fatal(err)
		}
		first := slices.DeleteFunc(blocks(string(other)), func(b block) bool {
			return b.options["file"] == "" && !strings.Contains(b.text, "systemctl") && !strings.Contains(b.text, "until vpngw status")
		})
		steps = append(first, steps...)
	}
	for _, b := range steps {
		if b.options["not"] != "" || b.options["by"] != "" {
			continue
		}
		if file := b.options["file"]; file != "" && b.options["on"] != "gw1" { // that is for another network
			for _, s := range on(b) {
				s.File(file, b.text)
			}
			continue
		}
		if b.language != "sh" {
			continue
		}
		_, fails := b.options["fails"]
		for _, s := range on(b) {
			out, err := s.Try(b.text)
			if (err != nil) != fails {
				t.Fatalf("%s:%d: %v\n%s", path, b.line, err, out)
			}
			t.Logf("%s:%d\n%s", path, b.line, out)
		}
	}
}

func TestGuideAlibaba(t *testing.T)          { guide(t, "../docs/alibaba.md") }
func TestGuideHuawei(t *testing.T)           { guide(t, "../docs/huawei.md") }
func TestGuideTencent(t *testing.T)          { guide(t, "../docs/tencent.md") }
func TestGuideHighAvailability(t *testing.T) { guide(t, "../docs/high-availability.md") }
func TestGuideMigration(t *testing.T)        { guide(t, "../docs/migration.md") }
func TestGuideMetrics(t *testing.T)          { guide(t, "../docs/metrics.md") }
func TestGuideWireshark(t *testing.T)        { guide(t, "../docs/wireshark.md") }

var link = regexp.MustCompile(`\]\(([^)#\s]*)(#[^)]*)?\)`)

// Every link within the project leads to a file that is there, and to a heading in it.
func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	list := pages(t)
	for _, name := range []string{"ARCHITECTURE", "SECURITY", "RFCs", "CHANGELOG"} {
		list = append(list, "../"+name+".md")
	}
	for _, path := range list {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			to, anchor := m[1], m[2]
			if strings.Contains(to, "://") {
				continue
			}
			file := path
			if to != "" {
				file = filepath.Join(filepath.Dir(path), to)
			}
			there, err := os.ReadFile(file)
			if info, e := os.Stat(file); e == nil && info.IsDir() {
				continue
			}
			if err != nil {
				t.Errorf("%s: %s: %v", path, m[0], err)
			} else if anchor != "" && !slices.Contains(headings(string(there)), anchor) {
				t.Errorf("%s: %s: there is no such heading", path, m[0])
			}
		}
	}
}

var (
	heading       = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notOfAnAnchor = regexp.MustCompile(`[^\pL\pN\- _]`)
)

// headings are the anchors of a page.
func headings(page string) []string {
	var out []string
	for _, m := range heading.FindAllStringSubmatch(page, -1) {
		plain := notOfAnAnchor.ReplaceAllString(strings.ToLower(m[1]), "")
		out = append(out, "#"+strings.ReplaceAll(plain, " ", "-"))
	}
	return out
}
