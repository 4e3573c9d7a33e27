package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"vpngw/test/lab"
)

// needsPackages skips a test that makes packages and boots Debians: make package-test runs them.
func needsPackages(t *testing.T, tools ...string) {
	t.Helper()
	if os.Getenv("PACKAGES") == "" {
		t.Skip("makes packages and boots a Debian for each: make package-test")
	}
	lab.NeedsTools(t, append(tools, "make", "git")...)
}

// debians are the suites that the packages are for, and the unit.
var debians = []string{"bookworm", "trixie"}

const (
	olderVersion = "0.9.0"
	newerVersion = "1.0.0"
	// lastRootCommit is the last whose `make install` made a unit that runs as root.
	lastRootCommit = "daba868"
)

// made are the Debian packages of both versions, and a `make install` of lastRootCommit as a tree of files.
var made struct {
	sync.Once
	dir string
	err error
}

// packages makes them once. PACKAGES=/A/DIRECTORY keeps them there for the next run.
func packages(t *testing.T) string {
	t.Helper()
	made.Do(func() { made.dir, made.err = makePackages(os.Getenv("PACKAGES")) })
	if made.err != nil {
		t.Fatal(made.err)
	}
	return made.dir
}

func makePackages(dir string) (string, error) {
	if !filepath.IsAbs(dir) {
		dir = lab.Shared("packages")
	} else if _, err := os.Stat(debPath(dir, newerVersion)); err == nil {
		return dir, nil
	}
	var err error
	for _, version := range []string{olderVersion, newerVersion} {
		if err == nil {
			err = makeIn("..", "deb", "ARCHS="+runtime.GOARCH, "VERSION=v"+version, "PKGVERSION="+version, "DISTDIR="+dir)
		}
	}
	if err == nil {
		err = installOld(dir)
	}
	return dir, err
}

func makeIn(dir string, args ...string) error {
	cmd := exec.Command("make", append([]string{"-s", "-C", dir}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// installOld runs `make install` of lastRootCommit into dir/root.
func installOld(dir string) error {
	source := filepath.Join(dir, "source")
	script := `mkdir "$1" && cd .. && git -c safe.directory='*' archive ` + lastRootCommit + ` | tar -x -C "$1"`
	if out, err := exec.Command("bash", "-o", "pipefail", "-c", script, "bash", source).CombinedOutput(); err != nil {
		return fmt.Errorf("the source of %s: %w\n%s", lastRootCommit, err, out)
	}
	if err := makeIn(source, "build", "VERSION=old"); err != nil {
		return err
	}
	return makeIn(source, "install", "VERSION=old", "DESTDIR="+filepath.Join(dir, "root"))
}

func debPath(dir, version string) string {
	return filepath.Join(dir, fmt.Sprintf("vpngw_%s-1_%s.deb", version, runtime.GOARCH))
}

// installed is a booted Debian that is the customer's gateway, with a peer that runs in a namespace.
type installed struct {
	*testing.T
	net   *lab.Net
	gw    *lab.Booted
	peer  *lab.Vpngw
	clear *lab.Rule
}

const packageConfig = `version: 1
connections:
  - native:
      ike_version: 2
      local: {address: 203.0.113.9, subnets: [192.168.3.0/24]}
      remote: {address: 198.51.100.1, subnets: [10.10.0.0/16]}
      ike: {proposals: [aes128gcm16-prfsha256-ecp256]}
      esp: {proposals: [aes128gcm16]}
    name: hq
    psk_file: /etc/vpngw/keys/hq.psk
  - native:
      ike_version: 2
      local: {address: 203.0.113.9, subnets: [192.168.3.0/24]}
      remote: {address: 198.51.100.77, subnets: [10.77.0.0/16]}
      ike: {proposals: [aes128gcm16-prfsha256-ecp256]}
      esp: {proposals: [aes128gcm16]}
    name: spare
    psk_file: /etc/vpngw/keys/hq.psk
`

func bootDebian(t *testing.T, suite string) *installed {
	dir := packages(t)
	n := lab.Direct(t, "systemd-nspawn", "debootstrap")
	i := &installed{T: t, net: n}
	i.clear = inClearFrom(n)
	there := native("hq", suites{})
	there.Native.Initiate = nil
	there.Native.IKE.Proposals, there.Native.ESP.Proposals = []string{"aes128gcm16-prfsha256-ecp256"}, []string{"aes128gcm16"}
	there.Native.Local, there.Native.Remote = there.Native.Remote, there.Native.Local
	there.Start = "passive"
	i.peer = n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{there}})
	i.gw = n.Customer.Boot(lab.Boot{Suite: suite, Binds: []string{dir + ":/packages"}})
	return i
}

// configure writes the configuration as its owner has it.
func (i *installed) configure(mode os.FileMode, owner string) {
	i.Helper()
	i.gw.Put("/etc/vpngw/vpngw.yaml", packageConfig, mode)
	i.gw.Put("/etc/vpngw/keys/hq.psk", psk+"\n", mode)
	i.gw.Sh("chmod " + map[bool]string{true: "700", false: "750"}[mode == 0o600] + " /etc/vpngw/keys && chown -R " + owner + " /etc/vpngw")
}

func (i *installed) apt(args ...string) string {
	i.Helper()
	out, err := i.gw.TryFor(2*time.Minute, "apt-get", append([]string{"-y", "-q"}, args...)...)
	if err != nil {
		i.Fatalf("apt-get %s: %v\n%s\n%s", strings.Join(args, " "), err, out, i.gw.Journal("vpngw.service"))
	}
	if strings.Contains(out, "Failed") {
		i.Errorf("apt-get %s says:\n%s", strings.Join(args, " "), out)
	}
	return out
}

func (i *installed) install(version string) string {
	i.Helper()
	return i.apt("install", "/packages/"+filepath.Base(debPath("", version)))
}

func (i *installed) awaitUp() {
	i.Helper()
	i.net.Await(lab.Patience, "hq is up", func() (bool, string) {
		s, err := i.gw.Status()
		if err != nil {
			return false, err.Error() + "\n" + i.gw.Journal("vpngw.service")
		}
		t := s.Connections[0].Tunnels[0]
		return t.State == "up", t.State + ": " + t.Why
	})
}

// kept checks that the connection that was taken down is down, and nothing else.
func (i *installed) kept() {
	i.Helper()
	s, err := i.gw.Status()
	if err != nil {
		i.Fatal(err)
	}
	for _, c := range s.Connections {
		if got := c.Tunnels[0].State; (got == "down") != (c.Name == "spare") {
			i.Errorf("%s is %s", c.Name, got)
		}
	}
}

// says checks what a shell command prints in the container.
func (i *installed) says(command, want string) {
	i.Helper()
	out, err := i.gw.Try("sh", "-c", command)
	if got := strings.TrimSpace(out); got != want {
		i.Errorf("%s: got %q (%v), want %q", command, got, err, want)
	}
}

// over is a change during which traffic flows: at most 2 s without it, and nothing in clear.
func (i *installed) over(what string, change func()) {
	i.Helper()
	stream := i.net.Host.StartStream(i.net.CloudHost, lab.CloudHost, streamRate)
	defer stream.Stop()
	start := time.Now()
	stream.AwaitFlow(start, streamRate/5)
	pid := i.gw.MainPID("vpngw.service")
	change()
	if now := i.gw.MainPID("vpngw.service"); now == pid {
		i.Errorf("%s: process %d still runs", what, pid)
	}
	// What arrives after the change and after a pause, which may still come, ends the measurement.
	i.awaitUp()
	gap := stream.AwaitFlow(start, stream.Tries())
	i.Logf("%s: traffic at most %v away, %d packets in clear", what, gap.Round(10*time.Millisecond), i.clear.Packets())
	if gap > 2*time.Second {
		i.Errorf("%s: no traffic for %v, want at most 2 s\n%s", what, gap, i.gw.Journal("vpngw.service"))
	}
	if n := i.clear.Packets(); n > 0 {
		i.Errorf("%s: %d packets left in clear", what, n)
	}
}

// gone checks what a removal leaves: purged says whether the configuration and the state are gone too.
func (i *installed) gone(purged bool) {
	i.Helper()
	i.says("ip -br link show type tun; ip route show table all proto 73; ip -6 route show table all proto 73; ip rule | grep -c vpngw; nft list tables", "0")
	i.says("pgrep -x vpngw; ls /usr/bin/vpngw /run/vpngw /usr/lib/systemd/system/vpngw.service /usr/share/man/man1/vpngw.1.gz 2>/dev/null", "")
	i.says("id -un vpngw", "vpngw")
	want := "/etc/vpngw/keys/hq.psk\n/etc/vpngw/vpngw.yaml\n/var/lib/vpngw"
	if purged {
		want = ""
	}
	i.says("ls -d /etc/vpngw/vpngw.yaml /etc/vpngw/keys/hq.psk /var/lib/vpngw 2>/dev/null", want)
	if purged {
		i.says("ls -d /etc/vpngw; find /etc/systemd /var/lib/systemd/deb-systemd-helper-* -name 'vpngw*'", "ls: cannot access '/etc/vpngw': No such file or directory")
	}
}

// A package without a configuration starts nothing and fails nothing; a second version keeps the tunnel and what is held
// down; removal leaves the configuration, purge nothing.
func TestPackageIsInstalledUpgradedRemoved(t *testing.T) {
	needsPackages(t)
	for _, suite := range debians {
		t.Run(suite, func(t *testing.T) {
			i := bootDebian(t, suite)
			// The unit conflicts with strongSwan's, which must not hear of a vpngw that nobody has configured.
			i.gw.Put("/etc/systemd/system/strongswan.service", "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n", 0o644)
			i.gw.Sh("systemctl daemon-reload && systemctl enable --now strongswan")
			i.install(olderVersion)
			i.says("systemctl is-enabled vpngw; systemctl is-active vpngw; systemctl is-failed vpngw; systemctl is-system-running", "disabled\ninactive\ninactive\nrunning")
			i.says("systemctl is-active strongswan", "active")
			i.says("stat -c '%U:%G %a %n' /etc/vpngw", "root:vpngw 750 /etc/vpngw")
			i.says("ls /etc/vpngw; vpngw version | head -1 | cut -d' ' -f2", "v"+olderVersion)
			i.says("systemctl start vpngw; systemctl is-active vpngw; systemctl is-failed vpngw", "inactive\ninactive")

			i.configure(0o640, "root:vpngw")
			i.gw.Exec("systemctl", "enable", "--now", "vpngw")
			i.says("systemctl is-active strongswan", "inactive")
			i.awaitUp()
			i.gw.Exec("vpngw", "down", "spare")
			i.over("upgrade", func() { i.install(newerVersion) })
			i.says("vpngw version | head -1 | cut -d' ' -f2; systemctl is-enabled vpngw", "v"+newerVersion+"\nenabled")
			i.kept()

			// A configuration that the new version cannot read leaves the old one running.
			i.gw.Exec("chmod", "600", "/etc/vpngw/keys/hq.psk")
			pid := i.gw.MainPID("vpngw.service")
			out := i.apt("install", "--reinstall", "/packages/"+filepath.Base(debPath("", newerVersion)))
			if got := i.gw.MainPID("vpngw.service"); got != pid || !strings.Contains(out, "was not restarted") {
				t.Errorf("with an unreadable key the daemon was restarted, or nothing said so (%d, then %d):\n%s", pid, got, out)
			}
			i.gw.Exec("chmod", "640", "/etc/vpngw/keys/hq.psk")

			i.apt("remove", "vpngw")
			i.gone(false)
			i.install(newerVersion)
			i.awaitUp()
			i.kept()
			i.apt("purge", "vpngw")
			i.gone(true)
			i.says("systemctl is-system-running", "running")
		})
	}
}

// A `make install` of the last version that ran as root becomes the package's, with the tunnel kept.
func TestPackageTakesOverMakeInstall(t *testing.T) {
	needsPackages(t)
	for _, suite := range debians {
		t.Run(suite, func(t *testing.T) {
			i := bootDebian(t, suite)
			i.gw.Exec("cp", "-a", "/packages/root/.", "/")
			i.configure(0o600, "root:root")
			i.says("stat -c '%U:%G %a %n' /etc/vpngw /etc/vpngw/vpngw.yaml", "root:root 700 /etc/vpngw\nroot:root 600 /etc/vpngw/vpngw.yaml")
			i.gw.Sh("systemctl daemon-reload && systemctl enable --now vpngw")
			i.awaitUp()
			i.gw.Exec("vpngw", "down", "spare")
			i.says("vpngw version | cut -d' ' -f2", "old")

			i.over("upgrade from make install", func() { t.Log(i.install(newerVersion)) })
			i.says("vpngw version | head -1 | cut -d' ' -f2", "v"+newerVersion)
			i.kept()
			i.says("systemctl show -p FragmentPath -p UnitFileState --value vpngw | sed 's,^/lib,/usr/lib,'", "/usr/lib/systemd/system/vpngw.service\nenabled")
			i.says("stat -c '%U:%G %a %n' /etc/vpngw /etc/vpngw/keys /etc/vpngw/vpngw.yaml /etc/vpngw/keys/hq.psk",
				"root:vpngw 750 /etc/vpngw\nroot:vpngw 750 /etc/vpngw/keys\nroot:vpngw 640 /etc/vpngw/vpngw.yaml\nroot:vpngw 640 /etc/vpngw/keys/hq.psk")
			i.says("ps -o user= -p $(systemctl show -p MainPID --value vpngw)", "vpngw")
			i.says("find /var/lib/vpngw ! -user vpngw", "")
			i.says("find /usr/local -type f -name 'vpngw*'", "/usr/local/lib/systemd/system/vpngw.service.before-package\n/usr/local/bin/vpngw.before-package")
			i.apt("purge", "vpngw")
			i.gone(true)
		})
	}
}

// A `make install` that was never enabled stays so.
func TestPackageEnablesNothingThatWasDisabled(t *testing.T) {
	needsPackages(t)
	i := bootDebian(t, debians[0])
	i.gw.Exec("cp", "-a", "/packages/root/.", "/")
	i.gw.Exec("systemctl", "daemon-reload")
	for _, version := range []string{olderVersion, newerVersion} {
		i.install(version)
		i.says("systemctl is-enabled vpngw; systemctl is-active vpngw; systemctl is-failed vpngw", "disabled\ninactive\ninactive")
	}
}
