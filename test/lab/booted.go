package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Boot says which Debian a Booted is.
type Boot struct {
	Suite    string   // of Debian; empty: bookworm
	Packages []string // beside systemd and the tools of the lab
	Binds    []string // SOURCE:PATH of files and directories of this machine, read-only there
	// Prepare is called once with the root of the system before it boots.
	Prepare func(root string)
}

// Booted is a Debian that its own systemd runs, in a container. Its network is a Namespace, so that other
// hosts of the Lab are linked to it as to any other. What it writes is lost at its end.
type Booted struct {
	*Namespace
	Process *Process // systemd-nspawn

	init int // its process 1, as this machine numbers it
}

// bootCache holds the systems that Boot starts from, each made once by debootstrap.
const bootCache = "/var/cache/vpngw-lab"

// bootedPackages are in every Booted.
var bootedPackages = []string{"systemd", "systemd-sysv", "dbus", "iproute2", "iputils-ping", "nftables", "procps"}

// bootScript moves itself into control groups of its own, makes a root that is lost with its mount namespace,
// and becomes systemd-nspawn. The pause before lets Prepare see the root.
const bootScript = `set -e
name=$1 base=$2 netns=$3 pipe=$4; shift 4
for h in systemd unified .; do
	d=/sys/fs/cgroup/$h
	[ -w $d/cgroup.procs ] && mkdir -p $d/$name && echo $$ >$d/$name/cgroup.procs || :
done
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=$base,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
echo $name >/mnt/root/etc/hostname
echo "127.0.0.1 localhost $name" >/mnt/root/etc/hosts
read go <$pipe
calls="bpf seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self" # as without a container
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
exec systemd-nspawn --quiet --register=no --keep-unit --boot --directory=/mnt/root --machine=$name --network-namespace-path=$netns \
	--capability=CAP_NET_ADMIN,CAP_NET_RAW "--system-call-filter=$calls" --bind=/dev/net/tun --console=pipe "$@" </dev/null`

// Boot boots a Debian whose network is the Namespace. It returns when every unit of it has started. The system comes
// from a cache of debootstrap's work, which Boot fills.
func (n *Namespace) Boot(c Boot) *Booted {
	n.lab.Helper()
	require(n.lab.T, []string{"systemd-nspawn", "debootstrap", "nsenter", "unshare"})
	if c.Suite == "" {
		c.Suite = "bookworm"
	}
	base := n.lab.debian(c.Suite, slices.Concat(bootedPackages, c.Packages))
	pipe := filepath.Join(n.lab.Dir, n.role+"-go")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		n.lab.Fatalf("lab: %v", err)
	}
	args := []string{"--mount", "--propagation", "private", "sh", "-c", bootScript, "sh", n.Name, base, "/run/netns/" + n.Name, pipe}
	for _, bind := range c.Binds {
		args = append(args, "--bind-ro="+bind)
	}
	b := &Booted{Namespace: n}
	b.Process = n.start("systemd", exec.Command("unshare", args...), false)
	n.lab.onClose(func() { removeGroups(n.Name) })
	n.lab.onClose(b.Kill)
	root := fmt.Sprintf("/proc/%d/root/mnt/root", b.Process.PID())
	n.lab.Await(Patience, b.Process.Name+" has its root", func() (bool, string) {
		b.Process.mustRun()
		_, err := os.Stat(root + "/etc/hostname")
		return err == nil, fmt.Sprint(err)
	})
	if c.Prepare != nil {
		c.Prepare(root)
	}
	if err := os.WriteFile(pipe, []byte("go\n"), 0); err != nil {
		n.lab.Fatalf("lab: %v", err)
	}
	n.lab.Await(Patience, b.Process.Name+" has booted", func() (bool, string) {
		b.Process.mustRun()
		if b.init = initOf(b.Process.PID()); b.init == 0 {
			return false, "it has no process 1"
		}
		out, _ := b.Try("systemctl", "is-system-running")
		state := strings.TrimSpace(out)
		return state == "running" || state == "degraded", state
	})
	b.Exec("mount", "-o", "remount,rw,bind", "/proc/sys") // as on a machine: systemd-nspawn makes it read-only
	return b
}

// Kill ends the container at once, as a power cut would.
func (b *Booted) Kill() {
	if b.init != 0 && b.Process.Running() {
		syscall.Kill(b.init, syscall.SIGKILL)
		b.Process.Wait(Patience)
	}
}

// Try runs a program in the container and returns its output.
func (b *Booted) Try(program string, args ...string) (string, error) {
	return b.TryFor(time.Minute, program, args...)
}

// TryFor is Try for a program that may take long.
func (b *Booted) TryFor(limit time.Duration, program string, args ...string) (string, error) {
	// The machine's own environment would name its paths.
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "HOME=/root"}
	return attempt(limit, "", env, "nsenter", append([]string{"-t", strconv.Itoa(b.init), "-a", "--", program}, args...)...)
}

// Exec runs a program in the container, and fails the test when the program fails.
func (b *Booted) Exec(program string, args ...string) string {
	b.lab.Helper()
	out, err := b.Try(program, args...)
	if err != nil {
		b.lab.Fatalf("%s: %s %s: %v\n%s", b.role, program, strings.Join(args, " "), err, tail(out, 60))
	}
	return out
}

// Sh runs a shell command in the container, and fails the test when the command fails.
func (b *Booted) Sh(command string) string {
	b.lab.Helper()
	return b.Exec("sh", "-c", command)
}

// Init is its process 1, as this machine numbers it.
func (b *Booted) Init() int { return b.init }

// Root is the container's root directory, as this machine sees it.
func (b *Booted) Root() string { return fmt.Sprintf("/proc/%d/root", b.init) }

// Put writes a file into the container, with the directories above it.
func (b *Booted) Put(path, content string, mode os.FileMode) {
	b.lab.Helper()
	file := b.Root() + path
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, []byte(content), mode)
	}
	if err == nil {
		err = os.Chmod(file, mode)
	}
	if err != nil {
		b.lab.Fatalf("lab: %v", err)
	}
}

// Copy copies a file of this machine into the container.
func (b *Booted) Copy(from, path string, mode os.FileMode) {
	b.lab.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		b.lab.Fatalf("lab: %v", err)
	}
	b.Put(path, string(content), mode)
}

// Status is what `vpngw status` of the container says.
func (b *Booted) Status() (s Status, err error) {
	out, err := b.Try("vpngw", "status", "--json")
	if err != nil {
		return s, fmt.Errorf("%w: %s", err, out)
	}
	return s, json.Unmarshal([]byte(out), &s)
}

// Journal is what a unit has logged, systemd's lines about it included.
func (b *Booted) Journal(unit string) string {
	out, _ := b.Try("journalctl", "--no-pager", "-o", "short-monotonic", "-u", unit)
	return out
}

// Property is a property of a unit, as `systemctl show` has it.
func (b *Booted) Property(unit, property string) string {
	b.lab.Helper()
	return strings.TrimSpace(b.Exec("systemctl", "show", "--value", "-p", property, unit))
}

// MainPID is the main process of a unit as the container numbers it; 0: it has none.
func (b *Booted) MainPID(unit string) int {
	b.lab.Helper()
	pid, _ := strconv.Atoi(b.Property(unit, "MainPID"))
	return pid
}

// AwaitProperty waits until a property of a unit has a value.
func (b *Booted) AwaitProperty(within time.Duration, unit, property, value string) {
	b.lab.Helper()
	b.lab.Await(within, fmt.Sprintf("%s: %s of %s is %s", b.role, property, unit, value), func() (bool, string) {
		out, err := b.Try("systemctl", "show", "--value", "-p", property, unit)
		got := strings.TrimSpace(out)
		return err == nil && got == value, got + "\n" + tail(b.Journal(unit), 15)
	})
}

// initOf finds the first process of the container that systemd-nspawn supervises; 0: there is none yet.
func initOf(supervisor int) int {
	all, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		parent, spaces := "", []string(nil)
		for line := range strings.Lines(string(text)) {
			switch key, value, _ := strings.Cut(line, ":"); key {
			case "PPid":
				parent = strings.TrimSpace(value)
			case "NSpid":
				spaces = strings.Fields(value)
			}
		}
		if parent == strconv.Itoa(supervisor) && len(spaces) == 2 && spaces[1] == "1" {
			pid, _ := strconv.Atoi(spaces[0])
			return pid
		}
	}
	return 0
}
