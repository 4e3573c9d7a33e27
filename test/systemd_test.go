package test

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
	"testing"
	"time"

	"vpngw/test/lab"
)

// needsSystemd skips a test that boots a Debian: make systemd-test runs them.
func needsSystemd(t *testing.T) {
	t.Helper()
	if os.Getenv("SYSTEMD_TEST") == "" {
		t.Skip("boots a Debian with systemd: make systemd-test")
	}
}

// unit is "vpngw.service", installed in a Debian that is the customer's gateway. The cloud has a vpngw and BIRD.
type unit struct {
	*testing.T
	*lab.Booted
	net  *lab.Net
	peer lab.Router
	conn lab.Connection
}

const service = "vpngw.service"

// bootUnit boots the Debian and starts the peer. Nothing is installed yet.
func bootUnit(t *testing.T, suite string, packages ...string) *unit {
	t.Helper()
	needsSystemd(t)
	n := lab.Direct(t, lab.RouterTools...)
	e := newBGPEnds(nil)
	e.ours.Routes = []string{lab.CloudLAN} // so that there is something to guard before BGP
	e.theirs.Announce = []string{"10.20.0.0/16"}
	n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{e.carrier}})
	u := &unit{T: t, net: n, conn: e.ours, peer: lab.Routers["BIRD"](n.Cloud, e.theirs)}
	repository, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	u.Booted = n.Customer.Boot(lab.Boot{
		Suite: suite, Packages: append([]string{"make", "sudo"}, packages...),
		Binds: []string{repository + ":/src", n.Binary() + ":/opt/vpngw"},
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("---- journal of %s ----\n%s", service, u.Journal(service))
		}
	})
	return u
}

// install installs what this tree has, as an operator does.
func (u *unit) install() {
	u.Helper()
	u.Sh("make --silent -C /src install GO=/bin/true BIN=/opt/vpngw && systemctl daemon-reload")
}

// dropIn adds settings to the unit.
func (u *unit) dropIn(name string, lines ...string) {
	u.Helper()
	u.Put("/etc/systemd/system/"+service+".d/"+name+".conf", "[Service]\n"+strings.Join(lines, "\n")+"\n", 0o644)
	u.Exec("systemctl", "daemon-reload")
}

// configure writes the configuration, with the key as a credential.
func (u *unit) configure(change ...func(*lab.Config)) {
	u.Helper()
	c := u.conn
	key := c.PSK
	c.PSK, c.PSKFile = "", "credential:hq"
	config := lab.Config{Version: 1, Connections: []lab.Connection{c}}
	for _, f := range change {
		f(&config)
	}
	text, err := json.Marshal(config)
	if err != nil {
		u.Fatal(err)
	}
	u.Put("/etc/vpngw/hq.psk", key, 0o600) // root's alone
	u.Put("/etc/vpngw/vpngw.yaml", string(text), 0o640)
	u.Sh("chgrp vpngw /etc/vpngw/vpngw.yaml")
	u.dropIn("hq", "LoadCredential=hq:/etc/vpngw/hq.psk")
}

// status is the tunnel's, or why there is none.
func (u *unit) status() (lab.TunnelStatus, error) {
	s, err := u.Status()
	if err != nil {
		return lab.TunnelStatus{}, err
	}
	if len(s.Connections) == 0 || len(s.Connections[0].Tunnels) == 0 {
		return lab.TunnelStatus{}, fmt.Errorf("there is no tunnel")
	}
	return s.Connections[0].Tunnels[0], nil
}

func (u *unit) awaitUp() {
	u.Helper()
	u.net.Await(lab.Patience, "the tunnel is up", func() (bool, string) {
		s, err := u.status()
		return err == nil && s.State == "up", fmt.Sprintf("%v: %s %s\n%s", err, s.State, s.Why, u.Journal(service))
	})
}

// awaitSession waits until BGP has told its route, and packets go through the tunnel.
func (u *unit) awaitSession() {
	u.Helper()
	u.awaitUp()
	u.net.AwaitEstablished(u.peer, bgpNear, lab.Patience)
	awaitLeads(u.net, u.Namespace, lab.Patience, lab.CloudLAN, "10.20.0.0/16")
	u.net.Host.Reaches(lab.CloudHost)
}

// procStatus is /proc/PID/status of a process of the Debian.
func (u *unit) procStatus(pid int) map[string]string {
	u.Helper()
	out := make(map[string]string)
	for line := range strings.Lines(u.Exec("cat", fmt.Sprintf("/proc/%d/status", pid))) {
		k, v, _ := strings.Cut(line, ":")
		out[k] = strings.Join(strings.Fields(v), " ")
	}
	return out
}

// child is BGP's process.
func (u *unit) child() int {
	u.Helper()
	var pid int
	fmt.Sscan(u.Exec("pgrep", "-P", fmt.Sprint(u.MainPID(service))), &pid)
	if pid == 0 {
		u.Fatal("there is no process for BGP")
	}
	return pid
}

// The unit starts, says that it is ready, and has a tunnel and a BGP session, with what it may have and nothing more.
func TestSystemdRunsTheUnit(t *testing.T) {
	for _, suite := range debians {
		t.Run(suite, func(t *testing.T) {
			u := bootUnit(t, suite)
			u.install()
			u.configure()
			u.Exec("systemctl", "start", service)
			if got := u.Property(service, "ActiveState"); got != "active" {
				t.Errorf("it is %s after a start", got)
			}
			u.awaitSession()
			u.AwaitProperty(lab.Patience, service, "StatusText", "1 of 1 tunnels up")
			if log := u.Journal(service); strings.Contains(log, "no Landlock: operation not permitted") || strings.Contains(log, "no seccomp") {
				t.Errorf("the unit keeps BGP's process from confining itself:\n%s", log)
			}

			id := strings.TrimSpace(u.Exec("id", "-u", "vpngw"))
			const three, one = "0000000000003400", "0000000000000400" // NET_ADMIN, NET_RAW, NET_BIND_SERVICE
			for what, c := range map[string]struct {
				pid  int
				want map[string]string
			}{
				"the daemon": {u.MainPID(service), map[string]string{"CapPrm": three, "CapEff": three, "CapBnd": three, "CapAmb": three, "CapInh": three}},
				"BGP":        {u.child(), map[string]string{"CapPrm": one, "CapEff": one, "CapAmb": one}},
			} {
				got := u.procStatus(c.pid)
				c.want["Uid"], c.want["NoNewPrivs"], c.want["Seccomp"] = strings.Join([]string{id, id, id, id}, " "), "1", "2"
				for k, want := range c.want {
					if got[k] != want {
						t.Errorf("%s: %s is %q, want %q", what, k, got[k], want)
					}
				}
			}

			// The tunables are protected, and those of our own devices set all the same.
			for knob, want := range map[string]string{"ipv4/conf/vpngw0/rp_filter": "2", "ipv6/conf/vpngw0/accept_ra": "0", "ipv6/conf/vpngw0/autoconf": "0"} {
				if got := strings.TrimSpace(u.Exec("cat", "/proc/sys/net/"+knob)); got != want {
					t.Errorf("%s is %s, want %s", knob, got, want)
				}
			}

			// What the user owns, and what it may change.
			owned := strings.Fields(u.Sh("find / -xdev -user vpngw 2>/dev/null; find /run -user vpngw"))
			for _, f := range owned {
				if !strings.HasPrefix(f, "/run/vpngw") && !strings.HasPrefix(f, "/var/lib/vpngw") && !strings.HasPrefix(f, "/run/credentials") {
					t.Errorf("the daemon's user owns %s", f)
				}
			}
			t.Logf("the daemon's user owns %v", owned)
			for file, want := range map[string]string{
				"/etc/vpngw": "root vpngw 750", "/etc/vpngw/vpngw.yaml": "root vpngw 640", "/etc/vpngw/hq.psk": "root root 600",
				"/run/vpngw": "vpngw vpngw 750", "/run/vpngw/control.sock": "vpngw vpngw 660", "/var/lib/vpngw": "vpngw vpngw 700",
			} {
				if got := strings.TrimSpace(u.Exec("stat", "-c", "%U %G %a", file)); got != want {
					t.Errorf("%s: %s, want %s", file, got, want)
				}
			}
			// Members of the group look, root commands, others do neither.
			u.Sh("useradd -G vpngw member && useradd stranger")
			for _, c := range []struct {
				user, command string
				ok            bool
			}{
				{"member", "status", true}, {"member", "reload", false}, {"stranger", "status", false}, {"root", "reload", true},
			} {
				if out, err := u.Try("sudo", "-u", c.user, "/usr/local/bin/vpngw", c.command); (err == nil) != c.ok {
					t.Errorf("vpngw %s of %s: %v\n%s", c.command, c.user, err, out)
				}
			}
			out := u.Exec("systemd-analyze", "security", "--no-pager", service)
			if got := exposure(t, out); got > maxExposure {
				t.Errorf("the exposure is %v, want %v at most\n%s", got, maxExposure, out)
			} else {
				t.Logf("the exposure is %v", got)
			}
			u.Exec("systemctl", "stop", service)
			if left := u.Sh("ls -A /run/vpngw 2>/dev/null || true"); left != "" {
				t.Errorf("left in /run/vpngw: %s", left)
			}
		})
	}
}

// systemctl reload says when the file is bad, and the daemon goes on with what it has.
func TestSystemdReload(t *testing.T) {
	u := bootUnit(t, "bookworm")
	u.install()
	u.configure()
	u.Exec("systemctl", "start", service)
	u.awaitSession()
	pid := u.MainPID(service)
	u.Put("/etc/vpngw/vpngw.yaml", "version: 1\nconnections: [{nativ: {}}]\n", 0o640)
	if out, err := u.Try("systemctl", "reload", service); err == nil {
		t.Errorf("a bad file was loaded: %s", out)
	}
	if log := u.Journal(service); !strings.Contains(log, "nativ") {
		t.Errorf("the journal does not say what is wrong:\n%s", log)
	}
	u.net.Host.Reaches(lab.CloudHost)
	u.configure(func(c *lab.Config) { c.Connections[0].Routes = []string{lab.CloudLAN, "10.77.0.0/16"} })
	u.Exec("systemctl", "reload", service)
	u.net.Await(lab.Patience, "the new route", func() (bool, string) {
		leads := u.Leads("")
		return slices.Contains(leads, "10.77.0.0/16"), fmt.Sprint(leads)
	})
	if got := u.MainPID(service); got != pid || u.Property(service, "ActiveState") != "active" {
		t.Errorf("the daemon was %d and is %d", pid, got)
	}
	// A bad file does not start, and is tried again at leisure; once it is good, the daemon comes by itself.
	u.Put("/etc/vpngw/vpngw.yaml", "version: 1\nconnections: [{nativ: {}}]\n", 0o640)
	if out, err := u.Try("systemctl", "restart", service); err == nil {
		t.Errorf("a bad file was started: %s", out)
	}
	time.Sleep(20 * time.Second)
	var restarts int
	fmt.Sscan(u.Property(service, "NRestarts"), &restarts)
	if restarts < 3 || restarts > 11 {
		t.Errorf("%d starts within 20 s", restarts)
	}
	u.configure()
	u.awaitSession()
}

// A daemon that is stuck is killed by systemd's watchdog and is back, and nothing leaves in clear meanwhile.
func TestSystemdWatchdog(t *testing.T) {
	u := bootUnit(t, "bookworm")
	u.install()
	u.configure()
	u.dropIn("watchdog", "WatchdogSec=4s", "TimeoutAbortSec=1s")
	u.Exec("systemctl", "start", service)
	u.awaitSession()
	clear := inClearFrom(u.net)
	stream := u.net.Host.StartStream(u.net.CloudHost, lab.CloudHost, streamRate)
	stream.AwaitFlow(time.Now(), streamRate)
	pid := u.MainPID(service)
	time.Sleep(12 * time.Second) // three times as long as the watchdog waits
	if got := u.MainPID(service); got != pid {
		t.Fatalf("a daemon that was well was killed\n%s", u.Journal(service))
	}
	stopped := time.Now()
	u.Exec("kill", "-STOP", fmt.Sprint(pid))
	u.AwaitProperty(lab.Patience, service, "NRestarts", "1")
	killed := time.Since(stopped)
	u.awaitSession()
	gap := stream.AwaitFlow(time.Now(), streamRate)
	t.Logf("killed and started %v after it was stopped; the tunnel carries again after %v; gap %v", killed.Round(time.Millisecond), time.Since(stopped).Round(time.Millisecond), gap)
	if log := u.Journal(service); !strings.Contains(log, "Watchdog timeout") {
		t.Errorf("it was not the watchdog:\n%s", log)
	}
	if got := clear.Packets(); got != 0 {
		t.Errorf("%d packets in clear", got)
	}
}

// The unit has no call denied: by the filter, which kills here, and by nothing else, as strace sees it.
func TestSystemdDeniesNothing(t *testing.T) {
	u := bootUnit(t, "bookworm")
	u.install()
	u.configure()
	denied := u.traced(func() {
		u.Exec("systemctl", "start", service)
		u.awaitSession()
		u.Exec("systemctl", "reload", service)
		u.Exec("vpngw", "doctor", "row")
		u.Exec("systemctl", "stop", service)
	})
	if len(denied) > 0 {
		t.Errorf("denied:\n%s", strings.Join(denied, "\n"))
	}
	u.dropIn("kill", "SystemCallErrorNumber=kill")
	u.Exec("systemctl", "start", service)
	u.awaitSession()
	u.Exec("systemctl", "reload", service)
	u.Exec("systemctl", "stop", service)
	if got := u.Property(service, "Result"); got != "success" {
		t.Errorf("the service ended with %s\n%s", got, u.Journal(service))
	}
}

// undenied are failures that mean something else, or have a way around them.
var undenied = []string{
	"epoll_ctl(",      // Go asks whether a file can be polled: a regular one cannot
	"_tables_names\"", // root's group may list iptables' tables: the kernel's modules tell as well whether there is any
	" adjtimex(",      // whether the clock is set, for doctor: ProtectClock= denies the question with the answer
}

// traced returns the calls of vpngw that were denied while f ran. BGP's process, which denies itself much, has another
// name to the kernel, "exe".
func (u *unit) traced(f func()) (denied []string) {
	u.Helper()
	file := filepath.Join(u.net.Dir, "strace")
	cmd := exec.Command("strace", "-f", "-qq", "-Y", "-e", "status=failed", "-o", file, "-p", strconv.Itoa(u.Init()))
	if err := cmd.Start(); err != nil {
		u.Fatal(err)
	}
	u.net.Await(lab.Patience, "strace follows systemd", func() (bool, string) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", u.Init()))
		return err == nil && strings.Contains(string(text), fmt.Sprintf("TracerPid:\t%d\n", cmd.Process.Pid)), ""
	})
	f()
	cmd.Process.Signal(syscall.SIGINT)
	cmd.Wait()
	text, err := os.ReadFile(file)
	if err != nil {
		u.Fatal(err)
	}
	calls := 0
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, "<vpngw>") {
			continue
		}
		calls++
		if !strings.Contains(line, "EPERM") && !strings.Contains(line, "EACCES") && !strings.Contains(line, "EROFS") {
			continue
		}
		if !slices.ContainsFunc(undenied, func(s string) bool { return strings.Contains(line, s) }) {
			denied = append(denied, strings.TrimSpace(line))
		}
	}
	u.Logf("strace saw %d calls of vpngw fail, %d of them denied", calls, len(denied))
	if calls < 20 {
		u.Errorf("strace saw nothing of vpngw:\n%.2000s", text)
	}
	return denied
}

// The unit waits for an address for as long as it takes.
func TestSystemdWaitsForAnAddress(t *testing.T) {
	u := bootUnit(t, "bookworm")
	u.install()
	u.net.Customer.Run("ip", "addr", "del", lab.CustomerAddr+"/24", "dev", "wan")
	u.configure(func(c *lab.Config) { c.Listen = []string{lab.CustomerAddr} })
	u.Exec("systemctl", "start", service)
	time.Sleep(2 * time.Minute)
	if got := u.Property(service, "ActiveState"); got != "active" {
		t.Errorf("it is %s\n%s", got, u.Journal(service))
	}
	u.net.Customer.Address("wan", lab.CustomerAddr+"/24")
	u.net.Customer.Route("default", "203.0.113.254")
	u.awaitSession()
	if got := u.Property(service, "NRestarts"); got != "0" {
		t.Errorf("it was restarted %s times", got)
	}
}

// After an installation of before, whose daemon was root, `make install` and a restart are all that is needed: the daemon's
// user reads the configuration and what was kept, and nothing leaves in clear meanwhile.
func TestSystemdTakesOverFromRoot(t *testing.T) {
	u := bootUnit(t, "bookworm")
	old, err := os.ReadFile("testdata/root.service")
	if err != nil {
		t.Fatal(err)
	}
	u.Put("/usr/local/lib/systemd/system/"+service, strings.ReplaceAll(string(old), "@BIN@", "/usr/local/bin/vpngw"), 0o644)
	u.Sh("install -D -m 755 /opt/vpngw /usr/local/bin/vpngw && install -d -m 700 /etc/vpngw /etc/vpngw/bodies")
	c := u.conn
	key := c.PSK
	c.PSK, c.PSKFile = "", "/etc/vpngw/hq.psk"
	text, err := json.Marshal(lab.Config{Version: 1, Connections: []lab.Connection{c}})
	if err != nil {
		t.Fatal(err)
	}
	u.Put("/etc/vpngw/vpngw.yaml", string(text), 0o600)
	u.Put("/etc/vpngw/hq.psk", key, 0o600)
	u.Put("/etc/vpngw/public", "", 0o644)
	u.Sh("systemctl daemon-reload && systemctl start vpngw")
	u.awaitUp() // BGP's process, of another user, could not enter that unit's /run/vpngw: no packet comes back
	if got := u.procStatus(u.MainPID(service))["Uid"]; got != "0 0 0 0" {
		t.Fatalf("the daemon of before runs as %s", got)
	}
	clear := inClearFrom(u.net)
	stream := u.net.Host.StartStream(u.net.CloudHost, lab.CloudHost, streamRate)
	stream.AwaitTries(streamRate)
	if kept := u.Sh("find /var/lib/vpngw -type f -user root"); kept == "" {
		t.Error("the daemon of before has kept nothing")
	}

	u.install()
	u.Exec("systemctl", "restart", service)
	u.awaitSession()
	stream.AwaitFlow(time.Now(), streamRate)
	if got := clear.Packets(); got != 0 {
		t.Errorf("%d packets in clear", got)
	}
	id := strings.TrimSpace(u.Exec("id", "-u", "vpngw"))
	if got := u.procStatus(u.MainPID(service))["Uid"]; !strings.HasPrefix(got, id+" ") {
		t.Errorf("the daemon runs as %s, want %s", got, id)
	}
	for file, want := range map[string]string{
		"/etc/vpngw": "root vpngw 750", "/etc/vpngw/bodies": "root vpngw 750", "/etc/vpngw/vpngw.yaml": "root vpngw 640",
		"/etc/vpngw/hq.psk": "root vpngw 640", "/etc/vpngw/public": "root root 644", "/var/lib/vpngw": "vpngw vpngw 700",
	} {
		if got := strings.TrimSpace(u.Exec("stat", "-c", "%U %G %a", file)); got != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
	if left := u.Sh("find /var/lib/vpngw ! -user vpngw"); left != "" {
		t.Errorf("not the daemon's: %s", left)
	}
	u.Exec("vpngw", "down", "row")
	u.Exec("systemctl", "restart", service)
	if s, err := u.status(); err != nil || s.State != "down" {
		t.Errorf("a tunnel that was taken down is %s after a restart, %v", s.State, err)
	}
	u.Exec("vpngw", "up", "row")
	u.awaitSession()
	// A key that is made root's alone afterwards, as for LoadCredential=, stays so.
	u.Sh("chown root:root /etc/vpngw/hq.psk && chmod 600 /etc/vpngw/hq.psk")
	u.install()
	if got := strings.TrimSpace(u.Exec("stat", "-c", "%U %G %a", "/etc/vpngw/hq.psk")); got != "root root 600" {
		t.Errorf("the key is %s", got)
	}
	u.Exec("systemctl", "stop", service)
	u.Sh("make --silent -C /src uninstall GO=/bin/true")
	if left := u.Sh("find /usr/local /etc/systemd -name '*vpngw*' ! -path '*/vpngw.service.d*'; ip route show proto 73 table all"); left != "" {
		t.Errorf("left by make uninstall:\n%s", left)
	}
	u.Sh("getent passwd vpngw && test -e /etc/vpngw/vpngw.yaml")
}

// The commands of the pages that say that this target runs them.
func TestSystemdDoesWhatThePagesSay(t *testing.T) {
	u := bootUnit(t, "bookworm")
	u.install()
	u.configure()
	instead := map[string]string{
		"make build && sudo make install": "make --silent -C /src install GO=/bin/true BIN=/opt/vpngw && systemctl daemon-reload", // no Go is there
		"sudo vpngw init":                 "vpngw init --help",                                                                    // which asks; configure has answered
	}
	ran := 0
	for _, page := range []string{"../README.md", "../docs/operations.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range blocks(string(text)) {
			if b.options["by"] != "systemd-test" {
				continue
			}
			for command := range strings.Lines(b.text) {
				command, _, _ = strings.Cut(strings.TrimSpace(command), "  ")
				if other := instead[command]; other != "" {
					command = other
				}
				if strings.HasPrefix(command, "sudo vpngw check") { // the key of this configuration is a credential of the unit
					continue
				}
				u.Sh("cd /root && " + command)
				ran++
			}
		}
	}
	u.awaitUp()
	if ran < 8 {
		t.Errorf("%d commands were run", ran)
	}
}
