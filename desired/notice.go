package desired

import (
	"errors"
	"io/fs"

	"vpngw/store"
)

// First reports whether a notice was not given yet, by the records in a directory, and records that it is given
// now. If that can't be recorded, the notice is given again.
func First(dir, notice string) (bool, error) {
	d, name := store.Dir(dir), notice+".told"
	if _, err := d.Get(name); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, d.Put(name, nil)
}
