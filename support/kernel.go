package support

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

// Host are the pieces that this host's kernel and its programs tell. None of the programs shows keys: not those of
// `ip xfrm` or `wg`. What people write freely, comments and aliases, is taken out.
func Host() []Piece {
	return []Piece{
		{"host/version.txt", "kernel, distribution, processors", versions},
		{"host/links.txt", "network devices with their counters", or(program(noAliases, "ip", "-s", "link", "show"), "dev")},
		{"host/addresses.txt", "addresses", or(program(noAliases, "ip", "address", "show"), "fib_trie", "if_inet6")},
		{"host/routes.txt", "IPv4 routes of all tables", or(program(nil, "ip", "-4", "route", "show", "table", "all"), "route")},
		{"host/routes6.txt", "IPv6 routes of all tables", or(program(nil, "ip", "-6", "route", "show", "table", "all"), "ipv6_route")},
		{"host/rules.txt", "routing rules", both(program(nil, "ip", "-4", "rule", "show"), program(nil, "ip", "-6", "rule", "show"))},
		{"host/nftables.txt", "nftables, without comments and the contents of sets", program(noComments, "nft", "-t", "list", "ruleset")},
		{"host/sockets.txt", "sockets of ports 500, 4500 and 179, and raw ones", or(both(
			program(nil, "ss", "-Hanup", "( sport = :500 or sport = :4500 )"),
			program(nil, "ss", "-Hantp", "( sport = :179 or dport = :179 )"),
			program(nil, "ss", "-Hanwp")), "udp", "udp6", "raw", "raw6")},
		{"host/sysctl.txt", "sysctls that decide about packets", sysctls},
		{"host/journal.txt", "the last lines of vpngw's journal", program(nil, "journalctl", "--unit", "vpngw", "--lines", "5000", "--no-pager", "--output", "short-iso")},
	}
}

// maxOutput bounds what a program may print.
const maxOutput = 2 * maxPiece

// program is the output of a program that changes nothing.
func program(clean func([]byte) []byte, name string, args ...string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin", "LC_ALL=C"}
		var out, complaint bounded
		cmd.Stdout, cmd.Stderr = &out, &complaint
		err := cmd.Run()
		text := out.Bytes()
		if clean != nil {
			text = clean(text)
		}
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("%w: %s", errNotInstalled, name)
		}
		if err != nil {
			err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(complaint.Bytes()))
		}
		return text, err
	}
}

var errNotInstalled = errors.New("not installed")

// or is what programs tell, or, where they are not installed, files of /proc/net.
func or(programs func(context.Context) ([]byte, error), files ...string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		text, err := programs(ctx)
		if !errors.Is(err, errNotInstalled) {
			return text, err
		}
		for _, file := range files {
			file = "/proc/net/" + file
			if more, e := readAtMost(file); e == nil {
				text = fmt.Appendf(text, "%s:\n%s", file, more)
			}
		}
		return text, err
	}
}

// bounded keeps the first bytes that are written to it.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), max(0, maxOutput-b.Len()))])
	return len(p), nil
}

// both is what several tell, one after the other.
func both(parts ...func(context.Context) ([]byte, error)) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		var all []byte
		var errs []error
		for _, part := range parts {
			text, err := part(ctx)
			all, errs = append(all, text...), append(errs, err)
		}
		return all, errors.Join(errs...)
	}
}

var (
	comment = regexp.MustCompile(`comment "[^"]*"`)
	alias   = regexp.MustCompile(`(?m)^    alias .*\n`)
)

func noComments(text []byte) []byte { return comment.ReplaceAll(text, []byte(`comment "…"`)) }

func noAliases(text []byte) []byte {
	return alias.ReplaceAllFunc(text, func(line []byte) []byte {
		if string(line) == "    alias vpngw\n" {
			return line
		}
		return []byte("    alias …\n")
	})
}

// versions are the kernel's, the distribution's and the program's.
func versions(context.Context) ([]byte, error) {
	var b bytes.Buffer
	for _, file := range []string{"/proc/version", "/etc/os-release", "/proc/uptime", "/proc/loadavg"} {
		text, err := readAtMost(file)
		if err != nil {
			fmt.Fprintf(&b, "%v\n", err)
			continue
		}
		fmt.Fprintf(&b, "%s:\n%s\n", file, bytes.TrimSpace(text))
	}
	fmt.Fprintf(&b, "processors: %d\nuser: %d\n", runtime.NumCPU(), os.Geteuid())
	if info, ok := debug.ReadBuildInfo(); ok {
		fmt.Fprintf(&b, "built with:\n%s", info)
	}
	return b.Bytes(), nil
}

// sysctlNames are what decides about packets; of /proc/sys only these are read.
var sysctlNames = []string{
	"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/*/rp_filter", "net/ipv4/conf/*/accept_local", "net/ipv4/conf/*/forwarding",
	"net/ipv6/conf/*/disable_ipv6", "net/ipv4/fib_multipath_hash_policy", "net/ipv6/fib_multipath_hash_policy", "net/ipv4/ip_no_pmtu_disc",
	"net/core/rmem_max", "net/core/wmem_max", "net/core/rmem_default", "net/core/wmem_default", "net/core/netdev_max_backlog", "net/core/optmem_max",
	"net/netfilter/nf_conntrack_max", "net/netfilter/nf_conntrack_count", "net/ipv4/ip_local_reserved_ports",
}

func sysctls(context.Context) ([]byte, error) {
	var b bytes.Buffer
	for _, name := range sysctlNames {
		files, err := filepath.Glob("/proc/sys/" + name)
		if err != nil {
			return nil, err
		}
		slices.Sort(files)
		for _, file := range files {
			if text, err := readAtMost(file); err == nil {
				fmt.Fprintf(&b, "%s = %s\n", strings.TrimPrefix(file, "/proc/sys/"), bytes.TrimSpace(text))
			}
		}
	}
	return b.Bytes(), nil
}

func readAtMost(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 1<<20))
}
