package bgp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vpngw/config"
	"vpngw/diag"
)

// TestMain makes the test's own program the child.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "bgpd" {
		os.Exit(childMain())
	}
	os.Exit(m.Run())
}

func childMain() int {
	flags := map[string]string{}
	for i := 2; i+1 < len(os.Args); i += 2 {
		flags[os.Args[i]] = os.Args[i+1]
	}
	asn, _ := strconv.ParseUint(flags["--as"], 10, 32)
	c := Child{ASN: uint32(asn), RouterID: netip.MustParseAddr(flags["--router-id"]), Socket: flags["--socket"]}
	for a := range strings.SplitSeq(flags["--listen"], ",") {
		c.Listen = append(c.Listen, netip.MustParseAddr(a))
	}
	parent := make(chan struct{})
	go func() {
		os.NewFile(3, "parent").Read(make([]byte, 1))
		close(parent)
	}()
	if err := c.Serve(parent, os.Stderr, func() []error { return nil }); err != nil {
		fmt.Fprintln(os.Stderr, "vpngw:", err)
		return 1
	}
	return 0
}

// A space is a network namespace with a thread in it.
type space struct{ do chan func() }

func newSpace(t *testing.T) *space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	s := &space{make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range s.do {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(s.do) })
	s.run(t, "ip", "link", "set", "lo", "up")
	return s
}

func (s *space) in(f func()) {
	done := make(chan struct{})
	s.do <- func() { defer close(done); f() }
	<-done
}

func (s *space) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var out []byte
	var err error
	s.in(func() { out, err = exec.Command(name, args...).CombinedOutput() })
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// pair joins two new namespaces: 169.254.10.1/30 and fd00::1 here, .2 and fd00::2 there.
func pair(t *testing.T) (a, b *space) {
	a, b = newSpace(t), newSpace(t)
	var pid int
	b.in(func() { pid = unix.Gettid() })
	a.run(t, "ip", "link", "add", "va", "type", "veth", "peer", "name", "vb", "netns", fmt.Sprint(pid))
	for _, end := range []struct {
		s    *space
		dev  string
		addr string
	}{{a, "va", "1"}, {b, "vb", "2"}} {
		end.s.run(t, "ip", "addr", "add", "169.254.10."+end.addr+"/30", "dev", end.dev)
		end.s.run(t, "ip", "addr", "add", "fd00::"+end.addr+"/64", "dev", end.dev, "nodad")
		end.s.run(t, "ip", "link", "set", end.dev, "up")
	}
	return a, b
}

// A local starts children in its namespace, without the sandbox that host has.
type local struct {
	s    *space
	mu   sync.Mutex
	last *proc
}

type proc struct {
	cmd  *exec.Cmd
	hold *os.File
	done chan struct{}
	err  error
}

func (l *local) Start(spec Spec) (Process, error) {
	if err := os.MkdirAll(spec.Dir, 0o700); err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	p := &proc{hold: w, done: make(chan struct{}), cmd: exec.Command("/proc/self/exe", spec.Args...)}
	p.cmd.Env = []string{"GOMEMLIMIT=" + fmt.Sprint(spec.Memory), "GOGC=50", "GOMAXPROCS=2"}
	p.cmd.Stderr, p.cmd.ExtraFiles = spec.Stderr, []*os.File{r}
	l.s.in(func() { err = p.cmd.Start() })
	if err != nil {
		return nil, err
	}
	go func() { p.err = p.cmd.Wait(); close(p.done) }()
	l.mu.Lock()
	l.last = p
	l.mu.Unlock()
	return p, nil
}

func (l *local) pid() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last.cmd.Process.Pid
}

func (p *proc) Wait() error { <-p.done; return p.err }
func (p *proc) Stop()       { p.hold.Close() }
func (p *proc) Kill() error { return p.cmd.Process.Kill() }
func (p *proc) RSS() int64  { return 0 }
func (p *proc) Dial(ctx context.Context, path string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", path)
}
func (p *proc) Remove(path string) error { return os.Remove(path) }

// A puppet is a decider that a test drives. What it is told the test sees on seen.
type puppet struct {
	mu      sync.Mutex
	actions []action
	seen    chan fact
	s       *Speaker
}

func (k *puppet) note(_ time.Time, f fact) { k.seen <- f }
func (k *puppet) advance(time.Time)        {}
func (k *puppet) deadline() time.Time      { return time.Time{} }
func (k *puppet) change(time.Time, Config) {}
func (k *puppet) next() action {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.actions) == 0 {
		return nil
	}
	a := k.actions[0]
	k.actions = k.actions[1:]
	return a
}

func (k *puppet) want(actions ...action) {
	k.mu.Lock()
	k.actions = append(k.actions, actions...)
	k.mu.Unlock()
	k.s.say(func(*pending) {})
}

// until waits for a fact that ok takes, and returns it.
func until[F fact](t *testing.T, k *puppet, ok func(F) bool) F {
	t.Helper()
	limit := time.After(30 * time.Second)
	var others []string
	for {
		select {
		case f := <-k.seen:
			if f, is := f.(F); is && ok(f) {
				return f
			}
			others = append(others, fmt.Sprintf("%T%+v", f, f))
		case <-limit:
			t.Fatalf("never: %T; came: %.3000s", *new(F), others)
		}
	}
}

func every[F fact](F) bool { return true }

// speaker runs a scripted Speaker in a namespace.
func speaker(t *testing.T, s *space, c Config) (*puppet, *local) {
	t.Helper()
	k := &puppet{seen: make(chan fact, 100000)}
	l := &local{s: s}
	ctx, cancel := context.WithCancel(t.Context())
	k.s = speak(Options{
		Starter: l, Dir: filepath.Join(t.TempDir(), "bgp"),
		Report: func(Report) {}, Event: func(string, diag.Cause) {},
	}, c, k)
	done := make(chan struct{})
	go func() { defer close(done); k.s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return k, l
}

// ends are the Configs of two ends of one session.
func ends(change func(a, b *Session)) (a, b Config) {
	sa := Session{
		Tunnel: "t", Local: netip.MustParseAddr("169.254.10.1"), Remote: netip.MustParseAddr("169.254.10.2"),
		Inside: netip.MustParsePrefix("169.254.10.0/30"), LocalASN: 65001, RemoteASN: 4200000002,
		BGP: config.BGP{Hold: 9 * time.Second, Keepalive: 3 * time.Second, Graceful: true},
	}
	sb := sa
	sb.Local, sb.Remote, sb.LocalASN, sb.RemoteASN, sb.Passive = sa.Remote, sa.Local, sa.RemoteASN, sa.LocalASN, true
	if change != nil {
		change(&sa, &sb)
	}
	a = Config{Group: "a", ASN: sa.LocalASN, RouterID: netip.MustParseAddr("10.0.0.1"), Sessions: []Session{sa}}
	b = Config{Group: "b", ASN: sb.LocalASN, RouterID: netip.MustParseAddr("10.0.0.2"), Sessions: []Session{sb}}
	return a, b
}

func up(p peerIs) bool { return p.state == Established }

// establish starts both ends.
func establish(t *testing.T, ca, cb Config) (a, b *puppet, la, lb *local) {
	t.Helper()
	sa, sb := pair(t)
	a, la = speaker(t, sa, ca)
	b, lb = speaker(t, sb, cb)
	for _, end := range []struct {
		k *puppet
		c Config
	}{{a, ca}, {b, cb}} {
		end.k.want(start{end.c})
		until(t, end.k, every[started])
		end.k.want(addPeer{session: end.c.Sessions[0]})
	}
	return a, b, la, lb
}

func prefixes(n int, base byte) []Tell {
	list := make([]Tell, n)
	for i := range list {
		list[i].Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{base, byte(i >> 8), byte(i), 0}), 24)
	}
	return list
}

// count waits until n routes are told.
func count(t *testing.T, k *puppet, n int, withdrawn bool) map[netip.Prefix]Told {
	t.Helper()
	got := make(map[netip.Prefix]Told)
	until(t, k, func(f told) bool {
		for _, r := range f.routes {
			if r.Withdrawn == withdrawn {
				got[r.Prefix] = r
			}
		}
		return len(got) >= n
	})
	return got
}

func TestRoutesGoBothWays(t *testing.T) {
	ca, cb := ends(func(a, b *Session) {
		a.MED, a.Prepend, a.Communities = 100, 2, []uint32{65001<<16 | 7}
	})
	a, b, la, _ := establish(t, ca, cb)
	begun := time.Now()
	up := func(p peerIs) bool { return p.state == Established && p.hold == 9*time.Second }
	until(t, a, up)
	until(t, b, up)
	t.Logf("established after %v", time.Since(begun))
	a.want(tell{add: prefixes(1000, 10)})
	b.want(tell{add: prefixes(1000, 20)})
	begun = time.Now()
	fromA := count(t, b, 1000, false)
	count(t, a, 1000, false)
	t.Logf("1000 routes each way after %v", time.Since(begun))
	got := fmt.Sprintf("%+v", fromA[netip.MustParsePrefix("10.3.231.0/24")])
	want := "{Prefix:10.3.231.0/24 Next:169.254.10.1 Path:[65001 65001 65001] Origin:0 MED:100 LocalPref:0 Communities:[4259905543] Withdrawn:false}"
	if got != want {
		t.Errorf("route\n %s, want\n %s", got, want)
	}
	a.want(tell{withdraw: prefixes(1000, 10)})
	count(t, b, 1000, true)
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", la.pid()))
	for line := range strings.SplitSeq(string(status), "\n") {
		if strings.HasPrefix(line, "Rss") {
			t.Log(line)
		}
	}
}
