package load

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"vpngw/config/tree"
	"vpngw/diag"
)

// Source is what one load has read: the file and the files that it names. It holds keys.
type Source struct {
	Name  string                `json:"name"`
	Files map[string]SourceFile `json:"files"` // by the paths that they were read from
}

// SourceFile is a file as it was when it was read. It prints nothing of it.
type SourceFile struct {
	Mode fs.FileMode `json:"mode"`
	Data keptText    `json:"data"`
}

// Format implements fmt.Formatter.
func (s SourceFile) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[redacted]") }

// add keeps a file that was read. compact follows.
func (s *Source) add(path string, mode fs.FileMode, data []byte) {
	s.Files[path] = SourceFile{mode, keep(data)}
}

// compact puts all paths into one piece of memory, and all short texts into another. The paths of ten thousand keys may be parts of the main
// file's text, and keys each by itself would lie among what the load leaves, which then could not be given back.
func (s *Source) compact() {
	paths := slices.Collect(maps.Keys(s.Files))
	names, size := strings.Join(paths, ""), 0
	for _, f := range s.Files {
		size += len(f.Data.text)
	}
	texts, files := make([]byte, 0, size), make(map[string]SourceFile, len(paths))
	for _, path := range paths {
		f := s.Files[path]
		if from := len(texts); f.Data.text != nil {
			texts = append(texts, f.Data.text...)
			f.Data.text = texts[from:len(texts):len(texts)]
		}
		files[names[:len(path)]] = f
		names = names[len(path):]
	}
	s.Files = files
}

// Load loads the source again. It reads no file.
func (s *Source) Load(o Options) (*Result, diag.Problems) {
	read := func(name string, limit int) ([]byte, fs.FileMode, error) {
		f, ok := s.Files[name]
		if !ok {
			return nil, 0, fs.ErrNotExist
		}
		data, err := f.Data.bytes()
		if err == nil && len(data) > limit {
			err = fmt.Errorf("it is larger than the %d bytes that may still be read", limit)
		}
		return data, f.Mode, err
	}
	budget := tree.NewBudget()
	data, mode, err := read(s.Name, budget.Bytes())
	if err != nil {
		return nil, diag.Problems{{Severity: diag.Error, Code: "vpngw.config.unreadable", File: s.Name, Message: err.Error()}}
	}
	r, problems := load(s.Name, data, mode, read, budget, o)
	if r != nil {
		r.Source = s
	}
	return r, problems
}
