package sa

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// vector is a test of Project Wycheproof, with the fields of the kinds used here.
type vector struct {
	ID      int `json:"tcId"`
	Comment string
	Flags   []string
	Result  string // valid, invalid, acceptable

	Key, Msg, Tag           string // MacTest
	Public, Private, Shared string // EcdhEcpointTest, XdhComp
}

// wycheproofDir is the module's directory. Its Go package would put all of its 100 MB
// into the test binary.
var wycheproofDir = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", "github.com/c2sp/wycheproof").Output()
	if err != nil {
		return "", err
	}
	var module struct{ Dir string }
	err = json.Unmarshal(out, &module)
	return module.Dir, err
})

func wycheproof(t *testing.T, file string) []vector {
	t.Helper()
	dir, err := wycheproofDir()
	if err != nil {
		t.Fatalf("go mod download github.com/c2sp/wycheproof: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "testvectors_v1", file))
	if err != nil {
		t.Fatal(err)
	}
	var tests struct {
		TestGroups []struct{ Tests []vector }
	}
	if err := json.Unmarshal(b, &tests); err != nil {
		t.Fatal(file, err)
	}
	var all []vector
	for _, g := range tests.TestGroups {
		all = append(all, g.Tests...)
	}
	return all
}
