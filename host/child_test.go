package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of a child that has confined itself: what it tried, and what came of that.
type attempts struct {
	Missing []string          // that Confine could not take away
	Tried   map[string]string // "" is a success
}

// allowed is what a confined child can still do.
var allowed = map[string]bool{"listen on the port": true, "signal itself": true, "see its limits": true}

// confined is the child's program: it listens on a socket, confines itself, and says on its standard error what it can
// still do.
func confined(args []string) int {
	parent, err := BeginChild()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	path, port := args[0], args[1]
	l, err := net.Listen("unix", path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("hello"))
			c.Close()
		}
	}()
	r := attempts{Tried: make(map[string]string)}
	n, _ := strconv.Atoi(port)
	if args[2] == "confine" {
		for _, err := range Confine(uint16(n)) {
			r.Missing = append(r.Missing, err.Error())
		}
	}
	try := func(what string, f func() error) {
		r.Tried[what] = ""
		if err := f(); err != nil {
			r.Tried[what] = err.Error()
		}
	}
	try("read a file", func() error { _, err := os.ReadFile("/etc/passwd"); return err })
	try("read by the old call", func() error {
		name := []byte("/etc/passwd\x00")
		_, _, e := unix.Syscall(2, uintptr(unsafe.Pointer(&name[0])), 0, 0) // open on amd64
		if e != 0 {
			return e
		}
		return nil
	})
	try("make a file", func() error { return os.WriteFile(path+".x", nil, 0o600) })
	try("remove its socket", func() error { return os.Remove(path) })
	try("start a program", func() error { return exec.Command("/bin/true").Run() })
	try("ask for the machine's name", func() error {
		name, err := os.Hostname()
		if err == nil && name == "" {
			return errors.New("empty")
		}
		return err
	})
	try("read its parent", func() error {
		_, err := unix.ProcessVMReadv(os.Getppid(), []unix.Iovec{{}}, []unix.RemoteIovec{{}}, 0)
		return err
	})
	try("signal its parent", func() error { return unix.Kill(os.Getppid(), 0) })
	try("signal its parent's thread", func() error { return unix.Tgkill(os.Getppid(), os.Getppid(), 0) })
	try("signal itself", func() error { return unix.Tgkill(os.Getpid(), unix.Gettid(), 0) })
	try("see its limits", func() error { return unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &unix.Rlimit{}) })
	try("signal everybody", func() error { return unix.Kill(-1, 0) })
	try("limit its parent", func() error { return unix.Prlimit(os.Getppid(), unix.RLIMIT_CPU, nil, &unix.Rlimit{}) })
	try("slow its parent down", func() error { return unix.Setpriority(unix.PRIO_PROCESS, os.Getppid(), 19) })
	try("have the kernel signal its parent", func() error {
		_, err := unix.FcntlInt(childHold, unix.F_SETOWN, os.Getppid())
		return err
	})
	try("choose that signal", func() error { _, err := unix.FcntlInt(childHold, unix.F_SETSIG, int(unix.SIGKILL)); return err })
	try("have the kernel signal its parent by ioctl", func() error { return unix.IoctlSetPointerInt(childHold, fiosetown, os.Getppid()) })
	try("join its parent's group", func() error { return unix.Setpgid(0, os.Getppid()) })
	try("make a pair of sockets", func() error { _, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0); return err })
	try("listen on the port", func() error {
		l, err := net.Listen("tcp4", "127.0.0.1:"+port)
		if err == nil {
			l.Close()
		}
		return err
	})
	try("listen on another port", func() error {
		l, err := net.Listen("tcp4", "127.0.0.1:"+strconv.Itoa(n+1))
		if err == nil {
			l.Close()
		}
		return err
	})
	try("connect to another port", func() error {
		c, err := net.Dial("tcp4", "127.0.0.1:9")
		if err == nil {
			c.Close()
		}
		return err
	})
	try("connect to a Unix socket", func() error { _, err := net.Dial("unix", path); return err })
	try("open a raw socket", func() error { _, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, 1); return err })
	try("ask netlink", func() error { _, err := net.Interfaces(); return err })
	b, _ := json.Marshal(r)
	os.Stderr.Write(append(b, '\n'))
	<-parent
	if args[2] == "stubborn" {
		select {}
	}
	return 0
}

// parent is a daemon that a test kills: it starts a child that does not look at its pipe, and says who that is.
func parent(args []string) int {
	h, err := New(Config{})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	said := make(sink, 1)
	c, err := h.StartChild(ChildSpec{Args: []string{"child", args[0] + "/s", "17900", args[1]}, Dir: args[0], Stderr: said, Memory: 64 << 20})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	<-said
	fmt.Println(c.PID())
	select {}
}

// A sink hands on what is written, line by line.
type sink chan string

func (s sink) Write(b []byte) (int, error) { s <- string(b); return len(b), nil }

// childOf starts a confined child in a namespace and returns what it says of itself.
func childOf(t *testing.T, s *space, dir, how string) (*Child, attempts) {
	t.Helper()
	h := s.host()
	said := make(sink, 8)
	c, err := h.StartChild(ChildSpec{Args: []string{"child", filepath.Join(dir, "s"), "179", how}, Dir: dir, Stderr: said, Memory: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Kill(); c.Wait() })
	var a attempts
	select {
	case line := <-said:
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("the child said %q: %v", line, err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the child says nothing")
	}
	return c, a
}

func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vpngw-child") // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "bgp")
}

func statusOf(t *testing.T, pid int) map[string]string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := make(map[string]string)
	for line := range strings.SplitSeq(string(text), "\n") {
		k, v, _ := strings.Cut(line, ":")
		m[k] = strings.Join(strings.Fields(v), " ")
	}
	return m
}

func TestChildHasNothingToLose(t *testing.T) {
	s := enter(t)
	t.Setenv("VPNGW_TEST_SECRET", "x")
	dir := openDir(t)
	c, a := childOf(t, s, dir, "confine")
	if len(a.Missing) > 0 {
		t.Logf("this kernel or build cannot take away: %v", a.Missing)
	}
	landlocked := !strings.Contains(strings.Join(a.Missing, " "), "Landlock")
	for what, got := range a.Tried {
		if strings.Contains(what, "port") && !landlocked && what != "listen on the port" {
			continue
		}
		if (got == "") != allowed[what] {
			t.Errorf("%s: %q; allowed is %v", what, got, allowed[what])
		}
	}
	uid, gid, err := childUser()
	if err != nil {
		t.Fatal(err)
	}
	four := func(n int) string { return strings.TrimSpace(strings.Repeat(strconv.Itoa(n)+" ", 4)) }
	status := statusOf(t, c.PID())
	bind := fmt.Sprintf("%016x", 1<<unix.CAP_NET_BIND_SERVICE)
	for k, want := range map[string]string{
		"Uid": four(uid), "Gid": four(gid), "Groups": "", "CapPrm": bind, "CapEff": bind, "CapAmb": bind, "NoNewPrivs": "1", "Seccomp": "2",
	} {
		if status[k] != want {
			t.Errorf("%s of the child is %q, want %q", k, status[k], want)
		}
	}
	limits, _ := os.ReadFile(fmt.Sprintf("/proc/%d/limits", c.PID()))
	for name, want := range map[string]string{"Max open files": "256 256", "Max core file size": "0 0"} {
		if _, rest, _ := strings.Cut(string(limits), name); !strings.HasPrefix(strings.Join(strings.Fields(rest), " "), want) {
			t.Errorf("%s is not %s:\n%s", name, want, limits)
		}
	}
	if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", c.PID())); err != nil || strings.Contains(string(env), "SECRET") || !strings.Contains(string(env), "GOMEMLIMIT=") {
		t.Errorf("environment: %q, %v", env, err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t); int(owner.Uid) != uid || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory is %v of user %d", info.Mode(), owner.Uid)
	}
	if rss := c.RSS(); rss < 1<<20 || rss > 1<<30 {
		t.Errorf("RSS %d", rss)
	}
	conn, err := c.Dial(t.Context(), filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b := make([]byte, 5)
	if _, err := conn.Read(b); err != nil || string(b) != "hello" {
		t.Errorf("its socket says %q, %v", b, err)
	}
	if mine, _ := os.Readlink("/proc/thread-self/ns/net"); mine == "" {
		t.Error("no namespace")
	} else if its, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", c.PID())); its != mine {
		t.Errorf("the child is in %s, want %s", its, mine)
	}
	c.Stop()
	if err := c.Wait(); err != nil {
		t.Errorf("the end of its pipe ended it with %v", err)
	}
	if err := c.Remove(filepath.Join(dir, "s")); err != nil {
		t.Error(err)
	}
}

// A unit of before ran as root with few capabilities. It may not look into the child's directory, but reaches the child.
func TestChildOfRootWithFewCapabilities(t *testing.T) {
	s := enter(t)
	dir := openDir(t)
	const few = "-all,+net_admin,+net_raw,+net_bind_service,+setuid,+setgid,+chown,+kill"
	cmd := exec.Command("setpriv", "--bounding-set="+few, os.Args[0], "weak-parent", dir)
	var out []byte
	var err error
	s.run(func() { out, err = cmd.CombinedOutput() })
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// Under systemd the daemon is not root, and has few capabilities; the child is of the same user, and neither sees the other in
// /proc.
func TestChildOfTheSameUser(t *testing.T) {
	s := enter(t)
	dir := filepath.Dir(openDir(t))
	const uid = 29817
	s.must(os.Chown(dir, uid, uid))
	program := filepath.Join(dir, "host.test")
	text, err := os.ReadFile("/proc/self/exe")
	s.must(err)
	s.must(os.WriteFile(program, text, 0o755))
	const few = "+net_admin,+net_raw,+net_bind_service" // as in vpngw.service
	cmd := exec.Command("unshare", "--mount", "sh", "-c", `mount -t proc -o hidepid=invisible proc /proc && exec "$@"`, "sh",
		"setpriv", "--reuid", strconv.Itoa(uid), "--regid", strconv.Itoa(uid), "--clear-groups",
		"--bounding-set=-all,"+few, "--inh-caps=-all,"+few, "--ambient-caps=-all,"+few, program, "weak-parent", filepath.Join(dir, "bgp"))
	var out []byte
	s.run(func() { out, err = cmd.CombinedOutput() })
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// weakParent is a daemon under systemd: it starts a child, reaches it and ends it, twice.
func weakParent(dir string) int {
	if err := weakParents(dir); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func weakParents(dir string) error {
	if err := Undumpable(); err != nil {
		return err
	}
	h, err := New(Config{})
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "s")
	for range 2 { // the second finds the directory
		said := make(sink, 8)
		c, err := h.StartChild(ChildSpec{Args: []string{"child", path, "179", "confine"}, Dir: dir, Stderr: said, Memory: 64 << 20})
		if err != nil {
			return fmt.Errorf("start: %w", err)
		}
		line := <-said
		var a attempts
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			return fmt.Errorf("the child said %q: %w", line, err)
		}
		for what, got := range a.Tried {
			if (got == "") != allowed[what] && !strings.Contains(what, "port") {
				return fmt.Errorf("%s: %q", what, got)
			}
		}
		if os.Geteuid() == 0 {
			if _, err := os.Stat(path); !errors.Is(err, os.ErrPermission) {
				return fmt.Errorf("the directory is open to root without capabilities: %v", err)
			}
		} else if _, err := os.Stat(fmt.Sprintf("/proc/%d", c.PID())); err == nil {
			return errors.New("the child can be seen in /proc: this tells nothing of its memory")
		}
		if rss := c.RSS(); rss < 1<<20 || rss > 1<<30 {
			return fmt.Errorf("RSS %d", rss)
		}
		conn, err := c.Dial(context.Background(), path)
		if err != nil {
			return fmt.Errorf("dial: %w", err)
		}
		conn.Close()
		if err := c.Kill(); err != nil {
			return fmt.Errorf("kill: %w", err)
		}
		c.Wait()
		if rss := c.RSS(); rss != 0 {
			return fmt.Errorf("RSS of a dead child: %d", rss)
		}
		if err := c.Remove(path); err != nil {
			return fmt.Errorf("remove: %w", err)
		}
	}
	return nil
}

func TestChildDiesWithItsParent(t *testing.T) {
	s := enter(t)
	dir := openDir(t)
	for _, how := range []string{"confine", "stubborn"} {
		t.Run(how, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe", "parent", dir, how)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			s.run(func() { err = cmd.Start() })
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 200)
			n, _ := out.Read(b)
			pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
			if err != nil {
				t.Fatalf("the parent said %q", b[:n])
			}
			cmd.Process.Kill()
			killed := time.Now()
			cmd.Wait()
			eventually(t, "the child has gone", func() bool { return buried(pid) })
			if took := time.Since(killed); took > time.Second {
				t.Errorf("the child went after %v", took)
			}
			os.Remove(filepath.Join(dir, "s"))
		})
	}
}

// buried reports whether a process has ended; its parent may not have asked how.
func buried(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, state, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(state, "Z")
}
