// Package support packs what a support case needs into one archive: pieces, each gathered
// within bounds of time and size, and searched for keys before it is written. A piece that
// cannot be had does not hold up the others.
package support

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Piece is one file of the archive.
type Piece struct {
	Name   string
	Says   string // what it tells
	Gather func(context.Context) ([]byte, error)
}

// Bounds of an archive.
const (
	maxPiece  = 4 << 20
	maxAll    = 20 << 20
	pieceTime = 20 * time.Second
)

// Entry is a piece in the manifest.
type Entry struct {
	Name     string `json:"name"`
	Says     string `json:"says"`
	Bytes    int    `json:"bytes"`
	Cut      bool   `json:"cut,omitempty"`      // its rest was left out
	Redacted int    `json:"redacted,omitempty"` // keys that were found in it and replaced
	Missing  string `json:"missing,omitempty"`  // why it is not there
}

// Manifest says what is in an archive.
type Manifest struct {
	Made    time.Time `json:"made"`
	Notes   []string  `json:"notes"`
	Entries []Entry   `json:"files"`
}

// Write gathers the pieces, replaces the keys in them, and writes a gzipped tar to w. notes go into the manifest.
func Write(ctx context.Context, w io.Writer, now time.Time, pieces []Piece, keys [][]byte, notes ...string) (Manifest, error) {
	m := Manifest{Made: now.UTC(), Notes: append([]string{}, notes...), Entries: []Entry{}}
	hide := redactor(keys)
	if hide.short > 0 {
		m.Notes = append(m.Notes, fmt.Sprintf("%d keys of under %d bytes are too short to be searched for", hide.short, minKey))
	}
	texts, left := make([][]byte, len(pieces)), maxAll
	for i, p := range pieces {
		e := Entry{Name: p.Name, Says: p.Says}
		text, err := gather(ctx, p)
		if err != nil {
			e.Missing, _ = hide.text(err.Error())
		}
		// The rest of a key that a cut splits could not be found: the search comes first.
		text, e.Redacted = hide.replace(text)
		if most := min(maxPiece, left); len(text) > most {
			text, e.Cut = text[:most], true
		}
		left -= len(text)
		texts[i], e.Bytes = text, len(text)
		m.Entries = append(m.Entries, e)
	}
	index, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return m, err
	}
	zip := gzip.NewWriter(w)
	out := tar.NewWriter(zip)
	add := func(name string, text []byte) error {
		if err := out.WriteHeader(&tar.Header{Name: "vpngw-bundle/" + name, Mode: 0o600, Size: int64(len(text)), ModTime: now}); err != nil {
			return err
		}
		_, err := out.Write(text)
		return err
	}
	if err := add("manifest.json", append(index, '\n')); err != nil {
		return m, err
	}
	for i, e := range m.Entries {
		if e.Bytes > 0 {
			if err := add(e.Name, texts[i]); err != nil {
				return m, err
			}
		}
	}
	return m, errors.Join(out.Close(), zip.Close())
}

// gather has a piece within its time.
func gather(ctx context.Context, p Piece) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, pieceTime)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	text, err := p.Gather(ctx)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("it took longer than %v: %w", pieceTime, err)
	}
	return text, err
}

const (
	minKey   = 4
	redacted = "[redacted]"
)

// redaction replaces keys.
type redaction struct {
	forms [][]byte // the longest first
	short int
}

// redactor replaces keys in each form in which programs write them.
func redactor(keys [][]byte) redaction {
	var r redaction
	seen := map[string]bool{}
	add := func(form string) {
		if len(form) >= minKey && !seen[form] {
			seen[form] = true
			r.forms = append(r.forms, []byte(form))
		}
	}
	for _, k := range keys {
		s := string(k)
		if len(s) < minKey {
			r.short++
			continue
		}
		add(s)
		add(strings.TrimSpace(s))
		for _, html := range []bool{false, true} {
			var b strings.Builder
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(html)
			if e.Encode(s) == nil {
				add(strings.Trim(b.String(), "\"\n"))
			}
		}
		add(strings.Trim(fmt.Sprintf("%q", s), `"`))
		add(strings.ReplaceAll(s, "'", "''"))
		add(url.QueryEscape(s))
		add(url.PathEscape(s))
		add(hex.EncodeToString(k))
		add(strings.ToUpper(hex.EncodeToString(k)))
		for skip := range 3 { // at each alignment within a longer text
			if padded := append(make([]byte, skip), k...); len(padded) > 8 {
				whole := padded[:len(padded)/3*3]
				from := (skip*8 + 5) / 6
				for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
					if text := enc.EncodeToString(whole)[from:]; len(text) >= 8 {
						add(text)
					}
				}
			}
		}
	}
	slices.SortFunc(r.forms, func(a, b []byte) int { return len(b) - len(a) })
	return r
}

// replace replaces all keys in a text and counts them.
func (r redaction) replace(text []byte) ([]byte, int) {
	n := 0
	for _, form := range r.forms {
		if c := bytes.Count(text, form); c > 0 {
			n += c
			text = bytes.ReplaceAll(text, form, []byte(redacted))
		}
	}
	return text, n
}

func (r redaction) text(s string) (string, int) {
	b, n := r.replace([]byte(s))
	return string(b), n
}
