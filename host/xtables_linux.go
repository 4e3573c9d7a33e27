package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"vpngw/diag"
)

// xtables are the programs of the kernel's older packet filter, by the file that names the tables in a network namespace.
var xtables = [...]struct{ file, program string }{
	{"ip_tables_names", "iptables"},
	{"ip6_tables_names", "ip6tables"},
}

// unread names the tables of the kernel's older packet filter. Its rules are not among those of nftables, and only its own
// programs read them.
func unread() []Finding { return unreadIn("/proc/thread-self/net") }

func unreadIn(dir string) (out []Finding) {
	for _, x := range xtables {
		b, err := os.ReadFile(filepath.Join(dir, x.file))
		tables := strings.Join(strings.Fields(string(b)), ", ")
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			tables = "which this user may not list"
		}
		if tables != "" {
			out = append(out, Finding{diag.Cause{Code: diag.FilterUnread, Name: x.program + ": " + tables, Ours: x.program + "-legacy-save"}, false})
		}
	}
	return out
}
