package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// Files limits the number of file descriptors of the program. It may have more open, and gets no new ones then.
func (p *Process) Files(most int) {
	p.lab.Helper()
	if err := exec.Command("prlimit", "--pid", strconv.Itoa(p.PID()), "--nofile="+strconv.Itoa(most)+":").Run(); err != nil {
		p.lab.Fatalf("prlimit: %v", err)
	}
}

// SmallState puts the state of the daemon that will be started in the namespace on a disk of 64 KB. fill fills it, and empty
// makes room again.
func (n *Namespace) SmallState() (fill, empty func()) {
	n.lab.Helper()
	dir := filepath.Join(n.lab.Dir, n.role+"-state")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		n.lab.Fatalf("lab: %v", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		n.lab.Fatalf("a small disk: %v", err)
	}
	n.lab.onClose(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	file := filepath.Join(dir, "full")
	fill = func() {
		f, err := os.Create(file)
		for b := make([]byte, 4096); err == nil; {
			_, err = f.Write(b)
		}
		f.Close()
	}
	return fill, func() { os.Remove(file) }
}
