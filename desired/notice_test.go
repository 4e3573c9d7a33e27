package desired

import (
	"os"
	"path/filepath"
	"testing"
)

func TestANoticeIsGivenOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	for i, want := range []bool{true, false} {
		if first, err := First(dir, "guards"); err != nil || first != want {
			t.Errorf("time %d: got %v, %v, want %v", i+1, first, err, want)
		}
	}
	if first, err := First(dir, "another"); err != nil || !first {
		t.Errorf("another notice: got %v, %v", first, err)
	}
	none := filepath.Join(t.TempDir(), "file", "state") // no directory can be made there
	if err := os.WriteFile(filepath.Dir(none), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if first, err := First(none, "guards"); err == nil {
			t.Errorf("without a record: got %v and no error", first)
		}
	}
}
