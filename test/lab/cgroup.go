package lab

import (
	"os"
	"path/filepath"
	"slices"
)

// controlGroups is where control groups are: beside each other, or in a directory for each hierarchy.
const controlGroups = "/sys/fs/cgroup"

// groups are the control groups of a name, in all hierarchies.
func groups(name string) []string {
	own, _ := filepath.Glob(filepath.Join(controlGroups, name))
	all, _ := filepath.Glob(filepath.Join(controlGroups, "*", name))
	return append(own, all...)
}

// removeGroups removes the control groups of a name.
func removeGroups(name string) {
	for _, group := range groups(name) {
		removeGroup(group)
	}
}

// removeGroup removes a control group with those in it. The kernel keeps one that has a process.
func removeGroup(path string) {
	var dirs []string
	filepath.WalkDir(path, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	slices.Reverse(dirs) // the inner first
	for _, d := range dirs {
		os.Remove(d)
	}
}
