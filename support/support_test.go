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
	"strings"
	"testing"
	"time"
)

func piece(name, text string, err error) Piece {
	return Piece{Name: name, Says: "for the test", Gather: func(context.Context) ([]byte, error) { return []byte(text), err }}
}

// unpacked is what an archive holds, by name.
func unpacked(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Mode != 0o600 {
			t.Errorf("%s has mode %o", h.Name, h.Mode)
		}
		out[strings.TrimPrefix(h.Name, "vpngw-bundle/")] = string(text)
	}
}

// A key is found in each form in which programs write it, and in errors.
func TestKeysAreReplacedInEachForm(t *testing.T) {
	key := `s"<e>&c're\t Mark1`
	asJSON, _ := json.Marshal(key)
	pieces := []Piece{
		piece("raw", "x "+key+" y", nil), piece("json", string(asJSON), nil), piece("quoted", fmt.Sprintf("%q", key), nil),
		piece("yaml", "'"+strings.ReplaceAll(key, "'", "''")+"'", nil), piece("query", "a="+url.QueryEscape(key), nil), piece("path", url.PathEscape(key), nil),
		piece("hex", hex.EncodeToString([]byte(key)), nil), piece("HEX", "0x"+strings.ToUpper(hex.EncodeToString([]byte(key))), nil),
		piece("error", "", errors.New("no "+key)),
	}
	for i := range 3 {
		pieces = append(pieces, piece(fmt.Sprintf("base64-%d", i), base64.StdEncoding.EncodeToString([]byte("abc"[:i]+key+"and more")), nil))
	}
	var out bytes.Buffer
	m, err := Write(t.Context(), &out, time.Unix(1, 0), pieces, [][]byte{[]byte(key), []byte("abc")}, "a note")
	if err != nil {
		t.Fatal(err)
	}
	inside := base64.StdEncoding.EncodeToString([]byte(key))[4:16]
	for name, text := range unpacked(t, out.Bytes()) {
		low := strings.ToLower(text)
		if strings.Contains(text, "Mark1") || strings.Contains(low, hex.EncodeToString([]byte("Mark1"))) || strings.Contains(text, inside) {
			t.Errorf("%s shows the key: %s", name, text)
		}
		if name != "manifest.json" && !strings.Contains(text, redacted) {
			t.Errorf("%s: %s", name, text)
		}
	}
	for _, e := range m.Entries {
		if e.Redacted == 0 && e.Missing == "" {
			t.Errorf("%+v", e)
		}
	}
	if len(m.Notes) != 2 || !strings.Contains(m.Notes[1], "too short") {
		t.Errorf("notes: %q", m.Notes)
	}
}

// A piece that is too large is cut, behind the search for keys, one that fails is told, and all are bounded.
func TestAnArchiveIsBounded(t *testing.T) {
	key := "Not-a-real-Secret.1"
	large := strings.Repeat("x", maxPiece-4) + key
	pieces := []Piece{piece("fails", "half", errors.New("it broke off"))}
	for i := range 7 {
		pieces = append(pieces, piece(fmt.Sprint(i), large, nil))
	}
	var out bytes.Buffer
	m, err := Write(t.Context(), &out, time.Unix(1, 0), pieces, [][]byte{[]byte(key)})
	if err != nil {
		t.Fatal(err)
	}
	files, all := unpacked(t, out.Bytes()), 0
	for name, text := range files {
		if all += len(text); strings.Contains(text, "Not-") {
			t.Errorf("%s has a part of the key", name)
		}
	}
	if all > maxAll+maxPiece/8 {
		t.Errorf("it holds %d bytes", all)
	}
	if files["fails"] != "half" || m.Entries[0].Missing != "it broke off" || !m.Entries[1].Cut || m.Entries[7].Bytes != 0 {
		t.Errorf("%q, %+v", files["fails"], m.Entries)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if m, err = Write(ctx, io.Discard, time.Unix(1, 0), pieces, nil); err != nil || m.Entries[1].Missing == "" {
		t.Errorf("after the end of its time: %v %+v", err, m.Entries[1])
	}
}

// What people write freely is taken out of what programs print.
func TestFreeTextIsTakenOut(t *testing.T) {
	if got := string(noComments([]byte(`tcp dport 22 accept comment "the password is x" # handle 4`))); got != `tcp dport 22 accept comment "…" # handle 4` {
		t.Error(got)
	}
	if got := string(noAliases([]byte("2: eth0\n    alias the password is x\n3: vpngw0\n    alias vpngw\n"))); got != "2: eth0\n    alias …\n3: vpngw0\n    alias vpngw\n" {
		t.Error(got)
	}
}

// Where a program is not installed, as in a container, the kernel's files stand in.
func TestWithoutPrograms(t *testing.T) {
	text, err := or(program(nil, "no-such-program"), "dev")(t.Context())
	if !errors.Is(err, errNotInstalled) || !strings.Contains(string(text), "lo:") {
		t.Errorf("%v, %q", err, text)
	}
}

// What this host tells is there, or why it is not.
func TestThisHost(t *testing.T) {
	for _, p := range Host() {
		text, err := p.Gather(t.Context())
		if len(text) == 0 && err == nil && !strings.Contains(p.Name, "sockets") && !strings.Contains(p.Name, "routes") && !strings.Contains(p.Name, "nftables") {
			t.Errorf("%s says nothing, and no error", p.Name)
		}
	}
}
