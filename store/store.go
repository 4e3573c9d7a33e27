// Package store keeps what survives a restart in one directory: small records, each a file, and a ring of the last lines of a list.
package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Dir is a directory of records. It is made by the first Put, for its owner alone.
type Dir string

// Get returns a record; an error that is fs.ErrNotExist: there is none.
func (d Dir) Get(name string) ([]byte, error) { return os.ReadFile(d.Path(name)) }

// Path is the file of a record.
func (d Dir) Path(name string) string { return filepath.Join(string(d), name) }

// Put writes a record, of which a crash leaves all or nothing. When it returns, a crash leaves all.
func (d Dir) Put(name string, record []byte) error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(string(d), ".new-*") // its mode is 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(record)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), d.Path(name)); err != nil {
		return err
	}
	return d.sync()
}

// Delete removes a record, if there is one. When it returns, a crash does not bring it back.
func (d Dir) Delete(name string) error {
	switch err := os.Remove(d.Path(name)); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return d.sync()
}

// sync writes the names in the directory to the disk.
func (d Dir) sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
