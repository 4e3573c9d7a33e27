package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// daemon is the vpngw that labs run: $VPNGW, or one built once in a process.
var daemon struct {
	sync.Once
	path string
	err  error
}

// Main runs a package's tests and removes what they share. TestMain calls it.
func Main(m interface{ Run() int }) int {
	code := m.Run()
	RemoveShared()
	return code
}

// Shared is the path of a file or directory that the tests of this process share. It is removed by Main; or, if the process was
// interrupted or killed, by the next Lab.
func Shared(name string) string { return filepath.Join(os.TempDir(), prefix+self()+"-"+name) }

// RemoveShared removes all that is Shared.
func RemoveShared() {
	paths, _ := filepath.Glob(Shared("[a-z]*"))
	for _, path := range paths {
		os.RemoveAll(path)
	}
}

// UseBinary makes the Lab run an existing vpngw.
func (l *Lab) UseBinary(path string) { l.binary = path }

// Binary is the path of the vpngw under test.
func (l *Lab) Binary() string {
	l.Helper()
	if l.binary != "" {
		return l.binary
	}
	daemon.Do(func() {
		if daemon.path = os.Getenv("VPNGW"); daemon.path != "" {
			return
		}
		dir := l.Dir // a kept Lab keeps the binary too
		if !l.keep {
			dir = Shared("bin")
		}
		daemon.path = filepath.Join(dir, "vpngw")
		daemon.err = build(daemon.path, "./cmd/vpngw")
	})
	if daemon.err != nil {
		l.Fatalf("lab: %v", daemon.err)
	}
	return daemon.path
}

// build builds a program as make build builds vpngw, with the Go that $GO names; else with
// the Go of `go test`, which comes first in the path.
func build(path, program string) error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			return fmt.Errorf("%s cannot be built: no go.mod in this folder or above", program)
		}
		root = filepath.Dir(root)
	}
	gotool := os.Getenv("GO")
	if gotool == "" {
		gotool = "go"
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-o", path}
	env := append(os.Environ(), "CGO_ENABLED=0")
	if os.Getenv("RACE") != "" {
		args = append(args, "-race")
		env = append(env, "CGO_ENABLED=1")
	}
	cmd := exec.Command(gotool, append(args, program)...)
	cmd.Dir, cmd.Env = root, env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", program, err, out)
	}
	return nil
}
