package load

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"vpngw/config/dialect"
)

// places are directories that were looked at in one load: of ten thousand keys most lie side by side.
type places struct {
	real map[string]string // what a directory's name leads to
	dirs map[string]error  // whether everybody may replace what is in a directory
}

func newPlaces() *places { return &places{map[string]string{}, map[string]error{}} }

// follow is filepath.EvalSymlinks of an absolute name.
func (p *places) follow(abs string) (string, error) {
	i, err := os.Lstat(abs)
	if err != nil {
		return "", err
	}
	if i.Mode()&fs.ModeSymlink != 0 || abs == "/" {
		return filepath.EvalSymlinks(abs)
	}
	dir := filepath.Dir(abs)
	if _, ok := p.real[dir]; !ok {
		if p.real[dir], err = filepath.EvalSymlinks(dir); err != nil {
			delete(p.real, dir)
			return "", err
		}
	}
	return filepath.Join(p.real[dir], filepath.Base(abs)), nil
}

// exposed says how others than root and this process's user can change what a file holds, or
// returns nil when they cannot. Root's group and this process's own may. i is of the open file, so
// what is checked is what will be read. The directories of its name, and of what the name
// leads to, are checked too: in none may everybody replace what is there.
func (p *places) exposed(i fs.FileInfo, name string) error {
	if i.Mode()&fs.ModeDevice != 0 {
		return nil // a terminal, or /dev/null
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	target, err := p.follow(abs)
	switch {
	case err != nil && i.Mode()&fs.ModeNamedPipe != 0:
		return nil // /dev/stdin as a pipe without a name: only who was given it can write
	case err != nil:
		return err
	}
	stat := i.Sys().(*syscall.Stat_t)
	if stat.Uid != 0 && int(stat.Uid) != os.Geteuid() && !handedOver(abs) {
		return &dialect.ExposedError{Says: fmt.Sprintf("user %d can change it, as its owner; expected is root or this process's user, %d: chown root %s", stat.Uid, os.Geteuid(), name)}
	}
	who, chmod := "", ""
	switch mode, group := i.Mode().Perm(), stat.Gid; {
	case mode&0o002 != 0:
		who, chmod = "everybody on this host", "go-w"
	case mode&0o020 != 0 && group != 0 && int(group) != os.Getegid():
		who, chmod = fmt.Sprintf("group %d", group), "g-w"
	}
	if who != "" {
		return &dialect.ExposedError{Says: fmt.Sprintf("%s can change it (mode %04o); expected is 0600, or 0640 for a group that may read it: chmod %s %s", who, i.Mode().Perm(), chmod, name)}
	}
	dirs := parents(abs)
	if target != abs {
		dirs = append(dirs, parents(target)...)
	}
	for _, dir := range dirs {
		if _, ok := p.dirs[dir]; !ok {
			p.dirs[dir] = open(dir)
		}
		if err := p.dirs[dir]; err != nil {
			return err
		}
	}
	return nil
}

// open says that everybody can replace what is in a directory, or returns nil.
func open(dir string) error {
	i, err := os.Stat(dir)
	if err != nil {
		return err
	}
	// In a sticky directory only a file's owner, who has been checked, can replace it. A
	// directory's group does not count: Debian gives /usr/local/etc to "staff".
	if i.Mode()&fs.ModeSticky == 0 && i.Mode().Perm()&0o002 != 0 {
		return &dialect.ExposedError{Says: fmt.Sprintf("everybody on this host can replace it (its directory %s has mode %04o); expected is 0755 or less: chmod o-w %s", dir, i.Mode().Perm(), dir)}
	}
	return nil
}

// Trusted says how others could change the file at path, or returns nil when they cannot.
func Trusted(path string) error {
	i, err := os.Stat(path)
	if err != nil {
		return err
	}
	return newPlaces().exposed(i, path)
}

// parents are the directories that an absolute name leads through, the root first.
func parents(name string) []string {
	var out []string
	for dir := filepath.Dir(name); ; dir = filepath.Dir(dir) {
		out = append(out, dir)
		if dir == filepath.Dir(dir) {
			slices.Reverse(out)
			return out
		}
	}
}

// othersRead reports whether everybody on this host can read a file of mode m. The group
// does not count: the owner chose it.
func othersRead(m fs.FileMode) bool { return m.Perm()&0o004 != 0 }
