package load

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"vpngw/config/dialect"
	"vpngw/config/tree"
)

// fileReader reads the files that the configuration names.
type fileReader struct {
	main   string // relative names start at its folder
	read   ReadFile
	budget *tree.Budget
	modes  map[string]fs.FileMode // of the files read
	bodies map[string]body
}

// body is a file with a connection's body.
type body struct {
	root *tree.Request
	errs []tree.Error
	err  error
}

// path is where a file that the configuration names is. A credential stays as it is named.
func (f *fileReader) path(name string) string {
	if filepath.IsAbs(name) || strings.HasPrefix(name, credentialPrefix) {
		return name
	}
	return filepath.Join(filepath.Dir(f.main), name)
}

// body reads a file with a connection's body, once.
func (f *fileReader) body(name string) (*tree.Request, []tree.Error, error) {
	path := f.path(name)
	b, ok := f.bodies[path]
	if !ok {
		var data []byte
		var mode fs.FileMode
		if data, mode, b.err = f.read(path, f.budget.Bytes()); b.err == nil {
			f.modes[path] = mode
			if what := dialect.Foreign(string(data)); what != "" {
				b.err = &dialect.ForeignError{Says: what}
			} else {
				b.root, b.errs = tree.ReadBody(path, data, f.budget)
			}
		} else {
			b.err = reason(b.err)
		}
		f.bodies[path] = b
	}
	return b.root, b.errs, b.err
}

// readFile reads a file of at most limit bytes, which others cannot change. Only with
// pipes does it read what is not a regular file: to open a pipe can take for ever.
func (p *places) readFile(name string, limit int, pipes bool) ([]byte, fs.FileMode, error) {
	if credential, ok := strings.CutPrefix(name, credentialPrefix); ok {
		var err error
		if name, err = credentialFile(credential); err != nil {
			return nil, 0, err
		}
	}
	flags := os.O_RDONLY
	if !pipes {
		flags |= syscall.O_NONBLOCK // a pipe opens at once
	}
	f, err := os.OpenFile(name, flags, 0)
	if err != nil {
		return nil, 0, forbidden(name, err)
	}
	defer f.Close()
	i, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	switch {
	case !pipes && !i.Mode().IsRegular():
		return nil, 0, errors.New("it is not a regular file")
	case i.IsDir():
		return nil, 0, errors.New("it is a directory")
	}
	if err := p.exposed(i, name); err != nil {
		return nil, 0, err
	}
	data, err := readAll(io.LimitReader(f, int64(limit)+1), int(min(i.Size(), int64(limit))))
	if err == nil && len(data) > limit {
		err = fmt.Errorf("it is larger than the %d bytes that may still be read", limit)
	}
	return data, i.Mode(), err
}

// reason is err without the operation and the file's name.
func reason(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

// ReadRegular is the ReadFile of File: it reads a regular file that others cannot change.
func ReadRegular(name string, limit int) ([]byte, fs.FileMode, error) {
	return newPlaces().readFile(name, limit, false)
}

// readAll is io.ReadAll of a file whose size is known, or perhaps 0 as of a pipe: of ten thousand keys each takes no more room than it
// needs.
func readAll(r io.Reader, size int) ([]byte, error) {
	b := make([]byte, 0, size+1)
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF:
			return b, nil
		case err != nil:
			return b, err
		case len(b) == cap(b):
			b = append(b, 0)[:len(b)]
		}
	}
}
