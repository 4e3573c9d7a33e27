package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Engine is a Docker engine: one that runs on this machine, or else a dockerd of the Lab's own.
//
// The Lab's own engine lives in network, process and mount namespaces of its own. Its bridges, firewall rules, mounts
// and containers end with it, however it ends. Its images stay in a cache directory, for the next run.
type Engine struct {
	lab     *Lab
	docker  string   // the client
	compose []string // docker-compose, or docker with its plugin
	host    string   // DOCKER_HOST; empty: the running engine's
	daemon  *Process // nil with a running engine
}

// Engine finds a running Docker engine or starts one. It skips the test, or fails it where CI=true, when the machine has
// neither. LAB_ENGINE=own starts one even if another runs.
func (l *Lab) Engine() *Engine {
	l.Helper()
	e := &Engine{lab: l}
	var lacking []string
	// Debian's client fits Debian's engine.
	for _, path := range []string{"/usr/bin/docker", "docker"} {
		if p, err := exec.LookPath(path); err == nil {
			e.docker = p
			break
		}
	}
	if e.docker == "" {
		lacking = append(lacking, "docker")
	}
	if p, err := exec.LookPath("docker-compose"); err == nil {
		e.compose = []string{p}
	} else if e.docker != "" && exec.Command(e.docker, "compose", "version").Run() == nil {
		e.compose = []string{e.docker, "compose"}
	} else {
		lacking = append(lacking, "docker-compose")
	}
	running := e.docker != "" && os.Getenv("LAB_ENGINE") != "own" && e.answers(5*time.Second)
	if !running {
		lacking = append(lacking, "dockerd")
	}
	require(l.T, lacking)
	e.alone()
	if !running {
		e.host = "unix://" + filepath.Join(l.Dir, "docker.sock")
		e.start(isolated)
		e.clear()
	}
	return e
}

// clear removes from the own engine what a run that was killed has left on the disk: its networks would hold their addresses.
func (e *Engine) clear() {
	e.lab.Helper()
	if old := strings.Fields(e.Docker("ps", "--all", "--quiet")); len(old) > 0 {
		e.Docker(append([]string{"rm", "--force", "--volumes"}, old...)...)
	}
	for line := range strings.Lines(e.Docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")) {
		if image := strings.TrimSpace(line); strings.Contains(image, ":"+prefix) { // its tag is a Lab's
			e.Docker("image", "rm", "--force", image)
		}
	}
	e.Docker("system", "prune", "--force", "--volumes")
}

// cache is the directory that keeps the own engine's images from one run to the next.
func cache() string {
	if dir := os.Getenv("LAB_CACHE"); dir != "" {
		return dir
	}
	return "/var/cache/vpngw-lab/docker"
}

// alone waits until no other run on this machine uses containers: the images' directory serves one engine at a time, and
// networks of the same addresses cannot stand side by side.
func (e *Engine) alone() {
	e.lab.Helper()
	if err := os.MkdirAll(cache(), 0o711); err != nil {
		e.lab.Fatalf("lab: %v", err)
	}
	f, err := os.OpenFile(cache()+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		e.lab.Fatalf("lab: %v", err)
	}
	e.lab.Await(10*time.Minute, "another run ends, which holds "+f.Name(), func() (bool, string) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		return err == nil, fmt.Sprint(err)
	})
	e.lab.onClose(func() { f.Close() })
}

// answers reports whether the engine does.
func (e *Engine) answers(within time.Duration) bool {
	_, err := e.run(within, e.docker, "version")
	return err == nil
}

// run runs a client of the engine. Its output is both of its streams.
func (e *Engine) run(limit time.Duration, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second
	cmd.Env = os.Environ()
	if e.host != "" {
		// Debian's engine has no BuildKit client beside it.
		cmd.Env = append(cmd.Env, "DOCKER_HOST="+e.host, "DOCKER_BUILDKIT=0", "DOCKER_CONTEXT=")
	}
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("still at it after %v", limit)
	}
	return string(out), err
}

// Try runs a docker command that may fail.
func (e *Engine) Try(args ...string) (string, error) { return e.run(5*time.Minute, e.docker, args...) }

// Docker runs a docker command and returns its output without the last newline.
func (e *Engine) Docker(args ...string) string {
	e.lab.Helper()
	out, err := e.Try(args...)
	if err != nil {
		e.lab.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, tail(out, 40))
	}
	return strings.TrimSpace(out)
}

// reach says which network an own engine has.
type reach int

const (
	isolated reach = iota // one of its own, without a way out
	outside               // this machine's, in which it makes no bridge and no firewall rule: to build images
)

// cgroups is the parent of all control groups of an own engine.
const cgroups = "vpngw-lab"

// start starts an engine of the Lab's own. There is none yet, or it was stopped.
func (e *Engine) start(r reach) {
	e.lab.Helper()
	flags, namespaces := "", uintptr(syscall.CLONE_NEWPID|syscall.CLONE_NEWNS)
	switch r {
	case isolated:
		namespaces |= syscall.CLONE_NEWNET
	case outside:
		flags = "--bridge=none --iptables=false --ip6tables=false --ip-masq=false --ip-forward=false"
	}
	d := &Process{Name: "dockerd", Out: "dockerd", lab: e.lab}
	d.cmd = exec.Command("sh", "-ec", fmt.Sprintf(`mount --make-rprivate /
		conf=$(readlink -f /etc/resolv.conf) text=$(cat /etc/resolv.conf) || true
		mount -t tmpfs -o mode=755 tmpfs /run
		case $conf in /run/*) mkdir -p "${conf%%/*}"; echo "$text" >"$conf" ;; esac
		mount -t proc proc /proc
		ip link set lo up
		exec dockerd --data-root "$1" --exec-root "$2/exec" --pidfile "$2/dockerd.pid" --host "$3" \
			--exec-opt native.cgroupdriver=cgroupfs --cgroup-parent /%s --log-level warn %s`, cgroups, flags),
		"sh", cache(), e.lab.Dir, e.host)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL, Setsid: true}
	e.lab.onClose(func() { removeGroups(cgroups) })
	d.launch(func() error {
		runtime.LockOSThread() // for good: the parent-death signal follows the thread that forks
		return d.cmd.Start()
	})
	e.daemon = d
	e.lab.Await(Patience, "dockerd answers", func() (bool, string) {
		d.mustRun()
		return e.answers(5 * time.Second), tail(d.Log(), 10)
	})
}

// Leftovers names what an engine of the Lab's own has left on this machine when the Lab has ended: processes, mounts and
// control groups.
func (e *Engine) Leftovers() (left []string) {
	if e == nil || e.daemon == nil {
		return nil
	}
	lock, err := os.OpenFile(cache()+".lock", os.O_RDWR, 0)
	if err != nil {
		return nil // there was none
	}
	defer lock.Close()
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil // another run has one now
	}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		if text, _ := os.ReadFile(path); strings.Contains(string(text), cache()+"\x00") {
			left = append(left, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	mounts, _ := os.ReadFile("/proc/mounts")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, cache()) {
			left = append(left, "a mount: "+line)
		}
	}
	return append(left, groups(cgroups)...)
}
