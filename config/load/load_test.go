package load

import (
	"flag"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/diag"
)

var update = flag.Bool("update", false, "write the golden files")

// files is a ReadFile of a few texts.
type files map[string]string

func (f files) read(name string, limit int) ([]byte, fs.FileMode, error) {
	text, ok := f[name]
	if !ok {
		return nil, 0, fs.ErrNotExist
	}
	return []byte(text), 0o600, nil
}

// parseText loads a text for a daemon that serves no feature.
func parseText(read ReadFile, name string, data []byte) (*Result, diag.Problems) {
	return Text(name, data, read, Options{Unserved: (*config.Connection).Features})
}

// same reports whether two Results say the same.
func same(a, b *Result) bool {
	if a == nil || b == nil {
		return a == b
	}
	alike := func(d, e *dialect.Draft) bool {
		return reflect.DeepEqual(d.Choices, e.Choices) && slices.Equal(d.Notes, e.Notes) && slices.Equal(d.Unserved, e.Unserved)
	}
	return reflect.DeepEqual(a.Config, b.Config) && slices.EqualFunc(a.Drafts, b.Drafts, alike)
}

// parse reads a text without an error.
func parse(t *testing.T, text string, f files) *Result {
	t.Helper()
	c, ps := parseText(f.read, "vpngw.yaml", []byte(text))
	if c == nil || ps.Failed() {
		t.Fatalf("refused:\n%s", lines(ps))
	}
	return c
}

func lines(ps diag.Problems) string {
	var b strings.Builder
	ps.Write(&b)
	return b.String()
}

// testdata reads a file of testdata as a private file.
func testdata(name string, limit int) ([]byte, fs.FileMode, error) {
	if path.Base(name) == "lab.psk" {
		return []byte("not-a-real-secret\n"), 0o600, nil
	}
	data, err := os.ReadFile(name)
	return data, 0o600, err
}

// Each file of testdata has its problems beside it.
func TestGoldenProblems(t *testing.T) {
	names, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			c, ps := parseText(testdata, name, data)
			if (c == nil) != ps.Failed() {
				t.Errorf("Config is nil: %v, there are errors: %v", c == nil, ps.Failed())
			}
			compare(t, strings.TrimSuffix(name, ".yaml")+".problems", lines(ps))
			again, _ := parseText(testdata, name, data)
			if !same(c, again) {
				t.Error("read twice, the Configs differ")
			}
		})
	}
}
