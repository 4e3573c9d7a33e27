package load

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

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

// path is where a file that the configuration names is.
func (f *fileReader) path(name string) string {
	if filepath.IsAbs(name) {
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
			b.root, b.errs = tree.ReadBody(path, data, f.budget)
		} else {
			b.err = errors.New(reason(b.err))
		}
		f.bodies[path] = b
	}
	return b.root, b.errs, b.err
}

// readFile reads a file of at most limit bytes. Only with pipes does it read what is
// not a regular file: to open a pipe can take for ever.
func readFile(name string, limit int, pipes bool) ([]byte, fs.FileMode, error) {
	if !pipes {
		if i, err := os.Stat(name); err != nil {
			return nil, 0, err
		} else if !i.Mode().IsRegular() {
			return nil, 0, errors.New("it is not a regular file")
		}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	i, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if i.IsDir() {
		return nil, 0, errors.New("it is a directory")
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(data) > limit {
		err = fmt.Errorf("it is larger than the %d bytes that may still be read", limit)
	}
	return data, i.Mode(), err
}

// reason is err without the operation and the file's name.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// What everybody on this host may do with a file of mode m. The group does not
// count: the owner chose it.
func othersRead(m fs.FileMode) bool  { return m.Perm()&0o004 != 0 }
func othersWrite(m fs.FileMode) bool { return m.Perm()&0o002 != 0 }
