package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"vpngw/diag"
)

// While one vpngw lives, another in its network namespace learns its process, and removes nothing of it.
func TestASecondVpngwTouchesNothingOfTheFirst(t *testing.T) {
	s, first := world(t, "vpn0")
	s.must(first.Claim())
	s.must(first.Claim()) // again
	_, err := first.Set("a", crashState)
	s.must(err)
	want, foreign := s.kernelState()

	second := s.host()
	for name, do := range map[string]func() error{"Claim": second.Claim, "Clean": second.Clean, "Leave": second.Leave} {
		var claimed *ClaimedError
		if err := do(); !errors.As(err, &claimed) || claimed.Cause().Code != diag.Running ||
			!strings.Contains(err.Error(), fmt.Sprintf("(pid %d, uid %d)", os.Getpid(), os.Getuid())) {
			t.Errorf("%s: %v", name, err)
		}
	}
	got, after := s.kernelState()
	compare(t, "ours", got, want)
	compare(t, "foreign", after, foreign)

	beside(t).run(func() { // another network namespace has its own
		other, err := New(Config{})
		s.must(err)
		s.must(other.Claim())
		s.must(other.Close())
	})
	s.must(first.Close())
	s.must(second.Claim())
}

// TestClaimHolder is the process that holds the name for the next test, in a way that its
// environment names. It never accepts.
func TestClaimHolder(t *testing.T) {
	how := os.Getenv("VPNGW_TEST_CLAIM")
	if how == "" {
		t.Skip("runs for TestWhoeverHoldsTheNameIsNamed")
	}
	name := &unix.SockaddrUnix{Name: "@" + claimName}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		err = unix.Bind(fd, name)
	}
	if err == nil && how != "silent" {
		err = unix.Listen(fd, 1)
	}
	for i := 0; err == nil && how == "full" && i < 10; i++ { // these wait for ever
		c, _ := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		unix.Connect(c, name)
	}
	if how == "hidden" && err == nil { // no process has it open: it is under way to this one
		var ends [2]int
		if ends, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0); err == nil {
			err = unix.Sendmsg(ends[0], []byte{0}, unix.UnixRights(fd), nil, 0)
			unix.Close(fd)
		}
	}
	fmt.Fprintln(os.Stdout, "claimed", err)
	os.Stdin.Read(make([]byte, 1))
}

// Anybody can take the name. The error says who did, however they hold it.
func TestWhoeverHoldsTheNameIsNamed(t *testing.T) {
	s, h := world(t)
	const nobody = 65534
	for _, how := range []string{"listening", "silent", "full", "hidden"} {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestClaimHolder$")
		cmd.Env = append(os.Environ(), "VPNGW_TEST_CLAIM="+how)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := cmd.StdoutPipe()
		s.must(err)
		in, err := cmd.StdinPipe()
		s.must(err)
		s.must(cmd.Start())
		var word, problem string
		if fmt.Fscan(out, &word, &problem); word != "claimed" || problem != "<nil>" {
			t.Fatalf("%s: %q %q", how, word, problem)
		}
		want := fmt.Sprintf("(pid %d, uid %d)", cmd.Process.Pid, nobody)
		if err := h.Claim(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", how, err, want)
		}
		in.Close()
		cmd.Wait()
	}
	s.must(h.Claim())
}
