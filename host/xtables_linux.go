package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"vpngw/diag"
)

// xtables are the programs of the kernel's older packet filter, by the file that names the tables in a network namespace.
var xtables = [...]struct{ file, program, module, tables string }{
	{"ip_tables_names", "iptables", "ip_tables", "iptable_*"},
	{"ip6_tables_names", "ip6tables", "ip6_tables", "ip6table_*"},
}

// unread names the tables of the kernel's older packet filter. Its rules are not among those of nftables, and only its own
// programs read them.
func unread() []Finding { return unreadIn("/proc/thread-self/net", "/sys/module") }

func unreadIn(dir, modules string) (out []Finding) {
	for _, x := range xtables {
		b, err := os.ReadFile(filepath.Join(dir, x.file))
		tables := strings.Join(strings.Fields(string(b)), ", ")
		if err != nil {
			// Root's group may list them. Each table is a module of its own, and the filter is here without a table as
			// soon as some program has asked for it.
			loaded, _ := filepath.Glob(filepath.Join(modules, x.tables))
			_, nomod := os.Stat(filepath.Join(modules, x.module))
			if errors.Is(err, os.ErrNotExist) || nomod == nil && len(loaded) == 0 {
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
