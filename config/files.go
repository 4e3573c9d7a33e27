package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// readFile reads a file of at most limit bytes. A pipe is read only where
// pipes are welcome: opening one could wait for ever.
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

// Who may do what with a file of this mode that is not theirs. The group is
// the owner's own choice (a service's group, say); others are everybody.
func othersRead(m fs.FileMode) bool  { return m.Perm()&0o004 != 0 }
func othersWrite(m fs.FileMode) bool { return m.Perm()&0o002 != 0 }
