package lab

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"time"
)

// tool runs a program outside any namespace and returns its standard output.
func (l *Lab) tool(limit time.Duration, stdin, program string, args ...string) string {
	l.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		l.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, tail(errs.String(), 20))
	}
	return string(out)
}

// attempt runs a program that may fail, or not end within the limit, and returns all that it writes. An env that is nil is this
// process's.
func attempt(limit time.Duration, stdin string, env []string, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin, cmd.Env = strings.NewReader(stdin), env
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return string(out), err
}
