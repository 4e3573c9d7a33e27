package main

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"testing"
	"time"
)

// The test's own program is a Go program too.
func TestBillNamesEveryModuleOnce(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	for _, w := range []*bytes.Buffer{&first, &second} {
		if err := write(w, self, "1.2.3", time.Unix(1795799629, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two bills of one program differ")
	}
	var b bill
	if err := json.Unmarshal(first.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	if got := b.Metadata; got.Timestamp != "2026-11-27T17:13:49Z" || got.Component.Name != "vpngw" || got.Component.Version != "1.2.3" {
		t.Errorf("metadata: %+v", got)
	}
	refs := []string{b.Metadata.Component.Ref}
	for _, c := range b.Components {
		if c.PURL == "" || c.Version == "" || slices.Contains(refs, c.Ref) {
			t.Errorf("component %+v", c)
		}
		refs = append(refs, c.Ref)
	}
	if !slices.Contains(refs, "std") {
		t.Error("Go's standard library is missing")
	}
	for _, d := range b.Dependencies {
		if !slices.Contains(refs, d.Ref) {
			t.Errorf("a dependency of %s, which is no component", d.Ref)
		}
	}
	if len(b.Dependencies) != len(refs) {
		t.Errorf("%d dependencies of %d components", len(b.Dependencies), len(refs))
	}
}

func TestBillNeedsAGoProgram(t *testing.T) {
	text := t.TempDir() + "/text"
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := write(&bytes.Buffer{}, text, "1", time.Unix(0, 0)); err == nil {
		t.Error("a shell script got a bill")
	}
}
