package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestRecords(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	d := Dir(dir)
	if _, err := d.Get("x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a record that nobody wrote: %v", err)
	}
	if err := d.Delete("x"); err != nil {
		t.Error(err)
	}
	for _, record := range []string{"one", "another, longer", ""} {
		if err := d.Put("x", []byte(record)); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Get("x"); err != nil || string(got) != record {
			t.Errorf("got %q, %v, want %q", got, err, record)
		}
	}
	for path, mode := range map[string]fs.FileMode{dir: 0o700, d.Path("x"): 0o600} {
		if i, err := os.Stat(path); err != nil || i.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want mode %v", path, i, err, mode)
		}
	}
	if err := d.Delete("x"); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestAFailedPutLeavesTheOldRecord(t *testing.T) {
	d := Dir(t.TempDir())
	if err := os.Mkdir(d.Path("x"), 0o700); err != nil { // a directory in a record's place
		t.Fatal(err)
	}
	if err := d.Put("x", []byte("new")); err == nil {
		t.Error("a directory was replaced")
	}
	if left, _ := os.ReadDir(string(d)); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}
