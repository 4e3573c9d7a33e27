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
