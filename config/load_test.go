package config

import (
	"flag"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"vpngw/diag"
)

var update = flag.Bool("update", false, "write the golden files anew")

// files is a ReadFile of a few texts.
type files map[string]string

func (f files) read(name string, limit int) ([]byte, fs.FileMode, error) {
	text, ok := f[name]
	if !ok {
		return nil, 0, fs.ErrNotExist
	}
	return []byte(text), 0o600, nil
}

// parse reads a text without an error.
func parse(t *testing.T, text string, f files) *Config {
	t.Helper()
	c, ps := Parse(f.read, "vpngw.yaml", []byte(text))
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

// testdata is what lies in the folder of that name, read as a private file.
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
			c, ps := Parse(testdata, name, data)
			if (c == nil) != ps.Failed() {
				t.Errorf("Config is nil: %v, there are errors: %v", c == nil, ps.Failed())
			}
			compare(t, strings.TrimSuffix(name, ".yaml")+".problems", lines(ps))
			again, _ := Parse(testdata, name, data)
			if !reflect.DeepEqual(c, again) {
				t.Error("read twice, the Configs differ")
			}
		})
	}
}
