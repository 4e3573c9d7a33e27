// Command vpngw is a site-to-site VPN gateway: the daemon (`vpngw run`) and the
// commands that check its configuration and talk to it.
//
// Exit codes: 0 success, 1 an error (`check`: the file has errors), 2 wrong
// usage, 3 the daemon is not reachable, 4 (`export`) the format cannot say everything.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"vpngw/control"
)

const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitLost        = 4
)

func main() { os.Exit(vpngw(os.Args[1:], os.Stdout, os.Stderr)) }

// vpngw runs one command line and returns its exit code.
func vpngw(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteC()
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errSaid):
		return exitError
	case errors.Is(err, errLost):
		return exitLost
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "vpngw: %v\nSee '%s --help'.\n", err, cmd.CommandPath())
		return exitUsage
	}
	complain(stderr, err)
	if errors.Is(err, control.ErrUnreachable) {
		return exitUnreachable
	}
	return exitError
}

// complain prints an error, with our name before each of its lines: an error about the
// host has a line for each missing thing.
func complain(w io.Writer, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(w, "vpngw: %s\n", line)
	}
}

// usageError is a wrong command line.
type usageError struct{ error }

// errSaid is a failure whose reason has been printed.
var errSaid = errors.New("failed")
