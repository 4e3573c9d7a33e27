package host

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A terminal shows what is typed, except while its input is hidden.
func TestHiddenInputIsNotShown(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	pipe, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if !IsTerminal(tty) || IsTerminal(pipe) {
		t.Error("a terminal is not told from a pipe")
	}
	in := bufio.NewReader(tty)
	typed := func(s string) {
		t.Helper()
		fmt.Fprintln(master, s)
		if line, err := in.ReadString('\n'); err != nil || line != s+"\n" {
			t.Fatalf("read %q, %v", line, err)
		}
	}
	typed("before")
	undo, err := HideInput(tty)
	if err != nil {
		t.Fatal(err)
	}
	typed("hidden")
	undo()
	typed("after")
	shown := make([]byte, 4096)
	k, err := master.Read(shown)
	if got := string(shown[:k]); err != nil || !strings.Contains(got, "before") || strings.Contains(got, "hidden") {
		t.Errorf("shown: %q, %v", got, err)
	}
	if _, err := HideInput(pipe); err == nil {
		t.Error("the input of a pipe is hidden")
	}
}
