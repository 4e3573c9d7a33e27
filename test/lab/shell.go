package lab

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Shell is a host with files and a /run of its own, in which commands run as an operator types them: `vpngw` is
// the built one, `systemctl` and `journalctl` know its unit alone.
type Shell struct {
	ns   *Namespace
	tool *Process // holds the mount namespace
	dir  string
}

// Shell makes one in the namespace.
func (n *Namespace) Shell() *Shell {
	n.lab.Helper()
	dir := filepath.Join(n.lab.Dir, n.role+"-root")
	for _, d := range []string{"bin", "space"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			n.lab.Fatalf("lab: %v", err)
		}
	}
	for name, text := range map[string]string{"systemctl": systemctl, "journalctl": journalctl} {
		if err := os.WriteFile(filepath.Join(dir, "bin", name), []byte(text), 0o755); err != nil {
			n.lab.Fatalf("lab: %v", err)
		}
	}
	if err := os.Symlink(n.lab.Binary(), filepath.Join(dir, "bin", "vpngw")); err != nil {
		n.lab.Fatalf("lab: %v", err)
	}
	s := &Shell{ns: n, dir: dir}
	s.tool = n.Start("shell", "unshare", "-m", "sh", "-ec", shellMounts, "sh", dir)
	n.lab.Await(Patience, n.role+" has its own files", func() (bool, string) {
		s.tool.mustRun()
		_, err := os.Stat(filepath.Join(dir, "ready"))
		return err == nil, "no"
	})
	n.lab.onClose(func() {
		// What the unit started is not the Shell's child.
		s.Try("systemctl stop vpngw")
		if n.lab.Failed() {
			out, _ := s.Try("cat /run/vpngw.log 2>/dev/null")
			n.lab.Logf("---- log of vpngw in %s ----\n%s", n.role, tail(out, 100))
		}
	})
	return s
}

// File writes a file of the host, as root's alone.
func (s *Shell) File(path, content string) {
	s.ns.lab.Helper()
	tmp := filepath.Join(s.dir, "new")
	if err := os.WriteFile(tmp, []byte(content), 0o600); err != nil {
		s.ns.lab.Fatalf("lab: %v", err)
	}
	if out, err := s.Try("install -D -m 600 " + tmp + " " + path); err != nil {
		s.ns.lab.Fatalf("%s: %v\n%s", path, err, out)
	}
}

// Try runs a script and returns its output.
func (s *Shell) Try(script string) (string, error) {
	return s.ns.feed("", time.Minute, "nsenter", "-t", strconv.Itoa(s.tool.PID()), "-m", "env",
		"PATH="+filepath.Join(s.dir, "bin")+":/usr/sbin:/usr/bin:/sbin:/bin", "HOME="+s.dir, "sh", "-ec", "cd && set -x\n"+script)
}

// shellMounts covers what a daemon and its operator write, and stays until it is stopped.
var shellMounts = strings.Join([]string{
	`mount -t tmpfs tmpfs "$1/space"`,
	`for d in etc var/lib; do mkdir -p "$1/space/$d.up" "$1/space/$d.work"; mount -t overlay -o "lowerdir=/$d,upperdir=$1/space/$d.up,workdir=$1/space/$d.work" overlay "/$d"; done`,
	`mount -t tmpfs tmpfs /run`,
	`: >"$1/ready"`,
	`exec sleep infinity`,
}, "\n")

// systemctl is as much of systemd's as a page of the documentation uses, for our unit.
const systemctl = `#!/bin/sh
# Usage: systemctl [--now] VERB [--now] UNIT
verb= now=
for a; do
	case $a in
	--now) now=yes ;;
	vpngw | vpngw.service) ;;
	[a-z]*) [ -z "$verb" ] || { echo "systemctl: only the unit vpngw is here, not $a" >&2; exit 5; }; verb=$a ;;
	esac
done
main=$(cat /run/vpngw.pid 2>/dev/null)
running() { [ -n "$main" ] && kill -0 "$main" 2>/dev/null; }
start() {
	running && return
	vpngw check -c /etc/vpngw/vpngw.yaml || exit 1
	setsid vpngw run -c /etc/vpngw/vpngw.yaml </dev/null >>/run/vpngw.log 2>&1 &
	main=$!
	echo $main >/run/vpngw.pid
	while ! vpngw status >/dev/null 2>&1; do
		running || { tail /run/vpngw.log >&2; exit 1; }
		sleep 0.05
	done
}
stop() {
	running || return 0
	kill "$main"
	while running; do sleep 0.05; done
}
case $verb in
start) start ;;
stop) stop ;;
restart) stop; start ;;
reload) running || exit 1; exec vpngw reload ;;
enable) [ -z "$now" ] || start ;;
disable) [ -z "$now" ] || stop ;;
is-active) running && echo active || { echo inactive; exit 3; } ;;
status) running && echo "active (running)" || { echo "inactive (dead)"; exit 3; } ;;
*) echo "systemctl: $verb is not known here" >&2; exit 1 ;;
esac
`

const journalctl = "#!/bin/sh\ncat /run/vpngw.log\n"
