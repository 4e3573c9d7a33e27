package desired

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHoldsOutliveTheDaemon(t *testing.T) {
	dir := t.TempDir()
	open := func() *Holds {
		h, err := OpenHolds(dir)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := open()
	for _, name := range []string{"hq", "lab", "hq", "a"} {
		if err := h.Hold(name, true); err != nil {
			t.Fatal(err)
		}
	}
	h = open()
	if !h.Held("hq") || !h.Held("a") || !h.Held("lab") || h.Held("other") {
		t.Errorf("held: %q", h.names)
	}
	for _, name := range []string{"hq", "other", "lab", "a"} {
		if err := h.Hold(name, false); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("nothing is held, and there is %v", left)
	}
}

func TestHoldsThatCannotBeReadOrKept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, holdsRecord)
	if err := os.WriteFile(path, []byte("hq\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenHolds(dir); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error with the file's name", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	h, err := OpenHolds(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := h.Hold("hq", true); err == nil || h.Held("hq") {
		t.Errorf("it is not kept: %v, held %v", err, h.Held("hq"))
	}
}
