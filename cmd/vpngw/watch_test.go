package main

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vpngw/cmd/vpngw/show/showtest"
	"vpngw/control"
)

// The real program on a real terminal: it shows the tunnels, one of them, and ends with the screen as it was.
func TestWatchOnATerminal(t *testing.T) {
	script, err := exec.LookPath("script")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no script, which makes a terminal: Debian's bsdutils has it")
		}
		t.Skip("no script (bsdutils), which makes a terminal")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "vpngw")
	self, err := os.Executable() // testscript's main runs vpngw for this name
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, binary); err != nil {
		t.Fatal(err)
	}
	l, err := control.Listen(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	d := &canned{status: showtest.Fleet(3, time.Now(), time.Now())}
	s := control.Serve(l, d, "test", slog.New(slog.DiscardHandler))
	defer s.Close()

	cmd := exec.Command(script, "-qec", binary+" status --watch --control "+filepath.Join(dir, "s"), "/dev/null")
	cmd.Env = append(os.Environ(), "TERM=xterm", "NO_COLOR=1")
	keys, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer kill.Stop()
	var all bytes.Buffer
	// until reads until the terminal has got a text, and then presses keys.
	until := func(text, press string) {
		t.Helper()
		from := all.Len()
		chunk := make([]byte, 4096)
		for !strings.Contains(string(all.Bytes()[from:]), text) {
			n, err := out.Read(chunk)
			all.Write(chunk[:n])
			if err != nil {
				t.Fatalf("it ended before it said %q: %v\n%q", text, err, &all)
			}
		}
		io.WriteString(keys, press)
	}
	until("branch-1", "\r")
	until("this host is the customer", "q")
	rest, _ := io.ReadAll(out)
	all.Write(rest)
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v\n%q", err, &all)
	}
	if !strings.Contains(string(rest), "\x1b[?1049l") {
		t.Errorf("the screen is not as before: %q", rest)
	}
	if strings.Contains(all.String(), "\x1b[32m") {
		t.Error("there are colours in spite of NO_COLOR")
	}
}
