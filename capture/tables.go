package capture

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// profile is what a Wireshark profile has beside the tables of keys.
//
//go:embed profile
var profile embed.FS

// Tables is a directory with Wireshark's tables of keys, which Wireshark takes as a profile.
// Whoever can read it can read the traffic.
type Tables struct {
	dir   string
	root  *os.Root
	files map[string]*os.File
}

// tables are the tables, by the names of their files.
var tables = []string{"esp_sa", "ikev1_decryption_table", "ikev2_decryption_table"}

// MakeTables makes the directory, which nobody else may enter, and the files in it. Nothing may exist at the path.
func MakeTables(dir string) (*Tables, error) {
	if err := os.Mkdir(dir, 0o700); errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s exists: keys are only written to a new directory", dir)
	} else if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		os.Remove(dir)
		return nil, err
	}
	t := &Tables{dir: dir, root: root, files: map[string]*os.File{}}
	if err := t.fill(); err != nil {
		t.Close()
		t.Remove() // or the next try would find it
		return nil, err
	}
	return t, nil
}

// fill makes the files.
func (t *Tables) fill() error {
	err := t.root.Chmod(".", 0o700) // whatever the umask is
	for _, name := range tables {
		if err == nil {
			t.files[name], err = t.make(name)
		}
	}
	if err != nil {
		return err
	}
	entries, err := profile.ReadDir("profile")
	for _, e := range entries {
		if err == nil {
			err = t.copy(e.Name())
		}
	}
	return err
}

// make makes a file. O_EXCL follows no symbolic link.
func (t *Tables) make(name string) (*os.File, error) {
	return t.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

func (t *Tables) copy(name string) error {
	text, err := profile.ReadFile("profile/" + name)
	if err != nil {
		return err
	}
	f, err := t.make(name)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// Add writes rows to a table.
func (t *Tables) Add(table, rows string) error {
	if !slices.Contains(tables, table) {
		return fmt.Errorf("there is no table of keys %q", table)
	}
	_, err := t.files[table].WriteString(rows)
	return err
}

// Remove removes the directory with its files.
func (t *Tables) Remove() error { return os.RemoveAll(t.dir) }

// Close closes the files.
func (t *Tables) Close() error {
	err := t.root.Close()
	for _, f := range t.files {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}
