package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Rooted is a Debian of its own whose programs run in a Namespace, by this machine's kernel and without an init. What they write is lost
// at its end.
type Rooted struct {
	ns   *Namespace
	hold *Process // keeps the mounts
}

// rootedScript makes a root that is lost with its mount namespace.
const rootedScript = `set -e
base=$1
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=$base,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
mount -t tmpfs tmpfs /mnt/root/run
mount -t tmpfs tmpfs /mnt/root/tmp
mount --rbind /proc /mnt/root/proc
mount --rbind /dev /mnt/root/dev
exec chroot /mnt/root sleep infinity`

// Rooted makes one of a suite with these packages.
func (n *Namespace) Rooted(suite string, packages ...string) *Rooted {
	n.lab.Helper()
	r := &Rooted{ns: n}
	r.hold = n.Start("rooted", "unshare", "--mount", "--propagation", "private", "sh", "-c", rootedScript, "sh", n.lab.Debian(suite, packages))
	n.lab.Await(Patience, n.role+" has its root", func() (bool, string) {
		r.hold.mustRun()
		program, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", r.hold.PID()))
		return filepath.Base(program) == "sleep", program // the last that the script starts
	})
	return r
}

// Try runs a shell script there and returns its output.
func (r *Rooted) Try(script string) (string, error) {
	return r.ns.feed("", Patience, "nsenter", "-t", strconv.Itoa(r.hold.PID()), "-m", "-r", "-w", "env", "-i",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "sh", "-c", script)
}

// Sh runs a shell script there, and fails the test when the script fails.
func (r *Rooted) Sh(script string) string {
	r.ns.lab.Helper()
	out, err := r.Try(script)
	if err != nil {
		r.ns.lab.Fatalf("%s: %s: %v\n%s", r.ns.role, script, err, tail(out, 40))
	}
	return out
}

// Put writes a file there, as root's alone.
func (r *Rooted) Put(path, text string) {
	r.ns.lab.Helper()
	file := fmt.Sprintf("/proc/%d/root%s", r.hold.PID(), path)
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, []byte(text), 0o600)
	}
	if err != nil {
		r.ns.lab.Fatalf("lab: %v", err)
	}
}

// Charon is the strongSwan that runs there, whose socket is /run/charon.vici; the caller has started it.
func (r *Rooted) Charon() *Charon {
	r.ns.lab.Helper()
	c := &Charon{Process: r.hold, ns: r.ns, socket: fmt.Sprintf("/proc/%d/root/run/charon.vici", r.hold.PID())}
	c.connect()
	return c
}
