// Package wycheproof reads, for tests, the test vectors of Project Wycheproof.
package wycheproof

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// dir is the module's directory. Its Go package would put all of its 100 MB
// into the test binary.
var dir = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", "github.com/c2sp/wycheproof").Output()
	if err != nil {
		return "", err
	}
	var module struct{ Dir string }
	err = json.Unmarshal(out, &module)
	return module.Dir, err
})

// Read reads one file of vectors, as encoding/json does.
func Read(t testing.TB, file string, into any) {
	t.Helper()
	dir, err := dir()
	if err != nil {
		t.Fatalf("go mod download github.com/c2sp/wycheproof: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "testvectors_v1", file))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(file, err)
	}
}
