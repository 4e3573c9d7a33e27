// Command flake runs the gate several times and says which tests failed how often. It finds a test
// that fails by chance before that test hinders somebody's work.
//
//	flake [-n 5] [-run REGEXP] COMMAND [ARGUMENT …]
//
// The environment variable TESTFLAGS tells the command which flags to hand to `go test`. flake
// keeps each run's output in a file and prints its name.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	n := flag.Int("n", 5, "how often")
	run := flag.String("run", "", "only tests that match this, as go test has it")
	flag.Parse()
	if flag.NArg() == 0 || *n < 1 {
		flag.Usage()
		os.Exit(2)
	}
	dir, err := os.MkdirTemp("", "vpngw-flake-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "flake:", err)
		os.Exit(1)
	}
	flags := "-json -count=1"
	if *run != "" {
		flags += " -run='" + strings.ReplaceAll(*run, "$", "$$") + "'" // make expands it
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var t tally
	for i := range *n {
		path := filepath.Join(dir, fmt.Sprintf("run-%d.log", i+1))
		r, err := once(flag.Args(), flags, path)
		if ctx.Err() != nil {
			fmt.Printf("interrupted in run %d\n", i+1)
			break
		}
		t.add(r, err)
		fmt.Printf("run %d of %d: %s in %v; %s\n", i+1, *n, r.verdict(err), r.took.Round(time.Second), path)
	}
	fmt.Print(t.String())
	if t.red > 0 || len(t.took) == 0 {
		os.Exit(1)
	}
}

// once runs the command. The error says that the command failed or could not start.
func once(command []string, flags, path string) (r result, err error) {
	log, err := os.Create(path)
	if err != nil {
		return r, err
	}
	defer log.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "TESTFLAGS="+flags)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return r, err
	}
	r.read(out, log)
	io.Copy(io.Discard, out)
	err = cmd.Wait()
	r.took = time.Since(start)
	return r, err
}

// verdict sums up a run in a few words.
func (r result) verdict(err error) string {
	failed := r.failed()
	switch {
	case len(failed) > 0:
		return "FAILED (" + strings.Join(failed, ", ") + ")"
	case err != nil:
		return fmt.Sprintf("FAILED (%v, and no test did)", err)
	}
	return fmt.Sprintf("ok, %d tests", r.passed)
}
