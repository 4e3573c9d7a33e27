// Command vpngw is a site-to-site VPN gateway: the daemon (`vpngw run`) and the
// commands that check its configuration and talk to it.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"vpngw/cmd/vpngw/man"
	"vpngw/control"
)

const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitLost        = 4
)

// exitCodes are what the exit codes mean: the help, the manual pages and README have it from here.
var exitCodes = []man.Exit{
	{Code: exitOK, Means: "success"},
	{Code: exitError, Means: "an error, which standard error tells"},
	{Code: exitError, Of: "check", Means: "the file has errors; with --strict also: it has warnings"},
	{Code: exitError, Of: "diff", Means: "something differs"},
	{Code: exitError, Of: "health", Means: "a wanted tunnel is not up; standard output tells which"},
	{Code: exitError, Of: "doctor", Means: "something was found that should be changed"},
	{Code: exitError, Of: "reload", Means: "the file has errors, or another reload waits for its confirmation; nothing was changed"},
	{Code: exitError, Of: "confirm", Means: "no reload waits for a confirmation"},
	{Code: exitError, Of: "probe", Means: "nothing came up"},
	{Code: exitError, Of: "failover", Means: "the standby tunnel cannot take the traffic; nothing was changed"},
	{Code: exitError, Of: "failback", Means: "the active tunnel cannot take the traffic yet"},
	{Code: exitUsage, Means: "a wrong command line"},
	{Code: exitUnreachable, Means: "the daemon is not reachable, or it does not let this user ask"},
	{Code: exitLost, Of: "export", Means: "the format cannot say everything; standard error tells what it cannot"},
}

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
